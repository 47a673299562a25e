"""List what people judged of pairs of photos, and export it as labelled pairs to train with."""

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
from samespace.base.raw_preview import photo_bytes
from samespace.library.library import Library, Photo
from samespace.model.pairs import AIRBNB, COLUMNS, FILE, TRAINING, VERDICTS, Verdicts, joined, read_verdicts


class Exported(NamedTuple):
    """Counts of verdicts.csv after an export, and of what is new in it."""

    same: int  # verdicts
    different: int
    contradictions: int  # of `different`: pairs that a chain of other verdicts joins
    photos: int  # that verdicts.csv names
    new: int  # photos that this export copied
    vanished: int  # photos that no longer exist
    left_out: int  # verdicts on those
    alone: bool  # the data set has no other training photos


def list_verdicts(library: Library) -> list[tuple[Path, Path, bool]]:
    """Return every verdict on two photos that the library still knows, True for same, sorted by path.

    Of several files with the same bytes the first is named.
    """
    sources = _by_content(library)
    rows = []
    for pair, same in library.verdicts().items():
        if pair <= sources.keys():
            first, second = sorted((sources[content][0].path for content in pair), key=os.fsencode)
            rows.append((first, second, same))
    return sorted(rows, key=lambda row: (os.fsencode(row[0]), os.fsencode(row[1])))


def export_verdicts(library: Library, root: Path) -> Exported:
    """Write the library's verdicts, and copies of their photos, into a data set's training photos.

    They are added to what was exported before, from this library or another; if two verdicts on a pair differ, this
    library's counts. Nothing else there is touched. A photo that no longer exists is left out unless an earlier export
    copied it.
    """
    said = library.verdicts()
    if not said:
        raise SameSpaceError(f"{library.folder} has no verdicts: add one with `samespace verdict A B same|different`")
    sources = _by_content(library)
    folder = root / AIRBNB / TRAINING / VERDICTS
    _refuse_scanned(folder, sources)
    try:
        before, earlier = _photos(folder), read_verdicts(folder)
        files = _files(said, before, sources)
        verdicts = {pair: same for pair, same in earlier.items() if before.issuperset(pair)}
        fresh = {pair: same for pair, same in said.items() if pair <= files.keys()}
        if not verdicts and not fresh:
            raise SameSpaceError(f"{library.folder} no longer has both photos of any verdict: scan them again")
        folder.mkdir(parents=True, exist_ok=True)
        verdicts |= {_copied(pair, files, folder): same for pair, same in fresh.items()}
        _write(folder, verdicts)
    except OSError as error:
        raise SameSpaceError(f"cannot write {folder} ({error}): choose a folder that you can write to") from error
    wanted = {_names(pair) for pair in earlier} | {frozenset(map(_name, pair)) for pair in said}
    left_out = wanted - {_names(pair) for pair in verdicts}
    vanished = frozenset().union(*left_out) - set(map(_name, files)) - _names(before)
    space = joined(verdicts)
    different = [pair for pair, same in verdicts.items() if not same]
    return Exported(
        same=len(verdicts) - len(different),
        different=len(different),
        contradictions=sum(space[one] == space[other] for one, other in different),
        photos=len(space),
        new=len(space.keys() - before),
        vanished=len(vanished),
        left_out=len(left_out),
        alone=all(path.is_relative_to(folder) for path in find(folder.parent, follow_links=True)),
    )


def _by_content(library: Library) -> dict[str, list[Photo]]:
    photos: dict[str, list[Photo]] = {}
    for photo in library.photos():
        photos.setdefault(photo.content, []).append(photo)
    return photos


def _refuse_scanned(folder: Path, sources: Mapping[str, list[Photo]]) -> None:
    """Refuse a folder that the library scans: it would find the copies as duplicates, and could remove either."""
    real = Path(os.path.realpath(folder))
    for root in sorted({photo.root for photos in sources.values() for photo in photos}):
        if real.is_relative_to(root):
            raise SameSpaceError(f"{folder} is in {root}, which the library scans: export to a folder outside it")


def _photos(folder: Path) -> set[Path]:
    return set(find(folder, follow_links=True)) if folder.is_dir() else set()


def _name(content: str) -> str:
    return content[:32]  # 128 bits do not collide, and two fit a line


def _names(photos: Iterable[Path]) -> frozenset[str]:
    return frozenset(path.stem for path in photos)


def _files(
    contents: Iterable[frozenset[str]], before: set[Path], sources: Mapping[str, list[Photo]]
) -> dict[str, Path]:
    """Return a file for each content that still exists: an earlier export's copy, else one of the library's."""
    copies = {path.stem: path for path in before}
    files: dict[str, Path] = {}
    for content in frozenset[str]().union(*contents):
        copy = copies.get(_name(content))
        if copy and not _holds(copy, content):
            raise SameSpaceError(f"{copy} is not the photo that was judged: move it away and export again")
        paths = (photo.path for photo in sources.get(content, []) if _holds(photo.path, content))
        path = copy or next(paths, None)
        if path:
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
    """Copy a photo into this folder. Not as a hard link: editing the photo in place would edit what was judged."""
    suffix = path.suffix.lower() if path.suffix.lower() in EXTENSIONS else ".jpg"
    copy = folder / (_name(content) + suffix)
    if not copy.exists():
        write_whole(copy, photo_bytes(path))
    return copy


def _write(folder: Path, verdicts: Verdicts) -> None:
    rows = []
    for (first, second), same in verdicts.items():
        rows.append((first.relative_to(folder).as_posix(), second.relative_to(folder).as_posix(), int(same)))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *sorted(rows)])
    write_whole(folder / FILE, text.getvalue().encode())
