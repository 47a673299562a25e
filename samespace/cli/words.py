"""`samespace match` and `samespace caption`: what they are told, and who does it."""

from __future__ import annotations

import argparse
from pathlib import Path

from samespace.cli.options import a_folder, library_word, look_words, reading_words

MATCHER, CAPTIONER = "match.safetensors", "caption.safetensors"  # in the current folder, where nobody names others


def match(arguments: argparse.Namespace) -> None:
    """Train what understands sentences, and say how good it is; or rank sentences for a photo.

    `samespace match PHOTO` is short for `samespace match rank PHOTO`. Captioned photos are a folder with a dataset.json
    as Karpathy's, COCO's or Flickr8k's files, CSV or JSONL, or with a .txt beside each photo.
    """
    from samespace.cli.matchers import match_evaluate, match_rank, match_train

    actions = {"train": match_train, "evaluate": match_evaluate, "rank": match_rank}
    actions[arguments.action](arguments)


def caption(arguments: argparse.Namespace) -> None:
    """Describe photos in a sentence each; or train what does, and say how good it is.

    `samespace caption PHOTO | DIR` is short for `samespace caption write PHOTO | DIR`. Captions are kept in libraries;
    what a person wrote stays.
    """
    from samespace.cli.captioners import caption_evaluate, caption_train, caption_write

    actions = {"train": caption_train, "evaluate": caption_evaluate, "write": caption_write}
    actions[arguments.action](arguments)


def match_words(parser: argparse.ArgumentParser) -> None:
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


def caption_words(parser: argparse.ArgumentParser) -> None:
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


# What a command does that names a photo, and no action: `samespace match PHOTO`.
ACTIONS = {"match": ("train", "evaluate", "rank"), "caption": ("train", "evaluate", "write")}


def in_full(words: list[str]) -> list[str]:
    actions = ACTIONS.get(words[0]) if words else None
    short = actions and len(words) > 1 and words[1] not in (*actions, "-h", "--help")
    return [words[0], actions[-1], *words[1:]] if actions and short else words
