"""Give the duplicates that were found to a program."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from samespace.duplicates.group import Duplicates, Member


def as_json(found: Duplicates, plan: Path | None) -> dict[str, Any]:
    """Return the groups that were found, for a program."""
    return {
        "kind": found.kind,
        "threshold": found.threshold,
        "grouping": found.grouping,
        "photos": found.photos,
        "duplicates": found.duplicates,
        "bytes_freed": found.bytes_freed,
        "plan": os.fspath(plan) if plan else None,
        "groups": [
            {**group._asdict(), "members": [_member_as_json(each) for each in group.members]} for group in found.groups
        ],
        "unreadable": [{"path": os.fspath(error.path), "reason": error.reason} for error in found.unreadable],
        "not_compared": found.not_compared,
    }


def _member_as_json(member: Member) -> dict[str, Any]:
    photo = member.photo
    return {
        "path": os.fspath(photo.path),
        "keep": member.keep,
        "score": member.score,
        "why": member.why,
        "width": photo.width,
        "height": photo.height,
        "size": photo.size,
        "taken": photo.taken,
        "damaged": member.damaged,
        "partners": [{"path": os.fspath(partner.path), "size": partner.size} for partner in member.partners],
        "only_here": list(member.only_here),
    }
