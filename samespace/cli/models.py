"""Compare two photos, measure a model, take one out of a checkpoint."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from uuid import UUID

import samespace
from samespace.search.look import choose_look, compare_pair


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
        from samespace.cli import cluster, show

        asked = {"experiment": arguments.experiment, "trial": arguments.trial, "checkpoint": arguments.uuid}
        ((noun, number),) = ((noun, number) for noun, number in asked.items() if number is not None)
        brought = cluster.fetch(noun, number, arguments.output)
        if arguments.uuid is None and brought.state not in ("COMPLETED", "CANCELED", "ERROR"):
            print(f"not finished, but {brought.state}: this is the best so far", file=sys.stderr)
        show.show_brought(brought)
        return
    from samespace.model.checkpoint import export as export_model

    output = arguments.output or Path("model")
    model = export_model(arguments.checkpoint, output)
    print(f"{output}: {model.description['head']} head on {model.description['trunk']}")


def compare_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photo0", type=Path, metavar="A")
    parser.add_argument("photo1", type=Path, metavar="B")
    parser.add_argument("--model", type=Path, metavar="DIR", help="a trained model's folder")
    parser.add_argument("--backbone", default="mobilenet_v3_large", help="without --model (default: %(default)s)")
    parser.add_argument(
        "--weights", default="imagenet", help="without --model: imagenet or a state dict's path (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def evaluate_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="DIR", help="a trained model's folder")
    parser.add_argument("root", type=Path, metavar="ROOT", help="the folder that holds 'Airbnb Data'")
    parser.add_argument(
        "--split", default="Test Data", help="a folder of photos, or `validation` (default: %(default)s)"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw precision against recall")
    parser.add_argument("--json", action="store_true", help="print JSON")


def export_words(parser: argparse.ArgumentParser) -> None:
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
