"""What matchers and captioners learn from and are shown, as a command names it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from samespace.base.arrays import Floats
from samespace.base.photos import read_pixels
from samespace.library.read_photos import SIZE
from samespace.model.feature_bank import default_cache
from samespace.search.look import Look, choose_look, extracted, look_from_options
from samespace.words.photo_features import Featured, FeatureSource, combine_fields, read_featured

BACKBONE = "mobilenet_v3_large"


def chosen(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """What was typed; for the rest the recipe knows what is good."""
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def data(arguments: argparse.Namespace, feature_source: FeatureSource | None = None) -> Featured:
    """Read the captioned photos that a command names, as a model's backbone sees them; say what is left out."""
    featured = read_featured(
        arguments.root,
        arguments.captions,
        arguments.features,
        lambda: look_of_words(arguments, feature_source),
        default_cache(),
    )
    for note in (*featured.captions.notes, *featured.notes):
        print(f"left out: {note}", file=sys.stderr)
    return featured


def look_of_words(arguments: argparse.Namespace, feature_source: FeatureSource | None) -> Look:
    """What was asked for, or else what a model of words was trained with, or else the usual backbone."""
    if arguments.model or arguments.backbone:
        return choose_look(arguments.model, arguments.backbone, arguments.weights)
    return (
        look_from_options(feature_source.options) if feature_source else choose_look(None, BACKBONE, arguments.weights)
    )


def seen(look: Look, photo: Path) -> Floats:
    """(1, D): what models of words are told of a photo."""
    return combine_fields(extracted(look, read_pixels(photo, SIZE)[None]))


def show_splits(featured: Featured, evaluate: Callable[[Featured], object]) -> None:
    for split in ("val", "test"):
        if featured.captions.counts()[split]:
            print(f"{split}\n{evaluate(featured.only(split))}")
