"""The structure of the source in numbers: its size, what grew too long, import circles, duplicated code.

python benchmarks/structure.py             tables
python benchmarks/structure.py --json      the same as JSON
python benchmarks/structure.py FOLDER      of another copy of the project

Only the text is read; nothing is imported. How each number is counted:

- Files: Python, CUDA, C++ and HTML, by all their lines. Links are not followed, so each file counts once.
- Functions: from ``def`` to the last line, docstring included, decorators not. Methods and nested functions count too.
- Parameters: all of them, except ``self`` and ``cls``.
- Commands: functions in cli/ with a parameter that is a ``typer.Option`` or ``typer.Argument``. A command's signature
  is its help, so neither the lines of the signature nor the parameters count towards the goals.
- Import circles: groups of modules each of which imports all others of its group, directly or through others. Imports
  within functions and under ``TYPE_CHECKING`` count. Importing a module does not count as importing its package.
- Duplicated runs: six or more consecutive statements that stand in two places, perhaps with other names and literals.
  Six statements are like six others if their syntax trees are equal after each name is replaced by the number of
  different names before it, and each literal by its type. So a renamed copy is found, and similar lines that use their
  names in another way are not. A compound statement counts as its first line; its body is further statements.
  Imports, docstrings and fields without a value are left out.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

PACKAGE = "ssd_edge"
LINKED = ("calibration", "engines", "cli")
"""Folders beside the package that are linked into it and imported as its subpackages."""
SUFFIXES = (".py", ".cu", ".cuh", ".cpp", ".h", ".html")

FILE_LINES = 400
FUNCTION_LINES = 60
PARAMETERS = 8
WINDOW = 6
"""Statements in the shortest duplicated run."""
GOALS = {
    "files over 400 lines": 0,
    "functions over 60 lines, without commands' signatures": 0,
    "functions with 8 or more parameters, without commands": 5,
    "import circles": 0,
    "pairs of duplicated runs": 0,
}
"""The largest count that is wanted, by measure."""


@dataclass(frozen=True)
class Function:
    """One function: its place, its size, and whether it is a command of the program."""

    place: str
    name: str
    lines: int
    signature: int
    parameters: int
    command: bool

    @property
    def counted_lines(self) -> int:
        """Lines that count towards the goal."""
        return self.lines - self.signature if self.command else self.lines


@dataclass(frozen=True)
class Duplicate:
    """A run of statements that stands in two places, each written as file:first line-last line."""

    first: str
    second: str
    statements: int


@dataclass(frozen=True)
class Structure:
    """All that is counted; lists are sorted, the largest first."""

    folders: dict[str, tuple[int, int]]
    """Files and lines by folder, each without its subfolders."""
    long_files: list[tuple[str, int]]
    long_functions: list[Function]
    many_parameters: list[Function]
    circles: list[list[str]]
    duplicates: list[Duplicate]

    def counts(self) -> dict[str, int]:
        """Found, by the measures of ``GOALS``."""
        numbers = (
            len(self.long_files),
            sum(function.counted_lines > FUNCTION_LINES for function in self.long_functions),
            sum(not function.command for function in self.many_parameters),
            len(self.circles),
            len(self.duplicates),
        )
        return dict(zip(GOALS, numbers, strict=True))


def measure(root: Path) -> Structure:
    """The structure of the project in a folder."""
    files = list(source_files(root))
    texts = {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in files}
    lines = {name: len(text.splitlines()) for name, text in texts.items()}
    folders: dict[str, tuple[int, int]] = {}
    for name, count in lines.items():
        folder = name.rpartition("/")[0]
        number, total = folders.get(folder, (0, 0))
        folders[folder] = (number + 1, total + count)
    trees = {name: ast.parse(text, name) for name, text in texts.items() if name.endswith(".py")}
    functions = [function for name, tree in trees.items() for function in functions_of(tree, name)]
    return Structure(
        folders=dict(sorted(folders.items())),
        long_files=_largest([(name, n) for name, n in lines.items() if n > FILE_LINES], lambda each: each[1]),
        long_functions=_largest([f for f in functions if f.lines > FUNCTION_LINES], lambda each: each.lines),
        many_parameters=_largest([f for f in functions if f.parameters >= PARAMETERS], lambda each: each.parameters),
        circles=circles(import_graph(trees)),
        duplicates=_largest(duplicates(trees), lambda each: each.statements),
    )


def source_files(root: Path) -> Iterator[Path]:
    """The project's own source, in order; links are not followed."""
    for top in (PACKAGE, *LINKED):
        for folder, subfolders, names in os.walk(root / top):
            subfolders.sort()
            yield from (Path(folder, name) for name in sorted(names) if name.endswith(SUFFIXES))


def _largest(items: list[Any], size: Callable[[Any], int]) -> list[Any]:
    """Sorted by size, the largest first; equal ones stay in order."""
    return sorted(items, key=size, reverse=True)


# Functions


def functions_of(tree: ast.Module, name: str) -> Iterator[Function]:
    """All functions of a file."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            parts = node.args
            parameters = [*parts.posonlyargs, *parts.args, *parts.kwonlyargs]
            parameters += [each for each in (parts.vararg, parts.kwarg) if each]
            yield Function(
                place=f"{name}:{node.lineno}",
                name=node.name,
                lines=(node.end_lineno or node.lineno) - node.lineno + 1,
                signature=node.body[0].lineno - node.lineno,
                parameters=sum(each.arg not in ("self", "cls") for each in parameters),
                command=name.startswith("cli/") and any(map(_is_option, parameters)),
            )


def _is_option(parameter: ast.arg) -> bool:
    """Whether a parameter's annotation makes it an option or an argument of the command line."""
    return parameter.annotation is not None and any(
        isinstance(node, ast.Attribute) and ast.unparse(node) in ("typer.Option", "typer.Argument")
        for node in ast.walk(parameter.annotation)
    )


# Imports


def module_name(name: str) -> str:
    """The name by which a file is imported: ``ssd_edge.engines.base`` of ``engines/base.py``."""
    parts = name.removesuffix(".py").removesuffix("/__init__").split("/")
    return ".".join([PACKAGE, *parts] if parts[0] in LINKED else parts)


def import_graph(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """The modules of the project that each of its modules imports, anywhere in its text."""
    modules = {module_name(name) for name in trees}
    graph: dict[str, set[str]] = {}
    for name, tree in trees.items():
        module = module_name(name)
        package = module if name.endswith("/__init__.py") else module.rpartition(".")[0]
        imported = {target for node in ast.walk(tree) for target in _targets(node, package, modules)}
        graph[module] = (imported & modules) - {module}
    return graph


def _targets(node: ast.AST, package: str, modules: set[str]) -> Iterator[str]:
    """The full names of the modules that a statement imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        source = node.module or ""
        if node.level:
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            source = ".".join([*above, source] if source else above)
        for alias in node.names:
            inner = f"{source}.{alias.name}"
            yield inner if inner in modules else source


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other, the largest first: strongly connected components of more than one."""
    reached = {module: _reached(module, graph) for module in graph}
    groups = {
        tuple(sorted(other for other in reached[module] if module in reached[other]))
        for module in graph
        if module in reached[module]
    }
    return sorted((list(group) for group in groups), key=lambda group: (-len(group), group))


def _reached(start: str, graph: dict[str, set[str]]) -> set[str]:
    """Modules imported by one, directly or through others; itself only if it is in a circle."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph[waiting.pop()] - found
        found |= new
        waiting += new
    return found


# Duplicated runs


@dataclass(frozen=True)
class Statement:
    """A statement without its body: its lines and its syntax tree in words, of which names are marked by an @."""

    first: int
    last: int
    tokens: tuple[str, ...]


def statements_of(tree: ast.AST) -> Iterator[Statement]:
    """All statements in the order of the text; imports and docstrings are left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.stmt) and not _is_left_out(node):
            tokens = tuple(_tokens(node))
            body = [child.lineno for child in ast.walk(node) if isinstance(child, ast.stmt) and child is not node]
            last = min(body) - 1 if body else node.end_lineno or node.lineno
            yield Statement(node.lineno, max(node.lineno, last), tokens)
        yield from statements_of(node)


def _is_left_out(node: ast.stmt) -> bool:
    """Whether a statement is an import, a docstring, or a field without a value."""
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    is_field = isinstance(node, ast.AnnAssign) and node.value is None
    return is_text or is_field or isinstance(node, (ast.Import, ast.ImportFrom))


def _tokens(node: ast.AST) -> Iterator[str]:
    """A node's kind, names and parts, without the statements in it; of a literal its type."""
    yield type(node).__name__
    if isinstance(node, ast.Constant):
        yield type(node.value).__name__
        return
    for _, value in ast.iter_fields(node):
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, str):
                yield f"@{part}"
            elif isinstance(part, ast.AST) and not isinstance(part, (ast.stmt, ast.expr_context)):
                yield from _tokens(part)


def duplicates(trees: dict[str, ast.Module]) -> list[Duplicate]:
    """Each pair of runs that are alike, as long as it gets."""
    files = {name: list(statements_of(tree)) for name, tree in trees.items()}
    places = defaultdict(list)
    for name, statements in files.items():
        for start in range(len(statements) - WINDOW + 1):
            tokens = [token for each in statements[start : start + WINDOW] for token in (*each.tokens, ";")]
            places[_renamed(tokens)].append((name, start))
    alike = {pair for same in places.values() for pair in combinations(same, 2) if not _overlap(*pair)}
    found = []
    for (a, i), (b, j) in sorted(alike):
        if ((a, i - 1), (b, j - 1)) in alike:
            continue  # within a run that began earlier
        more = 0
        while ((a, i + more + 1), (b, j + more + 1)) in alike:
            more += 1
        runs = [files[name][start : start + WINDOW + more] for name, start in ((a, i), (b, j))]
        first, second = (
            f"{name}:{run[0].first}-{max(each.last for each in run)}" for name, run in zip((a, b), runs, strict=True)
        )
        found.append(Duplicate(first, second, WINDOW + more))
    return found


def _overlap(one: tuple[str, int], other: tuple[str, int]) -> bool:
    """Whether two windows share a statement."""
    return one[0] == other[0] and abs(one[1] - other[1]) < WINDOW


def _renamed(tokens: list[str]) -> tuple[str | int, ...]:
    """Each name replaced by the number of names before it."""
    numbers: dict[str, int] = {}
    return tuple(numbers.setdefault(token, len(numbers)) if token[0] == "@" else token for token in tokens)


# The table


def report(structure: Structure) -> Iterator[str]:
    """The tables, line by line."""
    width = max(map(len, structure.folders), default=6)
    yield f"{'folder':{width}}  files   lines"
    for folder, (files, lines) in structure.folders.items():
        yield f"{folder:{width}}  {files:5}  {lines:6}"
    files, lines = (sum(each[k] for each in structure.folders.values()) for k in (0, 1))
    yield f"{'all':{width}}  {files:5}  {lines:6}"
    yield ""
    width = max(map(len, GOALS))
    yield f"{'measure':{width}}  found  goal"
    for name, found in structure.counts().items():
        yield f"{name:{width}}  {found:5}  {'none' if GOALS[name] == 0 else f'at most {GOALS[name]}'}"
    yield from _section("files over 400 lines", [f"{lines:5}  {name}" for name, lines in structure.long_files])
    yield from _section(
        "functions over 60 lines",
        [
            f"{each.lines:5}  {each.place} {each.name}" + f" (command, signature {each.signature})" * each.command
            for each in structure.long_functions
        ],
    )
    yield from _section(
        "functions with 8 or more parameters",
        [
            f"{each.parameters:5}  {each.place} {each.name}" + " (command)" * each.command
            for each in structure.many_parameters
        ],
    )
    yield from _section("import circles", [f"{len(each):5}  {', '.join(each)}" for each in structure.circles])
    yield from _section(
        "duplicated runs, in statements",
        [f"{each.statements:5}  {each.first} = {each.second}" for each in structure.duplicates],
    )


def _section(title: str, lines: list[str]) -> Iterator[str]:
    yield ""
    yield f"{title}:"
    yield from lines or [" none"]


def main() -> int:
    """Print the structure; the exit code is 0 whatever it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).resolve().parents[1])
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    structure = measure(arguments.folder)
    if arguments.json:
        print(json.dumps({"counts": structure.counts(), "goals": GOALS, **asdict(structure)}, indent=2))
    else:
        print("\n".join(report(structure)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
