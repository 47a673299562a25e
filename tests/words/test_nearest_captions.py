"""Borrowed captions: of the nearest photos, the one that agrees best with the others."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from samespace.base.errors import SameSpaceError
from samespace.words.metrics import bleu
from samespace.words.nearest_captions import Borrower, Grams, borrow
from samespace.words.photo_features import Featured, FeatureSource
from samespace.words.tokens import split_words
from samespace.words.train_captioner import evaluate
from samespace.words.train_matcher import shuffled
from tests.conftest import COLOURS


@pytest.fixture(scope="module")
def borrower(drawn: Featured) -> Borrower:
    return borrow(drawn)


def slow_consensus(captions: list[str], photo_of: list[int], some: list[int]) -> np.ndarray:
    """How like each caption is to the others, one pair at a time: CIDEr's cosines of n-grams of 1 to 4 words."""
    photos = len(set(photo_of))
    found = np.zeros(len(some))
    for n in range(1, 5):
        grams = []
        for caption in captions:
            words = split_words(caption)
            grams.append(Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1)))
        has = {(gram, photo) for counts, photo in zip(grams, photo_of, strict=True) for gram in counts}
        rarity = {gram: math.log(photos / times) for gram, times in Counter(gram for gram, _ in has).items()}
        weights = [{gram: times * rarity[gram] for gram, times in counts.items()} for counts in grams]
        lengths = [max(math.sqrt(sum(value**2 for value in one.values())), 1e-12) for one in weights]
        for at, one in enumerate(some):
            for other in some[:at] + some[at + 1 :]:
                product = sum(value * weights[other].get(gram, 0.0) for gram, value in weights[one].items())
                found[at] += product / lengths[one] / lengths[other] / 4
    return found


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=7), min_size=2, max_size=9), st.data())
def test_the_consensus_is_the_caption_most_like_the_others(sentences: list[list[str]], data: st.DataObject) -> None:
    captions = [" ".join(words) for words in sentences]
    photo_of = sorted(data.draw(st.lists(st.integers(0, 3), min_size=len(captions), max_size=len(captions))))
    photo_of = np.unique(photo_of, return_inverse=True)[1].tolist()
    some = data.draw(st.lists(st.sampled_from(range(len(captions))), min_size=1, unique=True))
    expected = slow_consensus(captions, photo_of, some)
    found = Grams(captions, np.array(photo_of)).consensus(np.array(some))
    assert expected[found] == pytest.approx(expected.max(), abs=1e-5)


def test_what_only_one_photo_shows_is_not_said() -> None:
    said = [
        ["a white kitchen with a red table"],
        ["a white kitchen with a red table and a cat"],
        ["a white kitchen with a red table"],
        ["two dogs in the snow"],
    ]
    features = np.array([[0.8, 0.6], [1, 0], [0.6, 0.8], [0, 1]], np.float32)
    few = Borrower(features, said, COLOURS)
    assert few.captions(np.array([[1.0, 0.0]]), nearest=1) == ["a white kitchen with a red table and a cat"]
    assert few.captions(np.array([[1.0, 0.0]]), nearest=3) == ["a white kitchen with a red table"]
    assert few.captions(np.array([[0.0, 1.0]]), nearest=1) == ["two dogs in the snow"]


def test_a_caption_is_one_of_the_nearest_photos(borrower: Borrower, drawn: Featured) -> None:
    test = drawn.only("test")
    for row, caption in zip(test.features, borrower.captions(test.features, nearest=7), strict=True):
        nearest = np.argsort(-(borrower.features.astype(np.float32) @ row), kind="stable")[:7]
        assert caption in {said for photo in nearest for said in borrower.said[photo]}


def test_a_photo_is_told_of_alone_as_among_others(borrower: Borrower, drawn: Featured) -> None:
    expected = borrower.captions(drawn.features)
    assert [borrower.captions(row[None])[0] for row in drawn.features[:20]] == expected[:20]
    assert borrower.captions(1000 * drawn.features) == expected
    assert borrower.captions(drawn.features[:0]) == []


def test_captions_of_photos_like_it_say_more_than_others(borrower: Borrower, drawn: Featured) -> None:
    test = drawn.only("test")
    references = [image.captions for image in test.captions.images]
    control = borrow(drawn._replace(captions=shuffled(drawn.captions)))
    ours, others = (bleu(one.captions(test.features), references)[3] for one in (borrower, control))
    assert ours > 1.15 * others


def test_few_photos_and_strange_words_will_do() -> None:
    few = Borrower(np.eye(2, dtype=np.float32), [("Ein Café, «schön»!", "…a"), ("x",)], COLOURS)
    assert few.captions(np.eye(2)) == few.captions(np.eye(2))
    assert set(few.captions(np.eye(2), nearest=1)) <= {"Ein Café, «schön»!", "…a", "x"}
    one = Borrower(np.eye(1, dtype=np.float32), [("a room",)], COLOURS)
    assert one.captions(np.zeros((1, 1))) == ["a room"]


def test_features_of_another_backbone_or_length_are_refused(borrower: Borrower, drawn: Featured) -> None:
    borrower.check(COLOURS)
    with pytest.raises(SameSpaceError, match=r"borrower was trained on features of colours, and these are of vgg16"):
        evaluate(borrower, drawn._replace(feature_source=FeatureSource("vgg16", "other")))
    with pytest.raises(SameSpaceError, match=r"takes features of 136 numbers, not of shape \(190, 135\)"):
        borrower.captions(drawn.features[:, :-1])


def test_only_training_photos_are_borrowed_from(borrower: Borrower, drawn: Featured) -> None:
    assert borrower.said == [image.captions for image in drawn.captions.only("train").images]


# Files


@pytest.fixture
def saved(borrower: Borrower, tmp_path: Path) -> Path:
    borrower.save(tmp_path / "nearest.safetensors")
    return tmp_path / "nearest.safetensors"


def test_a_saved_borrower_writes_the_same_captions(borrower: Borrower, saved: Path, drawn: Featured) -> None:
    loaded = Borrower.load(saved)
    assert loaded.captions(drawn.features) == borrower.captions(drawn.features)
    assert (loaded.feature_source, loaded.about, loaded.said) == (
        borrower.feature_source,
        borrower.about,
        borrower.said,
    )
    loaded.save(saved.with_name("again"))
    assert saved.with_name("again").read_bytes() == saved.read_bytes()


def test_features_are_kept_in_half_precision(saved: Path, drawn: Featured) -> None:
    arrays = load_file(saved)
    assert arrays["features"].dtype == np.float16
    np.testing.assert_allclose(arrays["features"], drawn.only("train").features, atol=1e-3)


def test_a_damaged_or_foreign_file_is_refused(saved: Path, tmp_path: Path) -> None:
    whole = saved.read_bytes()
    for place in range(0, len(whole), len(whole) // 30):
        saved.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(SameSpaceError, match=r"nearest\.safetensors is (not a borrower, or damaged|of format)"):
            Borrower.load(saved)
    save_file({"x": np.zeros(3)}, saved)
    with pytest.raises(SameSpaceError, match="is not a borrower, or damaged: train it again, or copy it again"):
        Borrower.load(saved)
    with pytest.raises(SameSpaceError, match="nowhere: no such file"):
        Borrower.load(tmp_path / "nowhere")
