"""Looks, the ways to compare photos: for copies, by a backbone's features or by a trained model."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from samespace.base.arrays import Array, unit
from samespace.base.errors import SameSpaceError
from samespace.base.photos import Pixels
from samespace.base.text import shell_word
from samespace.library.library import Library
from samespace.library.read_photos import Extractor, former
from samespace.model.projection import MATERIALS
from samespace.search import same_shot

if TYPE_CHECKING:
    from samespace.model.saved import Model


THRESHOLD = 0.9  # the score from which two photos of a library show one space: 99 % of such pairs should
SHORTLIST = 16  # on training spaces held out, and among 400 other photos, these hold every photo of the same space


# From this cosine on two photos are called the same space without a trained model. A habit of deduplicators, not a
# calibrated choice: imagededup's default.
COSINE_THRESHOLD = 0.9

_extracting = Lock()  # an extractor is for one caller at a time
_NOTE = "look"  # its name in the library's notes


class Look(NamedTuple):
    """A way to compare photos."""

    name: str  # for people: "the same shot", "mobilenet_v2", "the model kitchens"
    meaning: str  # of its scores: "same shot", "cosine" or "probability"
    extractor: Extractor
    field: str  # the one of the extractor's fields that finds what may be alike
    model: Model | None = None
    options: tuple[str, ...] = ()  # what to type for it: --backbone mobilenet_v2

    @property
    def extractors(self) -> list[Extractor]:
        """Return all that a scan for this look keeps."""
        return [self.extractor, *([self.deciding] if self.deciding is not self.extractor else [])]

    @property
    def deciding(self) -> Extractor:
        """Return the extractor of what tells if two photos show one space: of materials, where the look has any."""
        return getattr(self.extractor, MATERIALS, None) or self.extractor

    @property
    def is_unit(self) -> bool:
        """Return True if the rows of `field` are kept at length 1."""
        if self.model is not None:
            return self.model.rooms is not None or self.model.has_parts
        return self.meaning == "same shot"

    @property
    def threshold(self) -> float | None:
        """Return the score from which two photos are the same; None for a backbone's cosine, which has no such mark."""
        if self.model is not None:
            return self.model.thresholds("alone").sure
        return same_shot.THRESHOLD if self.meaning == "same shot" else None


def look_for_copies() -> Look:
    """Return the look that finds copies of one shot, however they were edited: it needs no network and no weights."""
    return Look("the same shot", "same shot", same_shot.Sketches(), "outline")


def choose_look(model: Path | None = None, backbone: str | None = None, weights: str = "imagenet") -> Look:
    """Return the look of a trained model or of a backbone; without either, the one that finds copies."""
    if model and backbone:
        raise SameSpaceError("a model has a backbone of its own: give --model or --backbone, not both")
    if not model and not backbone:
        if weights != "imagenet":
            raise SameSpaceError("--weights are those of a backbone: add --backbone NAME")
        return look_for_copies()
    if model:
        from samespace.model.saved import load

        loaded, folder = load(model), os.path.realpath(model)
        name = f"the model {Path(folder).name}"
        return Look(name, "probability", loaded.extractor, "vectors", loaded, ("--model", folder))
    assert backbone is not None
    from samespace.model.bare import for_backbone
    from samespace.model.hub import is_named

    if is_named(backbone) and Path(backbone).is_dir():  # the next command may be typed elsewhere
        backbone = os.path.realpath(backbone)
    kept = weights if weights in ("imagenet", "none") else os.path.realpath(weights)
    options = ("--backbone", backbone, *(("--weights", kept) if kept != "imagenet" else ()))
    return Look(backbone, "cosine", for_backbone(backbone, weights), "vectors", options=options)


def remember_look(library: Library, chosen: Look) -> None:
    """Note that the library was scanned for this look: it is searched by it until it is scanned for another."""
    if chosen.options:
        note = {"options": chosen.options, "fingerprint": chosen.extractor.fingerprint}
        library.write_note(_NOTE, json.dumps(note))


def is_remembered(library: Library, look: Look) -> bool:
    """Tell whether the library was scanned for this look last, without loading the one that it was scanned for."""
    note = library.note(_NOTE)
    if note is None:
        return not look.options
    noted, known = json.loads(note), (look.extractor.fingerprint, *former(look.extractor))
    return tuple(noted["options"]) == look.options and noted["fingerprint"] in known


def remembered_look(library: Library) -> Look:
    """Return the look the library was scanned for last; if for none, the one that finds copies."""
    note = library.note(_NOTE)
    if note is None:
        return look_for_copies()
    options: list[str] = json.loads(note)["options"]
    names, typed = _by_name(options), " ".join(map(shell_word, options))
    for path in (names.get("model"), names.get("weights")):
        if path and path not in ("imagenet", "none") and not Path(path).exists():
            raise SameSpaceError(
                f"{library.folder} was scanned with {typed}, which has gone: give the --model or the --backbone to "
                "compare by, and scan with it first"
            )
    chosen, noted = look_from_options(options), json.loads(note)["fingerprint"]
    if noted != chosen.extractor.fingerprint and noted not in former(chosen.extractor):
        raise SameSpaceError(
            f"{library.folder} was scanned with another version of {typed}: scan again with these options"
        )
    library.take_over(chosen.extractor)
    return chosen


def is_outdated(library: Library, look: Look) -> bool:
    """Tell whether an earlier version scanned this library for the look, and kept less of each photo."""
    if look.deciding is look.extractor:
        return False
    return not library.rows(look.extractor).keys() <= library.rows(look.deciding).keys()


def look_from_options(options: Sequence[str]) -> Look:
    """Return the look whose `options` these are."""
    names = _by_name(options)
    model = Path(names["model"]) if "model" in names else None
    return choose_look(model, names.get("backbone"), names.get("weights", "imagenet"))


def _by_name(options: Sequence[str]) -> dict[str, str]:
    return dict(zip((option.lstrip("-") for option in options[::2]), options[1::2], strict=True))


def extracted(look: Look, pixels: Pixels) -> dict[str, Array]:
    """Return a look's features of photos (N, 256, 256, 3), N rows a field; any thread may ask."""
    with _extracting:
        batch, fields = look.extractor.batch, look.extractor.fields
        blocks = [look.extractor.extract(pixels[at : at + batch]) for at in range(0, len(pixels), batch)]
    nothing = {name: np.empty((0, *shape), dtype) for name, (shape, dtype) in fields.items()}
    return {name: np.concatenate([nothing[name], *(block[name] for block in blocks)]) for name in fields}


def compare_pair(look: Look, pixels: Pixels) -> tuple[float, float]:
    """Return the score of two photos, (2, 256, 256, 3), and the score from which they are the same."""
    if look.model is not None:
        first, second = map(Image.fromarray, pixels)
        return look.model.compare(first, second), look.model.threshold
    if look.meaning == "same shot":
        grey = same_shot.sketch(pixels)
        return float(same_shot.same_shot(grey[:1], grey[1:])[0]), same_shot.THRESHOLD
    first, second = unit(extracted(look, pixels)["vectors"].astype(np.float32))
    return float(first @ second), COSINE_THRESHOLD
