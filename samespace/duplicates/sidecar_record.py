"""The line of a manifest that stands for a sidecar: what was written there, and what was there before."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from samespace.base.errors import SameSpaceError
from samespace.base.photo_metadata import sidecar_names
from samespace.duplicates.plan import as_path, get, refuse_outside


class Before(NamedTuple):
    """The file that was there before."""

    content: bytes
    mtime_ns: int
    mode: int


class Sidecar(NamedTuple):
    """A sidecar of a kept photo, with what only removed photos knew; undo needs nothing else."""

    path: Path
    keeper: Path
    root: Path  # the keeper's
    moves: tuple[int, ...]  # the photos that knew, by number
    content: bytes  # written there
    before: Before | None  # None: there was no sidecar


def as_json(sidecar: Sidecar) -> dict[str, Any]:
    """Return the fields of a manifest's line. None is called path, which those of moves have."""
    record: dict[str, Any] = {
        "sidecar": str(sidecar.path),
        "keeper": str(sidecar.keeper),
        "root": str(sidecar.root),
        "of": list(sidecar.moves),
        "written": _as_text(sidecar.content),
    }
    if sidecar.before:
        content, mtime_ns, mode = sidecar.before
        record |= {"before": _as_text(content), "mtime_ns": mtime_ns, "mode": mode}
    return record


def from_json(record: dict[str, Any]) -> Iterator[Sidecar]:
    """Yield the sidecar, unless its line is damaged or it is not one of its keeper's."""
    with contextlib.suppress(SameSpaceError, ValueError):
        before = None
        if "before" in record:
            before = Before(_as_bytes(record, "before"), get(record, "mtime_ns", int), get(record, "mode", int))
        sidecar = Sidecar(
            path=as_path(get(record, "sidecar", str)),
            keeper=as_path(get(record, "keeper", str)),
            root=as_path(get(record, "root", str)),
            moves=tuple(int(number) for number in get(record, "of", list)),
            content=_as_bytes(record, "written"),
            before=before,
        )
        refuse_outside(sidecar.keeper, sidecar.root)
        if sidecar.path in sidecar_names(sidecar.keeper):
            yield sidecar


def _as_text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _as_bytes(record: dict[str, Any], name: str) -> bytes:
    return base64.b64decode(get(record, name, str), validate=True)
