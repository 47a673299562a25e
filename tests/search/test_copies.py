"""Two photo files are compared as copies are."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from samespace.base.photos import UnreadablePhoto
from samespace.search import same_shot
from samespace.search.copies import LOOK_TWICE, compare_photos, copies_in_words
from tests.conftest import draw


def test_a_copy_scores_high_and_another_photo_low(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.png", "b.png", "copy.jpg")]
    draw(paths[0], 1)
    draw(paths[1], 2)
    with Image.open(paths[0]) as photo:
        photo.convert("RGB").save(paths[2], quality=40)
    assert compare_photos(paths[0], paths[2]) > 0.9
    assert compare_photos(paths[0], paths[1]) < LOOK_TWICE
    with pytest.raises(UnreadablePhoto, match="no such file"):
        compare_photos(paths[0], tmp_path / "none.jpg")


def test_a_score_at_a_threshold_meets_it() -> None:
    scores = (1, same_shot.THRESHOLD, same_shot.THRESHOLD - 0.01, LOOK_TWICE, LOOK_TWICE - 0.01, 0)
    said = ["same shot", "same shot", "look twice", "look twice", "different shots", "different shots"]
    assert list(map(copies_in_words, scores)) == said
