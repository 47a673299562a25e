"""Find duplicates, carry out a plan, undo it, empty the quarantine, and say what two photos are."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from samespace.base.errors import SameSpaceError
from samespace.cli.libraries import (
    libraries_above,
    libraries_of,
    library_above,
    open_libraries,
    outermost,
    real,
    scan_for,
)
from samespace.cli.options import a_folder, folder_words, library_word
from samespace.search.look import choose_look, look_for_copies

if TYPE_CHECKING:
    from samespace.library.library import Library


FOUND = 11  # what `dedupe` exits with when there are duplicates, as czkawka_cli does


def dedupe(arguments: argparse.Namespace) -> int:
    """Find duplicates, and write a plan of what to remove. Nothing is removed.

    Scans first what is new. exact: same bytes or same pixels. near: the same shot, re-encoded, resized, lightly cropped
    or re-lit. same-space: another shot of the same room, by --model or else by ImageNet features. Exits with 0 if
    there are no duplicates, with 11 if there are some, with 1 after an error.
    """
    from samespace.cli import show
    from samespace.duplicates.find import find_duplicates
    from samespace.duplicates.group import DedupeOptions, threshold_of
    from samespace.duplicates.plan import make_plan, write_plan

    folders, reference, against = map(real, (arguments.folders, arguments.reference, arguments.against))
    _refuse_what_cannot_work(arguments, folders, [*reference, *against])
    everywhere = outermost([*folders, *reference, *against])
    look = look_for_copies()
    if arguments.kind == "same-space":
        backbone = arguments.backbone or (None if arguments.model else "mobilenet_v3_large")
        look = choose_look(arguments.model, backbone, arguments.weights)
    options = DedupeOptions(
        arguments.kind,
        arguments.threshold,
        arguments.grouping,
        arguments.min_samples,
        arguments.keep,
        tuple(reference),
        tuple(against),
    )
    threshold_of(options)  # refuses bad options before the scan, not after it
    with ExitStack() as held:
        opened = libraries_of(everywhere, arguments.library)
        libraries = [library for library, _ in opened]
        _refuse_copies(libraries)
        for library in sorted(libraries, key=lambda library: library.id):
            held.enter_context(library.hold())
        for library, below in opened:
            scan_for(library, below, arguments, look)
        found = find_duplicates(libraries, everywhere, options, look.extractor, look.model)
        plan = arguments.plan or libraries[0].folder / "plan.json"
        write_plan(plan, make_plan(found, libraries))
    if arguments.report:
        from samespace.cli.report import write_report
        from samespace.words.stored_captions import captions_of

        captions = {content: each.text for library in libraries for content, each in captions_of(library).items()}
        write_report(arguments.report, found, arguments.folders, plan, captions)
    if arguments.json:
        print(json.dumps(show.as_json(found, plan)))
    else:
        show.show_found(found, plan, arguments.report, "samespace " + show.words(arguments.words))
    return FOUND if found.groups else 0


def apply(arguments: argparse.Namespace) -> int:
    """Carry out a plan: move what it removes into quarantine.

    Every photo and its keeper are checked first; one that is not as planned is left alone. --to hardlink or symlink
    leaves a link to the keeper in each one's place. `samespace undo` brings all of it back.
    """
    from samespace.cli import show
    from samespace.duplicates.apply import apply as carry_out
    from samespace.duplicates.plan import read_plan

    plan = read_plan(arguments.plan)
    if not any(group.remove for group in plan.groups):
        print("this plan removes nothing")
        return 0
    try:
        applied = carry_out(plan, arguments.to, arguments.dry_run)
    except KeyboardInterrupt:
        raise SameSpaceError("stopped: `samespace undo` brings back what was moved") from None
    show.show_applied(applied, arguments.to, arguments.dry_run)
    return 1 if applied.skipped else 0


def undo(arguments: argparse.Namespace) -> int:
    """Bring back what `apply` moved into quarantine.

    RUN is the folder that `apply` named; without it the newest run of the library at or above the current folder.
    """
    from samespace.cli import show
    from samespace.duplicates import quarantine
    from samespace.duplicates.undo import undo as put_back

    run = arguments.run
    if run is None:
        folder = arguments.library or library_above(Path.cwd())
        runs = quarantine.runs(folder)
        held = [run for run in runs if run.photos]
        if not held:
            broken = [run.folder for run in runs if run.state == "unreadable"]
            lies = f"holds runs without a manifest, {show.words(broken)}" if broken else "is empty"
            raise SameSpaceError(f"nothing to undo: the quarantine of {folder} {lies}")
        run = held[0].folder
    undone = put_back(run)
    show.show_undone(undone)
    return 1 if undone.skipped else 0


def empty_quarantine(arguments: argparse.Namespace) -> int:
    """Delete for good what was moved into quarantine long ago.

    The only command that deletes photos. It says how much, and asks.
    """
    from samespace.cli import show
    from samespace.duplicates import quarantine

    folder = arguments.library or library_above(Path.cwd())
    old = quarantine.runs_older_than(folder, arguments.older_than)
    show.show_runs(old)
    if not old:
        print(f"nothing in the quarantine of {folder} is that old")
        return 0
    if not arguments.yes and not show.asks(f"delete {show.held(old)} for good?"):
        print("nothing was deleted")
        return 0
    deleted = quarantine.delete_runs(old)
    show.show_deleted(deleted)
    return 1 if deleted.skipped else 0


def verdict(arguments: argparse.Namespace) -> None:
    """Say of two photos whether they are the same, for every later search.

    Photos told different are never again taken for duplicates of each other; photos told the same are one space.
    """
    photos = [Path(os.path.realpath(path)) for path in (arguments.photo0, arguments.photo1)]
    for path in photos:
        if not path.is_file():
            raise SameSpaceError(f"{path}: no such file")
    folders = {above for path in photos for above in libraries_above(path.parent)}
    libraries = open_libraries([arguments.library] if arguments.library else sorted(folders))
    contents = [_content(photo, libraries) for photo in photos]
    for library in libraries:
        library.add_verdict(contents[0], contents[1], arguments.said == "same")
    print(f"remembered: {arguments.said}")


def verdicts(arguments: argparse.Namespace) -> None:
    """List what was said of pairs, or export it as labelled pairs to train with.

    --export writes the photos and their labels into a data set's folder, which `model_def.py --data ROOT` reads.
    """
    from samespace.cli import show
    from samespace.duplicates.verdicts import export_verdicts, list_verdicts

    (library,) = open_libraries([arguments.library or library_above(Path.cwd())])
    if arguments.export:
        show.show_exported(export_verdicts(library, arguments.export), arguments.export)
    else:
        show.show_verdicts(list_verdicts(library))


def _refuse_what_cannot_work(arguments: argparse.Namespace, folders: list[Path], guarded: list[Path]) -> None:
    """Before an hour of work, not after it."""
    for folder in folders:
        if any(folder.is_relative_to(other) for other in guarded):
            raise SameSpaceError(f"{folder} lies in a folder of --reference or --against: nothing there may be removed")
    if arguments.model and arguments.kind != "same-space":
        raise SameSpaceError(f"--model says nothing of {arguments.kind} duplicates: give --kind same-space, too")
    for path, begins in ((arguments.plan, b"{"), (arguments.report, b"<!doctype html>")):
        if path and not path.parent.is_dir():
            raise SameSpaceError(f"cannot write {path}: there is no folder {path.parent}")
        if path and path.exists() and not (path.is_file() and _head(path).lower().startswith(begins)):
            raise SameSpaceError(f"{path} is there already, and is no earlier one: name another file")
    if arguments.plan and arguments.report and arguments.plan.resolve() == arguments.report.resolve():
        raise SameSpaceError(f"{arguments.plan} cannot be both the plan and the report: name two files")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(15)


def _refuse_copies(libraries: Sequence[Library]) -> None:
    """A copied folder has a copy of its library: what is removed of either would go to one quarantine."""
    places: dict[str, Path] = {}
    for library in libraries:
        if library.id in places:
            raise SameSpaceError(
                f"{library.folder} is a copy of the library {places[library.id]}: give --library PATH, one for both"
            )
        places[library.id] = library.folder


def _content(photo: Path, libraries: Sequence[Library]) -> str:
    for library in libraries:
        for known in library.photos():
            if known.path == photo:
                return known.content
        for error in library.unreadable():
            if error.path == photo:
                raise SameSpaceError(f"{photo} cannot be judged: {error.reason}")
    raise SameSpaceError(f"{photo} is in no library that was scanned: scan its folder first")


def dedupe_words(parser: argparse.ArgumentParser) -> None:
    folder_words(parser)
    parser.add_argument("--kind", choices=("exact", "near", "same-space"), default="near", help="default: %(default)s")
    parser.add_argument("--model", type=Path, metavar="DIR", help="same-space: a trained model's folder")
    parser.add_argument("--backbone", metavar="NAME", help="same-space without --model (default: mobilenet_v3_large)")
    parser.add_argument("--weights", default="imagenet", help="same-space without --model: a state dict's path")
    parser.add_argument("--threshold", type=float, metavar="P", help="duplicates score this or more, up to 1")
    parser.add_argument(
        "--against", type=a_folder, nargs="+", default=[], metavar="DIR", help="find only what is in these folders, too"
    )
    parser.add_argument(
        "--reference", type=a_folder, nargs="+", default=[], metavar="DIR", help="folders that nothing is removed from"
    )
    parser.add_argument(
        "--keep",
        choices=("best", "largest", "oldest", "newest", "shortest-path"),
        default="best",
        help="what to keep of a group; best: most pixels, then sharpest, then most bytes (default: %(default)s)",
    )
    parser.add_argument(
        "--grouping",
        choices=("keeper", "components", "dbscan"),
        default="keeper",
        help="keeper: all are duplicates of the one kept; components, dbscan: chains may join them",
    )
    parser.add_argument("--min-samples", type=int, default=2, metavar="N", help="dbscan: what makes a core")
    parser.add_argument("--plan", type=Path, metavar="FILE.json", help="where to write the plan")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="write a page that shows all groups")
    parser.add_argument("--json", action="store_true", help="print JSON")


def apply_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", type=Path, metavar="PLAN", help="as `samespace dedupe` wrote it")
    parser.add_argument("--dry-run", action="store_true", help="check everything, move nothing")
    parser.add_argument(
        "--to",
        choices=("quarantine", "hardlink", "symlink"),
        default="quarantine",
        help="what to leave in place: nothing, or a link to the keeper (default: %(default)s)",
    )


def undo_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, nargs="?", metavar="RUN", help="the run's folder")
    library_word(parser, "whose newest run to undo")


def empty_quarantine_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--older-than", type=_age, required=True, metavar="30d", help="in days (d) or hours (h)")
    library_word(parser, "whose quarantine to empty")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _age(words: str) -> timedelta:
    units = {"d": "days", "h": "hours"}
    if not (words[:-1].isdecimal() and words[-1:] in units):
        raise argparse.ArgumentTypeError(f"{words!r} is no age: give days, as in 30d, or hours, as in 12h")
    try:
        return timedelta(**{units[words[-1]]: int(words[:-1])})
    except OverflowError as error:
        raise argparse.ArgumentTypeError(f"{words!r} is longer than photos have been around") from error


def verdict_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photo0", type=Path, metavar="A")
    parser.add_argument("photo1", type=Path, metavar="B")
    parser.add_argument("said", choices=("same", "different"), metavar="same|different")
    library_word(parser, "where to remember it (default: the library above A, and that above B)")


def verdicts_words(parser: argparse.ArgumentParser) -> None:
    library_word(parser, "whose verdicts (default: the library at or above the current folder)")
    parser.add_argument("--export", type=Path, metavar="ROOT", help="the data set's folder to write them into")
