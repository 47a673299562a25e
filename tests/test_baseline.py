"""The comparison for those who have no trained model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from samespace.base.photos import UnreadablePhoto, read_pixels
from samespace.baseline import cosine
from samespace.model.backbone import make_trunk


def test_the_cosine_is_that_of_the_trunks_embeddings(blocks: list[Path]) -> None:
    trunk = make_trunk("mobilenet_v3_small", "none")
    with torch.no_grad():
        pixels = [torch.from_numpy(read_pixels(path, 256)).permute(2, 0, 1)[None] for path in blocks[:2]]
        first, second = (trunk(photo)[0].double().numpy() for photo in pixels)
    expected = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert cosine(blocks[:2], "mobilenet_v3_small", "none") == pytest.approx(expected, abs=1e-4)
    assert cosine([blocks[0], str(blocks[0])], "mobilenet_v3_small", "none") == pytest.approx(1, abs=1e-5)


def test_an_unreadable_photo_is_named(blocks: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UnreadablePhoto, match=r"nothing\.jpg: no such file"):
        cosine([blocks[0], tmp_path / "nothing.jpg"], "mobilenet_v3_small", "none")
