"""Features of captioned photos stay with their captions, and are computed once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from samespace.base.errors import SameSpaceError
from samespace.base.photos import SIZE, Pixels, read_pixels
from samespace.model.bare import for_backbone
from samespace.words import photo_features
from samespace.words.caption_set import Located, locate, read_captions
from samespace.words.photo_features import (
    COMBINATION,
    SHARES,
    Featured,
    FeatureSource,
    combine_fields,
    from_file,
    from_photos,
)
from tests.conftest import BACKBONE, draw

SPLITS = ("train", "val", "train", "test", "train")


class Means:
    """Looks at photos two at a time and says their mean colour, whole and by halves; counts what it has seen."""

    fingerprint = "means"
    fields = {"vectors": ((3,), "float16"), "colours": ((6,), "uint8")}  # noqa: RUF012
    batch = 2

    def __init__(self) -> None:
        self.seen = 0

    def extract(self, pixels: Pixels) -> dict[str, np.ndarray]:
        assert 0 < len(pixels) <= self.batch
        self.seen += len(pixels)
        halves = pixels.reshape(len(pixels), SIZE, 2, -1, 3).mean((1, 3)).reshape(len(pixels), 6)
        return {"vectors": pixels.mean((1, 2)).astype(np.float16), "colours": halves.astype(np.uint8)}


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
    rows = [Means().extract(read_pixels(located.paths[number], SIZE)[None]) for number in numbers]
    return np.concatenate(list(map(combine_fields, rows)))


Rows = npt.NDArray[np.float32]
numbers = st.integers(-1000, 1000)


@given(arrays(np.float16, (3, 4), elements=numbers), arrays(np.uint8, (3, 5)))
def test_each_field_has_its_share_of_a_row(vectors: Rows, colours: Rows) -> None:
    vectors[:, 0], colours[:, 0] = 1, 1
    found = combine_fields({"vectors": vectors, "colours": colours, "parts": np.empty((3, 0))})
    assert found.dtype == np.float32
    np.testing.assert_allclose((found[:, :4] ** 2).sum(1), SHARES["vectors"], rtol=1e-5)
    np.testing.assert_allclose((found[:, 4:] ** 2).sum(1), SHARES["colours"], rtol=1e-5)
    for part, rows in ((found[:, :4], vectors), (found[:, 4:], colours)):
        cosines = (part * rows).sum(1) / np.linalg.norm(part, axis=1) / np.linalg.norm(rows.astype(np.float32), axis=1)
        np.testing.assert_allclose(cosines, 1, rtol=1e-5)


def test_a_row_is_of_length_1_if_all_vectors_are_zero() -> None:
    found = combine_fields({"vectors": np.zeros((2, 4), np.float16), "colours": np.full((2, 5), 9, np.uint8)})
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)


def test_photos_that_cannot_be_read_are_left_out_with_their_captions(located: Located) -> None:
    found = from_photos(located, Means(), "means")
    assert [image.file for image in found.captions.images] == ["0.png", "1.png", "3.png", "4.png"]
    np.testing.assert_array_equal(found.features, expected(located, [0, 1, 3, 4]))
    assert found.feature_source == FeatureSource("means", f"means, {COMBINATION}")
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
    assert (
        from_photos(located, other, "means", tmp_path / "cache").feature_source.origin == f"other means, {COMBINATION}"
    )
    assert other.seen == 4


def test_other_shares_are_computed_anew_and_of_another_origin(
    located: Located, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    means = Means()
    before = from_photos(located, means, "means", tmp_path / "cache")
    monkeypatch.setattr(photo_features, "SHARES", {"colours": 1.0})
    monkeypatch.setattr(photo_features, "COMBINATION", "colours alone")
    after = from_photos(located, means, "means", tmp_path / "cache")
    assert (before.features.shape, after.features.shape) == ((4, 9), (4, 6))
    assert before.feature_source.origin != after.feature_source.origin
    assert means.seen == 8


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
    assert found.feature_source == FeatureSource("some.npy", "")
    chosen = rows[[0, 2, 4]]
    np.testing.assert_allclose(found.features, chosen / np.linalg.norm(chosen, axis=1, keepdims=True), rtol=1e-6)
    assert isinstance(found, Featured)


def test_a_real_backbone_says_of_photos_what_it_says_in_a_library(located: Located) -> None:
    extractor = for_backbone(BACKBONE, "none")
    found = from_photos(located, extractor, BACKBONE)
    pixels = np.stack([read_pixels(located.paths[number], SIZE) for number in (0, 1, 3, 4)])
    np.testing.assert_array_equal(found.features, combine_fields(extractor.extract(pixels)))
    assert found.feature_source == FeatureSource(BACKBONE, photo_features.origin(extractor))
