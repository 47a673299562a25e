"""The README and the docs: links lead somewhere, commands parse, and those that can run in a test run as written."""

from __future__ import annotations

import io
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import ImageEnhance

from samespace.cli.main import command_line, inner_parsers, main
from samespace.cli.words import in_full
from samespace.model.pairs import TEST, find_photos
from samespace.rooms.dataset import draw, make_room, viewpoints

if TYPE_CHECKING:
    from starlette.testclient import TestClient

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
PLACEHOLDERS = {"UUID": "a80b0180-c77d-4fd4-95bd-fce509991d30"}  # where a parser takes no other word

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def fences(page: Path) -> Iterator[tuple[str, str]]:
    """The language and the text of every block of code."""
    yield from re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def inline(page: Path) -> list[str]:
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page))]


def typed(page: Path) -> list[list[str]]:
    """Every command in a block of commands, as words; one for each side of | and &&."""
    lines = [
        line.strip().removeprefix("$ ")
        for language, text in fences(page)
        if language in ("", "console")
        for line in text.replace("\\\n", " ").splitlines()
        if language == "" or line.startswith("$ ") or line.strip().startswith("samespace ")
    ]
    return [command for line in lines for command in split(line)]


def split(line: str) -> list[list[str]]:
    """The commands of a line, without its comment and without dots that stand for more."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&")
    lexer.whitespace_split = True
    commands: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("|&"):
            commands.append([])
        elif word != "…":
            commands[-1].append(word)
    return [words for words in commands if words]


def samespace_lines() -> list[tuple[str, str]]:
    return [(page.name, shlex.join(words)) for page in PAGES for words in typed(page) if words[0] == "samespace"]


# Links and length


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_links_and_pictures_lead_to_files_and_headings(page: Path) -> None:
    for link in re.findall(r"""(?:\]\(|src=")([^)"\s]+)""", prose(page)):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 220


def test_the_readme_leads_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for page in PAGES:
        assert page.name == "README.md" or f"]({page.relative_to(ROOT)})" in readme


# Commands


@pytest.mark.parametrize(("page", "line"), samespace_lines())
def test_a_command_in_a_block_parses(page: str, line: str) -> None:
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(line)[1:]]
    command_line().parse_args(in_full(words))


@pages
def test_commands_and_options_in_sentences_exist(page: Path) -> None:
    for span in inline(page):
        if not span.startswith("samespace "):
            continue
        parser = command_line()
        words = in_full(shlex.split(span)[1:])
        assert words[0] in inner_parsers(parser) or words[0].startswith("-"), span
        while words and words[0] in inner_parsers(parser):
            parser = inner_parsers(parser)[words.pop(0)]
        options = {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"}  # a minus
        assert options <= parser._option_string_actions.keys(), span


def test_every_command_is_described() -> None:
    text = "\n".join(page.read_text("utf-8") for page in PAGES if page.name != "CHANGELOG.md")
    for command in inner_parsers(command_line()):
        assert f"samespace {command}" in text


@pages
def test_what_commands_name_is_there(page: Path) -> None:
    extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    for words in [*typed(page), *map(str.split, inline(page))]:
        line = " ".join(words)
        for script in re.findall(r"\b(?:python3?|torchrun) (?:.* )?([\w/]+\.py)\b", line):
            assert (ROOT / script).is_file(), line
        for config in re.findall(r"^det experiment create ([\w/.]+\.yaml) \.", line):
            assert (ROOT / config).is_file(), line
        for module in re.findall(r"-m (experiments[\w.]+)", line):
            assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file(), line
        for target in re.findall(r"^make (\w+)", line):
            assert target in targets, line
        for names in re.findall(r"pip install.*\.\[([\w,]+)\]", line):
            assert set(names.split(",")) <= set(extras), line


def test_moved_modules_are_where_the_changelog_says() -> None:
    moved = re.findall(r"^\| `([\w.*]+)` \| (.+) \|$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert len(moved) > 70
    for old, new in moved:
        for name in re.findall(r"`([\w.]+)(?:\.\*)?`", new):
            path = ROOT.joinpath("samespace", *name.split("."))
            assert path.with_suffix(".py").is_file() or path.is_dir(), (old, name)


def test_the_http_api_is_described_in_full(client: TestClient) -> None:
    page = (ROOT / "docs/http-api.md").read_text("utf-8")
    paths = client.get("/api/openapi.json").json()["paths"]
    there = {(verb.upper(), path) for path, verbs in paths.items() for verb in verbs}
    assert set(re.findall(r"^\| `([A-Z]+) (/api/\S+)`", page, re.MULTILINE)) == there


# Running them

COMMANDS = (
    ("samespace rooms sample --photos 8 --test-photos 4 --captions", 0),
    ("samespace scan album", 0),
    ("samespace dedupe album", 11),
    ("samespace dedupe album --report report.html", 11),
    ("samespace dedupe album --plan plan.json", 11),
    ("samespace apply plan.json", 0),
    ("samespace empty-quarantine --older-than 0d --library album/.samespace", 0),
    ("samespace undo --library album/.samespace", 0),
    ("samespace search kitchen.jpg --library album/.samespace --top 5", 0),
    ("samespace compare A.jpg B.jpg", 0),
    ("samespace compare A.jpg B.jpg --model model", 0),
    ("samespace evaluate model ROOT --plot pr.png", 0),
    ("samespace evaluate model ROOT --split validation", 0),
    ('samespace verdict "album/2023/01 living room 1.jpg" "album/edited/01 living room cropped.jpg" different', 0),
    ('samespace verdict "album/2023/01 living room 1.jpg" "album/sent/01 living room.jpg" same', 0),
    ("samespace verdicts --library album/.samespace", 0),
    ("samespace verdicts --export ROOT --library album/.samespace", 0),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, rooms: Path, model_folders: dict[str, Path]) -> Path:
    """A folder with everything that the pages' commands name: an album with copies, a data set, and models."""
    place = tmp_path_factory.mktemp("docs")
    living_room, kitchen = make_room("living_room", 40), make_room("kitchen", 42)
    first = draw(living_room, viewpoints(living_room, 1)[0], (320, 240))
    pictures = {
        "album/2023/01 living room 1.jpg": first,
        "album/phone backup/01 living room small.jpg": first.resize((160, 120)),
        "album/sent/01 living room.jpg": first,
        "album/edited/01 living room brighter.jpg": ImageEnhance.Brightness(first).enhance(1.15),
        "album/edited/01 living room cropped.jpg": first.crop((16, 12, 304, 228)),
        "album/2023/03 kitchen 2.jpg": draw(kitchen, viewpoints(kitchen, 1)[0], (320, 240)),
    }
    for name, picture in pictures.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(place / name, quality=30 if "sent" in name else 92)
    shutil.copy(place / "album/2023/03 kitchen 2.jpg", place / "kitchen.jpg")
    names = ("A.jpg", "B.jpg", "hotel.jpg", "listing.jpg")
    for name, photo in zip(names, find_photos(rooms, TEST).paths, strict=False):
        shutil.copy(photo, place / name)
    shutil.copytree(rooms, place / "ROOT")
    for folder in ("model", "demo/model"):
        shutil.copytree(model_folders["compare"], place / folder)
    return place


@pytest.fixture
def there(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, as the current one; nobody is there to answer."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    return place


def test_commands_run_as_written(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    for line, status in COMMANDS:
        assert line in text
        assert main(shlex.split(line)[1:]) == status, (line, capsys.readouterr().err)
    assert (there / "album/sent/01 living room.jpg").is_file()
    assert (there / "report.html").is_file()
    assert (there / "pr.png").is_file()


def snippets() -> list[tuple[str, str]]:
    return [(page.name, text) for page in PAGES for language, text in fences(page) if language == "python"]


@pytest.mark.parametrize(("page", "code"), snippets(), ids=lambda value: value if value.endswith(".md") else "")
def test_python_runs_as_written(page: str, code: str, there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code, page, "exec"), {})
    if "print" in code:
        assert 0 <= float(capsys.readouterr().out) <= 1
