"""Options of a search for duplicates, and its result: groups and their members."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from samespace.base.errors import SameSpaceError
from samespace.base.partners import Partner, going
from samespace.base.photos import UnreadablePhoto
from samespace.duplicates.keeper import RULES
from samespace.library.library import Photo
from samespace.search import look, same_shot

KINDS = ("exact", "near", "same-space")
GROUPINGS = ("keeper", "components", "dbscan")
THRESHOLDS = {"exact": 1.0, "near": same_shot.THRESHOLD, "same-space": look.THRESHOLD}

Verdicts = Mapping[frozenset[str], bool]  # by pair of contents, True for the same: as `Library.verdicts` returns them


class Member(NamedTuple):
    """A photo of a group."""

    photo: Photo
    score: float  # with the keeper; the keeper's own is 1
    keep: bool
    why: str
    damaged: bool = False  # or a nearly equal photo is: both are kept
    partners: tuple[Partner, ...] = ()
    only_here: tuple[str, ...] = ()  # by name what it knows and no kept photo does: see `only_here.py`


# What a group is said to be. Only copies are marked for removal: a person decides about all others.
COPIES = "copies"
BURST = "burst"  # taken one after the other
LOOK_TWICE = "look twice"  # alike, but something differs
SAME_SPACE = "same space"  # other views of a room


class Group(NamedTuple):
    """Photos that are duplicates of the first, the keeper; the others by falling score, then by path."""

    kind: str  # the loosest that joins a member to the keeper
    members: tuple[Member, ...]
    weakest: float  # the lowest score of any two members; above 200 members, of a sample: see `grouping.weakest`
    answer: str = COPIES

    @property
    def title(self) -> str:
        """Return what to call the group: its kind, unless a person must tell whether these are duplicates at all."""
        return self.answer if self.answer in (BURST, LOOK_TWICE) else self.kind

    @property
    def noun(self) -> str:
        """Return what to call a member: a file, if it is a video or RAW file."""
        return "photo" if self.members[0].photo.width else "file"


def partners_that_go(members: Iterable[Member]) -> list[Partner]:
    """Return the partners that go with the photos to remove, each once."""
    removed = {member.photo.path: member for member in members if not member.keep}
    return going((partner for member in removed.values() for partner in member.partners), removed)


def bytes_freed(group: Group) -> int:
    """Return what removing the duplicates of a group frees, partners included."""
    photos = sum(member.photo.size for member in group.members if not member.keep)
    return photos + sum(partner.size for partner in partners_that_go(group.members))


class Duplicates(NamedTuple):
    """The groups of duplicates among some photos: those that free most bytes come first, doubtful ones last."""

    kind: str
    threshold: float
    grouping: str
    photos: int
    groups: list[Group]
    duplicates: int  # photos to remove
    bytes_freed: int  # by removing them and their partners
    unreadable: list[UnreadablePhoto]
    not_compared: dict[str, int]  # videos and RAW files, by their extensions in capitals; those of equal bytes too


class DedupeOptions(NamedTuple):
    """Choices of what counts as a duplicate, how duplicates are grouped, and which photo of a group is kept."""

    kind: str = "near"
    threshold: float | None = None
    grouping: str = "keeper"
    min_samples: int = 2
    keep: str = "best"
    reference: tuple[Path, ...] = ()  # nothing in these folders is removed
    against: tuple[Path, ...] = ()  # nor in these, and other photos are only compared with those in here
    prefer: tuple[Path, ...] = ()  # of a group, a photo in the first of these folders is kept, else in the second, …
    thorough: bool = False  # look at photos of one room a second time, by learnt points
    mark_all: bool = False  # for removal: also bursts, photos to look at twice and other views of a room, but for one


def threshold_of(options: DedupeOptions) -> float:
    """Return the score that duplicates must reach; refuse options that are unknown or out of range."""
    for name, value, known in (
        ("kind", options.kind, KINDS),
        ("grouping", options.grouping, GROUPINGS),
        ("keep rule", options.keep, tuple(RULES)),
    ):
        if value not in known:
            raise SameSpaceError(f"unknown {name} {value!r}: choose one of {', '.join(known)}")
    threshold = THRESHOLDS[options.kind] if options.threshold is None else options.threshold
    if not 0 < threshold <= 1:
        raise SameSpaceError(f"a threshold of {threshold:g} is out of range: use a number above 0, up to 1")
    if options.min_samples < 1:
        raise SameSpaceError(f"--min-samples {options.min_samples} is out of range: use 1 or more")
    if options.thorough and options.kind != "same-space":
        raise SameSpaceError(f"--thorough finds no more {options.kind} duplicates: add --kind same-space")
    return threshold
