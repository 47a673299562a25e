"""The command line: parse, call the library, print. Results go to stdout, all else to stderr."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import samespace
from samespace.arguments import (
    a_folder,
    folder_words,
    libraries_above,
    libraries_of,
    library_above,
    library_word,
    look_of,
    look_words,
    open_libraries,
    outermost,
    reading_words,
    real,
    scan_for,
    sentence_of,
)
from samespace.base.errors import SameSpaceError, exit_status
from samespace.search.look import choose_look, compare_pair, look_for_copies

if TYPE_CHECKING:
    from samespace.base.photos import UnreadablePhoto
    from samespace.library.library import Library
    from samespace.search.answers import Answer
    from samespace.search.look import Look
    from samespace.search.space import Space

MATCHER, CAPTIONER = "match.safetensors", "caption.safetensors"  # in the current folder, where nobody names others
FOUND = 11  # what `dedupe` exits with when there are duplicates, as czkawka_cli does


def compare(arguments: argparse.Namespace) -> None:
    """Do two photos show the same space?

    With --model: the probability that they do. Without one: the cosine of ImageNet features, which knows nothing of
    rooms.
    """
    photos = [arguments.photo0, arguments.photo1]
    if arguments.model:
        model = samespace.load(arguments.model)
        score, threshold, meaning = model.compare(*photos), model.threshold, "probability"
    else:
        print("no --model given: comparing ImageNet features, which knows nothing of rooms", file=sys.stderr)
        import numpy as np

        from samespace.base.photos import read_pixels
        from samespace.library.read_photos import SIZE

        pixels = np.stack([read_pixels(photo, SIZE) for photo in photos])
        score, threshold = compare_pair(choose_look(None, arguments.backbone, arguments.weights), pixels)
        meaning = "cosine"
    same = score >= threshold
    if arguments.json:
        print(json.dumps({meaning: score, "threshold": threshold, "same_space": same}))
    else:
        print(f"{'same space' if same else 'different spaces'} ({meaning} {score:.4f}, from {threshold:g} on the same)")


def evaluate(arguments: argparse.Namespace) -> None:
    """How good is a model on labelled photos?

    average_precision, recall_at_99_precision and roc_auc are over every unordered pair of distinct photos. balanced_…
    and validation_loss are over pairs made as training's are, and flatter. --split validation takes the spaces that
    training held out, and gives the figures that training saw.
    """
    from samespace.model.evaluate import evaluate as evaluate_model
    from samespace.model.evaluate import plot_precision_recall
    from samespace.model.feature_bank import default_cache

    evaluation = evaluate_model(samespace.load(arguments.model), arguments.root, arguments.split, default_cache())
    if arguments.plot:
        plot_precision_recall(evaluation, arguments.plot)
    if arguments.json:
        print(json.dumps(evaluation.figures))
    else:
        for name, figure in evaluation.figures.items():
            print(f"{name:<33}{figure:>10,.4f}" if isinstance(figure, float) else f"{name:<33}{figure:>10,}")


def export(arguments: argparse.Namespace) -> None:
    """Take the model out of a checkpoint, or bring home the best one of an experiment on a Determined cluster.

    Checks the model that the checkpoint carries and copies it, or rebuilds it from the checkpoint's raw state. With
    --experiment, --trial or --checkpoint it asks the master as `det` does (DET_MASTER, `det user login`) and keeps what
    the experiment made: a model, match.safetensors, caption.safetensors, encoder.safetensors, or embedded photos.
    """
    if arguments.checkpoint is None:
        from samespace import cluster, terminal

        asked = {"experiment": arguments.experiment, "trial": arguments.trial, "checkpoint": arguments.uuid}
        ((noun, number),) = ((noun, number) for noun, number in asked.items() if number is not None)
        brought = cluster.fetch(noun, number, arguments.output)
        if arguments.uuid is None and brought.state not in ("COMPLETED", "CANCELED", "ERROR"):
            print(f"not finished, but {brought.state}: this is the best so far", file=sys.stderr)
        terminal.show_brought(brought)
        return
    from samespace.model.checkpoint import export as export_model

    output = arguments.output or Path("model")
    model = export_model(arguments.checkpoint, output)
    print(f"{output}: {model.description['head']} head on {model.description['trunk']}")


def scan(arguments: argparse.Namespace) -> None:
    """Read the photos of folders, each once, and remember them.

    What was learnt lies in DIR/.samespace; another scan reads only what is new or changed. --model or --backbone also
    keeps what `dedupe --kind same-space` compares, and is what `search` compares by from then on. --matcher is what it
    understands sentences by.
    """
    from samespace import terminal

    folders = real(arguments.folders)
    look = choose_look(arguments.model, arguments.backbone, arguments.weights)
    if arguments.matcher:
        from samespace.words import search as sentences

        look = sentences.look_for(arguments.matcher, look)
    if arguments.imported and len(folders) > 1:
        raise SameSpaceError("--import is of one folder: name the one DIR that was embedded")
    for library, below in libraries_of(folders, arguments.library):
        if arguments.imported:
            from samespace.library.cluster_files import import_folder

            told = import_folder(library, below[0], arguments.imported, [look.extractor] if look.options else [])
            print(f"{told:,} photos taken over from {arguments.imported}")
        scanned = scan_for(library, below, arguments, look)
        if arguments.matcher:
            sentences.remember(library, look, arguments.matcher)
        again = ["samespace", "dedupe", *map(terminal.from_here, below), *_same_options(arguments)]
        commands = {terminal.words(again): "find the duplicates among them"}
        if look.options:
            find: list[str | Path] = ["samespace", "search", "PHOTO", "--library", library.folder]
            commands[terminal.words(find)] = "find photos that show the same"
        if arguments.matcher:
            find = ["samespace", "search", "WORDS", "--library", library.folder]
            commands[terminal.words(find)] = "find photos of what you describe"
        terminal.show_scan(scanned, commands)


def dedupe(arguments: argparse.Namespace) -> int:
    """Find duplicates, and write a plan of what to remove. Nothing is removed.

    Scans first what is new. exact: same bytes or same pixels. near: the same shot, re-encoded, resized, lightly cropped
    or re-lit. same-space: another shot of the same room, by --model or else by ImageNet features. Exits with 0 if
    there are no duplicates, with 11 if there are some, with 1 after an error.
    """
    from samespace import terminal
    from samespace.duplicates.find import find_duplicates
    from samespace.duplicates.group import Search, threshold_of
    from samespace.duplicates.plan import make_plan, write_plan

    folders, reference, against = map(real, (arguments.folders, arguments.reference, arguments.against))
    _refuse_what_cannot_work(arguments, folders, [*reference, *against])
    everywhere = outermost([*folders, *reference, *against])
    look = look_for_copies()
    if arguments.kind == "same-space":
        backbone = arguments.backbone or (None if arguments.model else "mobilenet_v3_large")
        look = choose_look(arguments.model, backbone, arguments.weights)
    search = Search(
        arguments.kind,
        arguments.threshold,
        arguments.grouping,
        arguments.min_samples,
        arguments.keep,
        tuple(reference),
        tuple(against),
    )
    threshold_of(search)  # what makes no sense is said before the scan, not after it
    with ExitStack() as held:
        opened = libraries_of(everywhere, arguments.library)
        libraries = [library for library, _ in opened]
        _refuse_copies(libraries)
        for library in sorted(libraries, key=lambda library: library.id):
            held.enter_context(library.hold())
        for library, below in opened:
            scan_for(library, below, arguments, look)
        found = find_duplicates(libraries, everywhere, search, look.extractor, look.model)
        plan = arguments.plan or libraries[0].folder / "plan.json"
        write_plan(plan, make_plan(found, libraries))
    if arguments.report:
        from samespace.report import write_report
        from samespace.words.stored_captions import captions_of

        captions = {content: each.text for library in libraries for content, each in captions_of(library).items()}
        write_report(arguments.report, found, arguments.folders, plan, captions)
    if arguments.json:
        print(json.dumps(terminal.as_json(found, plan)))
    else:
        terminal.show_found(found, plan, arguments.report, "samespace " + terminal.words(arguments.words))
    return FOUND if found.groups else 0


def search(arguments: argparse.Namespace) -> int:
    """Find photos like a photo or by a sentence, or the photos of one folder that appear in another.

    PHOTO may lie anywhere; the library is taken as it was last scanned, and compared by the --model or --backbone of
    that scan, or else as shots, which finds copies. WORDS are understood by the --matcher it was scanned with, and
    found in captions. --like DIR1 --in DIR2 scans both first. Exits with 0 if something was found, with 1 if nothing
    was, and after an error.
    """
    from samespace import terminal
    from samespace.base.photos import UnreadablePhoto
    from samespace.search.space import refuse_nonsense

    _refuse_mixture(arguments)
    refuse_nonsense(arguments.top, arguments.threshold)
    sentence = sentence_of(arguments.asked)
    if sentence is not None:
        from samespace.words import commands

        return commands.search(arguments, sentence)
    space, threshold, answers = (_search_folder if arguments.like else _search_photos)(arguments)
    answered, unreadable = [], []
    for answer in answers:
        if isinstance(answer, UnreadablePhoto):
            print(f"error: {answer}", file=sys.stderr)
            unreadable.append(answer)
        else:
            answered.append(answer)
    found = [answer for answer in answered if answer.hits]
    if arguments.files or arguments.null:
        hits = (hit.photo.path for answer in found for hit in answer.hits)
        paths = (answer.path for answer in found) if arguments.like else hits
        terminal.show_paths(paths, "\0" if arguments.null else "\n")
    elif arguments.json:
        print(json.dumps(terminal.answers_as_json(answered, unreadable, space, threshold)))
    else:
        shown = found if arguments.like else answered
        terminal.show_answers(shown, len(answered), space, threshold, arguments.top)
    return 1 if unreadable or not found else 0


def compress(arguments: argparse.Namespace) -> None:
    """Search by shorter vectors.

    Says of each way, learnt from half of the photos, how many of the 10 nearest of the others stay among the 10
    nearest, and how many bytes a photo takes. auto keeps PCA, unless the autoencoder is better.
    """
    from samespace import terminal
    from samespace.search.choose_compression import compare
    from samespace.search.vectors import imported_compression, keep_compression, vectors_to_compress

    (library,) = open_libraries([arguments.library or library_above(Path.cwd())])
    look = look_of(arguments, library)
    vectors = vectors_to_compress(library, look)
    chosen = None
    if arguments.imported:
        chosen = imported_compression(arguments.imported, look)
    elif arguments.method != "none":
        compared = compare(vectors, arguments.method)
        terminal.show_compressions(compared)
        chosen = compared.chosen
    keep_compression(library, look, chosen)
    kept = "as they are" if chosen is None else f"as {chosen.dim} numbers a photo, by {chosen.method}"
    print(f"search compares vectors of {look.name} {kept} from now on")


def index(arguments: argparse.Namespace) -> None:
    """Bring the approximate index up to date, which `search` uses for large libraries or with --index hnsw.

    --check says how many of the 10 nearest photos it finds.
    """
    from samespace import terminal
    from samespace.search.space import Space, recall_of_index
    from samespace.search.vectors import index_path

    (library,) = open_libraries([arguments.library or library_above(Path.cwd())])
    with library.hold():
        space = Space(library, look_of(arguments, library), "hnsw")
    terminal.say_lacking(space)
    recall = recall_of_index(space) if arguments.check else None
    terminal.show_index(space, index_path(library, space.vectors), recall)


def serve(arguments: argparse.Namespace) -> None:
    """Review duplicates, search and scan in a browser.

    Prints the address to open, on this machine alone. Nothing is scanned or removed until a page is told to. Whoever is
    logged in on this machine can open it: --token keeps out who does not know it. --host lets other machines in.
    """
    missing = [name for name in ("jinja2", "python_multipart", "starlette", "uvicorn") if not find_spec(name)]
    if missing:
        raise SameSpaceError(f"{missing[0]} is not installed: pip install 'samespace[web]'")
    from samespace.base import progress
    from samespace.web import server

    progress.off()
    with server.open_door(arguments.host, arguments.port, arguments.token) as door:
        if arguments.folder:
            ((library, roots),) = libraries_of(real([arguments.folder]), arguments.library)
        else:
            (library,) = open_libraries([arguments.library or library_above(Path.cwd())])
            roots = library.roots
        server.serve(door, library.folder, roots, look_of(arguments, library), arguments.host, arguments.token)


def apply(arguments: argparse.Namespace) -> int:
    """Carry out a plan: move what it removes into quarantine.

    Every photo and its keeper are checked first; one that is not as planned is left alone. --to hardlink or symlink
    leaves a link to the keeper in each one's place. `samespace undo` brings all of it back.
    """
    from samespace import terminal
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
    terminal.show_applied(applied, arguments.to, arguments.dry_run)
    return 1 if applied.skipped else 0


def undo(arguments: argparse.Namespace) -> int:
    """Bring back what `apply` moved into quarantine.

    RUN is the folder that `apply` named; without it the newest run of the library at or above the current folder.
    """
    from samespace import terminal
    from samespace.duplicates import quarantine
    from samespace.duplicates.undo import undo as put_back

    run = arguments.run
    if run is None:
        folder = arguments.library or library_above(Path.cwd())
        runs = quarantine.runs(folder)
        held = [run for run in runs if run.photos]
        if not held:
            broken = [run.folder for run in runs if run.state == "unreadable"]
            lies = f"holds runs without a manifest, {terminal.words(broken)}" if broken else "is empty"
            raise SameSpaceError(f"nothing to undo: the quarantine of {folder} {lies}")
        run = held[0].folder
    undone = put_back(run)
    terminal.show_undone(undone)
    return 1 if undone.skipped else 0


def empty_quarantine(arguments: argparse.Namespace) -> int:
    """Delete for good what was moved into quarantine long ago.

    The only command that deletes photos. It says how much, and asks.
    """
    from samespace import terminal
    from samespace.duplicates import quarantine

    folder = arguments.library or library_above(Path.cwd())
    old = quarantine.runs_older_than(folder, arguments.older_than)
    terminal.show_runs(old)
    if not old:
        print(f"nothing in the quarantine of {folder} is that old")
        return 0
    if not arguments.yes and not terminal.asks(f"delete {terminal.held(old)} for good?"):
        print("nothing was deleted")
        return 0
    deleted = quarantine.delete_runs(old)
    terminal.show_deleted(deleted)
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
    from samespace import terminal
    from samespace.duplicates.verdicts import export_verdicts, told

    (library,) = open_libraries([arguments.library or library_above(Path.cwd())])
    if arguments.export:
        terminal.show_exported(export_verdicts(library, arguments.export), arguments.export)
    else:
        terminal.show_verdicts(told(library))


def match(arguments: argparse.Namespace) -> None:
    """Train what understands sentences, and say how good it is; or rank sentences for a photo.

    `samespace match PHOTO` is short for `samespace match rank PHOTO`. Captioned photos are a folder with a dataset.json
    as Karpathy's, COCO's or Flickr8k's files, CSV or JSONL, or with a .txt beside each photo.
    """
    from samespace.words import commands

    actions = {"train": commands.match_train, "evaluate": commands.match_evaluate, "rank": commands.match_rank}
    actions[arguments.action](arguments)


def caption(arguments: argparse.Namespace) -> None:
    """Describe photos in a sentence each; or train what does, and say how good it is.

    `samespace caption PHOTO | DIR` is short for `samespace caption write PHOTO | DIR`. Captions are kept in libraries;
    what a person wrote stays.
    """
    from samespace.words import commands

    actions = {"train": commands.caption_train, "evaluate": commands.caption_evaluate, "write": commands.caption_write}
    actions[arguments.action](arguments)


def rooms(arguments: argparse.Namespace) -> None:
    """Draw furnished rooms, each from several viewpoints, as photos to try all this with.

    They are laid out as the Airbnb photos are. The same seed draws the same photos.
    """
    from samespace.rooms.dataset import write_dataset

    photos, test_photos = arguments.photos, arguments.test_photos
    write_dataset(arguments.root, photos, test_photos, arguments.seed, arguments.captions)
    described = ", described in dataset.json" if arguments.captions else ""
    print(f"{photos + test_photos} photos in {arguments.root}{described}")


def _refuse_mixture(arguments: argparse.Namespace) -> None:
    if arguments.json and arguments.null:
        raise SameSpaceError("--json prints more than paths: leave out --json or --null")
    if bool(arguments.like) != bool(arguments.within):
        raise SameSpaceError("--like DIR1 and --in DIR2 belong together: give both")
    if bool(arguments.asked) == bool(arguments.like):
        raise SameSpaceError("what is to be found? give photos, a sentence, or --like DIR1 --in DIR2")
    if arguments.like and arguments.folder:
        raise SameSpaceError("--folder narrows a search for photos: --like searches the folder of --in")


Searched = tuple["Space", "float | None", "Iterator[Answer | UnreadablePhoto]"]


def _search_photos(arguments: argparse.Namespace) -> Searched:
    """For photos from anywhere, in the library here or else in theirs."""
    from samespace import terminal
    from samespace.search.answers import answers_to
    from samespace.search.space import Space

    photos = [Path(word) for word in arguments.asked]
    places = [Path.cwd(), *(Path(os.path.realpath(photo)).parent for photo in photos)]
    (library,) = open_libraries([arguments.library or library_above(*places)])
    look = look_of(arguments, library)
    if not look.options:
        print(
            "looking for copies: scan with --backbone NAME or --model DIR to find what shows the same", file=sys.stderr
        )
    space = Space(library, look, arguments.index)
    terminal.say_lacking(space)
    threshold = _threshold(arguments, space)
    how = (_asked_for(arguments), threshold, arguments.folder, _collapse(arguments, look))
    return space, threshold, answers_to(photos, space, *how)


def _search_folder(arguments: argparse.Namespace) -> Searched:
    """For the photos of one folder, in another; both are scanned."""
    from samespace.search.answers import answers_of
    from samespace.search.space import Space

    like, within = real([arguments.like, arguments.within])
    opened = libraries_of(outermost([like, within]), arguments.library)
    look = look_of(arguments, opened[-1][0])
    for library, below in opened:
        for error in scan_for(library, below, arguments, look).unreadable:
            if error.path.is_relative_to(like):
                print(f"left out: {error}", file=sys.stderr)
    spaces = [Space(library, look, arguments.index) for library, _ in opened]
    threshold = _threshold(arguments, spaces[-1])
    how = (_asked_for(arguments), threshold, within, _collapse(arguments, look))
    return spaces[-1], threshold, answers_of(spaces[0].below(like), spaces[0], spaces[-1], *how)


def _threshold(arguments: argparse.Namespace, space: Space) -> float | None:
    """What is found among copies, or in another folder, is there; else the nearest are shown, however far."""
    if arguments.threshold is None and (arguments.like or not space.look.options):
        return space.threshold
    threshold: float | None = arguments.threshold
    return threshold


def _asked_for(arguments: argparse.Namespace) -> int:
    """One more than is shown, where a person is told that there are more."""
    top: int = arguments.top
    return top if arguments.json or arguments.files or arguments.null else top + 1


def _collapse(arguments: argparse.Namespace, look: Look) -> bool:
    """Copies of a photo are copies of each other, and all are asked for."""
    return bool(look.options) and not arguments.all


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


def _same_options(arguments: argparse.Namespace) -> list[str]:
    """What a next command must repeat to see the same photos."""
    from samespace.terminal import from_here

    options = ["--library", from_here(arguments.library)] if arguments.library else []
    options += ["--extensions", ",".join(arguments.extensions)] if arguments.extensions else []
    return [*options, *(["--follow-links"] if arguments.follow_links else [])]


def _content(photo: Path, libraries: Sequence[Library]) -> str:
    for library in libraries:
        for known in library.photos():
            if known.path == photo:
                return known.content
        for error in library.unreadable():
            if error.path == photo:
                raise SameSpaceError(f"{photo} cannot be judged: {error.reason}")
    raise SameSpaceError(f"{photo} is in no library that was scanned: scan its folder first")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="samespace", description=samespace.__doc__)
    parser.add_argument("--version", action="version", version=samespace.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for work, describe in COMMANDS.items():
        describe(_command(commands, work))
    return parser


def _command(commands: argparse._SubParsersAction[argparse.ArgumentParser], work: Command) -> argparse.ArgumentParser:
    """A command is a function of this file: its name, and its docstring as help."""
    name, text = work.__name__.replace("_", "-"), work.__doc__ or ""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text.splitlines()[0], description=text)
    parser.set_defaults(work=work)
    return parser


def _compare_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photo0", type=Path, metavar="A")
    parser.add_argument("photo1", type=Path, metavar="B")
    parser.add_argument("--model", type=Path, metavar="DIR", help="a trained model's folder")
    parser.add_argument("--backbone", default="mobilenet_v3_large", help="without --model (default: %(default)s)")
    parser.add_argument(
        "--weights", default="imagenet", help="without --model: imagenet or a state dict's path (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _evaluate_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="DIR", help="a trained model's folder")
    parser.add_argument("root", type=Path, metavar="ROOT", help="the folder that holds 'Airbnb Data'")
    parser.add_argument(
        "--split", default="Test Data", help="a folder of photos, or `validation` (default: %(default)s)"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw precision against recall")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _export_words(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "checkpoint", type=Path, nargs="?", metavar="CHECKPOINT", help="as `det checkpoint download` wrote it"
    )
    source.add_argument("--experiment", type=int, metavar="N", help="fetch the best of this experiment")
    source.add_argument("--trial", type=int, metavar="N", help="fetch the best of this trial")
    source.add_argument("--checkpoint", dest="uuid", type=_uuid, metavar="UUID", help="fetch this checkpoint")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="PATH", help="what to write (default: model, match.safetensors, …)"
    )


def _uuid(word: str) -> str:
    try:
        return str(UUID(word))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{word!r} is not a checkpoint's UUID") from error


def _scan_words(parser: argparse.ArgumentParser) -> None:
    folder_words(parser)
    parser.add_argument("--model", type=Path, metavar="DIR", help="also keep what this trained model compares")
    parser.add_argument("--backbone", metavar="NAME", help="also keep the ImageNet features of this trunk")
    parser.add_argument("--weights", default="imagenet", help="with --backbone: imagenet or a state dict's path")
    parser.add_argument(
        "--import", dest="imported", type=Path, metavar="FOLDER", help="first take over what experiments/embed wrote"
    )
    _matcher_word(parser, "understand sentences by this, which `samespace match train` writes, from now on")


def _dedupe_words(parser: argparse.ArgumentParser) -> None:
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


def _search_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "asked", nargs="*", metavar="PHOTO | WORDS", help="what to find the like of, or what it is to show"
    )
    parser.add_argument("--like", type=a_folder, metavar="DIR1", help="find the photos of this folder instead …")
    parser.add_argument("--in", dest="within", type=a_folder, metavar="DIR2", help="… in this one")
    library_word(parser, "the library to search (default: that at or above the current folder, else above PHOTO)")
    parser.add_argument(
        "--top", type=int, default=10, metavar="N", help="results for each photo (default: %(default)s)"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="S",
        help="only scores from here on (default: of copies and with --like what counts as found, else none)",
    )
    parser.add_argument("--folder", type=a_folder, metavar="F", help="only photos below this folder")
    _matcher_word(parser, "understand WORDS by this (default: what the library was scanned with)")
    parser.add_argument("--all", action="store_true", help="each photo a result, also of those that show the same")
    parser.add_argument(
        "--index",
        choices=("exact", "hnsw"),
        help="compare with every photo, or look up in an index (default: hnsw for more than 500,000 photos)",
    )
    look_words(parser)
    reading_words(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument(
        "-f",
        dest="files",
        action="store_true",
        help="print paths only, one a line: of what was found, with --like of the photos of DIR1 that were",
    )
    parser.add_argument("-z", "--null", action="store_true", help="as -f, but end each path with NUL, for `xargs -0`")


def _matcher_word(parser: argparse.ArgumentParser, meaning: str) -> None:
    parser.add_argument("--matcher", type=Path, metavar="FILE", help=meaning)


def _compress_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--method",
        choices=("none", "pca", "autoencoder", "auto"),
        default="auto",
        help="auto: the better one (default: %(default)s)",
    )
    parser.add_argument(
        "--import", dest="imported", type=Path, metavar="FILE", help="take what experiments/compress has trained"
    )
    library_word(parser, "whose vectors (default: the library at or above the current folder)")
    look_words(parser)


def _index_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="compare its answers with exact ones")
    library_word(parser, "whose index (default: the library at or above the current folder)")
    look_words(parser)


def _serve_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        type=a_folder,
        nargs="?",
        metavar="DIR",
        help="the photos (default: those of the library here or above)",
    )
    library_word(parser, "where they are remembered (default: .samespace in DIR)")
    parser.add_argument("--port", type=_port, default=8000, metavar="N", help="default: %(default)s; 0: a free one")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (default: %(default)s)")
    parser.add_argument("--token", help="ask for this word before anything is shown")
    look_words(parser)


def _port(word: str) -> int:
    if not (word.isascii() and word.isdecimal() and int(word) < 65536):
        raise argparse.ArgumentTypeError(f"{word!r} is no port: give a number below 65536")
    return int(word)


def _apply_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", type=Path, metavar="PLAN", help="as `samespace dedupe` wrote it")
    parser.add_argument("--dry-run", action="store_true", help="check everything, move nothing")
    parser.add_argument(
        "--to",
        choices=("quarantine", "hardlink", "symlink"),
        default="quarantine",
        help="what to leave in place: nothing, or a link to the keeper (default: %(default)s)",
    )


def _undo_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, nargs="?", metavar="RUN", help="the run's folder")
    library_word(parser, "whose newest run to undo")


def _empty_quarantine_words(parser: argparse.ArgumentParser) -> None:
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


def _verdict_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photo0", type=Path, metavar="A")
    parser.add_argument("photo1", type=Path, metavar="B")
    parser.add_argument("said", choices=("same", "different"), metavar="same|different")
    library_word(parser, "where to remember it (default: the library above A, and that above B)")


def _verdicts_words(parser: argparse.ArgumentParser) -> None:
    library_word(parser, "whose verdicts (default: the library at or above the current folder)")
    parser.add_argument("--export", type=Path, metavar="ROOT", help="the data set's folder to write them into")


def _match_words(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    train = _training(actions, MATCHER)
    train.add_argument(
        "--measure",
        choices=("order", "cosine"),
        default="cosine",
        help="how sentences and photos are compared (default: %(default)s, which finds more)",
    )
    train.add_argument("--negatives", choices=("sum", "hardest"), help="what a pair is to be better than")
    evaluate = actions.add_parser(
        "evaluate", help="rank captioned photos", description="Rank captioned photos, and their captions."
    )
    evaluate.add_argument("matcher", type=Path, metavar="MATCHER", help="what `train` wrote")
    _captioned_words(evaluate)
    _split_words(evaluate)
    rank = actions.add_parser(
        "rank", help="which sentences fit a photo", description="Rank the sentences of a caption set for a photo."
    )
    rank.add_argument("photo", type=Path, metavar="PHOTO")
    rank.add_argument("--captions", type=Path, required=True, metavar="FILE", help="whose sentences")
    rank.add_argument("--matcher", type=Path, default=Path(MATCHER), metavar="FILE", help="default: %(default)s")
    rank.add_argument("--top", type=int, default=10, metavar="N", help="how many to show (default: %(default)s)")
    rank.add_argument("--json", action="store_true", help="print JSON")
    look_words(rank)


def _caption_words(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    train = _training(actions, CAPTIONER)
    train.add_argument(
        "--method",
        choices=("lstm", "nearest"),
        default="lstm",
        help="write word by word, or borrow what most of the nearest photos agree on (default: %(default)s)",
    )
    evaluate = actions.add_parser(
        "evaluate", help="compare with people's captions", description="Compare captions with those that people gave."
    )
    evaluate.add_argument("captioner", type=Path, metavar="CAPTIONER", help="what `train` wrote")
    _captioned_words(evaluate)
    _split_words(evaluate)
    write = actions.add_parser(
        "write", help="caption photos", description="Caption photos, and keep that in their library."
    )
    write.add_argument("paths", type=a_folder, nargs="+", metavar="PHOTO | DIR")
    write.add_argument("--captioner", type=Path, default=Path(CAPTIONER), metavar="FILE", help="default: %(default)s")
    library_word(write, "where captions are kept (default: .samespace in each DIR, or above PHOTO)")
    look_words(write)
    reading_words(write)


def _training(actions: argparse._SubParsersAction[argparse.ArgumentParser], file: str) -> argparse.ArgumentParser:
    """What all that learns from captioned photos is told; `file` is written where nobody names another."""
    train = actions.add_parser("train", help="learn from captioned photos", description="Learn from captioned photos.")
    _captioned_words(train)
    train.add_argument("--epochs", type=int, metavar="N", help="how long at most")
    train.add_argument("--seed", type=int, metavar="S", help="another seed, another beginning")
    train.add_argument(
        "-o", "--output", type=_a_file, default=Path(file), metavar="FILE", help="what to write (default: %(default)s)"
    )
    return train


def _captioned_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", type=a_folder, metavar="ROOT", help="the folder of photos")
    parser.add_argument(
        "--captions", type=Path, metavar="FILE", help="default: ROOT's dataset.json, or a .txt beside each photo"
    )
    parser.add_argument("--features", type=Path, metavar="FILE", help="vgg_feats.mat or .npy: photos are not looked at")
    look_words(parser)


def _split_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--split", choices=("train", "val", "test"), default="test", help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _a_file(word: str) -> Path:
    """Said before hours of training, not after."""
    if Path(word).is_dir():
        raise argparse.ArgumentTypeError(f"{word} is a folder: name a file")
    return Path(word)


def _rooms_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder to make; must not exist or be empty")
    parser.add_argument("--photos", type=int, default=480, help="photos to train on (default: %(default)s)")
    parser.add_argument("--test-photos", type=int, default=120, help="photos of other rooms (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other rooms (default: %(default)s)")
    parser.add_argument(
        "--captions", action="store_true", help="also describe each in five sentences: dataset.json, as Karpathy's"
    )


Command = Callable[[argparse.Namespace], "int | None"]
COMMANDS: dict[Command, Callable[[argparse.ArgumentParser], None]] = {
    compare: _compare_words,
    evaluate: _evaluate_words,
    export: _export_words,
    scan: _scan_words,
    search: _search_words,
    serve: _serve_words,
    dedupe: _dedupe_words,
    apply: _apply_words,
    undo: _undo_words,
    empty_quarantine: _empty_quarantine_words,
    verdict: _verdict_words,
    verdicts: _verdicts_words,
    compress: _compress_words,
    index: _index_words,
    match: _match_words,
    caption: _caption_words,
    rooms: _rooms_words,
}


# What a command does that names a photo, and no action: `samespace match PHOTO`.
ACTIONS = {"match": ("train", "evaluate", "rank"), "caption": ("train", "evaluate", "write")}


def _in_full(words: list[str]) -> list[str]:
    actions = ACTIONS.get(words[0]) if words else None
    short = actions and len(words) > 1 and words[1] not in (*actions, "-h", "--help")
    return [words[0], actions[-1], *words[1:]] if actions and short else words


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; a mistake is one line on stderr and exit status 1."""
    words = _in_full(list(sys.argv[1:] if words is None else words))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may not know every character of a name
    arguments = _parser().parse_args(words)
    arguments.words = words
    return exit_status(lambda: arguments.work(arguments))


if __name__ == "__main__":
    sys.exit(main())
