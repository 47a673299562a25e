"""Tell on the review page what photos know, so that it can say what would be lost with each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from samespace.base.metadata import FIELDS, Metadata
from samespace.base.photo_metadata import known_of
from samespace.base.photos import in_threads
from samespace.duplicates.only_here import group_with_losses
from samespace.web.review.groups import Shown

Known = Mapping[Path, Metadata]


def known_in(groups: Sequence[Shown]) -> Known:
    """Read what the photos of these groups know."""
    paths = [member.photo.path for one in groups for member in one.group.members]
    return dict(zip(paths, in_threads(known_of, paths), strict=True))


def with_losses(groups: Sequence[Shown], known: Known) -> list[Shown]:
    """Return the groups, each photo to remove with what would be lost if the suggestion is followed."""
    return [one._replace(group=group_with_losses(one.group, known)) for one in groups]


def has(known: Metadata) -> list[str]:
    """Return what a photo has, keyword by keyword: a page must not lose any of it."""
    return [thing for field in FIELDS if getattr(known, field) for thing in _things(known, field)]


def says(known: Metadata) -> list[str]:
    """Return what a photo speaks of, empty or not."""
    return [thing for field in FIELDS if getattr(known, field) is not None for thing in _things(known, field)]


def _things(known: Metadata, field: str) -> list[str]:
    if field == "keywords":
        return [f"keywords:{word.casefold()}" for word in known.keywords]
    return [FIELDS[field]]
