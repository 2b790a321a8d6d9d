"""The pages agree with the program: links, commands, options, fields, quoted sentences and examples."""

from __future__ import annotations

import ast
import json
import re
import runpy
import shutil
from dataclasses import fields
from datetime import date
from functools import cache

import cv2
import numpy as np
import pytest
import typer.main
from rich.text import Text

from ssd_edge import __version__
from ssd_edge.cli.main import app
from ssd_edge.data.dataset import Issue
from ssd_edge.engines.base import PlanEntry
from ssd_edge.importing import read_description
from ssd_edge.loop.benchmark import EngineTimes
from ssd_edge.loop.stats import LoopReport
from ssd_edge.machine.cameras import csi_pipeline
from ssd_edge.models.catalogue import MODELS
from ssd_edge.models.registry import architecture, make_spec
from ssd_edge.service.output_forms import FORMS
from ssd_edge.service.reading import read_service
from ssd_edge.service.service_file import CameraForm, DiskForm, ServiceForm
from ssd_edge.spec import ModelSpec
from tests.helpers import ROOT

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "ssd_edge" / "samples").glob("*.md"))
}
COMMANDS = typer.main.get_command(app).commands
WRITTEN = "\n".join(text for name, text in PAGES.items() if name != "docs/cli.md")
"""Text of all pages written by hand."""


def blocks(page, language):
    """Find a page's fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGES[page], re.DOTALL | re.MULTILINE)


def test_the_reference_is_up_to_date():
    page = runpy.run_path(str(ROOT / "docs" / "generate_cli.py"))["page"]
    assert PAGES["docs/cli.md"] == page(), "run: make docs"


def test_the_schema_of_a_service_is_up_to_date():
    generate = runpy.run_path(str(ROOT / "docs" / "generate_schema.py"))
    assert generate["PAGE"].read_text("utf-8") == generate["page"](), "run: make docs"


def test_the_file_of_a_service_in_its_page_is_read(tmp_path):
    (example,) = blocks("docs/service.md", "yaml")
    (tmp_path / "service.yaml").write_text(example)
    (tmp_path / "line3-zones.yaml").write_text("zones: []\n")
    config = read_service(tmp_path / "service.yaml", {"MQTT_PASSWORD": "x", "LINE3_PASSWORD": "y"})
    assert [output.kind for output in config.cameras[1].outputs] == ["video", "json"]


def test_every_setting_of_a_service_is_explained():
    page = PAGES["docs/service.md"]
    settings = {*ServiceForm.__struct_fields__, *CameraForm.__struct_fields__, *DiskForm.__struct_fields__, *FORMS}
    settings |= {name for form in FORMS.values() for name in form.__struct_fields__}
    assert [name for name in sorted(settings) if f"`{name}" not in page] == []


def anchors(text):
    """Compute the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", sorted(PAGES))
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", PAGES[page], flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = ((ROOT / page).parent / name).resolve() if name else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text()), link


def test_the_map_leads_to_every_page():
    linked = set(re.findall(r"\]\((\w+\.md)", PAGES["docs/index.md"]))
    assert linked >= {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_explained_somewhere(command):
    assert f"ssd-edge {command}" in WRITTEN or f"`{command}`" in WRITTEN


def examples():
    """Find command lines in the pages: (command, the rest)."""
    pattern = r"(?:^    |ExecStart=\S*/|`)ssd-edge ([a-z][a-z-]+)([^\n`#]*)"
    return sorted(set(re.findall(pattern, WRITTEN, re.MULTILINE)))


def test_there_are_examples():
    assert {command for command, _ in examples()} >= set(COMMANDS) - {"demo"}


@pytest.mark.parametrize(("command", "rest"), examples())
def test_an_example_names_real_commands_and_options(command, rest):
    assert command in COMMANDS
    known = {form for p in COMMANDS[command].params for form in (*p.opts, *p.secondary_opts)} | {"--help"}
    assert set(re.findall(r"(?<!\S)-{1,2}[a-z][a-z0-9-]*", rest)) <= known


@pytest.mark.parametrize("option", sorted(set(re.findall(r"`(--[a-z][a-z0-9-]+)", WRITTEN))))
def test_an_option_in_the_text_exists(option):
    commands = (typer.main.get_command(app), *COMMANDS.values())
    options = {form for command in commands for p in command.params for form in (*p.opts, *p.secondary_opts)}
    of_others = {"--debug", "--help", "--list", "--only", "--table", "--retrain", "--device", "--env-file", "--publish"}
    assert option in options | of_others


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loses_nothing_to_markup(command):
    """Typer's help takes [small letters] for a style, and would drop them."""
    texts = [COMMANDS[command].help, *(p.help or "" for p in COMMANDS[command].params)]
    assert [Text.from_markup(text).plain for text in texts] == texts


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        ("docs/models.md", ModelSpec),
        ("docs/engines.md", PlanEntry),
        ("docs/running.md", LoopReport),
        ("docs/benchmark.md", EngineTimes),
    ],
)
def test_every_field_is_explained(page, kind):
    for field in fields(kind):
        assert f"`{field.name}`" in PAGES[page]


def test_every_manifest_entry_is_explained(bundle):
    for name in json.loads((bundle / "manifest.json").read_text()):
        assert f"`{name}`" in PAGES["docs/engines.md"]


def test_every_kind_of_issue_is_explained():
    kinds = re.findall(r"``([a-z]+-[a-z]+)``", Issue.__doc__)
    assert len(kinds) == 15
    for kind in kinds:
        assert f"| `{kind}` |" in PAGES["docs/data.md"]


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_described_as_it_is(name):
    (row,) = re.findall(rf"^\| `{name}` \|.*$", PAGES["docs/models.md"], re.MULTILINE)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    spec = make_spec(name, ["bolt"])
    assert cells[2] == f"{spec.input_size[0]}×{spec.input_size[1]}"
    assert cells[3] == str(spec.num_default_boxes)
    assert cells[4] == ", ".join(str(level.grid[0]) for level in spec.levels)
    assert cells[5] == ", ".join(f"`{table}`" for table in architecture(name).levels)


@pytest.mark.parametrize(
    ("shown", "name"),
    [
        ("SSDLite 300", "ssdlite300_mobilenet_v2"),
        ("SSDLite 320", "ssdlite320_mobilenet_v3_large"),
        ("SSD300", "ssd300_vgg16"),
        ("SSD512", "ssd512_vgg16"),
    ],
)
def test_the_box_sizes_are_those_of_the_models(shown, name):
    table = PAGES["docs/models.md"].split(f"\n| {shown} |")[1].split("\n| SSD")[0]
    rows = re.findall(r"`(\w+)` \| ([\d., ]+) \|", table)
    assert [row[0] for row in rows] == list(architecture(name).levels)
    for size_table, sizes in rows:
        spec = make_spec(name, ["bolt"], size_table)
        sides = [level.sizes[0][0] * spec.input_size[0] for level in spec.levels]
        assert [float(size) for size in sizes.split(",")] == pytest.approx(sides, abs=0.01)


def sentences():
    """Find the sentences that the page on engines quotes."""
    text = PAGES["docs/engines.md"].split("## What is checked on load")[1].split("## Limits")[0]
    return [quoted for quoted in re.findall(r"`([^`]+)`", text) if quoted.count(" ") > 1]


@cache
def string_parts(path):
    """Find the constant parts of all strings in a file; an f-string's placeholders separate its parts."""
    return [
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def test_the_page_on_engines_quotes():
    assert len(sentences()) >= 14


@pytest.mark.parametrize("sentence", sentences())
def test_quoted_sentences_are_in_the_source(sentence):
    folders = (ROOT / "engines", ROOT / "ssd_edge" / "graph")
    said = [part for folder in folders for path in folder.rglob("*.py") for part in string_parts(path)]
    for fragment in re.split(r"[A-Z]{2,}|\bN\b", sentence):  # FOLDER and N stand for values
        if len(fragment.split()) > 1:
            assert any(fragment.strip("/ ") in part for part in said), fragment


def device_sentences():
    """Find the quotations in the tables of the pages on devices, split at values that vary."""
    varies = r"\S*(?:[A-Z]{2,}|\d|…)\S*|tensorrt|openvino"
    for page in ("docs/jetson.md", "docs/rtx.md"):
        for quoted in re.findall(r"^\| `([^`|]+ [^`|]+)` \|", PAGES[page], re.MULTILINE):
            for fragment in re.split(varies, quoted):
                if len(fragment.split()) > 1:
                    yield page, fragment.strip()


def test_the_pages_on_devices_quote():
    assert len(set(device_sentences())) >= 14


@pytest.mark.parametrize(("page", "fragment"), sorted(set(device_sentences())))
def test_quoted_sentences_for_devices_are_in_the_source(page, fragment):
    folders = ("engines", "ssd_edge/machine", "ssd_edge/stream")
    said = [part for name in folders for path in (ROOT / name).rglob("*.py") for part in string_parts(path)]
    assert any(fragment in part for part in said)


def test_the_csi_camera_is_opened_as_doctor_says():
    assert f"    ssd-edge run parts.engine --camera '{csi_pipeline(0)}'\n" in PAGES["docs/jetson.md"]


def test_the_description_in_the_page_on_imports_is_read(tmp_path):
    (example,) = blocks("docs/import.md", "json")
    path = tmp_path / "model.json"
    path.write_text(example)
    assert read_description(path).num_default_boxes == 19 * 19 * 3 + 10 * 10 * 3
    assert set(json.loads(example)) == {field.name for field in fields(ModelSpec)} - {"architecture", "provenance"}


def test_torchvisions_first_level_in_the_page_on_imports():
    """The reference is the geometry of torchvision's SSD300, which tests/test_boxes.py compares with its formula."""
    (text,) = re.findall(r"first level is then `(\{.*?\})`", PAGES["docs/import.md"], re.DOTALL)
    level, right = json.loads(text), make_spec("ssd300_vgg16", ["object"], "coco").levels[0]
    assert level["grid"] == list(right.grid)
    assert level["step"] == pytest.approx(right.step, abs=1e-6)
    sizes = [(scale * ratio**0.5, scale / ratio**0.5) for scale, ratio in level["boxes"]]
    np.testing.assert_allclose(sizes, right.sizes, atol=1e-6)


def test_the_python_example_runs(bundle, tmp_path, monkeypatch):
    (example,) = blocks("docs/index.md", "python")
    shutil.copytree(bundle, tmp_path / "parts.engine")
    cv2.imwrite(str(tmp_path / "photo.jpg"), np.zeros((48, 64, 3), np.uint8))
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "docs/index.md", "exec"), {})


RELEASES = re.findall(r"^## (?!Unreleased$)(.+)$", PAGES["CHANGELOG.md"], re.MULTILINE)


def test_changes_to_come_stand_above_the_releases():
    assert PAGES["CHANGELOG.md"].index("\n## Unreleased\n") < PAGES["CHANGELOG.md"].index(f"\n## {RELEASES[0]}\n")


@pytest.mark.parametrize("heading", RELEASES)
def test_a_release_has_a_version_and_a_date(heading):
    version, day = re.fullmatch(r"(\d+\.\d+\.\d+) \((\d{4}-\d{2}-\d{2})\)", heading).groups()
    assert f"{version} ({date.fromisoformat(day)})" == heading


def test_the_newest_release_is_this_version():
    assert RELEASES[0].split()[0] == __version__


def test_releases_are_in_order():
    days = [heading.split()[1] for heading in RELEASES]
    versions = [tuple(map(int, heading.split()[0].split("."))) for heading in RELEASES]
    assert (versions, days) == (sorted(set(versions), reverse=True), sorted(days, reverse=True))
