"""Both kinds of models that write captions, by one name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from samespace.base.arrays import Array
from samespace.words import nearest_captions
from samespace.words.captioner import Captioner
from samespace.words.model_files import kind_of
from samespace.words.nearest_captions import Borrower
from samespace.words.photo_features import FeatureSource


class Writer(Protocol):
    """A captioner or a borrower: it writes a sentence for a photo by its features."""

    feature_source: FeatureSource
    about: dict[str, Any]

    def check(self, feature_source: FeatureSource) -> None: ...

    def captions(self, features: Array) -> list[str]: ...


def load(path: Path) -> Writer:
    """Read the captioner or the borrower in a file."""
    if kind_of(path) == nearest_captions.KIND:
        return Borrower.load(path)
    return Captioner.load(path)
