"""Tell what photos to remove know and no photo that is kept does: date, GPS, rating, keywords, caption, title."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from samespace.base.metadata import Metadata, names_of, only_in, united
from samespace.base.photo_metadata import known_of_each
from samespace.duplicates.group import Duplicates, Group, Member


def with_only_here(found: Duplicates) -> Duplicates:
    """Return what was found, each photo to remove with what would be lost; reads the photos of all groups."""
    paths = [member.photo.path for group in found.groups for member in group.members]
    known = known_of_each(paths)
    return found._replace(groups=[group_with_losses(group, known) for group in found.groups])


def group_with_losses(group: Group, known: Mapping[Path, Metadata]) -> Group:
    """Return a group, each photo to remove with what would be lost, by what all its photos know."""
    kept = united(known[member.photo.path] for member in group.members if member.keep)
    members = tuple(_with_losses(member, known[member.photo.path], kept) for member in group.members)
    return group._replace(members=members)


def _with_losses(member: Member, known: Metadata, kept: Metadata) -> Member:
    return member if member.keep else member._replace(only_here=names_of(only_in(known, kept)))


def loss_words(member: Member, group: Group) -> str:
    """Say what would be lost with a photo: "only this copy has: date, GPS"; "" if nothing."""
    others = {name for other in group.members if other is not member for name in other.only_here}
    alone = [name for name in member.only_here if name not in others]
    shared = [name for name in member.only_here if name in others]
    return in_words(alone, shared)


def knowing_words(found: Duplicates) -> str:
    """Say how many photos to remove know what would be lost: "2 of them know"; "" if none."""
    knowing = sum(bool(member.only_here) for group in found.groups for member in group.members)
    return f"{knowing:,} of them know{'s' if knowing == 1 else ''}" if knowing else ""


def in_words(alone: Sequence[str], shared: Sequence[str]) -> str:
    """Say what one copy has alone, and what it shares with others that go as well."""
    parts = (("only this copy has", alone), ("only removed copies have", shared))
    return "; ".join(f"{words}: {', '.join(names)}" for words, names in parts if names)
