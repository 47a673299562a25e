"""Features of captioned photos stay with their captions, and are computed once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import BACKBONE, draw

from samespace.engine import for_trunk
from samespace.errors import SameSpaceError
from samespace.photos import Pixels, read_pixels
from samespace.reading import SIZE
from samespace.words import features
from samespace.words.captions import Located, locate, read_captions
from samespace.words.features import Featured, Trunk, from_file, from_photos

SPLITS = ("train", "val", "train", "test", "train")


class Means:
    """Looks at photos two at a time and says their mean colour; counts what it has seen."""

    fingerprint = "means"
    fields = {"vectors": ((3,), "float16")}  # noqa: RUF012
    batch = 2

    def __init__(self) -> None:
        self.seen = 0

    def extract(self, pixels: Pixels) -> dict[str, np.ndarray]:
        assert 0 < len(pixels) <= self.batch
        self.seen += len(pixels)
        return {"vectors": pixels.mean((1, 2)).astype(np.float16)}


@pytest.fixture
def located(tmp_path: Path) -> Located:
    """Five photos, of which the third cannot be read."""
    images = [
        {"filename": f"{number}.png", "split": split, "sentences": [{"raw": f"photo {number}"}, {"raw": "a photo"}]}
        for number, split in enumerate(SPLITS)
    ]
    for number in range(5):
        draw(tmp_path / "photos" / f"{number}.png", number)
    (tmp_path / "photos" / "2.png").write_bytes(b"no photo")
    (tmp_path / "dataset.json").write_text(json.dumps({"images": images}), "utf-8")
    return locate(read_captions(tmp_path / "dataset.json"), tmp_path / "photos")


def expected(located: Located, numbers: list[int]) -> np.ndarray:
    rows = np.array([read_pixels(located.paths[number], SIZE).mean((0, 1)) for number in numbers])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_photos_that_cannot_be_read_are_left_out_with_their_captions(located: Located) -> None:
    found = from_photos(located, Means(), "means")
    assert [image.file for image in found.captions.images] == ["0.png", "1.png", "3.png", "4.png"]
    np.testing.assert_allclose(found.features, expected(located, [0, 1, 3, 4]), atol=1e-3)
    assert found.trunk == Trunk("means", "means")
    assert [str(note) for note in found.notes] == ["photos that cannot be read: 1 (2.png)"]


def test_photos_that_can_none_of_them_be_read_are_refused(located: Located) -> None:
    for path in located.paths:
        path.write_bytes(b"no photo")
    with pytest.raises(SameSpaceError, match=r"none of the photos of .*dataset\.json can be read: fetch them again"):
        from_photos(located, Means(), "means")


def test_features_are_computed_once_for_the_same_photos(located: Located, tmp_path: Path) -> None:
    means = Means()
    one, two = (from_photos(located, means, "means", tmp_path / "cache") for _ in range(2))
    assert means.seen == 4
    assert one.features.tobytes() == two.features.tobytes()
    assert one.notes == two.notes
    draw(located.paths[2], 7)
    assert len(from_photos(located, means, "means", tmp_path / "cache").features) == 5
    assert means.seen == 9


def test_features_of_another_extractor_are_others(located: Located, tmp_path: Path) -> None:
    from_photos(located, Means(), "means", tmp_path / "cache")
    other = Means()
    other.fingerprint = "other means"
    assert from_photos(located, other, "means", tmp_path / "cache").trunk.origin == "other means"
    assert other.seen == 4


def test_a_split_has_the_features_of_its_photos(located: Located) -> None:
    whole = from_photos(located, Means(), "means")
    part = whole.only("train")
    assert [image.file for image in part.captions.images] == ["0.png", "4.png"]
    np.testing.assert_array_equal(part.features, whole.features[[0, 3]])
    with pytest.raises(SameSpaceError, match="has no val photos"):
        part.only("val")


def test_a_file_has_features_of_all_photos_that_are_named(located: Located, tmp_path: Path) -> None:
    rows = np.arange(1, 21).reshape(5, 4)
    np.save(tmp_path / "some.npy", rows)
    captions = located.captions.only("train")
    found = from_file(tmp_path / "some.npy", captions)
    assert found.trunk == Trunk("some.npy", "")
    chosen = rows[[0, 2, 4]]
    np.testing.assert_allclose(found.features, chosen / np.linalg.norm(chosen, axis=1, keepdims=True), rtol=1e-6)
    assert isinstance(found, Featured)


def test_a_real_trunk_says_of_photos_what_it_says_in_a_library(located: Located) -> None:
    extractor = for_trunk(BACKBONE, "none")
    found = from_photos(located, extractor, BACKBONE)
    pixels = np.stack([read_pixels(located.paths[number], SIZE) for number in (0, 1, 3, 4)])
    vectors = extractor.extract(pixels)["vectors"].astype(np.float32)
    np.testing.assert_allclose(
        found.features, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), rtol=1e-3, atol=1e-4
    )
    assert found.trunk == Trunk(BACKBONE, features.origin(extractor))
