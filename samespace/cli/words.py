"""`samespace match` and `samespace caption`: their actions and options."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path

from samespace.cli.options import library_option, look_options, reading_options

MATCHER, CAPTIONER = "match.safetensors", "caption.safetensors"  # default files, in the current folder


def match(arguments: argparse.Namespace) -> None:
    """Train the matcher that enables search by sentence.

    Also evaluates a matcher, and ranks sentences for a photo. `samespace match PHOTO` is short for `samespace match
    rank PHOTO`. Training takes a folder of captioned photos: with a dataset.json in Karpathy's format, with COCO's or
    Flickr8k's files, CSV or JSONL, or with a .txt beside each photo.
    """
    from samespace.cli.matchers import match_evaluate, match_rank, match_train

    actions = {"train": match_train, "evaluate": match_evaluate, "rank": match_rank}
    actions[arguments.action](arguments)


def caption(arguments: argparse.Namespace) -> None:
    """Write captions for photos, or train a captioner.

    Also evaluates a captioner. `samespace caption PHOTO | DIR` is short for `samespace caption write PHOTO | DIR`.
    Captions are kept in the library; those that a person wrote stay.
    """
    from samespace.cli.captioners import caption_evaluate, caption_train, caption_write

    actions = {"train": caption_train, "evaluate": caption_evaluate, "write": caption_write}
    actions[arguments.action](arguments)


def match_options(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `samespace match`, and their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    train = _training(actions, MATCHER)
    train.add_argument(
        "--measure",
        choices=("order", "cosine"),
        default="cosine",
        help="how to compare sentences with photos (default: %(default)s, which finds more)",
    )
    train.add_argument("--negatives", choices=("sum", "hardest"), help="wrong pairs to train against")
    evaluate = actions.add_parser(
        "evaluate", help="measure a matcher", description="Measure how well a matcher finds photos by their captions."
    )
    evaluate.add_argument("matcher", type=Path, metavar="MATCHER", help="file that `train` wrote")
    _captioned_options(evaluate)
    _split_options(evaluate)
    rank = actions.add_parser(
        "rank", help="rank sentences for a photo", description="Rank the sentences of a caption set for a photo."
    )
    rank.add_argument("photo", type=Path, metavar="PHOTO", help="the photo")
    rank.add_argument("--captions", type=Path, required=True, metavar="FILE", help="caption set with the sentences")
    rank.add_argument(
        "--matcher", type=Path, default=Path(MATCHER), metavar="FILE", help="matcher (default: %(default)s)"
    )
    rank.add_argument("--top", type=int, default=10, metavar="N", help="sentences to show (default: %(default)s)")
    rank.add_argument("--json", action="store_true", help="print JSON")
    look_options(rank)


def caption_options(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `samespace caption`, and their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    train = _training(actions, CAPTIONER)
    train.add_argument(
        "--method",
        choices=("lstm", "nearest"),
        default="lstm",
        help="write word by word, or take the caption most of the nearest photos agree on (default: %(default)s)",
    )
    evaluate = actions.add_parser(
        "evaluate",
        help="measure a captioner",
        description="Compare its captions with people's.",
    )
    evaluate.add_argument("captioner", type=Path, metavar="CAPTIONER", help="file that `train` wrote")
    _captioned_options(evaluate)
    _split_options(evaluate)
    write = actions.add_parser(
        "write", help="caption photos", description="Caption photos, and keep the captions in their library."
    )
    write.add_argument("paths", type=Path, nargs="+", metavar="PHOTO | DIR", help="photos, or folders of photos")
    write.add_argument(
        "--captioner",
        type=Path,
        default=Path(CAPTIONER),
        metavar="FILE",
        help="captioner (default: %(default)s)",
    )
    library_option(write, "where to keep the captions (default: .samespace in each DIR, or above PHOTO)")
    look_options(write)
    reading_options(write)


def _training(actions: argparse._SubParsersAction[argparse.ArgumentParser], file: str) -> argparse.ArgumentParser:
    """Add the action `train`, which writes to `file` by default."""
    train = actions.add_parser("train", help="train on captioned photos", description="Train on captioned photos.")
    _captioned_options(train)
    train.add_argument("--epochs", type=int, metavar="N", help="most epochs to train")
    train.add_argument("--seed", type=int, metavar="S", help="start from another seed")
    train.add_argument(
        "-o", "--output", type=_a_file, default=Path(file), metavar="FILE", help="file to write (default: %(default)s)"
    )
    return train


def _captioned_options(parser: argparse.ArgumentParser) -> None:
    """Add the folder of captioned photos, and how to read it."""
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder of captioned photos")
    parser.add_argument(
        "--captions",
        type=Path,
        metavar="FILE",
        help="caption set (default: ROOT's dataset.json, or .txt files)",
    )
    parser.add_argument("--features", type=Path, metavar="FILE", help="vgg_feats.mat or .npy, to use instead of photos")
    look_options(parser)


def _split_options(parser: argparse.ArgumentParser) -> None:
    """Add which photos to evaluate on."""
    parser.add_argument(
        "--split", choices=("train", "val", "test"), default="test", help="photos to use (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _a_file(word: str) -> Path:
    """Return the path that was typed; refuse a folder before hours of training, not after."""
    if Path(word).is_dir():
        raise argparse.ArgumentTypeError(f"{word} is a folder: name a file")
    return Path(word)


# The last action is the default: `samespace match PHOTO` means `samespace match rank PHOTO`.
ACTIONS = {"match": ("train", "evaluate", "rank"), "caption": ("train", "evaluate", "write")}


def in_full(words: list[str]) -> list[str]:
    """Return the words of a command with the action that `match` and `caption` may leave out."""
    actions = ACTIONS.get(words[0], ()) if words else ()
    if not actions or len(words) == 1 or words[1] in (*actions, "-h", "--help"):
        return words
    is_misspelt = difflib.get_close_matches(words[1], actions) and not Path(words[1]).exists()
    return words if is_misspelt else [words[0], actions[-1], *words[1:]]
