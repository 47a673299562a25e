"""Ranks, BLEU and CIDEr-D agree with a count by hand, and with the reference implementations where these are there."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samespace.base.errors import SameSpaceError
from samespace.words import metrics
from samespace.words.metrics import bleu, cider_d, ranks, ranks_of, variety

# ---- retrieval


def ranked_by_hand(scores: np.ndarray, image_of: np.ndarray) -> tuple[list[int], list[int]]:
    """Sorted one search at a time, whatever belongs behind all that scores the same."""
    text_to_photo = []
    for caption, photo in enumerate(image_of):
        order = sorted(range(len(scores)), key=lambda one: (-scores[one, caption], one == photo))
        text_to_photo.append(order.index(photo) + 1)
    photo_to_text = []
    for photo in range(len(scores)):
        order = sorted(range(len(image_of)), key=lambda one: (-scores[photo, one], image_of[one] == photo))
        photo_to_text.append(min(order.index(own) + 1 for own in np.flatnonzero(image_of == photo)))
    return text_to_photo, photo_to_text


TIED, SPREAD = st.integers(-2, 2).map(float), st.floats(-1, 1)


@st.composite
def searches(draw: st.DrawFn, values: st.SearchStrategy[float] = TIED) -> tuple[np.ndarray, np.ndarray]:
    """Scores (photos, captions), with many ties, and whose each caption is: any number a photo, in any order."""
    photos = draw(st.integers(1, 6))
    more = draw(st.lists(st.integers(0, photos - 1), max_size=8))
    image_of = np.array(draw(st.permutations([*range(photos), *more])))
    size = photos * len(image_of)
    scores = draw(st.lists(values, min_size=size, max_size=size))
    return np.array(scores).reshape(photos, len(image_of)), image_of


@given(searches() | searches(SPREAD))
@settings(deadline=None)
def test_ranks_are_those_of_a_sort(search: tuple[np.ndarray, np.ndarray]) -> None:
    found = ranks_of(*search)
    assert (found.text_to_photo.tolist(), found.photo_to_text.tolist()) == ranked_by_hand(*search)


@given(searches(), st.integers(1, 5))
@settings(deadline=None)
def test_ranks_are_the_same_tile_by_tile(search: tuple[np.ndarray, np.ndarray], block: int) -> None:
    scores, image_of = search
    sizes = set()

    def score(photos: slice, captions: slice) -> np.ndarray:
        tile = scores[photos, captions]
        sizes.add(max(tile.shape))
        return tile

    found, whole = ranks(score, image_of, block), ranks_of(scores, image_of)
    assert (found.text_to_photo.tolist(), found.photo_to_text.tolist()) == tuple(map(np.ndarray.tolist, whole))
    assert max(sizes) <= block


def test_only_tiles_with_captions_of_their_own_photos_are_asked_for_twice() -> None:
    asked = []

    def score(photos: slice, captions: slice) -> np.ndarray:
        asked.append((photos.start, captions.start))
        return np.zeros((photos.stop - photos.start, captions.stop - captions.start))

    ranks(score, np.repeat(np.arange(10), 2), block=2)
    assert len(asked) == len(set(asked)) + 10 == 5 * 10 + 10


@given(searches(SPREAD), st.data())
@settings(deadline=None)
def test_the_order_of_photos_and_captions_does_not_matter(
    search: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    scores, image_of = search
    photos = np.array(data.draw(st.permutations(range(len(scores)))))
    captions = np.array(data.draw(st.permutations(range(len(image_of)))))
    found = ranks_of(scores, image_of)
    moved = ranks_of(scores[photos][:, captions], np.argsort(photos)[image_of[captions]])
    assert moved.text_to_photo.tolist() == found.text_to_photo[captions].tolist()
    assert moved.photo_to_text.tolist() == found.photo_to_text[photos].tolist()


def test_what_scores_the_same_counts_against_us() -> None:
    """A model that says the same of everything is last in every search, not first."""
    found = ranks_of(np.zeros((4, 12)), np.repeat(np.arange(4), 3))
    assert found.text_to_photo.tolist() == [4] * 12
    assert found.photo_to_text.tolist() == [10] * 4  # nine captions are others', and its own are no loss to each other


def test_scores_that_are_no_numbers_are_refused() -> None:
    for bad in (np.nan, np.inf, -np.inf):
        scores = np.eye(3)
        scores[0, 2] = bad
        with pytest.raises(SameSpaceError, match="the model's scores are not finite: train it again"):
            ranks_of(scores, np.arange(3))


def test_figures_of_ranks_are_those_worked_by_hand() -> None:
    """Three photos with 1, 2 and 3 captions."""
    image_of = np.array([0, 1, 1, 2, 2, 2])
    found = metrics.Ranks(np.array([1, 2, 3, 1, 1, 3]), np.array([4, 1, 6]))
    text = metrics.text_to_photo(found)
    assert text == (3 / 6, 1.0, 1.0, 1, 11 / 6, 2.0, 3, 6)
    photo = metrics.photo_to_text(found, image_of)
    assert photo == (1 / 3, 2 / 3, 1.0, 4, 11 / 3, pytest.approx((7 / 2 + 7 / 3 + 7 / 4) / 3), 6, 3)
    assert str(text) == "R@1 0.500, R@5 1.000, R@10 1.000, median rank 1, mean 1.8 of 3 (chance 2.0)"


def test_recall_counts_ranks_up_to_its_number() -> None:
    found = metrics.Ranks(np.array([1, 5, 6, 10, 11]), np.array([1, 5, 6, 10, 11]))
    for figures in (metrics.text_to_photo(found), metrics.photo_to_text(found, np.arange(5))):
        assert (figures.recall_at_1, figures.recall_at_5, figures.recall_at_10) == (0.2, 0.4, 0.8)


def test_the_median_is_rounded_down_as_in_the_papers() -> None:
    """They take floor(median(rank - 1)) + 1."""
    assert metrics.text_to_photo(metrics.Ranks(np.array([1, 2]), np.array([1, 1]))).median == 1
    assert metrics.text_to_photo(metrics.Ranks(np.array([2, 5]), np.array([1, 1]))).median == 3


@pytest.mark.parametrize("image_of", [[0, 1, 2, 3], [0, 0, 1], [0, 0, 0, 1], [0, 1, 1, 2, 0]])
def test_chance_is_the_mean_over_all_orders(image_of: list[int]) -> None:
    captions, photos = len(image_of), max(image_of) + 1
    orders = list(itertools.permutations(range(1, captions + 1)))
    best = [
        min(order[at] for at in range(captions) if image_of[at] == one) for order in orders for one in range(photos)
    ]
    found = metrics.Ranks(np.ones(captions, int), np.ones(photos, int))
    assert metrics.photo_to_text(found, np.array(image_of)).chance == pytest.approx(np.mean(best))
    assert metrics.text_to_photo(found).chance == np.mean(range(1, photos + 1))


def test_scores_by_chance_give_about_the_ranks_of_chance() -> None:
    image_of = np.repeat(np.arange(100), np.arange(100) % 7 + 1)
    found = ranks_of(np.random.default_rng(0).normal(size=(100, len(image_of))), image_of)
    for figures in (metrics.text_to_photo(found), metrics.photo_to_text(found, image_of)):
        assert figures.mean == pytest.approx(figures.chance, rel=0.2)


# ---- BLEU and CIDEr-D

# Written and referred to: a good one, one that says a word too often, a short one, one that is quite wrong, and one
# with as many shorter as longer references. Words that any tokeniser parts at spaces.
WRITTEN = [
    "a white kitchen with an island and two windows",
    "the the the the bed",
    "a blue sofa",
    "rain falls in spain",
    "a small room with a bed",
]
REFERENCES = [
    ["a white kitchen with an island", "a bright kitchen with an island and two large windows", "white cupboards"],
    ["the bed stands under the window", "a bed in a room"],
    ["a blue sofa on a wooden floor", "the blue sofa in a living room with a lamp"],
    ["a bathroom with a tub and a mirror"],
    ["a small bedroom with a bed and a lamp", "a room with a bed", "a bed"],
]


def test_bleu_of_one_caption_is_that_worked_by_hand() -> None:
    """The example of Papineni et al.: "the" counts twice of seven times; no two words are in the reference."""
    found = bleu(["the the the the the the the"], [["the cat is on the mat", "there is a cat on the mat"]])
    assert found == (pytest.approx(2 / 7), 0, 0, 0)
    # 5 of 6 words, 3 of 5 pairs, 2 of 4 triples, 1 of 3 fours; of length 6 where the nearest reference has 7.
    found = bleu(["a red bed in the room"], [["a red bed in the small room", "a bed"]])
    shorter = math.exp(1 - 7 / 6)
    precisions = [6 / 6, 4 / 5, 3 / 4, 2 / 3]
    expected = [shorter * math.prod(precisions[:n]) ** (1 / n) for n in range(1, 5)]
    assert found == pytest.approx(expected)


def test_of_references_equally_near_in_length_the_shorter_counts() -> None:
    assert bleu(["a b c d"], [["a b c d e", "a b c"]])[0] == pytest.approx(1)
    assert bleu(["a b c d"], [["a b c d e", "a b c d f"]])[0] == pytest.approx(math.exp(1 - 5 / 4))


def test_figures_of_captions_stay_those_of_the_reference_implementations() -> None:
    """As pycocoevalcap 1.2 gave them on these captions; sacrebleu 2.6 gave the same BLEU-4."""
    by_reference = (0.5783299504506435, 0.5231191229076931, 0.4758151997458718, 0.44735394643758586)
    assert bleu(WRITTEN, REFERENCES) == pytest.approx(by_reference, abs=1e-9)
    assert cider_d(WRITTEN, REFERENCES, fewest=5) == pytest.approx(2.0762565481631623, abs=1e-12)


WORDS = ["a", "the", "bed", "sofa", "with", "red", "is"]
captions = st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join)
corpora = st.lists(st.tuples(captions, st.lists(captions, min_size=1, max_size=4)), min_size=1, max_size=6)
Corpus = Sequence[tuple[str, list[str]]]


def parted(corpus: Corpus) -> tuple[list[str], list[list[str]]]:
    return [written for written, _ in corpus], [references for _, references in corpus]


@given(corpora)
@settings(deadline=None)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of matches that there are none of
def test_bleu_agrees_with_nltk(corpus: Corpus) -> None:
    nltk = pytest.importorskip("nltk.translate.bleu_score")
    written, references = parted(corpus)
    words = [[other.split() for other in others] for others in references]
    shortest = min(len(one.split()) for one in written)  # nltk counts one run of n words where there is none
    for n, found in enumerate(bleu(written, references)[:shortest], 1):
        expected = nltk.corpus_bleu(words, [one.split() for one in written], (1 / n,) * n)
        assert found == pytest.approx(expected, abs=1e-9)


@given(corpora)
@settings(deadline=None)
def test_bleu_agrees_with_sacrebleu(corpus: Corpus) -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    written, references = parted(corpus)
    # A stream of references for each that a photo can have; what a photo lacks is None.
    streams = [list(stream) for stream in itertools.zip_longest(*references)]
    expected = sacrebleu.corpus_bleu(written, streams, tokenize="none", smooth_method="none", force=True)
    if expected.counts[3]:  # without a match of four words sacrebleu gives up all orders
        assert bleu(written, references)[3] == pytest.approx(expected.score / 100)


@given(corpora)
@settings(deadline=None)
def test_bleu_agrees_with_pycocoevalcap(corpus: Corpus) -> None:
    module = pytest.importorskip("pycocoevalcap.bleu.bleu")
    written, references = parted(corpus)
    expected, _ = module.Bleu(4).compute_score(
        dict(enumerate(references)), {row: [one] for row, one in enumerate(written)}, verbose=0
    )
    for found, other in zip(bleu(written, references), expected, strict=True):
        # It takes no run of four words of none for a precision of 1e-6, whose fourth root is 0.032.
        assert found == pytest.approx(other, abs=1e-6) or (found == 0 and other < 0.032)


@given(corpora)
@settings(deadline=None)
def test_cider_d_agrees_with_pycocoevalcap(corpus: Corpus) -> None:
    module = pytest.importorskip("pycocoevalcap.cider.cider")
    written, references = parted(corpus)
    expected, _ = module.Cider().compute_score(
        dict(enumerate(references)), {row: [one] for row, one in enumerate(written)}
    )
    assert cider_d(written, references, fewest=1) == pytest.approx(expected, abs=1e-9)


@given(
    st.lists(captions.filter(lambda one: len(one.split()) >= 4), min_size=1, max_size=6), st.lists(captions, max_size=3)
)
@settings(deadline=None)
def test_bleu_of_a_sentence_with_itself_is_one(written: list[str], others: list[str]) -> None:
    assert bleu(written, [[*others, one] for one in written]) == pytest.approx((1,) * 4)


@given(corpora, st.data())
@settings(deadline=None)
def test_the_order_of_captions_does_not_matter(corpus: Corpus, data: st.DataObject) -> None:
    moved = [(written, data.draw(st.permutations(others))) for written, others in data.draw(st.permutations(corpus))]
    assert bleu(*parted(moved)) == pytest.approx(bleu(*parted(corpus)))
    assert cider_d(*parted(moved), fewest=1) == pytest.approx(cider_d(*parted(corpus), fewest=1))


@given(corpora)
@settings(deadline=None)
def test_figures_of_captions_stay_in_their_range(corpus: Corpus) -> None:
    found = bleu(*parted(corpus))
    assert all(0 <= one <= 1 + 1e-9 for one in found)
    assert -1e-9 <= cider_d(*parted(corpus), fewest=1) <= 10 + 1e-9


def test_cider_d_of_references_is_ten_and_of_others_captions_nothing() -> None:
    """One reference each, no word of which another photo has."""
    references = [["white kitchen island stove"], ["red sofa lamp rug"], ["tub mirror shower tiles"]]
    written = [one for (one,) in references]
    assert cider_d(written, references, fewest=3) == pytest.approx(10)
    assert cider_d([*written[1:], written[0]], references, fewest=3) == 0


def test_cider_d_is_that_worked_by_hand() -> None:
    """Two photos; "bed" is the first's alone, "a" is in both and weighs nothing; runs of three and four are in none."""
    # "bed bed" against "a bed": of single words min(2, 1) · 1 / (2 · 1) of a cosine, of pairs nothing.
    found = cider_d(["bed bed", "sofa"], [["a bed"], ["a sofa"]], fewest=2)
    first, second = (1 / 2) / 4, 1 / 4 * math.exp(-1 / (2 * 6**2))
    assert found == pytest.approx(10 * (first + second) / 2)


def test_cider_d_of_few_photos_is_refused_unless_asked_for() -> None:
    written, references = ["a bed"] * 99, [["a bed"]] * 99
    with pytest.raises(SameSpaceError, match=r"99 photos are too few for CIDEr-D, .* give at least 100"):
        cider_d(written, references)
    assert cider_d(written, references, fewest=99) == 0  # what all photos have says nothing of any
    assert cider_d(["a bed"] * 100, [["a bed"]] * 100) == 0


def test_captions_are_cut_as_everywhere_else() -> None:
    written, references = ["The man's bed, isn't it?"], [["the man 's bed is n't it"]]
    assert bleu(written, references) == pytest.approx((1,) * 4)
    assert cider_d([*written, "x"], [*references, ["y"]], fewest=2) == pytest.approx(5)


def test_captions_without_words_are_worth_nothing() -> None:
    assert bleu(["", "."], [["a bed"], ["a sofa"]]) == (0, 0, 0, 0)
    assert cider_d(["", "."], [["a bed"], ["a sofa"]], fewest=2) == 0
    assert bleu(["a bed"], [["a bed"]]) == (pytest.approx(1), pytest.approx(1), 0, 0)


def test_variety_tells_a_model_that_says_the_same_of_everything() -> None:
    assert variety(["A bed.", "a bed", "a red sofa", "a bed"]) == (4, 0.5, 9 / 4)
    assert variety(["a bed"] * 4) == (2, 0.25, 2.0)
    assert variety([""]) == (0, 1.0, 0.0)


def test_a_count_that_does_not_match_is_no_score() -> None:
    for written, references in ((["a"], []), ([], []), (["a"], [[]])):
        with pytest.raises(AssertionError):
            bleu(written, references)
