"""Tell where photos in quarantine were that no manifest names any more, because it was damaged."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from samespace.base.files import content_hash
from samespace.base.text import shell_word
from samespace.duplicates.manifest import Manifest, Move, Skipped, strays


class Mended(NamedTuple):
    """The moves of strays whose places are known, and the strays whose places are not."""

    moves: tuple[Move, ...]
    left: tuple[Skipped, ...]


def mend(manifest: Manifest, roots: Sequence[Path]) -> Mended:
    """Tell where strays were: below the root that other photos of their folder come from, or the library's only one."""
    known = {move.quarantined.parts[0]: move.root for move in manifest.moves}
    moves, left = [], []
    for number, path in enumerate(strays(manifest), start=1):
        below = Path(*path.parts[1:])
        fitting = [root for root in roots if (root / below).parent.is_dir()] if len(roots) > 1 else roots
        choice = [known[path.parts[0]]] if path.parts[0] in known else fitting
        if len(choice) == 1:
            moves.append(_move(manifest, -number, path, choice[0], choice[0] / below))
        else:
            left.append(Skipped(manifest.folder / path, _by_hand(manifest.folder / path, below, choice or roots)))
    return Mended(tuple(moves), tuple(left))


def _by_hand(where: Path, below: Path, roots: Sequence[Path]) -> str:
    places = " or ".join(shell_word(str(root / below)) for root in roots) or "its place"
    return f"its line in the manifest is damaged: type `mv -n {shell_word(str(where))} PLACE`, where PLACE is {places}"


def _move(manifest: Manifest, number: int, quarantined: Path, root: Path, path: Path) -> Move:
    where = manifest.folder / quarantined
    status = where.lstat()
    return Move(
        number=number,
        path=path,
        root=root,
        quarantined=quarantined,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        mode=stat.S_IMODE(status.st_mode),
        content=content_hash(where),
        keeper=root,  # not known
    )
