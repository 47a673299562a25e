"""The command line: parse, call the library, print. Results go to stdout, all else to stderr."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import samespace
from samespace.errors import exit_status


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
        from samespace import baseline

        print("no --model given: comparing ImageNet features, which knows nothing of rooms", file=sys.stderr)
        score, threshold = baseline.cosine(photos, arguments.backbone, arguments.weights), baseline.THRESHOLD
        meaning = "cosine"
    same = score >= threshold
    if arguments.json:
        print(json.dumps({meaning: score, "threshold": threshold, "same_space": same}))
    else:
        print(f"{'same space' if same else 'different spaces'} ({meaning} {score:.4f}, from {threshold:g} on the same)")


def evaluate(arguments: argparse.Namespace) -> None:
    """How good is a model on labelled photos?

    loss and accuracy are those of training, over augmented pairs; all else is over every unordered pair of distinct
    photos. --split validation takes the spaces that training held out, and gives the metrics that training saw.
    """
    from samespace.evaluation import evaluate as evaluate_model
    from samespace.evaluation import plot_precision_recall
    from samespace.features import default_cache

    evaluation = evaluate_model(samespace.load(arguments.model), arguments.root, arguments.split, default_cache())
    if arguments.plot:
        plot_precision_recall(evaluation, arguments.plot)
    if arguments.json:
        print(json.dumps(evaluation.figures))
    else:
        for name, figure in evaluation.figures.items():
            print(f"{name:<24}{figure:>14,.4f}" if isinstance(figure, float) else f"{name:<24}{figure:>14,}")


def export(arguments: argparse.Namespace) -> None:
    """Take the model out of a checkpoint.

    Checks the model that the checkpoint carries and copies it, or rebuilds it from the checkpoint's raw state.
    """
    from samespace.export import export as export_model

    model = export_model(arguments.checkpoint, arguments.output)
    print(f"{arguments.output}: {model.description['head']} head on {model.description['trunk']}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="samespace", description=samespace.__doc__)
    parser.add_argument("--version", action="version", version=samespace.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    compare_, evaluate_, export_ = (_command(commands, work) for work in (compare, evaluate, export))

    compare_.add_argument("photo0", type=Path, metavar="A")
    compare_.add_argument("photo1", type=Path, metavar="B")
    compare_.add_argument("--model", type=Path, metavar="DIR", help="a trained model's folder")
    compare_.add_argument("--backbone", default="mobilenet_v3_large", help="without --model (default: %(default)s)")
    compare_.add_argument(
        "--weights", default="imagenet", help="without --model: imagenet or a state dict's path (default: %(default)s)"
    )
    compare_.add_argument("--json", action="store_true", help="print JSON")

    evaluate_.add_argument("model", type=Path, metavar="DIR", help="a trained model's folder")
    evaluate_.add_argument("root", type=Path, metavar="ROOT", help="the folder that holds 'Airbnb Data'")
    evaluate_.add_argument(
        "--split", default="Test Data", help="a folder of photos, or `validation` (default: %(default)s)"
    )
    evaluate_.add_argument("--plot", type=Path, metavar="FILE.png", help="draw precision against recall")
    evaluate_.add_argument("--json", action="store_true", help="print JSON")

    export_.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="as `det checkpoint download` wrote it")
    export_.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="the folder to write")
    return parser


def _command(commands: argparse._SubParsersAction[argparse.ArgumentParser], work: object) -> argparse.ArgumentParser:
    """A command is a function of this file: its name, and its docstring as help."""
    name, text = work.__name__, work.__doc__ or ""  # type: ignore[attr-defined]
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text.splitlines()[0], description=text)
    parser.set_defaults(work=work)
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; a mistake is one line on stderr and exit status 1."""
    arguments = _parser().parse_args(words)
    return exit_status(lambda: arguments.work(arguments))


if __name__ == "__main__":
    sys.exit(main())
