"""Show results in a terminal: what was found, what was done, and the next command to type."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samespace.base.kinds import no_photos, not_compared, raw_hint
from samespace.base.partners import labels
from samespace.base.photos import EXTENSIONS, UnreadablePhoto
from samespace.base.text import (
    count,
    count_with,
    current_folder,
    full_path,
    readable,
    score_words,
    shell_word,
    size_words,
)
from samespace.cli.scanned import scan_lines
from samespace.duplicates.only_here import knowing_words, loss_words

if TYPE_CHECKING:
    from samespace.cli.cluster import Brought
    from samespace.duplicates.apply import Applied
    from samespace.duplicates.group import Duplicates, Group
    from samespace.duplicates.manifest import Skipped
    from samespace.duplicates.quarantine import Deleted, Run
    from samespace.duplicates.undo import Undone
    from samespace.duplicates.verdicts import Exported
    from samespace.library.library import Library, Photo
    from samespace.library.scan import Scan
    from samespace.search.answers import Answer
    from samespace.search.choose_compression import Compared
    from samespace.search.space import Hit, Space
    from samespace.words.stored_captions import Caption

GROUPS, FILES = 5, 10  # most to show; the report and --json have all

# By the meaning of a look's scores.
_SCORES = {
    "same shot": "scores: how certain it is that this is {name}",
    "cosine": "scores: cosine similarity of {name} features{compressed}; 1 is identical",
    "probability": "scores: probability of the same space, by {name}",
}


def show_scan(scan: Scan, next_commands: dict[str, str], extensions: Sequence[str] = EXTENSIONS) -> None:
    """Show what a scan found, and the next commands, each with what it is for."""
    print("\n".join(scan_lines(scan, extensions)))
    _show_files("could not be read", [(error.path, error.reason) for error in scan.unreadable])
    _show_next(next_commands)


def show_found(found: Duplicates, plan: Path, report: Path | None, rerun: str) -> None:
    """Show a summary, the largest groups, and what to do next; `rerun` is the command that found them."""
    scores = "" if found.kind == "exact" else f" (score {found.threshold:g} or higher)"
    print(f"{found.kind} duplicates{scores}\n")
    rows = [
        ("photos", f"{found.photos:,}"),
        ("groups", f"{len(found.groups):,}"),
        ("duplicates", f"{found.duplicates:,}"),
        ("frees", size_words(found.bytes_freed)),
        ("to look at", f"{sum(all(each.keep for each in group.members) for group in found.groups):,}"),
        ("unreadable", f"{len(found.unreadable):,}"),
    ]
    for name, figure in rows:
        print(f"  {name:<12}{figure:>10}")
    if found.photos and found.not_compared:
        print("\n" + "\n".join([not_compared(found.not_compared), *raw_hint(found.not_compared)]))
    elif not found.photos and not found.groups:
        print("\n" + "\n".join([no_photos(found.not_compared), *raw_hint(found.not_compared)]))
    for group in found.groups[:GROUPS]:
        _show_group(group)
    if len(found.groups) > GROUPS:
        print(f"\n… and {count(len(found.groups) - GROUPS, 'group')} more")
    _show_files("could not be read", [(error.path, error.reason) for error in found.unreadable])
    members = [member for group in found.groups for member in group.members]
    _show_files("kept because of possible damage", [(each.photo.path, each.why) for each in members if each.damaged])
    if report:
        print(f"\nreport of all groups: {words([report])}")
    if not found.duplicates:
        if found.groups:
            _show_next({f"{rerun} --mark-all": "mark all but one photo of each group for removal"})
        return
    apply = f"samespace apply {full_path(plan)}"
    look = {} if report else {f"{rerun} --report report.html": "look at all groups first"}
    knowing = knowing_words(found)
    merge = {f"{apply} --merge-metadata": f"and keep what only {knowing}"} if knowing else {}
    _show_next({**look, apply: f"move {count(found.duplicates, 'duplicate')} to quarantine", **merge})


def _show_group(group: Group) -> None:
    weakest = f", least similar two: {score_words(group.weakest)}" if len(group.members) > 2 else ""
    print(f"\n{group.title}, {count(len(group.members), group.noun)}{weakest}")
    for member in group.members:
        score = "" if member is group.members[0] else score_words(member.score)
        pixels = f"{member.photo.width}×{member.photo.height}, " if member.photo.width else ""
        facts = pixels + size_words(member.photo.size)
        path = readable(from_here(member.photo.path))
        beside = f" + {readable(labels(member.partners))}" if member.partners else ""
        print(f"  {'keep' if member.keep else 'remove':<7} {score:>5}  {path}  {facts}{beside}: {member.why}")
        if lost := loss_words(member, group):
            print(f"{'':17}{lost}")


def show_answers(answers: Sequence[Answer], asked: int, space: Space, threshold: float | None, top: int) -> None:
    """Show the first `top` results for each photo; `asked` is the number of photos searched for, shown or not."""
    look, method = space.look, space.vectors.compression
    found = sum(1 for answer in answers if answer.hits)
    if asked > 1:
        print(f"{found:,} of {count(asked, 'photo')} found")
    for answer in answers:
        if asked > 1:
            print()
        print(readable(from_here(answer.path)) + ("" if answer.hits else ": nothing found"))
        for hit in answer.hits[:top]:
            print(_line(hit, look.meaning))
        if threshold is not None and len(answer.hits) > top:
            print(f"  … and more: add --top {2 * top}")
    if found:
        compressed = "" if method == "none" else f", compressed by {method}"
        lowest = "" if threshold is None else f" ({threshold:g} or higher)"
        print("\n" + _SCORES[look.meaning].format(name=look.name, compressed=compressed) + lowest)


def say_lacking(library: Library, space: Space) -> None:
    """Report on stderr the photos that this search cannot find yet, and the scan that changes that."""
    from samespace.search.vectors import scan_for

    if space.lacking:
        scan = scan_for(library, space.look.options)
        lacking = count(space.lacking, "photo")
        print(f"left out: {lacking} not yet scanned for {space.look.name}: {scan}", file=sys.stderr)


def show_hits(sentence: str, hits: Sequence[Hit], captions: Mapping[str, str], space: Space, meaning: str) -> None:
    """Show the photos found for a sentence; `captions` has those of some contents, `meaning` says what scores are."""
    print(readable(sentence) + ("" if hits else ": nothing found"))
    for hit in hits:
        print(_line(hit, space.look.meaning))
        caption = captions.get(hit.photo.content)
        if caption:
            print(f"         {readable(caption)}")
    if hits:
        print(f"\nscores: {meaning}")


def show_sentences(photo: Path, ranked: Sequence[tuple[str, float]], among: int) -> None:
    """Show the sentences that fit a photo best, out of `among`."""
    print(readable(from_here(photo)))
    for sentence, score in ranked:
        print(f"  {score_words(score)}  {readable(sentence)}")
    print(f"\nbest of {count(among, 'sentence')}; scores: how much of the sentence the photo shows; 1 is all")


def show_captions(captions: Sequence[tuple[Photo, Caption]], library: Path) -> None:
    """Show the first of a folder's captions."""
    by_hand = sum(caption.by_hand for _, caption in captions)
    of_them = f", {by_hand:,} of them by hand" if by_hand else ""
    print(f"{count(len(captions), 'photo')} captioned{of_them}")
    for photo, caption in captions[:GROUPS]:
        print(f"  {readable(from_here(photo.path))}: {readable(caption.text)}")
    if len(captions) > GROUPS:
        print("  …")
    search = words(["samespace", "search", "WORDS", "--library", library])
    _show_next({search: "find photos by their captions"})


def _line(hit: Hit, meaning: str) -> str:
    """Return a result on one line; `meaning` is that of the look's scores, which says what was collapsed into it."""
    also = ""
    if hit.also:
        also = f"  +{len(hit.also)} of the same space" if meaning == "probability" else f"  +{_copies(len(hit.also))}"
    return f"  {score_words(hit.score)}  {readable(from_here(hit.photo.path))}{also}"


def _copies(number: int) -> str:
    return "1 copy" if number == 1 else f"{number:,} copies"


def show_paths(paths: Iterable[Path], end: str) -> None:
    """Print each path once, byte by byte as it is."""
    sys.stdout.flush()
    for path in dict.fromkeys(paths):
        sys.stdout.buffer.write(os.fsencode(path) + end.encode())
    sys.stdout.buffer.flush()


def answers_as_json(
    answers: Sequence[Answer], unreadable: Sequence[UnreadablePhoto], space: Space, threshold: float | None
) -> dict[str, Any]:
    """Return what was found for photos, for a program."""
    return {
        "look": space.look.name,
        "meaning": space.look.meaning,
        "compression": space.vectors.compression,
        "threshold": threshold,
        "answers": [
            {"path": os.fspath(answer.path), "hits": [_hit_as_json(hit) for hit in answer.hits]} for answer in answers
        ],
        "unreadable": [{"path": os.fspath(error.path), "reason": error.reason} for error in unreadable],
    }


def hits_as_json(
    sentence: str, hits: Sequence[Hit], captions: Mapping[str, str], unknown: Sequence[str], threshold: float | None
) -> dict[str, Any]:
    """Return what was found for a sentence, for a program."""
    return {
        "sentence": sentence,
        "unknown": list(unknown),
        "meaning": "fit",
        "threshold": threshold,
        "hits": [{**_hit_as_json(hit), "caption": captions.get(hit.photo.content)} for hit in hits],
    }


def _hit_as_json(hit: Hit) -> dict[str, Any]:
    photo = hit.photo
    return {
        "path": os.fspath(photo.path),
        "score": hit.score,
        "width": photo.width,
        "height": photo.height,
        "size": photo.size,
        "taken": photo.taken,
        "also": [os.fspath(other.path) for other in hit.also],
    }


def show_compressions(compared: Compared) -> None:
    """Show the methods side by side, and the chosen one's size if all photos gave it another."""
    rows, chosen = compared
    print(f"{'':<12}{'numbers':>9}{'bytes a photo':>15}{'recall@10':>11}")
    for row in rows:
        print(f"{row.method:<12}{row.dim:>9,}{row.bytes:>15,}{score_words(row.recall):>11}")
    print()
    if (chosen.method, chosen.dim) not in [row[:2] for row in rows]:
        size = f"{chosen.dim:,} numbers, {2 * chosen.dim:,} bytes a photo"
        print(f"compared on half of the photos; {chosen.method} learnt from all: {size}")


def show_index(space: Space, path: Path, recall: float | None) -> None:
    """Show what `samespace index` did."""
    kept = len(space.index or ())  # copies count once
    photos = count(kept, "photo" if kept == len(space.photos) else "different photo")
    print(f"index of {photos}, {size_words(path.stat().st_size)}")
    print(f"{space.added:,} added, {space.removed:,} removed")
    if recall is not None:
        print(f"recall@10 {recall:.3f}: the share of the 10 nearest photos that it finds")


def show_brought(brought: Brought) -> None:
    """Show where a download comes from, its metrics, and where it was written."""
    metrics = dict(brought.metrics)
    epoch = metrics.pop("epochs", None)
    metrics.pop("batches", None)
    at = "" if epoch is None else f", epoch {epoch:g}"
    print(f"experiment {brought.experiment}, trial {brought.trial}{at}, checkpoint {brought.checkpoint}")
    for name, figure in metrics.items():
        print(f"  {name:<33}{figure:>10.4f}" if isinstance(figure, (int, float)) else f"  {name:<33}{figure:>10}")
    print(f"written to {words([brought.path])}")
    _show_next({f"{brought.kind.next} {words([brought.path])}": brought.kind.purpose})


def show_applied(applied: Applied, to: str, dry_run: bool) -> None:
    """Show what `apply` moved, or with `dry_run` would move."""
    moved = "would move" if dry_run else "moved"
    size = size_words(applied.bytes_to_free)
    print(f"{moved} {count_with(applied.photos, 'photo', applied.partners)} to quarantine: emptying it frees {size}")
    if to != "quarantine":
        left = "would be left" if dry_run else "was left"
        print(f"a {to} to the keeper {left} in place of each")
    if applied.sidecars:
        is_written = "would be written" if dry_run else "was written"
        print(f"what only they know {is_written} to XMP sidecars of {count(applied.sidecars, 'kept photo')}")
    _show_skipped(applied.skipped)
    _show_next({f"samespace undo {full_path(run)}": "bring all of them back" for run in applied.runs})


def show_undone(undone: Undone) -> None:
    """Show what `undo` brought back."""
    print(f"{count_with(undone.photos, 'photo', undone.partners)} back in place")
    if undone.sidecars:
        print(f"{count(undone.sidecars, 'sidecar')} taken back")
    _show_skipped(undone.skipped)


def show_runs(runs: Sequence[Run]) -> None:
    """Show runs in quarantine, one a line."""
    for run in runs:
        made = run.made.astimezone().strftime("%Y-%m-%d %H:%M")
        held = run.state if run.state == "unreadable" else count(run.photos, "photo")
        print(f"{made}  {held:>14}  {size_words(run.bytes_to_free):>8}  {words([run.folder])}")


def show_misdated(runs: Sequence[Run]) -> None:
    """Show which runs are younger than they say, because a clock was wrong."""
    for run in runs:
        if run.since:
            said, since = run.made.astimezone().strftime("%Y-%m-%d"), run.since.astimezone().strftime("%Y-%m-%d %H:%M")
            print(
                f"{words([run.folder])} says it is from {said}, but its files changed on {since}: it counts from then"
            )


def held(runs: Sequence[Run]) -> str:
    """Return what runs hold: 12 photos, 34 MB,"""
    photos, partners = sum(run.photos for run in runs), sum(run.partners for run in runs)
    return f"{count_with(photos, 'photo', partners)}, {size_words(sum(run.bytes_to_free for run in runs))},"


def asks(question: str) -> bool:
    """Ask, and return True if the answer is yes; False if nobody is there to answer."""
    print(f"{question} [y/N] ", end="", flush=True)
    return sys.stdin is not None and sys.stdin.readline().strip().lower() in ("y", "yes")


def show_deleted(deleted: Deleted) -> None:
    """Show what `empty-quarantine` deleted."""
    print(f"deleted {count_with(deleted.photos, 'photo', deleted.partners)}, freed {size_words(deleted.bytes_freed)}")
    _show_skipped(deleted.skipped)


def show_verdicts(verdicts: Sequence[tuple[Path, Path, bool]]) -> None:
    """Show verdicts, one a line."""
    for first, second, same in verdicts:
        print(f"{'same' if same else 'different':<9}  {words([first, second])}")
    if not verdicts:
        print("no verdicts on photos that are still there: add one with `samespace verdict A B same|different`")


def show_exported(exported: Exported, root: Path) -> None:
    """Show which verdicts were exported as labelled pairs, and which were not."""
    verdicts = count(exported.same + exported.different, "verdict")
    print(f"{verdicts} in {words([root])}: {exported.same:,} same, {exported.different:,} different")
    print(f"{count(exported.photos, 'photo')}, {exported.new:,} of them new")
    if exported.left_out:
        missing = count(exported.vanished, "missing photo")
        print(f"left out: {count(exported.left_out, 'verdict')}, because of {missing}")
    if exported.contradictions:
        print(f"contradictions: {exported.contradictions:,} different, though chains of same join the photos")
    if exported.alone:
        print("no other training photos there: training needs enough verdicts of both kinds, or a data set beside them")
    _show_next({f"python data.py summary {words([root])}": "show what there is to train on"})


def _show_skipped(skipped: Sequence[Skipped]) -> None:
    _show_files("left alone", [(each.path, each.reason) for each in skipped])


def _show_files(what: str, files: Sequence[tuple[Path, str]]) -> None:
    """Show the first files, each with the reason, and how many more there are."""
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
    """Return these words as they are typed in the current folder."""
    return " ".join(shell_word(from_here(path) if isinstance(path, Path) else path) for path in paths)


def from_here(path: Path) -> str:
    """Return a path as short as it can be typed."""
    near = (path.relative_to(here) for here in current_folder() if path.is_relative_to(here))
    name = os.fspath(next(near, path))
    return f"./{name}" if name.startswith("-") else name  # or it would be taken for an option
