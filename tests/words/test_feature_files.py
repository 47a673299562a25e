"""Features that somebody else computed go to the photos they are of, or are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.io import savemat

from samespace.base.errors import SameSpaceError
from samespace.words.caption_set import CaptionSet, read_captions
from samespace.words.feature_files import read_features, unit_rows

FEATURES = np.arange(28, dtype=np.float32).reshape(4, 7) - 3  # of four photos


@pytest.fixture
def captions(tmp_path: Path) -> CaptionSet:
    """Four photos, of which the second has no caption."""
    said = [
        ("a.jpg", "train", ["a bed"]),
        ("b.jpg", "train", []),
        ("c.jpg", "val", ["a", "b"]),
        ("d.jpg", "train", ["d"]),
    ]
    images = [
        {"filename": one, "split": split, "sentences": [{"raw": raw} for raw in raws]} for one, split, raws in said
    ]
    (tmp_path / "dataset.json").write_text(json.dumps({"images": images}), "utf-8")
    return read_captions(tmp_path / "dataset.json")


def save(path: Path, features: object, key: str = "feats") -> Path:
    """As the two formats have it: a .mat with a photo a column, a .npy with a photo a row."""
    if path.suffix == ".mat":
        savemat(path, {key: np.asarray(features).T})
    else:
        np.save(path, np.asarray(features))
    return path


both = pytest.mark.parametrize("name", ["vgg_feats.mat", "features.npy"])


@both
@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "int16"])
def test_each_captioned_photo_gets_its_own_row(tmp_path: Path, captions: CaptionSet, name: str, kind: str) -> None:
    path = save(tmp_path / name, FEATURES.astype(kind))
    features = read_features(path, captions)
    assert features.dtype == np.float32
    assert features.flags.c_contiguous
    assert features.tolist() == FEATURES[[0, 2, 3]].tolist()
    assert read_features(path, captions.only("train")).tolist() == FEATURES[[0, 3]].tolist()


@both
def test_a_table_as_wide_as_long_is_read_as_its_format_has_it(tmp_path: Path, captions: CaptionSet, name: str) -> None:
    square = FEATURES[:, :4]
    assert read_features(save(tmp_path / name, square), captions).tolist() == square[[0, 2, 3]].tolist()


@both
@pytest.mark.parametrize(
    ("features", "complaint"),
    [
        (
            FEATURES[:3],
            r"has features of 3 photos, .*dataset\.json names 4: give the features that were computed for it",
        ),
        (np.vstack([FEATURES, FEATURES]), r"has features of 8 photos, .*dataset\.json names 4"),
        (FEATURES.T, r"lies on its side: a \.(mat|npy) has \((numbers, photos|photos, numbers)\), so transpose it"),
        (np.zeros((4, 3, 2)), "of shape .*: give features as a table of real numbers"),
        (FEATURES + 1j, "holds complex64 of shape .*: give features as a table of real numbers"),
        (FEATURES.astype("U8"), "give features as a table of real numbers"),
        (np.where(FEATURES == 11, np.nan, FEATURES), r"not finite for 1 photo, c\.jpg the first: compute them again"),
        (np.where(FEATURES == 0, 1e300, FEATURES.astype(float)), r"not finite for 1 photo, a\.jpg the first"),
    ],
)
def test_features_that_do_not_fit_are_one_sentence(
    tmp_path: Path, captions: CaptionSet, name: str, features: np.ndarray, complaint: str
) -> None:
    with pytest.raises(SameSpaceError, match=rf"^{tmp_path}/{name} .*{complaint}"):
        read_features(save(tmp_path / name, features), captions)


def test_what_is_wrong_with_an_uncaptioned_photo_does_not_matter(tmp_path: Path, captions: CaptionSet) -> None:
    features = FEATURES.copy()
    features[1] = np.inf
    assert read_features(save(tmp_path / "f.npy", features), captions).tolist() == FEATURES[[0, 2, 3]].tolist()


def test_files_that_are_none_are_one_sentence(tmp_path: Path, captions: CaptionSet) -> None:
    def refused(name: str, content: bytes | None = None) -> str:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(SameSpaceError) as error:
            read_features(tmp_path / name, captions)
        assert str(error.value).startswith(str(tmp_path / name))
        return str(error.value)

    whole = {name: save(tmp_path / name, FEATURES).read_bytes() for name in ("f.mat", "f.npy")}
    assert "no such file" in refused("none.mat")
    assert "is not a .mat or a .npy" in refused("f.csv", b"1,2")
    for name, content in whole.items():
        for damaged in (b"", content[:200], content[:-9], b"some text, no numbers", bytes(200)):
            assert "is damaged, or not a ." in refused(name, damaged)
    np.save(tmp_path / "objects.npy", np.array([{}, None]), allow_pickle=True)
    assert "is damaged, or not a .npy of numbers" in refused("objects.npy")
    save(tmp_path / "other.mat", FEATURES, key="features")
    assert "has no 'feats'" in refused("other.mat")
    newer = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM" + bytes(512)
    assert "is of MATLAB 7.3: save it with `save -v7`, or as a .npy" in refused("newer.mat", newer)


# ---- length 1


def test_a_row_of_zeros_stays_one() -> None:
    rows = unit_rows(np.array([[3, 4], [0, 0], [-1e30, 0], [1e-30, 1e-30]], np.float32))
    assert rows.tolist() == [pytest.approx(row) for row in ([0.6, 0.8], [0, 0], [-1, 0], [0.5**0.5, 0.5**0.5])]
    assert rows.dtype == np.float32
    assert unit_rows(np.zeros((0, 3), np.float32)).shape == (0, 3)


@given(arrays(np.float32, (3, 4), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
@settings(deadline=None)
def test_every_other_row_has_length_one_and_its_own_direction(features: np.ndarray) -> None:
    units = unit_rows(features)
    lengths = np.linalg.norm(units.astype(np.float64), axis=1)
    assert lengths == pytest.approx(features.any(axis=1).astype(float), abs=1e-5)
    assert (units * features >= 0).all()
