"""Compare two photos, evaluate a model, and take one out of a checkpoint or off a cluster."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import samespace
from samespace.base.text import score_words, size_words
from samespace.cli.options import has_look, thorough_option

if TYPE_CHECKING:
    from samespace.search.explain import Proof


def compare(arguments: argparse.Namespace) -> None:
    """Tell if two photos are copies, or show the same space.

    Without --model and --backbone, tells copies, and downloads nothing. With --model, prints the probability that both
    show the same space; with --backbone, the cosine similarity of ImageNet features, which were not trained to
    recognise rooms. In any case, photos that share enough points are proved to show one place; --explain draws these
    points, and --thorough looks twice for them.
    """
    from samespace.base.pictures import refuse_foreign_picture
    from samespace.model.lightglue import package
    from samespace.model.points import PROOF
    from samespace.search.explain import draw, find_proof, in_words, see

    photos = [arguments.photo0, arguments.photo1]
    if arguments.explain:  # before the work, not after it
        refuse_foreign_picture(arguments.explain)
    if arguments.thorough:
        package()
    proof = find_proof(*map(see, photos))
    if arguments.thorough:
        from samespace.model.learnt_points import LearntPoints
        from samespace.search.second_look import prove_again

        proof = prove_again(proof, photos, LearntPoints())
    spoke = []
    if not has_look(arguments) and arguments.weights == "imagenet":
        _compare_copies(arguments, proof)
        return
    if arguments.model:
        model = samespace.load(arguments.model)
        score, likeness = model.compare_knowing(arguments.photo0, arguments.photo1, proof.shared)
        threshold, meaning = model.threshold, "probability"
        if model.rooms:
            spoke.append(f"materials and light: {likeness:.2f} alike")
    else:
        print("no --model: comparing ImageNet features, which were not trained to recognise rooms", file=sys.stderr)
        import numpy as np

        from samespace.base.photos import SIZE, read_pixels
        from samespace.search.look import choose_look, compare_pair

        pixels = np.stack([read_pixels(photo, SIZE) for photo in photos])
        backbone = arguments.backbone or "mobilenet_v3_large"
        score, threshold = compare_pair(choose_look(None, backbone, arguments.weights), pixels)
        meaning = "cosine"
    same = score >= threshold or proof.shared >= PROOF
    if arguments.explain:
        draw(proof, photos, arguments.explain)
    if arguments.json:
        found = {meaning: score, "threshold": threshold, "shared_points": proof.shared, "same_space": same}
        print(json.dumps(found))
        return
    if proof.shared >= PROOF and score < threshold:
        print(f"same space ({in_words(proof.shared)}; {meaning} {score:.4f})")
        return
    print(f"{'same space' if same else 'different spaces'} ({meaning} {score:.4f}; same if {threshold:.2g} or more)")
    if arguments.explain:
        print(*spoke, in_words(proof.shared), sep="\n")


def _compare_copies(arguments: argparse.Namespace, proof: Proof) -> None:
    """Print whether two photos are copies, what their shared points prove, and how to ask for more."""
    from samespace.model.points import PROOF
    from samespace.search.copies import compare_photos, copies_in_words
    from samespace.search.explain import draw, in_words
    from samespace.search.same_shot import THRESHOLD

    photos = [arguments.photo0, arguments.photo1]
    score = compare_photos(*photos)
    if arguments.explain:
        draw(proof, photos, arguments.explain)
    is_proved = proof.shared >= PROOF
    if arguments.json:
        # Different shots may show one space: without a network nobody can tell.
        same_space = True if score >= THRESHOLD or is_proved else None
        found = {"same_shot": score, "threshold": THRESHOLD, "answer": copies_in_words(score)}
        print(json.dumps({**found, "shared_points": proof.shared, "same_space": same_space}))
        return
    print(f"{copies_in_words(score)}, {score_words(score)}")
    if is_proved and score < THRESHOLD:
        print(f"same space ({in_words(proof.shared)})")
    elif arguments.explain or arguments.thorough:
        print(in_words(proof.shared))
    print("--model DIR or --backbone NAME says if they show the same room", file=sys.stderr)


def evaluate(arguments: argparse.Namespace) -> None:
    """Measure a model on labelled photos.

    A model of `compare` takes the photos for one library and scores them as `dedupe --kind same-space` does: a short
    list for each, then the evidence; pairs that are not on it count as found last. Other models score every pair of
    distinct photos; their balanced_… figures and validation_loss cover pairs sampled as in training, which flatter.
    --split validation measures the spaces that training held out, and gives the figures that training reported.
    """
    from samespace.base.once import default_cache
    from samespace.model.lightglue import package
    from samespace.search.evaluate import evaluate as evaluate_model
    from samespace.search.evaluate import plot, refuse_foreign_plot

    if arguments.plot:  # before the work, not after it
        refuse_foreign_plot(arguments.plot)
    if arguments.thorough:
        package()
    model = samespace.load(arguments.model)
    evaluation = evaluate_model(model, arguments.root, arguments.split, default_cache(), arguments.thorough)
    if arguments.plot:
        plot(evaluation, arguments.plot)
    if arguments.json:
        print(json.dumps(evaluation.figures))
    else:
        for name, figure in evaluation.figures.items():
            print(f"{name:<33}{figure:>10,.4f}" if isinstance(figure, float) else f"{name:<33}{figure:>10,}")


def export(arguments: argparse.Namespace) -> None:
    """Take a model out of a checkpoint, or off a cluster.

    CHECKPOINT is a folder: its model is checked and copied, or rebuilt from the raw state. --experiment, --trial and
    --checkpoint ask the Determined master instead, as `det` does (DET_MASTER, `det user login`), and download what was
    trained: a model, match.safetensors, caption.safetensors, encoder.safetensors, or embedded photos.
    """
    if arguments.checkpoint is None:
        from samespace.cli import cluster, show

        asked = {"experiment": arguments.experiment, "trial": arguments.trial, "checkpoint": arguments.uuid}
        ((noun, number),) = ((noun, number) for noun, number in asked.items() if number is not None)
        brought = cluster.fetch(noun, number, arguments.output)
        if arguments.uuid is None and brought.state not in ("COMPLETED", "CANCELED", "ERROR"):
            print(f"not finished yet, it is {brought.state}: this is the best so far", file=sys.stderr)
        show.show_brought(brought)
        return
    from samespace.model.checkpoint import export as export_model

    output = arguments.output or Path("model")
    described = export_model(arguments.checkpoint, output)
    print(f"{output}: {described['head']} head on {described['trunk']}")


def backbone(arguments: argparse.Namespace) -> None:
    """Convert a network of torchvision or Hugging Face to ONNX.

    Where torch is installed: its weights are fetched, of torchvision checked by the hash that it published, and kept in
    the cache. NAME may be a name on the Hub (facebook/dinov2-small) or a folder; of these only safetensors are read.
    From then on --backbone NAME needs neither torch nor a network; copy the folder to have it elsewhere.
    """
    from samespace.model.bare import convert

    folder = convert(arguments.name, arguments.weights)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{arguments.name} runs without torch: {folder}, {size_words(size)}")


def compare_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `samespace compare`."""
    parser.add_argument("photo0", type=Path, metavar="A", help="a photo")
    parser.add_argument("photo1", type=Path, metavar="B", help="another photo")
    parser.add_argument("--model", type=Path, metavar="DIR", help="a trained model's folder")
    parser.add_argument("--backbone", metavar="NAME", help="without --model: compare the features of this backbone")
    parser.add_argument(
        "--weights", default="imagenet", help="for --backbone: imagenet or a state dict file (default: %(default)s)"
    )
    thorough_option(parser, "look twice for points that both photos show")
    parser.add_argument("--explain", type=Path, metavar="FILE.png", help="also draw the points that both photos show")
    parser.add_argument("--json", action="store_true", help="print JSON")


def evaluate_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `samespace evaluate`."""
    parser.add_argument("model", type=Path, metavar="DIR", help="a trained model's folder")
    parser.add_argument("root", type=Path, metavar="ROOT", help="data set: the folder that holds 'Airbnb Data'")
    parser.add_argument(
        "--split", default="Test Data", help="folder of the data set, or `validation` (default: %(default)s)"
    )
    thorough_option(parser, "look twice for points that photos share, as `dedupe --thorough` does; takes minutes")
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE.png",
        help="also plot precision, recall and calibration",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def backbone_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `samespace backbone`."""
    parser.add_argument("name", metavar="NAME", help="mobilenet_v3_large, resnet50, facebook/dinov2-small, …")
    parser.add_argument("--weights", default="imagenet", help="imagenet, or a state dict file (default: %(default)s)")


def export_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `samespace export`."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "checkpoint", type=Path, nargs="?", metavar="CHECKPOINT", help="folder that `det checkpoint download` wrote"
    )
    source.add_argument("--experiment", type=int, metavar="N", help="download the best checkpoint of this experiment")
    source.add_argument("--trial", type=int, metavar="N", help="download the best checkpoint of this trial")
    source.add_argument("--checkpoint", dest="uuid", type=_uuid, metavar="UUID", help="download this checkpoint")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="PATH", help="where to write it (default: model, match.safetensors, …)"
    )


def _uuid(word: str) -> str:
    """Return a UUID as it is usually written."""
    from uuid import UUID  # which asks what platform this is

    try:
        return str(UUID(word))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{word!r} is not a UUID: copy it from the web UI") from error
