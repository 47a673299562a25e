"""Find duplicates, carry out a plan, undo it, and empty the quarantine."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from samespace.base.errors import SameSpaceError
from samespace.cli.options import (
    folder_options,
    has_look,
    libraries_of,
    library_above,
    library_option,
    outermost,
    prefer_option,
    real,
    refuse_copies,
    refuse_elsewhere,
    say_if_outdated,
    thorough_option,
)
from samespace.cli.scanned import added, with_photos

if TYPE_CHECKING:
    from samespace.duplicates.group import DedupeOptions
    from samespace.search.look import Look

FOUND = 11  # exit status of `dedupe` if there are duplicates, as czkawka_cli has it


def dedupe(arguments: argparse.Namespace) -> int:
    """Find duplicates, and plan what to remove.

    Reads new photos first, writes a plan, and removes nothing. Kinds of duplicates: exact, the same bytes or pixels;
    near, the same photo re-encoded, resized, cropped, turned or re-lit; same-space, another photo of the same room, by
    --model or else by ImageNet features. Of videos and RAW files, copies with equal bytes are found. Exits with 0 if
    there are no duplicates or no photos, with 11 if there are some duplicates, with 1 after an error.
    """
    from samespace.base.photos import EXTENSIONS
    from samespace.cli import found_json, show
    from samespace.cli.plans import write
    from samespace.duplicates.find import find_duplicates
    from samespace.duplicates.group import COPIES, SAME_SPACE, threshold_of
    from samespace.duplicates.only_here import with_only_here
    from samespace.duplicates.plan import make_plan
    from samespace.words.scan import scan_folders

    _refuse_what_cannot_work(arguments)
    options = _options_of(arguments)
    threshold_of(options)  # refuses one out of range before the scan
    everywhere = outermost([*real(arguments.folders), *options.reference, *options.against])
    look = _look_of_kind(arguments)
    if options.thorough:
        from samespace.model.lightglue import package
        from samespace.search.evidence import NO_PROOF

        if look.model and not look.model.rooms:
            raise SameSpaceError(NO_PROOF)
        package()
    extensions, remember = arguments.extensions or EXTENSIONS, has_look(arguments)
    told = sys.stderr if arguments.json else sys.stdout
    everywhere, unseen = with_photos(everywhere, arguments.library, extensions, arguments.follow_links, told)
    with ExitStack() as held:
        opened = libraries_of(everywhere, arguments.library) if everywhere else []
        libraries = [library for library, _ in opened]
        refuse_copies(libraries)
        for library in sorted(libraries, key=lambda library: library.id):
            held.enter_context(library.hold())
        for library, below in opened:
            say_if_outdated(library, look)
            scan_folders(library, below, look, None, extensions, arguments.follow_links, remember)
        found = with_only_here(find_duplicates(libraries, everywhere, options, look.deciding, look.model))
        found = found._replace(not_compared=added([found.not_compared, unseen]))
        plan = write(make_plan(found, libraries), arguments.plan, libraries[0].folder if libraries else None)
    if arguments.report:
        from samespace.cli.report import write_report
        from samespace.words.stored_captions import captions_of

        captions = {content: each.text for library in libraries for content, each in captions_of(library).items()}
        folders = [library.folder for library in libraries]
        write_report(arguments.report, found, arguments.folders, plan, captions, folders)
    if arguments.json:
        print(json.dumps(found_json.as_json(found, plan)))
    elif plan and libraries:
        show.show_found(found, plan, arguments.report, "samespace " + show.words(arguments.typed))
    return FOUND if any(group.answer in (COPIES, SAME_SPACE) for group in found.groups) else 0


def _options_of(arguments: argparse.Namespace) -> DedupeOptions:
    """Return what to look for, as the options say."""
    from samespace.duplicates.group import DedupeOptions

    return DedupeOptions(
        arguments.kind,
        arguments.threshold,
        arguments.grouping,
        arguments.min_samples,
        arguments.keep,
        tuple(real(arguments.reference)),
        tuple(real(arguments.against)),
        tuple(real(arguments.prefer)),
        arguments.thorough,
        arguments.mark_all,
    )


def _look_of_kind(arguments: argparse.Namespace) -> Look:
    """Return what this kind of duplicates is compared by."""
    from samespace.search.look import choose_look, look_for_copies

    if arguments.kind != "same-space":
        return look_for_copies()
    backbone = arguments.backbone or (None if arguments.model else "mobilenet_v3_large")
    return choose_look(arguments.model, backbone, arguments.weights)


def apply(arguments: argparse.Namespace) -> int:
    """Carry out a plan: move duplicates to quarantine.

    Checks every photo and its keeper first, and leaves alone what has changed since. A photo's RAW, video and sidecars
    go with it, unless --to hardlink or symlink leaves a link to the keeper. `samespace undo` brings everything back.
    Without PLAN, nothing is applied, and the plans of the library at or above the current folder are listed.
    """
    from samespace.cli import show
    from samespace.cli.plans import show_plans, undo_commands
    from samespace.duplicates.apply import apply as carry_out
    from samespace.duplicates.plan import read_plan

    if arguments.plan is None:
        return show_plans(arguments.library or library_above())
    plan = read_plan(arguments.plan)
    if not any(group.remove for group in plan.groups):
        print("nothing to do: this plan removes no photos")
        return 0
    try:
        applied = carry_out(plan, arguments.to, arguments.dry_run, arguments.merge_metadata)
    except KeyboardInterrupt:
        undos = "` and `".join(undo_commands(plan.libraries.values()))
        raise SameSpaceError(f"stopped: type `{undos}` to bring back what was moved") from None
    show.show_applied(applied, arguments.to, arguments.dry_run)
    return 1 if applied.skipped else 0


def undo(arguments: argparse.Namespace) -> int:
    """Bring back what `apply` moved to quarantine.

    RUN is the folder that `apply` named. Without it, the newest run of the library at or above the current folder is
    undone.
    """
    from samespace.cli import show
    from samespace.duplicates import quarantine
    from samespace.duplicates.undo import undo as put_back

    run = arguments.run
    if run is None:
        library = arguments.library or library_above()
        runs = quarantine.runs(library)
        held = [run for run in runs if run.can_be_undone]
        if not held:
            broken = [run.folder for run in runs if run.state == "unreadable"]
            why = f"holds runs without a manifest, {show.words(broken)}" if broken else "is empty"
            raise SameSpaceError(f"nothing to undo: the quarantine of {library} {why}")
        run = held[0].folder
    undone = put_back(run)
    show.show_undone(undone)
    return 1 if undone.skipped else 0


def empty_quarantine(arguments: argparse.Namespace) -> int:
    """Delete for good what has long been in quarantine.

    The only command that deletes photos. It says how much, and asks.
    """
    from samespace.cli import show
    from samespace.duplicates import quarantine

    library = arguments.library or library_above()
    old = quarantine.runs_older_than(library, arguments.older_than)
    show.show_misdated(quarantine.misdated_runs(library, arguments.older_than))
    show.show_runs(old)
    if not old:
        print(f"nothing in the quarantine of {library} is that old")
        return 0
    if not arguments.yes and not show.asks(f"delete {show.held(old)} for good?"):
        print("nothing was deleted")
        return 0
    deleted = quarantine.delete_runs(old)
    show.show_deleted(deleted)
    return 1 if deleted.skipped else 0


def _refuse_what_cannot_work(arguments: argparse.Namespace) -> None:
    """Refuse before an hour of work, not after it."""
    from samespace.base.own_files import refuse_foreign, refuse_missing_folder
    from samespace.cli.plans import refuse_other_kind
    from samespace.duplicates.plan import is_plan

    guarded = real([*arguments.reference, *arguments.against])
    for each in real(arguments.folders):
        if any(each.is_relative_to(other) for other in guarded):
            raise SameSpaceError(
                f"{each} is inside a folder of --reference or --against, where nothing may be removed: name another DIR"
            )
    refuse_elsewhere(arguments.prefer, real([*arguments.folders, *arguments.reference, *arguments.against]))
    if has_look(arguments) and arguments.kind != "same-space":
        option = "--model" if arguments.model else "--backbone"
        raise SameSpaceError(f"{option} cannot find {arguments.kind} duplicates: add --kind same-space")
    for path in filter(None, (arguments.plan, arguments.report)):
        refuse_missing_folder(path)
    if arguments.report:
        from samespace.cli.report import is_report  # the page's code takes long to load

        refuse_foreign(arguments.report, is_report, "one that dedupe wrote")
    if arguments.plan:
        refuse_foreign(arguments.plan, is_plan, "one that dedupe wrote")
        refuse_other_kind(arguments.plan, arguments.kind)
    if arguments.plan and arguments.report and arguments.plan.resolve() == arguments.report.resolve():
        raise SameSpaceError(f"{arguments.plan} cannot be both the plan and the report: name two files")


def dedupe_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `samespace dedupe`."""
    folder_options(parser)
    parser.add_argument(
        "--kind",
        choices=("exact", "near", "same-space"),
        default="near",
        help="kind of duplicates to find (default: %(default)s)",
    )
    parser.add_argument("--model", type=Path, metavar="DIR", help="for same-space: a trained model's folder")
    parser.add_argument(
        "--backbone", metavar="NAME", help="for same-space without --model: a backbone (default: mobilenet_v3_large)"
    )
    parser.add_argument(
        "--weights", default="imagenet", help="for --backbone: imagenet or a state dict file (default: %(default)s)"
    )
    thorough_option(parser, "for same-space: look twice at photos that may show one room, and find more")
    parser.add_argument("--threshold", type=float, metavar="P", help="lowest score of a duplicate, up to 1")
    parser.add_argument(
        "--against",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="find only photos that these folders also have; remove nothing from these",
    )
    parser.add_argument(
        "--reference",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="search these folders too; remove nothing from them",
    )
    prefer_option(parser)
    parser.add_argument("--mark-all", action="store_true", help="mark all but one of each group, not only copies")
    parser.add_argument(
        "--keep",
        choices=("best", "largest", "oldest", "newest", "shortest-path"),
        default="best",
        help="which photo of a group to keep; best: the camera's original before what was made from it "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--grouping",
        choices=("keeper", "components", "dbscan"),
        default="keeper",
        help="keeper: every photo is a duplicate of the keeper; components, dbscan: chains are joined "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--min-samples",
        type=int,
        default=2,
        metavar="N",
        help="for dbscan: size of a core (default: %(default)s)",
    )
    parser.add_argument("--plan", type=Path, metavar="FILE.json", help="file for the plan (default: in the library)")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="also write a page that shows all groups")
    parser.add_argument("--json", action="store_true", help="print JSON")


def apply_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `samespace apply`."""
    parser.add_argument(
        "plan", type=Path, nargs="?", metavar="PLAN", help="the plan that `samespace dedupe` wrote (default: list them)"
    )
    library_option(parser, "without PLAN: library whose plans to list")
    parser.add_argument("--dry-run", action="store_true", help="check everything, move nothing")
    parser.add_argument(
        "--merge-metadata",
        action="store_true",
        help="first write what only removed photos know (date, GPS, rating, keywords, caption, title) to an XMP "
        "sidecar of the keeper",
    )
    parser.add_argument(
        "--to",
        choices=("quarantine", "hardlink", "symlink"),
        default="quarantine",
        help="what to leave in place: nothing, or a link to the keeper (default: %(default)s)",
    )


def undo_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `samespace undo`."""
    parser.add_argument("run", type=Path, nargs="?", metavar="RUN", help="folder of the run to undo")
    library_option(parser, "library whose newest run to undo")


def empty_quarantine_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `samespace empty-quarantine`."""
    parser.add_argument(
        "--older-than",
        type=_age,
        required=True,
        metavar="30d",
        help="age in days (d) or hours (h)",
    )
    library_option(parser, "library whose quarantine to empty (default: the nearest at or above the current folder)")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _age(word: str) -> timedelta:
    """Return the time in words like 30d or 12h."""
    units = {"d": "days", "h": "hours"}
    if not (word[:-1].isdecimal() and word[-1:] in units):
        raise argparse.ArgumentTypeError(f"{word!r} is not an age: give days, as in 30d, or hours, as in 12h")
    try:
        return timedelta(**{units[word[-1]]: int(word[:-1])})
    except OverflowError as error:
        raise argparse.ArgumentTypeError(f"{word!r} is out of range: give a shorter time") from error
