from __future__ import annotations

import base64
import os
import re
import shlex
import subprocess
import sys
import threading
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from samespace.base.errors import SameSpaceError
from samespace.base.photos import UnreadablePhoto
from samespace.base.text import readable, score_words, shell_word, size_words
from samespace.cli import report
from samespace.cli.report import write_report
from samespace.duplicates.group import Duplicates, Group, Member
from samespace.library.library import Photo
from tests.conftest import ROOT, draw

VOID = {"meta", "img", "input", "link", "br", "hr", "rect", "path", "circle"}


class Page(HTMLParser):
    """Every element as (tag, attributes, text within); fails where an end tag does not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self.open: list[tuple[str, dict[str, str], list[str]]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = (tag, {name: value or "" for name, value in attrs}, [])
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}, []))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element[2].append(data)

    def all(self, tag: str, name: str = "") -> list[dict[str, str]]:
        """The attributes of these elements, their text as `text`."""
        return [
            {**attributes, "text": "".join(text)}
            for found, attributes, text in self.elements
            if found == tag and name in ["", *attributes.get("class", "").split()]
        ]


def photo(path: Path, root: Path, taken: str | None = "2023-05-01 12:30:00") -> Photo:
    return Photo(path, root, "library", 2_000_000, 1, "0" * 64, 4032, 3024, taken, 0)


def group(paths: list[Path], root: Path, kind: str = "near", weakest: float = 0.95) -> Group:
    keeper = Member(photo(paths[0], root), 1.0, True, "4032×3024, the largest")
    others = [Member(photo(path, root), 0.981 - n / 100, False, "smaller") for n, path in enumerate(paths[1:])]
    return Group(kind, (keeper, *others), weakest)


def written(path: Path, groups: list[Group], **changes: Any) -> str:
    removed = [member for group in groups for member in group.members if not member.keep]
    found = Duplicates("near", 0.9, "keeper", 100, groups, len(removed), 2_000_000 * len(removed), [], {})
    about: dict[str, Any] = {"folders": [path.parent], "plan": Path("plan.json")}
    of_found = {name: changes.pop(name) for name in {*changes} & {*Duplicates._fields}}
    write_report(path, found._replace(**of_found), **{**about, **changes})
    return path.read_text(encoding="utf-8")


def drawn(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for seed, path in enumerate(paths):
        draw(path, seed)
    return paths


def test_every_photo_is_there_keeper_first_with_score_reason_and_facts(tmp_path: Path) -> None:
    paths = drawn(tmp_path / "photos", "a.png", "trip/b.png", "c.png")
    groups = [group(paths, tmp_path / "photos"), group(paths[1:], tmp_path / "photos", "exact", weakest=1.0)]
    page = Page(written(tmp_path / "report.html", groups))
    photos = page.all("li")
    assert [item["class"] for item in photos] == ["keep", "remove", "remove", "keep", "remove"]
    assert [words["text"] for words in page.all("p", "fate")][:3] == [
        "Keep",
        "Removescore 0.981",
        "Removescore 0.971",
    ]
    assert [link["title"] for link in page.all("a") if "title" in link] == [*map(str, paths), *map(str, paths[1:])]
    assert "4032×3024, the largest" in photos[0]["text"] and "score" not in photos[0]["text"]
    for words in ("smaller", "trip/b.png", "4032 × 3024", "2.0 MB", "2023-05-01 12:30"):
        assert words in photos[1]["text"]


def test_a_group_carries_what_it_is_filtered_and_sorted_by(tmp_path: Path) -> None:
    paths = drawn(tmp_path, "a.png", "b.png", "c.png")
    page = Page(written(tmp_path / "report.html", [group(paths, tmp_path), group(paths[:2], tmp_path, "exact", 1.0)]))
    first, second = page.all("article", "group")
    assert [first[f"data-{name}"] for name in ("kind", "weakest", "bytes", "photos")] == [
        "near",
        "0.950000",
        "4000000",
        "3",
    ]
    assert (second["data-kind"], second["data-photos"], second["data-bytes"]) == ("exact", "2", "2000000")
    assert "least similar two: 0.950" in first["text"] and "frees 4.0 MB" in first["text"]
    assert [option["text"] for option in page.all("option")][:3] == ["all", "exact", "near"]


def test_a_least_similar_pair_below_the_threshold_is_pointed_out(tmp_path: Path) -> None:
    paths = drawn(tmp_path, "a.png", "b.png", "c.png")
    sure, unsure = (written(tmp_path / "r.html", [group(paths, tmp_path, weakest=low)]) for low in (0.9, 0.8996))
    assert "look twice" not in sure
    assert "least similar two: 0.899 <em>below 0.9: look twice</em>" in unsure


def test_a_protected_member_reads_as_kept_and_wins_nothing(tmp_path: Path) -> None:
    paths = drawn(tmp_path, "a.png", "b.png", "c.png")
    three = group(paths, tmp_path)
    protected = three.members[1]._replace(keep=True, why="lies in the reference folder")
    page = Page(written(tmp_path / "r.html", [three._replace(members=(three.members[0], protected, three.members[2]))]))
    assert [item["class"] for item in page.all("li")] == ["keep", "keep", "remove"]
    assert page.all("p", "fate")[1]["text"] == "Also keepscore 0.981"
    assert page.all("article", "group")[0]["data-bytes"] == "2000000"


def test_thumbnails_are_small_upright_and_inside(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right to see it upright
    Image.new("RGB", (640, 400), "red").save(tmp_path / "turned.jpg", exif=exif)
    [image] = Page(written(tmp_path / "r.html", [group([tmp_path / "turned.jpg"], tmp_path)])).all("img")
    assert (image["width"], image["height"], image["alt"]) == ("110", "176", "turned.jpg")
    with Image.open(BytesIO(base64.b64decode(image["src"].removeprefix("data:image/webp;base64,")))) as small:
        assert small.size == (110, 176)


def test_nothing_is_fetched_from_anywhere(tmp_path: Path) -> None:
    paths = drawn(tmp_path, "a.png", "b.png")
    text = written(tmp_path / "r.html", [group(paths, tmp_path)], unreadable=[UnreadablePhoto(paths[0], "damaged")])
    page = Page(text)
    links = [a[name] for _, a, _ in page.elements for name in ("src", "href", "srcset", "action", "data") if name in a]
    assert links and all(link.startswith(("data:image/webp;", "file:///", "#")) for link in links)
    assert not re.search(r"https?:|url\(|@import|<link|\bfetch\(|XMLHttpRequest|<iframe|\ssrc=\"//", text)
    [policy] = [meta for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy["content"].startswith("default-src 'none'; img-src data: file:;")


NASTY = ("<script>alert(1)</script>", "a\"onload='x' b", "line\nend", "<!--figures-->", "\u202egpj.exe", "&amp;", "\\1")


def test_names_and_reasons_are_only_ever_text(tmp_path: Path) -> None:
    names = [f"{name.replace('/', '_')}.png" for name in NASTY]
    paths = drawn(tmp_path, *names)
    harmless = Page(written(tmp_path / "r.html", [group([tmp_path / f"{n}.png" for n in range(len(paths))], tmp_path)]))
    wild = group(paths, tmp_path)
    wild = wild._replace(members=tuple(member._replace(why=NASTY[0]) for member in wild.members))
    about = {"unreadable": [UnreadablePhoto(paths[0], NASTY[0])], "folders": paths, "plan": paths[0]}
    page = Page(written(tmp_path / "r.html", [wild], **about))
    assert [link["title"] for link in page.all("a") if "title" in link] == [readable(str(path)) for path in paths]
    assert {tag for tag, _, _ in page.elements} <= {tag for tag, _, _ in harmless.elements} | {
        "details",
        "summary",
        "img",
    }
    assert {name for _, a, _ in page.elements for name in a} <= {n for _, a, _ in harmless.elements for n in a} | {
        *("src", "width", "height", "alt", "decoding", "data-word")
    }
    assert page.all("p", "why")[0]["text"] == NASTY[0]
    assert len(page.all("script")) == 1


def test_pictures_are_called_as_they_are_captioned(tmp_path: Path) -> None:
    paths = drawn(tmp_path, "a.png", "b.png", "c.png")
    three = group(paths, tmp_path)
    members = [each._replace(photo=each.photo._replace(content=str(at))) for at, each in enumerate(three.members)]
    captions = {"0": NASTY[0] + NASTY[1], "1": "", "3": "of another photo"}
    page = Page(written(tmp_path / "r.html", [three._replace(members=tuple(members))], captions=captions))
    assert [image["alt"] for image in page.all("img")] == [NASTY[0] + NASTY[1], "b.png", "c.png"]
    assert len(page.all("script")) == 1


def test_a_name_that_is_not_utf8_is_shown_opened_and_can_be_typed(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9 it's\nback.png")
    try:
        draw(path, 0)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    text = written(tmp_path / "r.html", [group([path, path], tmp_path)], plan=path)
    page = Page(text)
    [link, _] = [link for link in page.all("a") if "title" in link]
    assert link["title"].endswith("caf\\xe9 it's\\nback.png")
    assert link["href"].endswith("/caf%E9%20it%27s%0Aback.png")
    assert len(page.all("img")) == 2
    typed = subprocess.run(["bash", "-c", f"printf %s {link['data-word']}"], capture_output=True, check=True).stdout
    assert typed == os.fsencode(path)


@example("two\u2028lines")
@given(st.text(st.characters(exclude_characters="\0"), min_size=1))
def test_any_text_is_readable_on_one_line_and_any_printable_word_comes_back_from_the_shell(text: str) -> None:
    shown = readable(text)
    assert shown.encode() and len(shown.splitlines() or [""]) == 1
    if shown == text:
        assert shlex.split(shell_word(text)) == [text]


def test_a_photo_that_cannot_be_opened_has_a_placeholder_with_the_reason(tmp_path: Path) -> None:
    paths = drawn(tmp_path, "a.png", "gone.png", "broken.png")
    paths[1].unlink()
    paths[2].write_bytes(b"no <image>")
    page = Page(written(tmp_path / "r.html", [group(paths, tmp_path)]))
    assert len(page.all("img")) == 1 and len(page.all("li")) == 3
    reasons = [gone["text"] for gone in page.all("span", "gone")]
    assert reasons == ["cannot be shownno such file", "cannot be shownnot an image this program knows"]
    assert "<script" not in report.thumbnail_html(UnreadablePhoto(paths[1], NASTY[0]), "gone.png")


def test_no_groups_is_good_news_with_a_hint(tmp_path: Path) -> None:
    page = Page(written(tmp_path / "r.html", [], plan=None))
    [empty] = page.all("section", "empty")[:1]
    assert "No two of the 100 photos are near duplicates (score 0.9 or higher)." in empty["text"]
    assert "--kind same-space" in empty["text"]
    assert not page.all("article") and not page.all("dl", "commands")


def test_the_next_command_is_ready_to_be_typed(tmp_path: Path) -> None:
    groups = [group(drawn(tmp_path, "a.png", "b.png"), tmp_path)]
    libraries = [Path("/all photos/.samespace")]
    with_plan = Page(written(tmp_path / "r.html", groups, plan=Path("my plan.json"), libraries=libraries)).all(
        "dl", "commands"
    )
    assert "samespace undo --library '/all photos/.samespace'" in with_plan[0]["text"]
    without = Page(written(tmp_path / "r.html", groups, plan=None, folders=[Path("a b"), Path("c")]))
    assert (
        "samespace apply 'my plan.json' --dry-run" in with_plan[0]["text"] and "1 duplicate to" in with_plan[0]["text"]
    )
    command = "samespace dedupe 'a b' c --kind near --threshold 0.9"
    assert without.all("code")[0]["text"] == command


def test_unreadable_files_are_listed_with_reasons(tmp_path: Path) -> None:
    errors = [
        UnreadablePhoto(tmp_path / "x<y.jpg", "the file is empty"),
        UnreadablePhoto(tmp_path / "z.jpg", "damaged"),
    ]
    page = Page(written(tmp_path / "r.html", [], unreadable=errors))
    [details] = page.all("details")
    assert details["id"] == "unreadable" and "2 files could not be read" in details["text"]
    assert f"{tmp_path}/x<y.jpg the file is empty" in details["text"]


def test_paths_of_several_folders_are_told_apart(tmp_path: Path) -> None:
    one, two = drawn(tmp_path / "one", "a.png"), drawn(tmp_path / "two", "a.png")
    pair = group([*one, *two], tmp_path / "one")
    elsewhere = pair.members[1]._replace(photo=photo(two[0], tmp_path / "two"))
    page = Page(written(tmp_path / "r.html", [pair._replace(members=(pair.members[0], elsewhere))]))
    assert [name["text"] for name in page.all("p", "name")] == ["one/a.png", "two/a.png"]


def test_the_report_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = drawn(tmp_path / "photos", *(f"{number}.png" for number in range(5)))
    target = tmp_path / "report.html"
    target.write_text("before")
    seen = []

    def fails_late(path: Path) -> report.Thumbnail:
        seen.append(target.read_text())
        if path == paths[4]:
            raise KeyboardInterrupt
        return report.Thumbnail(b"", 1, 1)

    monkeypatch.setattr(report, "thumbnail", fails_late)
    with pytest.raises(KeyboardInterrupt):
        written(target, [group(paths, tmp_path)])
    assert seen == ["before"] * 5 and target.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "report.html"]


@pytest.mark.parametrize("target", ["absent/report.html", "file/report.html", "folder"])
def test_where_it_cannot_be_written_it_says_so_before_any_photo_is_read(
    tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr(report, "thumbnail", lambda path: pytest.fail("read a photo"))
    with pytest.raises(SameSpaceError, match=re.escape(str(tmp_path / target))):
        written(tmp_path / target, [group([tmp_path / "a.png"], tmp_path)])


def test_thumbnails_are_written_as_they_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, waiting, most = threading.Lock(), 0, 0

    def make(path: Path) -> report.Thumbnail:
        nonlocal waiting, most
        with lock:
            waiting += 1
            most = max(most, waiting)
        return report.Thumbnail(b"", 1, 1)

    def use(shown: object, name: str) -> str:
        nonlocal waiting
        with lock:
            waiting -= 1
        return ""

    monkeypatch.setattr(report, "thumbnail", make)
    monkeypatch.setattr(report, "thumbnail_html", use)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    groups = [group([tmp_path / f"{number}.png"] * 3, tmp_path) for number in range(200)]
    written(tmp_path / "r.html", groups)
    assert waiting == 0 and 1 < most <= 16 * 2 + 1


def test_size_words() -> None:
    sizes = (0, 999, 1000, 99_940, 99_960, 999_499, 999_999, 2_345_678, 10**12, 3 * 10**15)
    words = "0 B, 999 B, 1.0 kB, 99.9 kB, 100 kB, 999 kB, 1.0 MB, 2.3 MB, 1.0 TB, 3.0 PB"
    assert ", ".join(map(size_words, sizes)) == words


def test_scores_are_rounded_down() -> None:
    assert [score_words(score) for score in (1.0, 0.99999, 0.981, 0.8999)] == ["1.000", "0.999", "0.981", "0.899"]


def test_the_page_lies_in_the_package(tmp_path: Path) -> None:
    """As an installed copy has it: found from anywhere."""
    code = "from samespace.cli.report import _template; print(_template().count('<!--groups-->'))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.stdout == "1\n", run.stderr
