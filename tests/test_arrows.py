"""The floor plan of samespace/: every file is in a room, every import points down, and none goes in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "samespace"
FILES = sorted(PACKAGE.rglob("*.py"))

# What each room may use. "" is the package itself, which `import samespace` gives.
BELOW = {
    "base": [],
    "model": ["base"],
    "library": ["base"],
    "rooms": ["base"],
    "search": ["library", "model", "base"],
    "duplicates": ["search", "library", "model", "base"],
    "words": ["search", "library", "model", "base"],
    "": ["duplicates", "words", "search", "library", "model", "base"],
    "web": ["", "duplicates", "words", "search", "library", "model", "base"],
    "cli": ["", "web", "duplicates", "words", "search", "library", "model", "rooms", "base"],
}
ROOMS = BELOW.keys() - {""}
OUTSIDE = {"data", "experiments", "images", "kaggle", "model_def", "tests"}  # some use samespace; it uses none
LONGEST = 400  # lines of a file; those that draw the rooms may be longer


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


def imported(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
    """The module of every import among these nodes, and the name that is taken from it, if it is one."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (("." * node.level + str(node.module), alias.name) for alias in node.names)


def tops(nodes: Iterable[ast.AST]) -> set[str]:
    """The first names of imported modules: `determined` of `determined.common`."""
    return {module.partition(".")[0] for module, _ in imported(nodes)}


def file_of(module: str) -> Path | None:
    """The file of a module of samespace; None if there is no such file."""
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file in FILES), None)


def used_by(file: Path) -> set[Path]:
    """The files of samespace that a file imports, also inside functions and for type checkers."""
    found = {
        file_of(f"{module}.{name}") or file_of(module)
        for module, name in imported(ast.walk(tree(file)))
        if module.partition(".")[0] == "samespace"
    }
    return {used for used in found if used}


def room_of(file: Path) -> str:
    return "" if file.parent == PACKAGE else file.relative_to(PACKAGE).parts[0]


def test_every_file_is_in_a_room() -> None:
    there = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert there == {*ROOMS, "__init__.py", "__main__.py", "py.typed"}
    assert all((PACKAGE / room / "__init__.py").is_file() for room in ROOMS)


def test_imports_point_down() -> None:
    wrong = [
        f"{file.relative_to(ROOT)} imports {used.relative_to(ROOT)}"
        for file in FILES
        if file.name != "__main__.py"  # `python -m samespace` is the cli
        for used in used_by(file)
        if room_of(used) not in (room_of(file), *BELOW[room_of(file)])
    ]
    assert not wrong


def test_no_imports_go_in_a_circle() -> None:
    TopologicalSorter({file: used_by(file) for file in FILES}).prepare()  # its error names the files


def test_no_file_is_too_long_to_read() -> None:
    lines = {file.relative_to(ROOT).as_posix(): len(file.read_text("utf-8").splitlines()) for file in FILES}
    assert not {name: number for name, number in lines.items() if number > LONGEST and "/rooms/" not in name}


def test_samespace_does_not_need_what_trains_it() -> None:
    for file in FILES:
        assert not tops(ast.walk(tree(file))) & OUTSIDE, file
        assert "determined" not in tops(tree(file).body), file  # inside functions it may be
        assert "" not in tops(ast.walk(tree(file))), f"{file}: write imports in full"
