"""The page on which a person looks at duplicate groups before anything is removed: one self-contained HTML file."""

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
from typing import BinaryIO, NamedTuple, TextIO

from PIL import Image

from samespace.base import progress
from samespace.base.errors import SameSpaceError
from samespace.base.kinds import label, no_photos, not_compared
from samespace.base.partners import labels
from samespace.base.photos import UnreadablePhoto, in_threads, opened
from samespace.base.raw_preview import is_raw, reads_raw
from samespace.base.text import count, is_plain, readable, score_words, shell_word, size_words
from samespace.cli.plans import undo_commands
from samespace.duplicates.group import Duplicates, Group, Member, bytes_freed
from samespace.duplicates.only_here import knowing_words, loss_words
from samespace.library.library import Photo

SIDE = 176  # pixels of a thumbnail's longer side

# What to try when nothing was found.
FIND_MORE = {
    "exact": "To find more, use <code>--kind near</code>.",
    "near": "To find more, lower the <code>--threshold</code> or use <code>--kind same-space</code>.",
    "same-space": "To find more, lower the <code>--threshold</code>.",
}


class Thumbnail(NamedTuple):
    """A photo small enough for a page to hold thousands."""

    webp: bytes
    width: int
    height: int


def write_report(
    path: Path,
    found: Duplicates,
    folders: Sequence[Path],
    plan: Path | None = None,
    captions: Mapping[str, str] | None = None,
    libraries: Sequence[Path] = (),
) -> None:
    """Write the page for what was found in these folders to `path`, whole or not at all.

    `plan` is the plan file written for it, and `libraries` are what `undo` brings photos back from. `captions`, by
    content, become the text that stands for a picture. A photo that can no longer be opened is shown as a frame with
    the reason. Memory stays flat however many groups there are.
    """
    groups, kind, threshold, told = found.groups, found.kind, found.threshold, not_compared(found.not_compared)
    pieces = {
        "title": _text(f"Duplicates in {_listed(folders)}"),
        "searched": _searched(kind, threshold) + (f" · {_text(told)}" if told else ""),
        "figures": _figures(found),
        "next": _next_step(found, folders, plan, libraries) if groups else "",
        "kinds": "".join(f"<option>{_text(kind)}</option>" for kind in sorted({group.title for group in groups})),
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
                    shown, keeper = next(thumbnails), member is group.members[0]
                    page.write(_photo(member, keeper, shown, base, caption, loss_words(member, group)))
                    bar.update()
                page.write("</ul></article>\n")
        page.write(after)


def is_report(file: BinaryIO) -> bool:
    """Return whether a file is a report; those of 0.1 do not name their generator."""
    head = file.read(1000)
    return b'name="generator" content="samespace"' in head or b"img-src data: file:; style-src 'unsafe-inline'" in head


@contextmanager
def _whole(path: Path) -> Iterator[TextIO]:
    """Yield a text file to write to, which gets its name once it is complete."""
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
    """Return the photo, upright, at most `SIDE` pixels on its longer side; or why it cannot be shown."""
    if label(path.name) and not (is_raw(path) and reads_raw()):
        return UnreadablePhoto(path, "not a photo")
    try:
        with opened(path, at_least=SIDE) as photo:
            photo.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    except UnreadablePhoto as error:
        return error
    small = BytesIO()
    photo.save(small, "WEBP", quality=58)
    return Thumbnail(small.getvalue(), *photo.size)


# ---- the page around the groups


def _template() -> str:
    return resources.files("samespace.cli").joinpath("report.html").read_text(encoding="utf-8")


def _filled(template: str, pieces: dict[str, str]) -> str:
    """Return the template with each `<!--name-->` replaced by its piece."""
    return re.sub(r"<!--(\w+)-->", lambda mark: pieces[mark[1]], template)


def _searched(kind: str, threshold: float) -> str:
    made = datetime.now().strftime("%Y-%m-%d %H:%M")
    return f"Searched for <b>{_text(kind)}</b> duplicates{_from_score(kind, threshold)} · {made}"


def _from_score(kind: str, threshold: float) -> str:
    return "" if kind == "exact" else f" (score {threshold:g} or higher)"


def _figures(found: Duplicates) -> str:
    figures = {
        "photos": f"{found.photos:,}",
        "groups": f"{len(found.groups):,}",
        "duplicates": f"{found.duplicates:,}",
        "can be freed": size_words(found.bytes_freed),
    }
    if found.unreadable:
        figures['<a href="#unreadable">unreadable</a>'] = f"{len(found.unreadable):,}"
    return "".join(f"<div><dt>{name}</dt><dd>{figure}</dd></div>" for name, figure in figures.items())


def _next_step(found: Duplicates, folders: Sequence[Path], plan: Path | None, libraries: Sequence[Path]) -> str:
    if plan is None:
        sure = "" if found.kind == "exact" else f" --threshold {found.threshold:g}"
        words = " ".join(shell_word(os.fspath(folder)) for folder in folders)
        command = f"samespace dedupe {words} --kind {found.kind}{sure}"
        return "<p>This page changes nothing. To remove duplicates, write a plan first:</p>" + _commands(
            {command: "write a plan"}
        )
    word = shell_word(os.fspath(plan))
    knowing = knowing_words(found)
    merge = {f"samespace apply {word} --merge-metadata": f"and keep what only {knowing}"}
    return "<p>Nothing has been changed yet. When the groups look right:</p>" + _commands(
        {
            f"samespace apply {word} --dry-run": "only check",
            f"samespace apply {word}": f"move {count(found.duplicates, 'duplicate')} to quarantine",
            **(merge if knowing else {}),
            **dict.fromkeys(undo_commands(libraries) or ["samespace undo"], "bring all of them back"),
        }
    )


def _commands(meanings: dict[str, str]) -> str:
    lines = (f"<dt><code>{_text(command)}</code></dt><dd>{_text(words)}</dd>" for command, words in meanings.items())
    return f'<dl class="commands">{"".join(lines)}</dl>'


def _empty(found: Duplicates) -> str:
    if not found.photos:
        told = _text(no_photos(found.not_compared))
        return f'<section class="empty"><h2>No photos</h2><p>{told}</p></section>'
    return (
        '<section class="empty"><svg viewBox="0 0 100 84" aria-hidden="true"><rect x="6" y="8" width="72" height="54"'
        ' rx="4"/><path d="M6 50l20-20 16 16 10-9 26 24"/><circle cx="60" cy="23" r="5"/><circle class="done" cx="78"'
        ' cy="62" r="18"/><path class="done" d="M70 62l6 6 11-12"/></svg><h2>No duplicates</h2>'
        f"<p>No two of the {count(found.photos, 'photo')} are {_text(found.kind)} duplicates"
        f"{_from_score(found.kind, found.threshold)}.</p>"
        f"<p>{FIND_MORE[found.kind]}</p></section>"
    )


def _unreadable(errors: Sequence[UnreadablePhoto]) -> str:
    if not errors:
        return ""
    lines = "".join(
        f"<li><code>{_text(os.fspath(error.path))}</code> <span>{_text(error.reason)}</span></li>" for error in errors
    )
    return (
        f'<details id="unreadable"><summary>{count(len(errors), "file")} could not be read</summary>'
        f"<p>They were not compared, and stay where they are.</p><ul>{lines}</ul></details>"
    )


# ---- a group


def _group_head(number: int, group: Group, threshold: float) -> str:
    freed = bytes_freed(group)
    size, kind = len(group.members), _text(group.title)
    return (
        f'<article id="g{number}" class="group" style="--photos:{size}" tabindex="-1" aria-labelledby="h{number}"'
        f' data-kind="{kind}" data-weakest="{group.weakest:.6f}" data-bytes="{freed}" data-photos="{size}">'
        f'<header><h2 id="h{number}">Group {number:,}</h2><span class="kind">{kind}</span>'
        f"<span>{count(size, group.noun)}</span><span>{f'frees {size_words(freed)}' if freed else 'all kept'}</span>"
        f"{_least_similar(group, threshold)}</header><ul>\n"
    )


def _least_similar(group: Group, threshold: float) -> str:
    """Return the lowest score of the group; nothing for a pair, whose one score is shown with its photo."""
    if len(group.members) == 2:
        return ""
    doubt = (
        f" <em>below {threshold:g}: look twice</em>" if group.weakest < threshold and group.title == group.kind else ""
    )
    return f"<span>least similar two: {score_words(group.weakest)}{doubt}</span>"


def _photo(
    member: Member,
    keeper: bool,
    shown: Thumbnail | UnreadablePhoto,
    base: str,
    caption: str | None = None,
    lost: str = "",
) -> str:
    photo, path = member.photo, os.fspath(member.photo.path)
    name = path[len(base) :] if path.startswith(base) else path
    folder, _, last = name.rpartition(os.sep)
    fate = "Keep" if keeper else "Also keep" if member.keep else "Remove"
    score = "" if keeper else f'<span class="score"><span>score</span> {score_words(member.score)}</span>'
    pixels = f"<span>{photo.width} × {photo.height}</span> " if photo.width else ""
    picture = thumbnail_html(shown, caption or name) if photo.width else _tile(photo)
    word = "" if is_plain(path) else f' data-word="{_text(shell_word(path))}"'
    only = f'<p class="only">{_text(lost)}</p>' if lost else ""
    return (
        f'<li class="{"keep" if member.keep else "remove"}">'
        f'<a href="{_text(photo.path.as_uri())}" title="{_text(path)}"{word}'
        f' aria-label="{_text(f"{fate}: {name}")}">{picture}</a>'
        f'<p class="fate"><b>{fate}</b>{score}</p><p class="why">{_text(member.why)}</p>{only}'
        f'<p class="name"><span>{_text(folder + os.sep if folder else "")}</span>{_text(last)}</p>'
        f'<p class="facts">{pixels}<span>{size_words(photo.size)}</span>'
        f"<time>{_text((photo.taken or 'no date')[:16])}</time></p>{_beside(member)}</li>\n"
    )


def _tile(file: Photo) -> str:
    """Return the place of a video or RAW file in the page."""
    return f'<span class="gone">{label(file.path.name)}<small>{size_words(file.size)}</small></span>'


def _beside(member: Member) -> str:
    """Return the files that belong to a photo: + CR2, XMP."""
    if not member.partners:
        return ""
    names = _text(", ".join(partner.path.name for partner in member.partners))
    return f'<p class="beside" title="{names}">+ {_text(labels(member.partners))}</p>'


def thumbnail_html(shown: Thumbnail | UnreadablePhoto, words: str) -> str:
    """Return a photo's place in the page; `words` describe it to whoever cannot see it."""
    if isinstance(shown, UnreadablePhoto):
        return f'<span class="gone">cannot be shown<small>{_text(shown.reason)}</small></span>'
    data = base64.b64encode(shown.webp).decode()
    return (
        f'<img src="data:image/webp;base64,{data}" width="{shown.width}" height="{shown.height}"'
        f' alt="{_text(words)}" decoding="async">'
    )


def _common_folder(groups: Sequence[Group]) -> str:
    """Return what every path on the page begins with, and the page leaves out: the root, or what all roots share."""
    roots = {os.fspath(member.photo.root) for group in groups for member in group.members}
    try:
        return os.path.join(os.path.commonpath(roots), "")  # noqa: PTH118 (a Path drops the last separator)
    except ValueError:  # no roots, or on several drives
        return os.sep


def _listed(folders: Sequence[Path]) -> str:
    return " and ".join(os.fspath(folder) for folder in folders)


def _text(text: str) -> str:
    return html.escape(readable(text))
