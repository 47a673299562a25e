"""What a person reads in a terminal: what was found, what was done, and the next command to type."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samespace.cleanup import Applied, Deleted, Run, Skipped, Undone
from samespace.duplicates import Found, Group, Member
from samespace.library import Scan
from samespace.verdicts import Exported
from samespace.wording import count, readable, score_words, shell_word, size_words

GROUPS, FILES = 5, 10  # shown of each; the report and --json have them all


def show_scan(scan: Scan, dedupe: str) -> None:
    """`dedupe` is the command that finds the duplicates in what was scanned."""
    rate = f", {scan.photos / scan.seconds:,.0f} a second" if scan.seconds >= 1 else ""
    print(f"{count(scan.photos, 'photo')} in {scan.seconds:.1f} s{rate}")
    changes = ((scan.new, "new"), (scan.changed, "changed"), (scan.moved, "moved"), (scan.forgotten, "gone"))
    said = ", ".join(f"{number:,} {name}" for number, name in changes if number)
    print(f"files: {said or 'nothing has changed'}")
    _show_files("could not be read", [(error.path, error.reason) for error in scan.unreadable])
    _show_next({dedupe: "find the duplicates among them"})


def show_found(found: Found, plan: Path, report: Path | None, rerun: str) -> None:
    """The summary, the largest groups, and what to do next; `rerun` is the command that found this."""
    sure = "" if found.kind == "exact" else f", from score {found.threshold:g} on"
    print(f"{found.kind} duplicates{sure}\n")
    rows = [
        ("photos", f"{found.photos:,}"),
        ("groups", f"{len(found.groups):,}"),
        ("duplicates", f"{found.duplicates:,}"),
        ("to win", size_words(found.bytes_to_win)),
        ("unreadable", f"{len(found.unreadable):,}"),
    ]
    for name, figure in rows:
        print(f"  {name:<12}{figure:>10}")
    for group in found.groups[:GROUPS]:
        _show_group(group)
    if len(found.groups) > GROUPS:
        print(f"\n… and {count(len(found.groups) - GROUPS, 'group')} more")
    _show_files("could not be read", [(error.path, error.reason) for error in found.unreadable])
    if report:
        print(f"\nall groups: {words([report])}")
    if not found.groups:
        return
    apply = f"samespace apply {words([plan])}"
    look = {} if report else {f"{rerun} --report report.html": "look at all of them first"}
    _show_next({**look, apply: f"move {count(found.duplicates, 'duplicate')} to quarantine"})


def _show_group(group: Group) -> None:
    weakest = f", weakest pair {score_words(group.weakest)}" if len(group.members) > 2 else ""
    print(f"\n{group.kind}, {count(len(group.members), 'photo')}{weakest}")
    for member in group.members:
        score = "" if member is group.members[0] else score_words(member.score)
        facts = f"{member.photo.width}×{member.photo.height}, {size_words(member.photo.size)}"
        path = readable(from_here(member.photo.path))
        print(f"  {'keep' if member.keep else 'remove':<7} {score:>5}  {path}  {facts}: {member.why}")


def as_json(found: Found, plan: Path) -> dict[str, Any]:
    """What was found, for a program."""
    return {
        "kind": found.kind,
        "threshold": found.threshold,
        "grouping": found.grouping,
        "photos": found.photos,
        "duplicates": found.duplicates,
        "bytes_to_win": found.bytes_to_win,
        "plan": os.fspath(plan),
        "groups": [
            {"kind": group.kind, "weakest": group.weakest, "members": [_member_as_json(each) for each in group.members]}
            for group in found.groups
        ],
        "unreadable": [{"path": os.fspath(error.path), "reason": error.reason} for error in found.unreadable],
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
    }


def show_applied(applied: Applied, to: str, dry_run: bool) -> None:
    would = "would move" if dry_run else "moved"
    win = f"emptying it will free {size_words(applied.bytes_to_free)}"
    print(f"{would} {count(applied.photos, 'photo')} to quarantine: {win}")
    if to != "quarantine":
        print(f"in the place of each {'would be' if dry_run else 'is'} a {to} to the photo that is kept")
    _show_skipped(applied.skipped)
    _show_next({f"samespace undo {words([run])}": "bring every one back" for run in applied.runs})


def show_undone(undone: Undone) -> None:
    print(f"{count(undone.photos, 'photo')} back in place")
    _show_skipped(undone.skipped)


def show_runs(runs: Sequence[Run]) -> None:
    for run in runs:
        made = run.made.astimezone().strftime("%Y-%m-%d %H:%M")
        held = run.state if run.state == "unreadable" else count(run.photos, "photo")
        print(f"{made}  {held:>14}  {size_words(run.bytes_to_free):>8}  {words([run.folder])}")


def held(runs: Sequence[Run]) -> str:
    """What runs hold: 12 photos, 34 MB."""
    return f"{count(sum(run.photos for run in runs), 'photo')}, {size_words(sum(run.bytes_to_free for run in runs))},"


def asks(question: str) -> bool:
    """Whether the person says yes; nobody there to ask means no."""
    print(f"{question} [y/N] ", end="", flush=True)
    return sys.stdin is not None and sys.stdin.readline().strip().lower() in ("y", "yes")


def show_deleted(deleted: Deleted) -> None:
    print(f"deleted {count(deleted.photos, 'photo')}, {size_words(deleted.bytes_freed)} are free")
    _show_skipped(deleted.skipped)


def show_verdicts(told: Sequence[tuple[Path, Path, bool]]) -> None:
    for first, second, same in told:
        print(f"{'same' if same else 'different':<9}  {words([first, second])}")
    if not told:
        print("no verdicts on photos that are still there; to say one: samespace verdict A B same|different")


def show_exported(exported: Exported, root: Path) -> None:
    verdicts = count(exported.same + exported.different, "verdict")
    print(f"{verdicts} in {words([root])}: {exported.same:,} same, {exported.different:,} different")
    print(f"{count(exported.photos, 'photo')}, {exported.new:,} of them new")
    if exported.left_out:
        print(f"left out: {count(exported.left_out, 'verdict')}, {count(exported.vanished, 'photo')} being gone")
    if exported.contradictions:
        print(f"contradicting others: {exported.contradictions:,} different, of photos that chains of same join")
    if exported.alone:
        print("no other training photos there: training needs enough verdicts of both kinds, or a data set beside them")
    _show_next({f"python data.py summary {words([root])}": "what there is to train on"})


def _show_skipped(skipped: Sequence[Skipped]) -> None:
    _show_files("left alone", [(each.path, each.reason) for each in skipped])


def _show_files(what: str, files: Sequence[tuple[Path, str]]) -> None:
    """Files and why, one a line; past the first few only how many more."""
    if not files:
        return
    print(f"\n{count(len(files), 'file')} {what}:")
    for path, reason in files[:FILES]:
        print(f"  {readable(from_here(path))}: {readable(reason)}")
    if len(files) > FILES:
        print(f"  … and {len(files) - FILES:,} more")


def _show_next(commands: dict[str, str]) -> None:
    if not commands:
        return
    width = max(map(len, commands))
    print("\nnext:")
    for command, meaning in commands.items():
        print(f"  {command:<{width}}  # {meaning}")


def words(paths: Sequence[Path | str]) -> str:
    """As they are typed here."""
    return " ".join(shell_word(from_here(path) if isinstance(path, Path) else path) for path in paths)


def from_here(path: Path) -> str:
    """A path as short as it can be typed."""
    here = Path.cwd()
    name = os.fspath(path.relative_to(here) if path.is_relative_to(here) else path)
    return f"./{name}" if name.startswith("-") else name  # or it would be taken for an option
