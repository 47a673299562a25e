"""SameSpace tells whether two photos show the same space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samespace.model import Model

__version__ = "0.1.0"


def load(folder: str | Path, device: str = "cpu") -> Model:
    """The trained model in a folder: it has `compare(photo0, photo1)`, `embed(photos)` and `score(embeddings0, …1)`."""
    from samespace.model import load as load_model  # torch takes seconds to import; `import samespace` does not

    return load_model(folder, device)
