"""Record what another file system may not keep of a photo, and give it back: its owner, attributes such as a rating."""

from __future__ import annotations

import base64
import contextlib
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

ACCESS = "system.posix_acl_access"
_OF_THE_PLACE = {"security.selinux"}  # a file gets it by where it lies


class Attributes(NamedTuple):
    """The attributes of one file that a manifest records."""

    owner: tuple[int, int] | None = None  # user and group; not known on Windows, nor from a manifest of 0.1
    extended: tuple[tuple[str, bytes], ...] = ()


def attributes_of(path: Path, seen: os.stat_result) -> Attributes:
    """Return the attributes of a file that its owner can give back."""
    extended = []
    for name in sorted(_names(path)):
        if _can_be_recorded(name):
            with contextlib.suppress(OSError):
                extended.append((name, os.getxattr(path, name)))  # type: ignore[attr-defined,unused-ignore]
    return Attributes((seen.st_uid, seen.st_gid) if hasattr(os, "chown") else None, tuple(extended))


def why_lost(path: Path, copy: Path, seen: os.stat_result) -> str:
    """Return what of a file neither its copy has nor `give_back` could restore; "" if nothing would be lost."""
    elsewhere = "the quarantine is on another file system"
    if sys.platform != "win32" and os.geteuid() != 0:
        mine = seen.st_uid == os.geteuid() and seen.st_gid in (os.getegid(), *os.getgroups())
        if not mine:
            return f"it belongs to another user or group, and would come back as yours: {elsewhere}"
    lost = [name for name in _names(path) - _names(copy) - _OF_THE_PLACE if not _can_be_recorded(name)]
    return f"its attribute {min(lost)} would be lost: {elsewhere}" if lost else ""


def give_back(path: Path, attributes: Attributes, mode: int) -> None:
    """Give a file the owner, permissions and attributes that it had; raise OSError if that cannot be done."""
    if attributes.owner and hasattr(os, "chown"):
        status = path.stat()
        if attributes.owner != (status.st_uid, status.st_gid):
            os.chown(path, *attributes.owner)
    path.chmod(mode)
    for name, value in attributes.extended:
        if name not in _names(path) or os.getxattr(path, name) != value:  # type: ignore[attr-defined,unused-ignore]
            os.setxattr(path, name, value)  # type: ignore[attr-defined,unused-ignore]


def as_json(attributes: Attributes) -> dict[str, Any]:
    """Return the fields of a manifest that `from_json` reads."""
    fields: dict[str, Any] = {}
    if attributes.owner:
        fields["owner"] = attributes.owner
    if attributes.extended:
        fields["extended"] = {name: base64.b64encode(value).decode() for name, value in attributes.extended}
    return fields


def from_json(record: dict[str, Any]) -> Attributes:
    """Return the attributes in a line of a manifest, without those that cannot be read, or that only root may give."""
    owner, extended = record.get("owner"), record.get("extended")
    is_owner = isinstance(owner, list) and len(owner) == 2 and all(type(each) is int and each >= 0 for each in owner)
    values = []
    for name, value in extended.items() if isinstance(extended, dict) else ():
        with contextlib.suppress(ValueError, TypeError):
            if _can_be_recorded(name):
                values.append((name, base64.b64decode(value, validate=True)))
    return Attributes((owner[0], owner[1]) if is_owner and owner else None, tuple(values))


def _can_be_recorded(name: str) -> bool:
    return name.startswith("user.") or name == ACCESS


def _names(path: Path) -> set[str]:
    try:
        return set(os.listxattr(path))  # type: ignore[attr-defined,unused-ignore]
    except (OSError, AttributeError):  # Windows and macOS have no such function
        return set()
