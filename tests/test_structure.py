"""The structure of the source in numbers: each planted fault is counted once, and sound source counts none."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import structure

from tests.helpers import ROOT

SCRIPT = Path(structure.__file__)
RUN = """
def {name}(values):
    {total} = 0
    for {each} in values:
        if {each} > {limit}:
            {total} += {each}
    while {total}:
        {total} -= {step}
    return {total}
"""
"""Eight statements, from line 2 on."""


@pytest.fixture
def project(tmp_path):
    """Writes files by their names into a folder, and measures it; ``cli`` is linked as in the project."""
    for folder in ("ssd_edge", "cli"):
        (tmp_path / folder).mkdir()
    (tmp_path / "ssd_edge" / "cli").symlink_to("../cli")

    def write_and_measure(**files):
        for name, text in files.items():
            (tmp_path / f"{name.replace('__', '/')}.py").write_text(text)
        return structure.measure(tmp_path)

    return write_and_measure


def only(measure, found):
    """Whether one fault is counted, of this measure."""
    return found.counts() == {name: int(name == measure) for name in structure.GOALS}


def test_an_empty_folder_has_nothing(tmp_path):
    found = structure.measure(tmp_path)
    assert found.folders == {}
    assert not any(found.counts().values())
    assert "none" in "\n".join(structure.report(found))


def test_an_empty_file_is_counted(project):
    found = project(ssd_edge__a="")
    assert found.folders == {"ssd_edge": (1, 0)}
    assert not any(found.counts().values())


def test_links_are_not_followed(project):
    assert project(ssd_edge__a="a = 1\n", cli__b="b = 2\nc = 3\n").folders == {"cli": (1, 2), "ssd_edge": (1, 1)}


@pytest.mark.parametrize(("lines", "long"), [(400, 0), (401, 1)])
def test_a_long_file(project, lines, long):
    found = project(ssd_edge__a="# a comment\n" * lines)
    assert found.long_files == [("ssd_edge/a.py", lines)] * long
    assert only("files over 400 lines" if long else None, found)


def function(lines):
    """A function of so many lines: two of signature, two of docstring, and the rest."""
    return 'def f(\n    a):\n    """Text,\n    more."""\n' + "    # a comment\n" * (lines - 5) + "    return a\n"


@pytest.mark.parametrize(("lines", "long"), [(60, 0), (61, 1)])
def test_a_long_function(project, lines, long):
    found = project(ssd_edge__a="@decorated\n" + function(lines))
    assert [(each.place, each.name, each.lines) for each in found.long_functions] == [
        ("ssd_edge/a.py:2", "f", lines)
    ] * long
    assert only("functions over 60 lines, without commands' signatures" if long else None, found)


def test_a_long_method_counts(project):
    body = "".join(f"    {line}\n" for line in function(61).splitlines())
    assert len(project(ssd_edge__a="class A:\n" + body).long_functions) == 1


COMMAND = "def run(\n{options}):\n{body}"
OPTION = "    {name}: Annotated[int, typer.Option(help='.')],\n"


@pytest.mark.parametrize(("options", "body", "over"), [(59, 3, 0), (59, 60, 1)])
def test_a_commands_signature_is_shown_and_not_counted(project, options, body, over):
    signature = "".join(OPTION.format(name=f"o{k}") for k in range(options))
    found = project(cli__run=COMMAND.format(options=signature, body="    pass\n" * body + "    return\n"))
    ((long,), (many,)) = found.long_functions, found.many_parameters
    assert long == many
    assert (long.command, long.signature, long.parameters) == (True, options + 2, options)
    assert found.counts()["functions over 60 lines, without commands' signatures"] == over
    assert found.counts()["functions with 8 or more parameters, without commands"] == 0
    assert "(command, signature 61)" in "\n".join(structure.report(found))


def test_a_helper_of_the_program_is_no_command(project):
    assert only(
        "functions with 8 or more parameters, without commands",
        project(cli__help="def f(a, b, c, d, e, f, g, h): pass\n"),
    )


@pytest.mark.parametrize(
    ("signature", "number"),
    [
        ("a, b, c, d, e, f, g", 7),
        ("a, b, c, d, e, f, g, h", 8),
        ("self, a, b, c, d, e, f, g", 7),
        ("a, b, /, c, *d, e, f=1, g=2, **h", 8),
    ],
)
def test_eight_parameters(project, signature, number):
    found = project(ssd_edge__a=f"def f({signature}): pass\n")
    assert [each.parameters for each in found.many_parameters] == [8] * (number == 8)
    assert only("functions with 8 or more parameters, without commands" if number == 8 else None, found)


@pytest.mark.parametrize(
    "back",
    [
        "import ssd_edge.a\n",
        "from ssd_edge import a\n",
        "from ssd_edge.a import something\n",
        "from . import a\n",
        "from .a import something\n",
        "def f():\n    from ssd_edge.a import something\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ssd_edge.a import something\n",
    ],
)
def test_a_circle_of_imports(project, back):
    found = project(ssd_edge__a="import ssd_edge.b\n", ssd_edge__b=back, ssd_edge__c="import ssd_edge.a\n")
    assert found.circles == [["ssd_edge.a", "ssd_edge.b"]]
    assert only("import circles", found)


def test_a_circle_through_a_linked_folder(project):
    found = project(
        ssd_edge__a="import ssd_edge.cli.b\n", cli__b="import ssd_edge.c\n", ssd_edge__c="from . import a\n"
    )
    assert found.circles == [["ssd_edge.a", "ssd_edge.c", "ssd_edge.cli.b"]]


def test_two_circles_are_two(project):
    found = project(
        ssd_edge__a="from . import b\n",
        ssd_edge__b="from . import a, c\n",
        ssd_edge__c="from . import d\n",
        ssd_edge__d="from . import c\n",
    )
    assert found.circles == [["ssd_edge.a", "ssd_edge.b"], ["ssd_edge.c", "ssd_edge.d"]]


def test_imports_in_one_direction_are_no_circle(project):
    assert project(ssd_edge__a="from . import b, c\n", ssd_edge__b="from . import c\n", ssd_edge__c="").circles == []


@pytest.mark.slow
def test_imports_are_those_that_import_linter_sees():
    grimp = pytest.importorskip("grimp")
    trees = {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text())
        for path in structure.source_files(ROOT)
        if path.suffix == ".py"
    }
    graph = structure.import_graph(trees)
    theirs = grimp.build_graph("ssd_edge", cache_dir=None)
    assert graph == {module: theirs.find_modules_directly_imported_by(module) for module in theirs.modules}


FIRST = {"name": "f", "total": "total", "each": "each", "limit": "4", "step": "1"}
RENAMED = {"name": "g", "total": "weight", "each": "part", "limit": "7", "step": "2"}


@pytest.mark.parametrize("other", [FIRST, RENAMED])
def test_a_duplicated_run(project, other):
    first = RUN.format(**FIRST)
    found = project(ssd_edge__a=first, ssd_edge__b='"""Text."""\nimport os\n' + RUN.format(**other))
    assert found.duplicates == [structure.Duplicate("ssd_edge/a.py:2-9", "ssd_edge/b.py:4-11", 8)]
    assert only("pairs of duplicated runs", found)


def test_a_run_that_stands_three_times_is_three_pairs(project):
    text = RUN.format(**FIRST)
    assert len(project(ssd_edge__a=text + "x = y = z\n" + text, ssd_edge__b=text).duplicates) == 3


def test_names_used_in_another_way_are_no_duplicate(project):
    swapped = {**RENAMED, "limit": "weight"}
    assert project(ssd_edge__a=RUN.format(**FIRST), ssd_edge__b=RUN.format(**swapped)).duplicates == []


def test_a_short_run_is_none(project):
    short = "a = 1\nb = a + 2\nc = f(a, b)\nprint(c)\nd = [a, c]\n"
    assert project(ssd_edge__a=short, ssd_edge__b=short).duplicates == []


def test_a_repetitive_file_is_no_duplicate_of_itself(project):
    assert project(ssd_edge__a="x = f(x)\n" * 11).duplicates == []


@pytest.mark.parametrize("text", ["import a, b\nfrom c import d\n" * 9, "class A:\n" + "    field: int\n" * 20])
def test_imports_and_fields_are_no_duplicates(project, text):
    assert project(ssd_edge__a=text, ssd_edge__b=text).duplicates == []


def test_docstrings_and_comments_do_not_interrupt_a_run(project):
    text = RUN.format(**FIRST)
    commented = text.replace("    while", "    # a comment\n    while").replace(
        "(values):", '(values):\n    """Text."""'
    )
    assert len(project(ssd_edge__a=text, ssd_edge__b=commented).duplicates) == 1


def script(*arguments):
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], check=True, capture_output=True, text=True).stdout


def test_json_says_what_the_table_says(project, tmp_path):
    found = project(ssd_edge__a="from . import b\n", ssd_edge__b="from . import a\n")
    said = json.loads(script(str(tmp_path), "--json"))
    assert said["counts"] == found.counts()
    assert said["circles"] == [["ssd_edge.a", "ssd_edge.b"]]
    assert set(said["goals"]) == set(said["counts"])
    assert script(str(tmp_path)).splitlines() == list(structure.report(found))


@pytest.mark.slow
def test_this_project_can_be_measured():
    said = script()
    assert all(folder in said for folder in ("ssd_edge", "calibration", "engines", "cli", *structure.GOALS))
