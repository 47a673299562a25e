"""Captioned photos to train and test with, as `samespace match` and `samespace caption` name them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from samespace.base.arrays import Floats
from samespace.base.once import default_cache
from samespace.base.photos import SIZE, read_pixels
from samespace.cli.options import has_look
from samespace.search.look import Look, choose_look, extracted, look_from_options
from samespace.words.photo_features import Featured, FeatureSource, combine_fields, read_featured

BACKBONE = "mobilenet_v3_large"


def chosen(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return those of these options that were given; a recipe has good values for the rest."""
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def data(arguments: argparse.Namespace, feature_source: FeatureSource | None = None) -> Featured:
    """Read the captioned photos that a command names, as features of a look; report what is left out on stderr."""
    featured = read_featured(
        arguments.root,
        arguments.captions,
        arguments.features,
        lambda: choose(arguments, feature_source),
        default_cache(),
    )
    for note in (*featured.captions.notes, *featured.notes):
        print(f"left out: {note}", file=sys.stderr)
    return featured


def choose(arguments: argparse.Namespace, feature_source: FeatureSource | None) -> Look:
    """Return the look of --model or --backbone, else the one that features come from, else the default backbone's."""
    if has_look(arguments):
        return choose_look(arguments.model, arguments.backbone, arguments.weights)
    if feature_source:
        return look_from_options(feature_source.options)
    return choose_look(None, BACKBONE, arguments.weights)


def seen(look: Look, photo: Path) -> Floats:
    """Return what matchers and captioners see of a photo: (1, D)."""
    return combine_fields(extracted(look, read_pixels(photo, SIZE)[None]))


def show_splits(featured: Featured, evaluate: Callable[[Featured], object]) -> None:
    """Print how good a model is on the validation photos and on the test photos, if there are any."""
    for split in ("val", "test"):
        if featured.captions.counts()[split]:
            print(f"{split}\n{evaluate(featured.only(split))}")
