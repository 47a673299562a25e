"""SameSpace tells whether two photos show the same space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samespace.duplicates.imagededup import (
        encode_images,
        find_duplicates,
        find_duplicates_to_remove,
        plot_duplicates,
    )
    from samespace.model.saved import Model

__version__ = "0.2.0"
__all__ = ["encode_images", "find_duplicates", "find_duplicates_to_remove", "load", "plot_duplicates"]


def load(folder: str | Path) -> Model:
    """Return the trained model in a folder: `compare(photo0, photo1)`, `embed(photos)`, `score(embeddings0, …1)`."""
    from samespace.model.saved import load as load_model  # only now: `import samespace` takes no time

    return load_model(folder)


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'samespace' has no attribute {name!r}")
    from samespace.duplicates import imagededup  # only now, as above

    return getattr(imagededup, name)
