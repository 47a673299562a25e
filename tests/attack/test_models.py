"""A model that somebody spoilt is refused in a sentence, or answers with a probability."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from samespace.base.errors import SameSpaceError
from samespace.model.saved import load
from tests.attack.conftest import mutated, spoilt


def test_a_spoilt_model_is_refused_or_answers(
    rounds: Iterator[random.Random], model_folders: dict[str, Path], tmp_path: Path
) -> None:
    photos = [Image.effect_noise((64, 48), sigma).convert("RGB") for sigma in (20, 90)]
    for chance in rounds:
        folder = Path(shutil.copytree(model_folders[chance.choice(["compare", "concat"])], tmp_path / "model"))
        description = folder / "model.json"
        if chance.random() < 0.7:
            description.write_text(json.dumps(mutated(json.loads(description.read_text()), chance)))
        else:
            path = chance.choice(sorted(folder.iterdir()))
            path.write_bytes(spoilt(path.read_bytes(), chance))
        try:
            assert 0 <= load(folder).compare(*photos) <= 1
        except SameSpaceError as error:
            assert "\n" not in str(error)
        shutil.rmtree(folder)
