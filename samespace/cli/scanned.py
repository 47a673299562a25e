"""Say what a scan saw, and which folders have no photos: no library is made for those."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from samespace.base.errors import SameSpaceError
from samespace.base.text import count, readable

if TYPE_CHECKING:
    from samespace.library.scan import Scan


def photoless(
    folders: Sequence[Path], chosen: Path | None, extensions: Sequence[str], follow_links: bool = False
) -> dict[Path, dict[str, int]]:
    """Return the folders without photos that no library remembers yet, each with what else is there, by `by_label`.

    With a chosen library that is yet to be made, videos and RAW files are enough: somebody wants one for them.
    """
    from samespace.base.find import DATABASE, walk
    from samespace.base.kinds import by_label
    from samespace.base.raw_preview import has_preview
    from samespace.library.library import FOLDER
    from samespace.library.scan import refuse_own_folders

    refuse_own_folders(folders)
    found: dict[Path, dict[str, int]] = {}
    for folder in folders:
        if ((chosen or folder / FOLDER) / DATABASE).is_file():
            continue
        walked = walk(folder, extensions, follow_links)
        if not walked.files and not walked.unlisted and not any(has_preview(each.entry.path) for each in walked.raw):
            found[folder] = by_label(each.entry.name for each in (*walked.beside, *walked.raw))
    if chosen and (len(found) < len(folders) or any(found.values())):
        return {}  # one library for all of them
    return found


def added(counted: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sums of what `by_label` counted in several folders."""
    sums: Counter[str] = Counter()
    for some in counted:
        sums.update(some)
    return dict(sorted(sums.items()))


def photoless_lines(
    found: Mapping[Path, Mapping[str, int]], folders: Sequence[Path], extensions: Sequence[str]
) -> list[str]:
    """Return what was looked for in vain; of several folders, in which."""
    from samespace.base.kinds import no_photos

    names = {folder: f"{readable(os.fspath(folder))}: " if len(folders) > 1 else "" for folder in found}
    return [names[folder] + no_photos(others, extensions) for folder, others in found.items()]


def with_photos(
    folders: Sequence[Path], chosen: Path | None, extensions: Sequence[str], follow_links: bool, to: TextIO
) -> tuple[list[Path], dict[str, int]]:
    """Leave out folders without photos that no library remembers, and say so; return what else is in these, too."""
    from samespace.base.kinds import raw_hint

    without = photoless(folders, chosen, extensions, follow_links)
    hint = raw_hint(added(without.values())) if len(without) == len(folders) else []  # else it follows
    for line in [*photoless_lines(without, folders, extensions), *hint]:
        print(line, file=to)
    return [folder for folder in folders if folder not in without], added(without.values())


def refuse_photoless(
    folders: Sequence[Path], chosen: Path | None, extensions: Sequence[str], follow_links: bool = False
) -> None:
    """Refuse folders without photos that no library remembers."""
    for line in photoless_lines(photoless(folders, chosen, extensions, follow_links), folders, extensions):
        raise SameSpaceError(f"{line} Name a DIR that holds photos")


def scan_lines(scan: Scan, extensions: Sequence[str]) -> list[str]:
    """Return what a scan found, and what has changed since the last one."""
    from samespace.base.kinds import no_photos, not_compared, raw_hint

    hint = raw_hint(scan.not_compared)
    if not scan.photos:
        return [no_photos(scan.not_compared, extensions), _changes(scan), *hint]
    rate = f", {scan.photos / scan.seconds:,.0f} a second" if scan.seconds >= 1 else ""
    lines = [f"{count(scan.photos, 'photo')} in {scan.seconds:.1f} s{rate}", _changes(scan)]
    return [*lines, *([not_compared(scan.not_compared)] if scan.not_compared else []), *hint]


def _changes(scan: Scan) -> str:
    """Return what has changed since the last scan: 1,326 new files, 3 moved, 1 forgotten."""
    parts: list[str] = []
    changes = ((scan.new, "new"), (scan.changed, "changed"), (scan.moved, "moved"), (scan.forgotten, "forgotten"))
    for number, name in changes:
        if number:
            parts.append(f"{number:,} {name}" if parts else count(number, f"{name} file"))
    return ", ".join(parts) or "no changes since the last scan"
