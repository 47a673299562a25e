"""Sentences find photos: scored as the paper has it, searched without a loss, learnt from drawn rooms."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from samespace.base.errors import SameSpaceError
from samespace.words import match_in_torch, train_matcher
from samespace.words import matcher as matching
from samespace.words.caption_files import KARPATHY
from samespace.words.caption_set import CaptionSet
from samespace.words.feature_files import unit_rows
from samespace.words.match_in_numpy import MEASURES, Weights
from samespace.words.match_in_torch import Learner, MatchNetwork, matching_loss, scores
from samespace.words.matcher import Matcher
from samespace.words.photo_features import Featured, FeatureSource
from samespace.words.train_matcher import Recipe, begin, evaluate, rank, shuffled, train
from samespace.words.training_loop import Course, Lesson
from samespace.words.vocabulary import Vocabulary
from tests.conftest import COLOURS, Killed

ROOT = Path(__file__).resolve().parents[2]
QUICK = Recipe(dim=48, word_dim=24, threshold=2, batch=12, learning_rate=0.005, epochs=14)


@pytest.fixture(scope="module")
def trained(drawn: Featured) -> dict[str, Matcher]:
    return {measure: train(drawn, QUICK._replace(measure=measure)) for measure in MEASURES}


@pytest.fixture(params=MEASURES)
def matcher(request: pytest.FixtureRequest, trained: dict[str, Matcher]) -> Matcher:
    return trained[request.param]


def on_sphere(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Random rows of length 1, none negative."""
    return unit_rows(np.abs(np.random.default_rng(seed).standard_normal(shape)).astype(np.float32))


# Scores


def test_the_order_score_is_the_papers() -> None:
    photos = torch.tensor([[0.6, 0.8], [1.0, 0.0]])
    sentences = torch.tensor([[0.8, 0.6], [0.6, 0.8], [0.0, 1.0]])
    expected = [[-0.04, 0, -0.36 - 0 + 0.32], [-0.36, -0.64, -1]]
    expected[0][2] = -(0.2**2)
    np.testing.assert_allclose(scores(photos, sentences, "order"), expected, atol=1e-7)


def test_a_sentence_that_says_less_than_the_photo_fits_wholly() -> None:
    photo, less = torch.tensor([[0.5, 0.5, 0.2]]), torch.tensor([[0.5, 0.1, 0.0]])
    assert scores(photo, less, "order").item() == 0
    assert scores(less, photo, "order").item() == pytest.approx(-(0.4**2 + 0.2**2))


def test_cosine_is_the_cosine() -> None:
    photos, sentences = on_sphere((3, 5)), on_sphere((4, 5), 1)
    found = scores(torch.from_numpy(photos), torch.from_numpy(sentences), "cosine")
    np.testing.assert_allclose(found, photos @ sentences.T, atol=1e-6)


@pytest.mark.parametrize("tile", [1, 60, 1 << 18])
def test_scores_do_not_depend_on_their_tiles(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    photos, sentences = torch.from_numpy(on_sphere((23, 7))), torch.from_numpy(on_sphere((31, 7), 1))
    expected = -(sentences - photos[:, None]).clamp_min(0).square().sum(2)
    monkeypatch.setattr(match_in_torch, "TILE", tile)
    np.testing.assert_array_equal(scores(photos, sentences, "order"), expected)
    assert scores(photos, sentences[:0], "order").shape == (23, 0)
    assert scores(photos[:0], sentences, "order").shape == (0, 31)


@pytest.mark.parametrize("tile", [1, 60, 1 << 18])
def test_gradients_of_scores_are_those_of_the_plain_formula(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    photos, sentences = torch.from_numpy(on_sphere((23, 7))), torch.from_numpy(on_sphere((31, 7), 1))
    weights = torch.from_numpy(np.random.default_rng(2).standard_normal((23, 31), np.float32))
    plain = -(sentences.requires_grad_() - photos.requires_grad_()[:, None]).clamp_min(0).square().sum(2)
    expected = torch.autograd.grad((plain * weights).sum(), (photos, sentences))
    monkeypatch.setattr(match_in_torch, "TILE", tile)
    found = torch.autograd.grad((scores(photos, sentences, "order") * weights).sum(), (photos, sentences))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("hardest", [False, True])
def test_the_loss_is_what_pairs_are_short_of(hardest: bool) -> None:
    random = np.random.default_rng(0)
    found, photo_of, margin = random.standard_normal((6, 6)), [4, 1, 4, 7, 0, 2], 0.3
    expected = 0.0
    for pair in range(6):
        others = [other for other in range(6) if photo_of[other] != photo_of[pair]]
        photo_short = [max(0, margin - found[pair, pair] + found[pair, other]) for other in others]
        sentence_short = [max(0, margin - found[pair, pair] + found[other, pair]) for other in others]
        expected += sum(map(max if hardest else sum, (photo_short, sentence_short))) / 6
    loss = matching_loss(torch.from_numpy(found), torch.tensor(photo_of), margin, hardest)
    assert loss.item() == pytest.approx(expected)


def test_captions_of_one_photo_are_no_negatives_of_it() -> None:
    found = torch.tensor([[0.0, 9.0], [9.0, 0.0]])
    assert matching_loss(found, torch.tensor([3, 3]), 0.1, False) == 0
    assert matching_loss(found, torch.tensor([3, 4]), 0.1, False) > 0


# Embeddings


def test_vectors_have_length_1_and_none_is_negative_in_order(trained: dict[str, Matcher], drawn: Featured) -> None:
    for measure, matcher in trained.items():
        photos, sentences = matcher.embed_photos(drawn.features), matcher.embed_sentences(["a bed", "zzz", ""])
        for vectors in (photos, sentences):
            np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
            assert (vectors.min() >= 0) == (measure == "order")


def test_padding_does_not_change_an_embedding(matcher: Matcher) -> None:
    short, long = "a bedroom", "a bedroom with white walls, a blue bed and a wardrobe on the right of it all"
    together = matcher.embed_sentences([long, short, long])
    np.testing.assert_allclose(together[1], matcher.embed_sentences([short])[0], atol=1e-6)
    assert np.abs(together[0] - together[1]).max() > 0.01


def test_the_network_itself_looks_at_no_padding(matcher: Matcher) -> None:
    """Nor does it depend on what the id of padding stands for."""
    ids, lengths = matcher.vocabulary.encode_all(["a bed"])
    filled = np.pad(ids, ((0, 0), (0, 5)), constant_values=7)
    with torch.no_grad():
        one, two = (
            matcher.network.sentences(torch.from_numpy(rows), torch.from_numpy(lengths)) for rows in (ids, filled)
        )
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_neither_the_order_nor_the_company_of_a_batch_changes_scores(
    matcher: Matcher, drawn: Featured, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentences = drawn.captions.only("test").captions[:40]
    photos = matcher.embed_photos(drawn.features)
    expected = matcher.score(photos, matcher.embed_sentences(sentences))
    order = np.random.default_rng(0).permutation(len(sentences))
    monkeypatch.setattr(matching, "SENTENCES_AT_ONCE", 7)
    monkeypatch.setattr(matching, "PHOTOS_AT_ONCE", 11)
    found = matcher.score(
        matcher.embed_photos(drawn.features), matcher.embed_sentences([sentences[at] for at in order])
    )
    np.testing.assert_allclose(found, expected[:, order], atol=1e-5)


def test_word_order_matters(matcher: Matcher) -> None:
    one, two = matcher.embed_sentences(["a white bed and a blue rug", "a blue bed and a white rug"])
    assert np.abs(one - two).max() > 0.01


def test_features_need_not_be_of_length_1(matcher: Matcher, drawn: Featured) -> None:
    few = drawn.features[:5]
    np.testing.assert_allclose(matcher.embed_photos(1000 * few), matcher.embed_photos(few), atol=1e-6)
    assert np.isfinite(matcher.embed_photos(0 * few)).all()
    assert matcher.embed_photos(few[:0]).shape == (0, 48)


def test_features_of_another_length_are_refused(matcher: Matcher, drawn: Featured) -> None:
    with pytest.raises(SameSpaceError, match=r"takes features of 136 numbers, not of shape \(190, 135\)"):
        matcher.embed_photos(drawn.features[:, :-1])


def test_features_of_another_backbone_are_refused(matcher: Matcher, drawn: Featured) -> None:
    matcher.check(COLOURS)
    with pytest.raises(SameSpaceError, match=r"trained on features of colours, and these are of vgg16: take those"):
        matcher.check(FeatureSource("vgg16", "other"))
    with pytest.raises(SameSpaceError, match=r"these are of colours with other weights"):
        evaluate(matcher, drawn._replace(feature_source=FeatureSource("colours", "colours 2")))


def test_an_unknown_measure_is_refused() -> None:
    with pytest.raises(SameSpaceError, match="unknown measure 'angle': choose one of order, cosine"):
        MatchNetwork(10, 4, measure="angle")


# Search


def full_ranking(matcher: Matcher, query: str, photos: np.ndarray) -> list[int]:
    found = matcher.score(photos, matcher.embed_sentences([query]))[:, 0]
    return np.argsort(-found, kind="stable").tolist()


def many(matcher: Matcher, drawn: Featured, count: int) -> np.ndarray:
    """Embedded photos, as of a large library: those drawn, and others a little like them."""
    random = np.random.default_rng(0)
    rows = drawn.features[random.integers(0, len(drawn.features), count)]
    return matcher.embed_photos(rows + 0.03 * random.standard_normal(rows.shape).astype(np.float32))


def test_a_shortlist_finds_the_same_top_ten_as_the_full_ranking(matcher: Matcher, drawn: Featured) -> None:
    photos = many(matcher, drawn, 1000)
    for query in drawn.captions.only("test").captions[::10]:
        found = matcher.search(query, photos, top=10, shortlist=50)
        assert found.rows.tolist() == full_ranking(matcher, query, photos)[:10]
        assert (np.diff(found.scores) <= 0).all()


def test_by_cosine_a_shortlist_is_scored_and_not_all(
    trained: dict[str, Matcher], drawn: Featured, monkeypatch: pytest.MonkeyPatch
) -> None:
    matcher, scored = trained["cosine"], []
    photos, score = many(matcher, drawn, 3000), matcher.score
    queries = drawn.captions.only("train").captions[::20]
    monkeypatch.setattr(
        matcher, "score", lambda photos, sentences: scored.append(len(photos)) or score(photos, sentences)
    )
    for query in queries:
        matcher.search(query, photos, shortlist=500)
    assert scored == [500] * len(queries)


@given(st.integers(0, 2**32), st.integers(2, 40), st.integers(1, 12), st.floats(-3, 3))
@settings(max_examples=60)
def test_no_photo_beats_what_its_cosine_allows(seed: int, dim: int, power: int, spread: float) -> None:
    random = np.random.default_rng(seed)
    sentence = unit_rows((random.random((1, dim)) ** power).astype(np.float32) + np.float32(1e-3))
    near = np.abs(sentence + 10**spread * random.standard_normal((50, dim)))
    photos = unit_rows(np.concatenate([near, random.random((50, dim)) ** power + 1e-6]).astype(np.float32))
    found = scores(torch.from_numpy(photos), torch.from_numpy(sentence), "order").numpy()[:, 0]
    limits = [matching.best_order_score(cosine) for cosine in photos @ sentence[0]]
    assert all(one <= limit for one, limit in zip(found, limits, strict=True))


@pytest.mark.parametrize("measure", MEASURES)
def test_weights_of_any_size_are_read_as_pytorch_reads_them(measure: str) -> None:
    """Also the paper's size, sentences of one word and of fifty, and numbers that saturate every gate."""
    random = np.random.default_rng(0)
    for dim, word_dim, scale in ((1024, 300, 1.0), (7, 5, 30.0)):
        torch.manual_seed(0)
        network = MatchNetwork(50, 12, dim, word_dim, measure)
        with torch.no_grad():
            network.gru.weight_ih_l0.mul_(scale)
        used, lengths = Weights(network.arrays(), measure), np.array([1, 50, 3, 3, 17])
        ids = np.where(np.arange(50) < lengths[:, None], random.integers(1, 50, (5, 50)), 0)
        features = unit_rows(random.standard_normal((9, 12)).astype(np.float32))
        np.testing.assert_allclose(used.read(ids, lengths), network.read(ids, lengths), atol=1e-5)
        np.testing.assert_allclose(used.see(features), network.see(features), atol=1e-6)
        both = network.see(features), network.read(ids, lengths)
        np.testing.assert_allclose(used.score(*both), network.score(*both), atol=1e-5)


def test_a_matcher_is_used_without_pytorch(trained: dict[str, Matcher], tmp_path: Path) -> None:
    trained["order"].save(tmp_path / "match.safetensors")
    code = (
        "import sys; from pathlib import Path; import numpy as np; from samespace.words.matcher import Matcher; "
        "matcher = Matcher.load(Path(sys.argv[1])); photos = matcher.embed_photos(np.eye(3, 136, dtype=np.float32)); "
        "assert len(matcher.search('a bed', photos).rows) == 3; sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "match.safetensors"], check=True, cwd=ROOT)


@given(st.integers(0, 2**32), st.integers(1, 25), st.integers(1, 60))
@settings(max_examples=25)
def test_a_search_of_vectors_like_nothing_learnt_finds_the_best_all_the_same(
    seed: int, top: int, shortlist: int
) -> None:
    vocabulary = Vocabulary(["bed"])
    matcher = Matcher(MatchNetwork(len(vocabulary), 3, 6, 4), vocabulary, COLOURS)
    photos = on_sphere((200, 6), seed)
    photos[50:60] = photos[40:50]  # equally good ones
    found = matcher.search("bed", photos, top, shortlist)
    assert found.rows.tolist() == full_ranking(matcher, "bed", photos)[:top]


def test_a_library_smaller_than_the_top_is_ranked_whole(matcher: Matcher, drawn: Featured) -> None:
    photos = matcher.embed_photos(drawn.features[:4])
    assert sorted(matcher.search("a bed", photos).rows.tolist()) == [0, 1, 2, 3]
    assert len(matcher.search("a bed", photos[:0]).rows) == 0


def test_unknown_words_of_a_query_are_told(matcher: Matcher, drawn: Featured) -> None:
    photos = matcher.embed_photos(drawn.features)
    assert matcher.search("a bedroom with a chandelier", photos).unknown == ["chandelier"]
    assert matcher.search("a bedroom", photos).unknown == []


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("chandelier", r"no word of 'chandelier' is among the \d+ that the matcher knows: try others"),
        ("wardrobes, fridges!", r"no word of 'wardrobes, fridges!' is among .* knows: try wardrobe, .*fridge"),
        (" ?! ", r"there is no word in ' \?! ': describe a photo"),
    ],
)
def test_a_query_without_a_known_word_is_one_sentence(matcher: Matcher, query: str, told: str) -> None:
    with pytest.raises(SameSpaceError, match=told):
        matcher.search(query, on_sphere((3, 48)))


# Files


def test_a_saved_matcher_gives_the_scores_that_pytorch_gives(matcher: Matcher, drawn: Featured, tmp_path: Path) -> None:
    """It is read without PyTorch, with which it was trained; with it, they are the same to the byte."""
    file = tmp_path / "new" / "match.safetensors"
    matcher.save(file)
    loaded = Matcher.load(file)
    assert (type(matcher.network), type(loaded.network)) == (MatchNetwork, Weights)
    sentences = drawn.captions.only("test").captions
    one, two, three = (
        each.score(each.embed_photos(drawn.features), each.embed_sentences(sentences))
        for each in (matcher, loaded, Learner.of(loaded))
    )
    np.testing.assert_allclose(two, one, atol=1e-5)
    assert one.tobytes() == three.tobytes()
    assert (loaded.feature_source, loaded.measure, loaded.about) == (
        matcher.feature_source,
        matcher.measure,
        matcher.about,
    )
    assert loaded.vocabulary.words == matcher.vocabulary.words
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == file.read_bytes()
    assert [path.name for path in file.parent.iterdir()] == ["match.safetensors"]


@pytest.fixture
def saved(trained: dict[str, Matcher], tmp_path: Path) -> Path:
    trained["order"].save(tmp_path / "match.safetensors")
    return tmp_path / "match.safetensors"


def test_a_damaged_matcher_is_refused(saved: Path) -> None:
    whole = saved.read_bytes()
    places = [*range(0, 2000, 37), *range(2000, len(whole), len(whole) // 20)]
    for place in places:
        saved.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(SameSpaceError, match=r"match\.safetensors is (not a matcher, or damaged|of format)"):
            Matcher.load(saved)
    for content in (b"", b"words", whole[: len(whole) // 2]):
        saved.write_bytes(content)
        with pytest.raises(SameSpaceError, match="is not a matcher, or damaged: train it again, or copy it again"):
            Matcher.load(saved)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": 2}, "is of format 2, and 1 is known here: use the version of samespace that wrote it"),
        ({"dim": 47}, "is not a matcher, or damaged"),
        ({"trunk": {"name": "vgg16", "origin": "x"}}, "is not a matcher, or damaged"),
    ],
)
def test_a_matcher_that_was_changed_is_refused(saved: Path, change: dict[str, object], told: str) -> None:
    with safe_open(saved, "pt") as file:
        about = json.loads(file.metadata()["matcher"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(weights, saved, {"matcher": json.dumps(about | change)})
    with pytest.raises(SameSpaceError, match=told):
        Matcher.load(saved)


def test_files_that_are_not_there_or_cannot_be_written_are_named(trained: dict[str, Matcher], tmp_path: Path) -> None:
    with pytest.raises(SameSpaceError, match="nowhere: no such file"):
        Matcher.load(tmp_path / "nowhere")
    with pytest.raises(SameSpaceError, match="cannot write /dev/null/match"):
        trained["order"].save(Path("/dev/null/match"))


# Training


def test_it_learns_to_find_rooms_that_it_has_not_seen(matcher: Matcher, drawn: Featured) -> None:
    found = evaluate(matcher, drawn.only("test"))
    assert found.text_to_photo.mean < 0.65 * found.text_to_photo.chance
    assert found.text_to_photo.recall_at_10 > 2 * 10 / 50
    assert found.photo_to_text.mean < 0.8 * found.photo_to_text.chance
    assert found.text_to_photo.candidates == 50
    assert found.photo_to_text.candidates == 250


def test_of_shuffled_captions_nothing_is_learnt(drawn: Featured) -> None:
    """Of photos by sentences: among sentences, those of one photo are alike, and so come early or late together."""
    control = train(drawn._replace(captions=shuffled(drawn.captions)), QUICK._replace(patience=20))
    found = evaluate(control, drawn.only("test")).text_to_photo
    assert 0.85 < found.mean / found.chance < 1.15, found
    assert found.recall_at_10 < 1.4 * 10 / 50, found


def test_shuffled_captions_stay_in_their_split_and_leave_their_photo(drawn: Featured) -> None:
    mixed = shuffled(drawn.captions)
    assert [(image.file, image.split, image.row) for image in mixed.images] == [
        (image.file, image.split, image.row) for image in drawn.captions.images
    ]
    for split in ("train", "val", "test"):
        before, after = ([image.captions for image in one.only(split).images] for one in (drawn.captions, mixed))
        assert sorted(before) == sorted(after)
        assert all(one != other for one, other in zip(before, after, strict=True))


def test_hardest_negatives_wait_for_the_sum(drawn: Featured, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def noted(found: torch.Tensor, photo_of: torch.Tensor, margin: float, hardest: bool) -> torch.Tensor:
        asked.append(hardest)
        return matching_loss(found, photo_of, margin, hardest)

    monkeypatch.setattr(train_matcher, "matching_loss", noted)
    train(drawn, QUICK._replace(negatives="hardest", epochs=4, batch=120))
    assert asked == [False, False, True, True]


def test_the_same_seed_gives_the_same_matcher(drawn: Featured, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one", "two", "three")]
    for file, seed in zip(files, (1, 1, 2), strict=True):
        torch.rand(3)  # what else has drawn numbers does not matter
        train(drawn, QUICK._replace(epochs=2, seed=seed)).save(file)
    one, two, three = (file.read_bytes() for file in files)
    assert one == two
    assert one != three


def test_a_training_that_was_stopped_goes_on_as_if_nothing_had_been(
    drawn: Featured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, unfinished, learn = QUICK._replace(epochs=5), tmp_path / "unfinished", Course.learn
    train(drawn, recipe).save(tmp_path / "whole")
    epochs = []

    def stopped(self: Course) -> None:
        if self.epoch == 3 and 3 not in epochs:
            epochs.append(3)
            raise Killed
        epochs.append(self.epoch)
        learn(self)

    monkeypatch.setattr(Course, "learn", stopped)
    with pytest.raises(Killed):
        train(drawn, recipe, unfinished)
    train(drawn, recipe, unfinished).save(tmp_path / "resumed")
    assert epochs == [0, 1, 2, 3, 3, 4]
    assert (tmp_path / "resumed").read_bytes() == (tmp_path / "whole").read_bytes()


def test_what_was_begun_otherwise_is_not_gone_on_with(drawn: Featured, tmp_path: Path) -> None:
    unfinished, recipe = tmp_path / "unfinished", QUICK._replace(epochs=1)
    train(drawn, recipe, unfinished)
    train(drawn, recipe._replace(epochs=2), unfinished)  # longer is no other training
    others = (
        (drawn, recipe._replace(margin=0.1)),
        (drawn._replace(captions=shuffled(drawn.captions)), recipe),
        (drawn._replace(features=drawn.features[::-1]), recipe),
    )
    for featured, changed in others:
        with pytest.raises(SameSpaceError, match="unfinished was begun with other captions, features or settings"):
            train(featured, changed, unfinished)
    unfinished.write_bytes(unfinished.read_bytes()[:-100])
    with pytest.raises(SameSpaceError, match="is not a training state, or damaged: remove it, and train"):
        train(drawn, recipe, unfinished)


def test_it_stops_when_validation_photos_gain_no_more_and_keeps_the_best(
    drawn: Featured, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = evaluate(begin(drawn.only("train"), QUICK), drawn.only("val"))
    recalls, states = iter([0.1, 0.5, 0.4, 0.5, 0.3, 0.9]), []

    def judged(matcher: Matcher, featured: Featured) -> object:
        assert featured.captions == drawn.captions.only("val")
        states.append(matcher.network.photo.weight.clone())
        value = next(recalls)
        text = found.text_to_photo._replace(recall_at_1=value, recall_at_5=value, recall_at_10=value)
        return train_matcher.Evaluation(text, text)

    monkeypatch.setattr(train_matcher, "evaluate", judged)
    matcher = train(drawn, QUICK._replace(patience=3))
    assert len(states) == 5
    assert matcher.network.photo.weight.equal(states[1])
    assert (matcher.about["epoch"], matcher.about["recall"]) == (2, 0.5)


def test_words_of_other_splits_are_not_learnt(drawn: Featured) -> None:
    images = [
        image if image.split == "train" else image._replace(captions=("a chandelier",) * 5)
        for image in drawn.captions.images
    ]
    captions = CaptionSet(Path("x"), KARPATHY, tuple(images), len(images))
    assert "chandelier" not in begin(drawn._replace(captions=captions).only("train"), QUICK).vocabulary


# What is learnt from in one epoch


@pytest.fixture
def lesson(drawn: Featured) -> Callable[[int], Lesson]:
    """Of so many photos."""

    def make(count: int) -> Lesson:
        images = drawn.captions.images[:count]
        uneven = tuple(image._replace(captions=image.captions[: 1 + at % 5]) for at, image in enumerate(images))
        captions = CaptionSet(Path("x"), KARPATHY, uneven, count)
        featured = Featured(captions, drawn.features[:count], COLOURS)
        return Lesson(featured, Vocabulary.build(captions, 1))

    return make


@pytest.mark.parametrize(("photos", "sizes"), [(20, [8, 8, 4]), (18, [8, 8, 2]), (17, [8, 8]), (16, [8, 8]), (3, [3])])
def test_every_photo_is_learnt_from_but_one_that_is_left_alone(
    lesson: Callable[[int], Lesson], photos: int, sizes: list[int]
) -> None:
    batches = list(lesson(photos).batches(0, 0, 8))
    assert [len(batch) for batch in batches] == sizes
    assert len(set(np.concatenate(batches).tolist())) == sum(sizes)


def test_every_epoch_shuffles_anew_and_takes_a_caption_of_each_photo(lesson: Callable[[int], Lesson]) -> None:
    learnt = lesson(20)
    orders = [np.concatenate(list(learnt.batches(0, epoch, 8))).tolist() for epoch in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]
    owner = np.repeat(np.arange(20), [1 + at % 5 for at in range(20)])
    chosen = [learnt.choose(0, epoch) for epoch in range(60)]
    assert all(owner[captions].tolist() == list(range(20)) for captions in chosen)
    assert {int(caption) for captions in chosen for caption in captions} == set(range(len(owner)))
    assert learnt.choose(0, 3).tolist() == chosen[3].tolist() != learnt.choose(1, 3).tolist()


def test_a_photo_with_many_captions_ranks_by_its_best(matcher: Matcher, drawn: Featured) -> None:
    test = drawn.only("test")
    found = rank(matcher, test)
    score = matcher.score(matcher.embed_photos(test.features), matcher.embed_sentences(test.captions.captions))
    for photo in range(0, 50, 7):
        own = test.captions.image_of == photo
        assert found.photo_to_text[photo] == 1 + (score[photo, ~own] >= score[photo, own].max()).sum()
    caption = 33
    of_others = np.delete(score[:, caption], 6)
    assert found.text_to_photo[caption] == 1 + (of_others >= score[6, caption]).sum()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"measure": "angle"}, "measure cannot be 'angle': choose one of order, cosine"),
        ({"negatives": "all"}, "negatives cannot be 'all': choose one of sum, hardest"),
        ({"batch": 1}, "batch cannot be 1: give a whole number from 2"),
        ({"epochs": 0}, "epochs cannot be 0: give a whole number from 1"),
        ({"dim": 1.5}, "dim cannot be 1.5: give a whole number from 1"),
        ({"margin": 0}, "margin cannot be 0: give a number above 0, at most 2"),
        ({"learning_rate": "fast"}, "learning_rate cannot be 'fast'"),
        ({"threshold": 10_000}, "no word is met 10000 times in dataset.json's training captions"),
    ],
)
def test_a_wrong_setting_is_refused(drawn: Featured, wrong: dict[str, object], told: str) -> None:
    with pytest.raises(SameSpaceError, match=told):
        train(drawn, QUICK._replace(**wrong))


def test_splits_that_are_missing_or_too_small_are_refused(drawn: Featured) -> None:
    with pytest.raises(SameSpaceError, match=r"dataset\.json has no val photos"):
        train(drawn.only("train"), QUICK)
    images = (*drawn.captions.images[:1], *drawn.captions.only("val").images)
    captions = CaptionSet(Path("dataset.json"), KARPATHY, images, len(images))
    featured = Featured(captions, np.concatenate([drawn.features[:1], drawn.only("val").features]), COLOURS)
    with pytest.raises(SameSpaceError, match=r"dataset\.json has one training photo"):
        train(featured, QUICK._replace(threshold=1))
