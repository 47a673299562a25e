"""Duplicates as they are found: what was looked for, the groups, and their members."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from samespace.base.errors import SameSpaceError
from samespace.base.photos import UnreadablePhoto
from samespace.duplicates.keeper import RULES
from samespace.library.library import Photo
from samespace.search import look, same_shot

KINDS = ("exact", "near", "same-space")
GROUPINGS = ("keeper", "components", "dbscan")
THRESHOLDS = {"exact": 1.0, "near": same_shot.THRESHOLD, "same-space": look.THRESHOLD}

Verdicts = Mapping[frozenset[str], bool]  # as `Library.verdicts` tells them


class Member(NamedTuple):
    """A photo of a group."""

    photo: Photo
    score: float  # with the keeper; the keeper's own is 1
    keep: bool
    why: str


class Group(NamedTuple):
    """Photos that are duplicates of the first, which is kept; then falling score, then path."""

    kind: str  # the loosest that joins a member to the keeper
    members: tuple[Member, ...]
    weakest: float  # the lowest score of any two members; of more than 200, of a sample: see `grouping.weakest`


class Found(NamedTuple):
    """The duplicates among some photos, the groups that free most bytes first."""

    kind: str
    threshold: float
    grouping: str
    photos: int
    groups: list[Group]
    duplicates: int  # photos to remove
    bytes_freed: int
    unreadable: list[UnreadablePhoto]


class Search(NamedTuple):
    """What counts as a duplicate, and what is kept of it."""

    kind: str = "near"
    threshold: float | None = None
    grouping: str = "keeper"
    min_samples: int = 2
    keep: str = "best"
    reference: tuple[Path, ...] = ()  # nothing below these is removed
    against: tuple[Path, ...] = ()  # nor below these, and others are duplicates only of what is there


def threshold_of(search: Search) -> float:
    """The score that duplicates must reach; one sentence if the search makes no sense."""
    for name, value, known in (("kind", search.kind, KINDS), ("grouping", search.grouping, GROUPINGS)):
        if value not in known:
            raise SameSpaceError(f"unknown {name} {value!r}: choose one of {', '.join(known)}")
    if search.keep not in RULES:
        raise SameSpaceError(f"unknown rule {search.keep!r} of what to keep: choose one of {', '.join(RULES)}")
    threshold = THRESHOLDS[search.kind] if search.threshold is None else search.threshold
    if not 0 < threshold <= 1:
        raise SameSpaceError(f"a threshold of {threshold:g} makes no sense: give a number above 0, up to 1")
    if search.min_samples < 1:
        raise SameSpaceError(f"{search.min_samples} photos make no cluster: give --min-samples of 1 or more")
    return threshold
