"""The page on which a person reviews duplicate groups before anything is removed: one HTML file, nothing beside it."""

from __future__ import annotations

import base64
import html
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, TextIO

from PIL import Image

from samespace.base import progress
from samespace.base.errors import SameSpaceError
from samespace.base.photos import UnreadablePhoto, in_threads, open_photo
from samespace.base.text import count, is_plain, readable, score_words, shell_word, size_words
from samespace.duplicates.group import Duplicates, Group, Member

SIDE = 176  # pixels of a thumbnail's longer side

# What to try where nothing was found.
LOOKS_WIDER = {
    "exact": "<code>--kind near</code> looks wider.",
    "near": "A lower <code>--threshold</code> looks wider, and so does <code>--kind same-space</code>.",
    "same-space": "A lower <code>--threshold</code> looks wider.",
}


class Thumbnail(NamedTuple):
    """A photo small enough to lie in the page by the thousand."""

    webp: bytes
    width: int
    height: int


def write_report(
    path: Path,
    found: Duplicates,
    folders: Sequence[Path],
    plan: Path | None = None,
    captions: Mapping[str, str] | None = None,
) -> None:
    """Write the page for what was found in these folders to `path`: it appears whole or not at all.

    `plan` is the plan file written for it; `captions` say, by content, what photos show to those who cannot see them. A
    photo that cannot be opened any more is shown as such. Memory stays flat however many groups there are.
    """
    groups, kind, threshold = found.groups, found.kind, found.threshold
    pieces = {
        "title": _text(f"Duplicates in {_listed(folders)}"),
        "searched": _searched(kind, threshold),
        "figures": _figures(found),
        "next": _next_step(found, folders, plan) if groups else "",
        "kinds": "".join(f"<option>{_text(kind)}</option>" for kind in sorted({group.kind for group in groups})),
        "empty": "" if groups else _empty(found),
        "unreadable": _unreadable(found.unreadable),
    }
    before, after = (_filled(part, pieces) for part in _template().split("<!--groups-->"))
    base = _common_folder(groups)
    with _whole(path) as page:
        page.write(before)
        thumbnails = in_threads(thumbnail, (member.photo.path for group in groups for member in group.members))
        with progress.bar("thumbnails", sum(len(group.members) for group in groups)) as bar:
            for number, group in enumerate(groups, start=1):
                page.write(_group_head(number, group, threshold))
                for member in group.members:
                    caption = (captions or {}).get(member.photo.content)
                    page.write(_photo(member, member is group.members[0], next(thumbnails), base, caption))
                    bar.update()
                page.write("</ul></article>\n")
        page.write(after)


@contextmanager
def _whole(path: Path) -> Iterator[TextIO]:
    """A text file to write to that gets its name once it is complete."""
    if path.is_dir():
        raise SameSpaceError(f"{path} is a folder: name the file to write the report to")
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as page:
            yield page
        partial.replace(path)
    except OSError as error:
        raise SameSpaceError(f"cannot write the report {path}: {error.strerror}; name another file") from error
    finally:
        with suppress(OSError):
            partial.unlink()


def thumbnail(path: Path) -> Thumbnail | UnreadablePhoto:
    """The photo, upright, `SIDE` pixels on its longer side at most; or why it cannot be shown."""
    try:
        photo = open_photo(path, at_least=SIDE)
    except UnreadablePhoto as error:
        return error
    photo.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    small = BytesIO()
    photo.save(small, "WEBP", quality=58)
    return Thumbnail(small.getvalue(), *photo.size)


# ---- the page around the groups


def _template() -> str:
    return resources.files("samespace.cli").joinpath("report.html").read_text(encoding="utf-8")


def _filled(template: str, pieces: dict[str, str]) -> str:
    """Each `<!--name-->` replaced by its piece."""
    return re.sub(r"<!--(\w+)-->", lambda mark: pieces[mark[1]], template)


def _searched(kind: str, threshold: float) -> str:
    made = datetime.now().strftime("%Y-%m-%d %H:%M")
    sure = "" if kind == "exact" else f" from score {threshold:g} on"
    return f"Searched for <b>{_text(kind)}</b> duplicates{sure} · {made}"


def _figures(found: Duplicates) -> str:
    figures = {
        "photos": f"{found.photos:,}",
        "groups": f"{len(found.groups):,}",
        "duplicates": f"{found.duplicates:,}",
        "to win": size_words(found.bytes_freed),
    }
    if found.unreadable:
        figures['<a href="#unreadable">unreadable</a>'] = f"{len(found.unreadable):,}"
    return "".join(f"<div><dt>{name}</dt><dd>{figure}</dd></div>" for name, figure in figures.items())


def _next_step(found: Duplicates, folders: Sequence[Path], plan: Path | None) -> str:
    if plan is None:
        sure = "" if found.kind == "exact" else f" --threshold {found.threshold:g}"
        words = " ".join(shell_word(os.fspath(folder)) for folder in folders)
        command = f"samespace dedupe {words} --kind {found.kind}{sure} --plan plan.json"
        return (
            "<p>This page changes nothing, and no plan was written. To make one that can be applied:</p>"
            + _commands({command: "write the plan"})
        )
    word = shell_word(os.fspath(plan))
    return "<p>Nothing has been changed. When the groups look right to you:</p>" + _commands(
        {
            f"samespace apply {word} --dry-run": "show what would be done",
            f"samespace apply {word}": f"move {count(found.duplicates, 'duplicate')} to quarantine",
            "samespace undo": "bring every one back",
        }
    )


def _commands(meanings: dict[str, str]) -> str:
    lines = (f"<dt><code>{_text(command)}</code></dt><dd>{_text(words)}</dd>" for command, words in meanings.items())
    return f'<dl class="commands">{"".join(lines)}</dl>'


def _empty(found: Duplicates) -> str:
    if not found.photos:
        return '<section class="empty"><h2>No photos</h2><p>There is no readable photo in this folder.</p></section>'
    sure = "" if found.kind == "exact" else f" from score {found.threshold:g} on"
    return (
        '<section class="empty"><svg viewBox="0 0 100 84" aria-hidden="true"><rect x="6" y="8" width="72" height="54"'
        ' rx="4"/><path d="M6 50l20-20 16 16 10-9 26 24"/><circle cx="60" cy="23" r="5"/><circle class="done" cx="78"'
        ' cy="62" r="18"/><path class="done" d="M70 62l6 6 11-12"/></svg><h2>No duplicates</h2>'
        f"<p>{count(found.photos, 'photo')}, and no two are {_text(found.kind)} duplicates{sure}.</p>"
        f"<p>{LOOKS_WIDER[found.kind]}</p></section>"
    )


def _unreadable(errors: Sequence[UnreadablePhoto]) -> str:
    if not errors:
        return ""
    lines = "".join(
        f"<li><code>{_text(os.fspath(error.path))}</code> <span>{_text(error.reason)}</span></li>" for error in errors
    )
    return (
        f'<details id="unreadable"><summary>{count(len(errors), "file")} could not be read</summary>'
        f"<p>They were not compared with anything and stay where they are.</p><ul>{lines}</ul></details>"
    )


# ---- a group


def _group_head(number: int, group: Group, threshold: float) -> str:
    to_win = sum(member.photo.size for member in group.members if not member.keep)
    size, kind = len(group.members), _text(group.kind)
    return (
        f'<article id="g{number}" class="group" style="--photos:{size}" tabindex="-1" aria-labelledby="h{number}"'
        f' data-kind="{kind}" data-weakest="{group.weakest:.6f}" data-bytes="{to_win}" data-photos="{size}">'
        f'<header><h2 id="h{number}">Group {number:,}</h2><span class="kind">{kind}</span>'
        f"<span>{count(size, 'photo')}</span><span>{size_words(to_win)} to win</span>"
        f"{_weakest_pair(group, threshold)}</header><ul>\n"
    )


def _weakest_pair(group: Group, threshold: float) -> str:
    """Says nothing of a pair: its one score stands below its photo."""
    if len(group.members) == 2:
        return ""
    doubt = f" <em>below {threshold:g}: look twice</em>" if group.weakest < threshold else ""
    return f"<span>weakest pair {score_words(group.weakest)}{doubt}</span>"


def _photo(
    member: Member, keeper: bool, shown: Thumbnail | UnreadablePhoto, base: str, caption: str | None = None
) -> str:
    photo, path = member.photo, os.fspath(member.photo.path)
    name = path[len(base) :] if path.startswith(base) else path
    folder, _, last = name.rpartition(os.sep)
    fate = "Keeper" if keeper else "Also kept" if member.keep else "Remove"
    score = "" if keeper else f'<span class="score"><span>score</span> {score_words(member.score)}</span>'
    word = "" if is_plain(path) else f' data-word="{_text(shell_word(path))}"'
    return (
        f'<li class="{"keep" if member.keep else "remove"}">'
        f'<a href="{_text(photo.path.as_uri())}" title="{_text(path)}"{word}'
        f' aria-label="{_text(f"{fate}: {name}")}">{_picture(shown, caption or name)}</a>'
        f'<p class="fate"><b>{fate}</b>{score}</p><p class="why">{_text(member.why)}</p>'
        f'<p class="name"><span>{_text(folder + os.sep if folder else "")}</span>{_text(last)}</p>'
        f'<p class="facts"><span>{photo.width} × {photo.height}</span> <span>{size_words(photo.size)}</span>'
        f"<time>{_text((photo.taken or 'no date')[:16])}</time></p></li>\n"
    )


def _picture(shown: Thumbnail | UnreadablePhoto, words: str) -> str:
    if isinstance(shown, UnreadablePhoto):
        return f'<span class="gone">cannot be shown<small>{_text(shown.reason)}</small></span>'
    data = base64.b64encode(shown.webp).decode()
    return (
        f'<img src="data:image/webp;base64,{data}" width="{shown.width}" height="{shown.height}"'
        f' alt="{_text(words)}" decoding="async">'
    )


def _common_folder(groups: Sequence[Group]) -> str:
    """What every path on the page begins with, and so need not be read: the root's, or that of all roots."""
    roots = {os.fspath(member.photo.root) for group in groups for member in group.members}
    try:
        return os.path.join(os.path.commonpath(roots), "")  # noqa: PTH118 (a Path drops the last separator)
    except ValueError:  # no roots, or on several drives
        return os.sep


def _listed(folders: Sequence[Path]) -> str:
    return " and ".join(os.fspath(folder) for folder in folders)


def _text(text: str) -> str:
    return html.escape(readable(text))
