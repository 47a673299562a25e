"""What persons said of pairs of photos: listed, and exported as labelled pairs to train with."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from samespace.base.errors import SameSpaceError
from samespace.base.files import content_hash, write_whole
from samespace.base.find import find
from samespace.base.photos import EXTENSIONS
from samespace.library.library import Library, Photo
from samespace.model.pairs import AIRBNB, COLUMNS, FILE, TRAINING, VERDICTS, Verdicts, joined, read_verdicts


class Exported(NamedTuple):
    """What verdicts.csv says after an export, and what of it is new."""

    same: int  # verdicts
    different: int
    contradictions: int  # photos told different that other verdicts join; of `different`
    photos: int  # that verdicts.csv names
    new: int  # that this export copied
    vanished: int  # photos that are nowhere any more
    left_out: int  # verdicts on those
    alone: bool  # the data set has no other training photos


def list_verdicts(library: Library) -> list[tuple[Path, Path, bool]]:
    """Every verdict on two photos that the library still knows, True for same, sorted by the bytes of the paths.

    A photo goes by the first path that has its content.
    """
    sources, rows = _by_content(library), []
    for pair, same in library.verdicts().items():
        if pair <= sources.keys():
            first, second = sorted((sources[content][0].path for content in pair), key=os.fsencode)
            rows.append((first, second, same))
    return sorted(rows, key=lambda row: (os.fsencode(row[0]), os.fsencode(row[1])))


def export_verdicts(library: Library, root: Path) -> Exported:
    """Write the library's verdicts, and copies of their photos, into a data set's training photos.

    They join what was exported before, from this library or another; of two verdicts on a pair this library's stands.
    Nothing else there is touched. A photo that has vanished is left out unless an earlier export copied it.
    """
    said = library.verdicts()
    if not said:
        raise SameSpaceError(f"{library.folder} has no verdicts: say some with `samespace verdict A B same|different`")
    sources, folder = _by_content(library), root / AIRBNB / TRAINING / VERDICTS
    _refuse_scanned(folder, sources)
    try:
        before, earlier = _photos(folder), read_verdicts(folder)
        files = _files(said, before, sources)
        verdicts = {pair: same for pair, same in earlier.items() if before.issuperset(pair)}
        fresh = {pair: same for pair, same in said.items() if pair <= files.keys()}
        if not verdicts and not fresh:
            raise SameSpaceError(f"{library.folder} knows no two photos of a verdict any more: scan them again")
        folder.mkdir(parents=True, exist_ok=True)
        verdicts |= {_copied(pair, files, folder): same for pair, same in fresh.items()}
        _write(folder, verdicts)
    except OSError as error:
        raise SameSpaceError(f"cannot write {folder} ({error}): give a folder you may write, with room") from error
    asked = {_names(pair) for pair in earlier} | {frozenset(map(_name, pair)) for pair in said}
    return _exported(folder, verdicts, before, asked - {_names(pair) for pair in verdicts}, set(map(_name, files)))


def _exported(
    folder: Path, verdicts: Verdicts, before: set[Path], left_out: set[frozenset[str]], there: set[str]
) -> Exported:
    """`left_out` are the verdicts not written, `there` the photos that the library has, by names without suffix."""
    space, same = joined(verdicts), sum(verdicts.values())
    return Exported(
        same=same,
        different=len(verdicts) - same,
        contradictions=sum(space[one] == space[other] for (one, other), same in verdicts.items() if not same),
        photos=len(space),
        new=len(space.keys() - before),
        vanished=len(frozenset().union(*left_out) - there - _names(before)),
        left_out=len(left_out),
        alone=all(path.is_relative_to(folder) for path in find(folder.parent, follow_links=True)),
    )


def _by_content(library: Library) -> dict[str, list[Photo]]:
    photos: dict[str, list[Photo]] = {}
    for photo in library.photos():
        photos.setdefault(photo.content, []).append(photo)
    return photos


def _refuse_scanned(folder: Path, sources: Mapping[str, list[Photo]]) -> None:
    """The next scan would take the copies for duplicates, and a cleanup might remove either."""
    real = Path(os.path.realpath(folder))
    for root in sorted({photo.root for photos in sources.values() for photo in photos}):
        if real.is_relative_to(root):
            raise SameSpaceError(f"{folder} lies in {root}, which the library scans: export to a folder outside it")


def _photos(folder: Path) -> set[Path]:
    return set(find(folder, follow_links=True)) if folder.is_dir() else set()


def _name(content: str) -> str:
    return content[:32]  # 128 bits do not collide, and two fit a line


def _names(photos: Iterable[Path]) -> frozenset[str]:
    return frozenset(path.stem for path in photos)


def _files(
    contents: Iterable[frozenset[str]], before: set[Path], sources: Mapping[str, list[Photo]]
) -> dict[str, Path]:
    """A file for each content that there still is: an earlier export's copy, else one of the library's."""
    copies = {path.stem: path for path in before}
    files: dict[str, Path] = {}
    for content in frozenset[str]().union(*contents):
        copy = copies.get(_name(content))
        if copy and not _holds(copy, content):
            raise SameSpaceError(f"{copy} is not the photo that was judged: move it away, and export again")
        known = (photo.path for photo in sources.get(content, []) if _holds(photo.path, content))
        if path := copy or next(known, None):
            files[content] = path
    return files


def _holds(path: Path, content: str) -> bool:
    try:
        return content_hash(path) == content
    except OSError:
        return False


def _copied(pair: Iterable[str], files: Mapping[str, Path], folder: Path) -> tuple[Path, Path]:
    first, second = sorted(_copy(files[content], content, folder) for content in pair)
    return first, second


def _copy(path: Path, content: str, folder: Path) -> Path:
    """The photo in this folder. No hard link: whoever edits a photo in place would edit what was judged."""
    suffix = path.suffix.lower() if path.suffix.lower() in EXTENSIONS else ".jpg"
    copy = folder / (_name(content) + suffix)
    if not copy.exists():
        write_whole(copy, path.read_bytes())
    return copy


def _write(folder: Path, verdicts: Verdicts) -> None:
    rows = [(*(path.relative_to(folder).as_posix() for path in pair), int(same)) for pair, same in verdicts.items()]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *sorted(rows)])
    write_whole(folder / FILE, text.getvalue().encode())
