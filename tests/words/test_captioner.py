"""Sentences written word by word: searched as promised, the same every time, learnt from drawn rooms."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from samespace.base.errors import SameSpaceError
from samespace.words import captioner as writing
from samespace.words import train_captioner
from samespace.words.caption_files import KARPATHY
from samespace.words.caption_in_numpy import Weights
from samespace.words.caption_in_torch import CaptionNetwork, Learner
from samespace.words.caption_set import Captioned, CaptionSet
from samespace.words.captioner import Captioner, write
from samespace.words.metrics import bleu, cider_d, variety
from samespace.words.nearest_captions import Grams, borrow
from samespace.words.photo_features import Featured, FeatureSource
from samespace.words.tokens import split_words
from samespace.words.train_captioner import Evaluation, Recipe, begin, evaluate, judged, loss, train
from samespace.words.train_matcher import shuffled
from samespace.words.training_loop import Batch, Course, Lesson
from samespace.words.vocabulary import PAD, START, STOP, UNKNOWN, Vocabulary
from samespace.words.writers import load
from tests.conftest import COLOURS, Killed

QUICK = Recipe(embed_size=32, hidden_size=48, threshold=2, batch=12, learning_rate=0.01, epochs=25)
WORDS = ("bed", "rug", "sofa")


@pytest.fixture(scope="module")
def captioner(drawn: Featured) -> Captioner:
    return train(drawn, QUICK)


def network(seed: int, words: int = 4 + len(WORDS), scale: float = 4.0) -> CaptionNetwork:
    """One that has learnt nothing and is sure of it."""
    torch.manual_seed(seed)
    made = CaptionNetwork(words, photo_dim=5, embed_size=6, hidden_size=7)
    with torch.no_grad():
        made.next.weight.mul_(scale)
        made.next.bias[UNKNOWN] = made.next.bias[PAD] = 9  # what must not be said is what it would like to say
    return made.eval()


def photos(count: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((count, 5)).astype(np.float32))


@torch.no_grad()
def likelihood(made: CaptionNetwork, photo: torch.Tensor, ids: list[int], longest: int) -> float:
    """Of a sentence given as ids without START, by the network's forward alone; at its longest it need not stop."""
    logits = made(photo[None], torch.tensor([[START, *ids[:-1]]]))[0]
    logits[0, STOP] = -torch.inf
    steps = logits.log_softmax(1)[torch.arange(len(ids)), torch.tensor(ids)]
    assert ids[-1] == STOP or len(ids) == longest
    return float(steps.sum())


def sentence(row: np.ndarray) -> list[int]:
    return [number for number in row.tolist() if number != PAD]


# The network


def test_a_sentence_is_scored_as_it_is_written() -> None:
    """All at once as in training, and word by word as in writing."""
    made, seen, ids = network(0), photos(3), torch.tensor([[START, 4, 5, 6], [START, 6, 6, 4], [START, 5, 4, 4]])
    together = made(seen, ids)
    for used in (made, Weights(made.arrays())):
        state = used.begin(seen.numpy())
        for place in range(4):
            logits, state = used.follow(ids[:, place].numpy(), state)
            np.testing.assert_allclose(logits, together[:, place].detach(), atol=1e-5)


def test_the_first_word_follows_the_photo_and_the_start() -> None:
    made = network(0)
    one, other = made(photos(2), torch.tensor([[START], [START]]))
    assert (one - other)[0, STOP] != 0, "the photo is seen"
    assert made(photos(2), torch.tensor([[START, 4, 5]] * 2)).shape == (2, 3, 7), "nothing is foreseen of START itself"


def test_what_is_no_word_is_never_foreseen() -> None:
    logits = network(0)(photos(2), torch.tensor([[START, 4], [START, UNKNOWN]]))
    assert logits[..., [PAD, START, UNKNOWN]].isneginf().all()
    assert logits[..., [STOP, 4, 5, 6]].isfinite().all()


def test_the_loss_is_the_mean_surprise_of_known_words_and_the_stop() -> None:
    made, seen = network(0), photos(2)
    ids = torch.tensor([[START, 4, 5, UNKNOWN, STOP], [START, 6, STOP, PAD, PAD]])
    logits = made(seen, ids[:, :-1]).log_softmax(2)
    expected = [logits[0, 0, 4], logits[0, 1, 5], logits[0, 3, STOP], logits[1, 0, 6], logits[1, 1, STOP]]
    batch = Batch(torch.arange(2), seen, ids, torch.tensor([5, 3]))
    assert loss(made, batch).item() == pytest.approx(-torch.stack(expected).mean().item(), rel=1e-5)
    longer = batch._replace(ids=F.pad(ids, (0, 3), value=PAD))
    assert loss(made, longer).item() == pytest.approx(loss(made, batch).item(), rel=1e-5)


def test_what_cannot_be_said_teaches_nothing_and_breaks_nothing() -> None:
    made = network(0).train()
    ids = torch.tensor([[START, 4, UNKNOWN, STOP], [START, 5, STOP, PAD]])
    loss(made, Batch(torch.arange(2), photos(2), ids, torch.tensor([4, 3]))).backward()
    assert all(value.grad.isfinite().all() for value in made.parameters())
    assert not made.next.bias.grad[[PAD, START, UNKNOWN]].any()


# Writing


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_a_beam_of_one_takes_the_likeliest_word_each_time(seed: int) -> None:
    made, seen, longest = network(seed), photos(3, seed), 6
    found = write(made, seen.numpy(), beam=1, longest=longest)
    for photo, row, told in zip(seen, found.ids, found.likelihood, strict=True):
        ids: list[int] = []
        while len(ids) < longest and STOP not in ids:
            logits = made(photo[None], torch.tensor([[START, *ids]]))[0, -1]
            logits[STOP] = logits[STOP] if ids else -torch.inf
            ids.append(int(logits.argmax()))
        assert sentence(row) == ids
        assert told.item() == pytest.approx(likelihood(made, photo, ids, longest), abs=1e-4)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_a_beam_that_holds_all_sentences_finds_the_likeliest(seed: int) -> None:
    made, seen, longest = network(seed), photos(2, seed), 3
    known = range(4, 4 + len(WORDS))
    every = [[*said, STOP] for size in range(1, longest) for said in itertools.product(known, repeat=size)]
    every += [list(said) for said in itertools.product(known, repeat=longest)]
    found = write(made, seen.numpy(), beam=100, longest=longest)
    narrower = [write(made, seen.numpy(), beam, longest).likelihood for beam in (1, 2, 3, 5)]
    for at, photo in enumerate(seen):
        scores = {tuple(ids): likelihood(made, photo, ids, longest) for ids in every}
        assert found.likelihood[at].item() == pytest.approx(max(scores.values()), abs=1e-4)
        assert scores[tuple(sentence(found.ids[at]))] == pytest.approx(max(scores.values()), abs=1e-4)
        assert all(one[at] <= found.likelihood[at] + 1e-5 for one in narrower)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 9))
@settings(max_examples=25)
def test_without_pytorch_the_same_is_written(seed: int, beam: int, longest: int) -> None:
    made, seen = network(seed), photos(4, seed).numpy()
    with torch.no_grad():
        made.norm.running_mean.normal_()
        made.norm.running_var.uniform_(0.5, 2)
    one, two = (write(used, seen, beam, longest) for used in (made, Weights(made.arrays())))
    np.testing.assert_array_equal(two.ids, one.ids)
    np.testing.assert_allclose(two.likelihood, one.likelihood, atol=1e-4)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 5))
@settings(max_examples=25)
def test_what_is_written_is_what_it_is_said_to_be(seed: int, beam: int, longest: int) -> None:
    """One word or more, none that is no word, no more than allowed, and as likely as is told."""
    made, seen = network(seed), photos(4, seed)
    found = write(made, seen.numpy(), beam, longest)
    for photo, row, told in zip(seen, found.ids, found.likelihood, strict=True):
        ids = sentence(row)
        assert 1 <= len(ids) <= longest
        assert ids[0] != STOP
        assert not {START, UNKNOWN} & set(ids)
        assert STOP not in ids[:-1]
        assert told.item() == pytest.approx(likelihood(made, photo, ids, longest), abs=1e-4)
        alone = write(made, photo[None].numpy(), beam, longest)
        assert sentence(alone.ids[0]) == ids


def test_a_network_that_likes_to_stop_says_a_word_first() -> None:
    made = network(0)
    with torch.no_grad():
        made.next.bias[STOP] = 50
    captioner = Captioner(made, Vocabulary(WORDS), COLOURS)
    for beam in (1, 4):
        assert all(caption in WORDS for caption in captioner.captions(photos(9).numpy(), beam=beam))


def test_one_that_never_stops_is_cut() -> None:
    made = network(0)
    with torch.no_grad():
        made.next.bias[STOP] = -50
    captioner = Captioner(made, Vocabulary(WORDS), COLOURS)
    for beam in (1, 4):
        assert {len(split_words(one)) for one in captioner.captions(photos(9).numpy(), beam=beam, longest=11)} == {11}


def test_writing_leaves_the_network_as_it_was(captioner: Captioner, drawn: Featured) -> None:
    """Batch norm learns nothing, even of a network that was left in training."""
    before = {name: value.clone() for name, value in captioner.network.state_dict().items()}
    expected = captioner.captions(drawn.features[:30])
    captioner.network.train()
    assert captioner.captions(drawn.features[:30]) == expected
    assert all(value.equal(before[name]) for name, value in captioner.network.state_dict().items())


@pytest.mark.parametrize("beam", [1, 3])
def test_a_photo_is_told_of_alone_as_among_others(
    beam: int, captioner: Captioner, drawn: Featured, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = drawn.features[:60]
    expected = captioner.captions(features, beam)
    assert [captioner.captions(row[None], beam)[0] for row in features[:20]] == expected[:20]
    monkeypatch.setattr(writing, "PHOTOS_AT_ONCE", 7)
    assert captioner.captions(1000 * features[::-1], beam) == expected[::-1]
    assert captioner.captions(features[:0], beam) == []


def test_weights_that_are_no_numbers_are_told_of(drawn: Featured) -> None:
    broken = begin(drawn.only("train"), QUICK)
    broken.network.next.weight.data.fill_(float("nan"))
    with pytest.raises(SameSpaceError, match="weights are not finite: train it again, at a lower learning rate"):
        broken.captions(drawn.features)


def test_features_of_another_backbone_or_length_are_refused(captioner: Captioner, drawn: Featured) -> None:
    captioner.check(COLOURS)
    with pytest.raises(SameSpaceError, match=r"captioner was trained on features of colours, and these are of vgg16"):
        evaluate(captioner, drawn._replace(feature_source=FeatureSource("vgg16", "other")))
    with pytest.raises(SameSpaceError, match=r"captioner takes features of 136 numbers, not of shape \(190, 135\)"):
        captioner.captions(drawn.features[:, :-1])


# Files


@pytest.fixture
def saved(captioner: Captioner, tmp_path: Path) -> Path:
    captioner.save(tmp_path / "caption.safetensors")
    return tmp_path / "caption.safetensors"


def test_a_saved_captioner_writes_the_same_captions(captioner: Captioner, saved: Path, drawn: Featured) -> None:
    loaded = Captioner.load(saved)
    assert (type(captioner.network), type(loaded.network)) == (CaptionNetwork, Weights)
    assert Learner.of(loaded).captions(drawn.features) == captioner.captions(drawn.features)
    assert loaded.captions(drawn.features) == captioner.captions(drawn.features)
    assert (loaded.feature_source, loaded.about) == (captioner.feature_source, captioner.about)
    loaded.save(saved.with_name("again"))
    assert saved.with_name("again").read_bytes() == saved.read_bytes()


def test_either_kind_is_loaded_by_what_is_in_the_file(saved: Path, captioner: Captioner, drawn: Featured) -> None:
    borrow(drawn).save(saved.with_name("nearest"))
    for name, writer in (("caption.safetensors", captioner), ("nearest", borrow(drawn))):
        found = load(saved.with_name(name))
        assert isinstance(writer, type(found))
        assert found.captions(drawn.features) == writer.captions(drawn.features)
        assert (found.feature_source, found.about) == (writer.feature_source, writer.about)


def test_a_damaged_captioner_is_refused(saved: Path) -> None:
    whole = saved.read_bytes()
    for place in [*range(0, 2000, 137), *range(2000, len(whole), len(whole) // 10)]:
        saved.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(SameSpaceError, match=r"caption\.safetensors is (not a captioner, or damaged|of format)"):
            load(saved)
    for content in (b"", b"words", whole[: len(whole) // 2]):
        saved.write_bytes(content)
        with pytest.raises(SameSpaceError, match="is not a captioner, or damaged: train it again, or copy it again"):
            load(saved)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": 2}, "is of format 2, and 1 is known here: use the version of samespace that wrote it"),
        ({"hidden_size": 47}, "is not a captioner, or damaged"),
        ({"trunk": {"name": "vgg16", "origin": "x"}}, "is not a captioner, or damaged"),
    ],
)
def test_a_captioner_that_was_changed_is_refused(saved: Path, change: dict[str, object], told: str) -> None:
    with safe_open(saved, "pt") as file:
        about = json.loads(file.metadata()["captioner"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(weights, saved, {"captioner": json.dumps(about | change)})
    with pytest.raises(SameSpaceError, match=told):
        load(saved)


def test_files_that_are_not_there_or_are_of_others_are_named(drawn: Featured, tmp_path: Path) -> None:
    with pytest.raises(SameSpaceError, match="nowhere: no such file"):
        load(tmp_path / "nowhere")
    save_file({"x": torch.zeros(2)}, tmp_path / "other")
    with pytest.raises(SameSpaceError, match="other is not a captioner, or damaged"):
        load(tmp_path / "other")


# Training


def test_it_learns_a_few_photos_by_heart(drawn: Featured) -> None:
    images = tuple(image._replace(captions=image.captions[:1]) for image in drawn.captions.images[:12])
    both = tuple(image._replace(split=split) for split in ("train", "val") for image in images)
    captions = CaptionSet(Path("few"), KARPATHY, both, 24)
    featured = Featured(captions, np.concatenate([drawn.features[:12]] * 2), COLOURS)
    found = train(featured, QUICK._replace(threshold=1, epochs=150, patience=30, batch=12))
    expected = [" ".join(split_words(image.captions[0])) for image in images]
    assert found.captions(drawn.features[:12], beam=1) == expected


def test_it_says_what_rooms_show_that_it_has_not_seen(captioner: Captioner, drawn: Featured) -> None:
    test = drawn.only("test")
    written = captioner.captions(test.features)
    assert worth(written, test) > 1.3 * said_of_all(drawn, test)
    assert worth(written, test) > 1.3 * of_others(written, test)


def test_of_shuffled_captions_nothing_is_learnt(drawn: Featured) -> None:
    """What it says fits a photo no better than any other, or than what fits most is said of every photo."""
    control, test = train(drawn._replace(captions=shuffled(drawn.captions)), QUICK), drawn.only("test")
    written = control.captions(test.features)
    assert worth(written, test) < 1.2 * said_of_all(drawn, test)
    assert worth(written, test) < 1.2 * of_others(written, test)


def worth(written: list[str], test: Featured) -> float:
    """CIDEr-D."""
    return cider_d(written, [image.captions for image in test.captions.images], fewest=50)


def of_others(written: list[str], test: Featured) -> float:
    """CIDEr-D of the same captions if each is said of another photo."""
    return float(np.mean([worth(written[turn:] + written[:turn], test) for turn in range(1, 50, 10)]))


def said_of_all(drawn: Featured, test: Featured) -> float:
    """CIDEr-D of the training caption most like all others, said of every photo."""
    learnt = drawn.captions.only("train")
    commonest = learnt.captions[Grams(learnt.captions, learnt.image_of).consensus(np.arange(len(learnt.captions)))]
    return worth([commonest] * len(test.features), test)


def test_the_same_seed_gives_the_same_captioner(drawn: Featured, tmp_path: Path) -> None:
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
    recipe, unfinished, learn = QUICK._replace(epochs=4), tmp_path / "unfinished", Course.learn
    train(drawn, recipe).save(tmp_path / "whole")
    epochs = []

    def stopped(self: Course) -> None:
        if self.epoch == 2 and 2 not in epochs:
            epochs.append(2)
            raise Killed
        epochs.append(self.epoch)
        learn(self)

    monkeypatch.setattr(Course, "learn", stopped)
    with pytest.raises(Killed):
        train(drawn, recipe, unfinished)
    torch.rand(5)
    train(drawn, recipe, unfinished).save(tmp_path / "resumed")
    assert epochs == [0, 1, 2, 2, 3]
    assert (tmp_path / "resumed").read_bytes() == (tmp_path / "whole").read_bytes()


def test_what_was_begun_otherwise_is_not_gone_on_with(drawn: Featured, tmp_path: Path) -> None:
    unfinished, recipe = tmp_path / "unfinished", QUICK._replace(epochs=1)
    train(drawn, recipe, unfinished)
    train(drawn, recipe._replace(epochs=2), unfinished)  # longer is no other training
    with pytest.raises(SameSpaceError, match="unfinished was begun with other captions, features or settings"):
        train(drawn, recipe._replace(clip=1.0), unfinished)


def test_it_stops_when_validation_photos_gain_no_more_and_keeps_the_best(
    drawn: Featured, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, states = iter([0.1, 0.5, 0.4, 0.5, 0.3, 0.9]), []

    def told(captioner: Captioner, featured: Featured, fewest: int) -> Evaluation:
        assert featured.captions == drawn.captions.only("val")
        states.append(captioner.network.photo.weight.clone())
        return judged(["a bed"] * 20, featured)._replace(cider_d=next(scores))

    monkeypatch.setattr(train_captioner, "evaluate", told)
    found = train(drawn, QUICK._replace(patience=3))
    assert len(states) == 5
    assert found.network.photo.weight.equal(states[1])
    assert (found.about["epoch"], found.about["cider_d"]) == (2, 0.5)


def test_words_of_other_splits_are_not_learnt(drawn: Featured) -> None:
    images = [
        image if image.split == "train" else image._replace(captions=("a chandelier",) * 5)
        for image in drawn.captions.images
    ]
    captions = CaptionSet(Path("x"), KARPATHY, tuple(images), len(images))
    assert "chandelier" not in begin(drawn._replace(captions=captions).only("train"), QUICK).vocabulary


def test_features_are_never_touched(drawn: Featured) -> None:
    before = drawn.features.copy()
    train(drawn, QUICK._replace(epochs=1))
    np.testing.assert_array_equal(drawn.features, before)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"batch": 1}, "batch cannot be 1: give a whole number from 2"),
        ({"hidden_size": 0}, "hidden_size cannot be 0: give a whole number from 1"),
        ({"embed_size": 1.5}, "embed_size cannot be 1.5: give a whole number from 1"),
        ({"learning_rate": 0}, "learning_rate cannot be 0: give a number above 0, at most 1"),
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


def test_a_training_set_that_leaves_one_photo_over_is_learnt_from(drawn: Featured) -> None:
    """Batch norm cannot learn of a photo alone."""
    lesson = Lesson(drawn.only("train"), Vocabulary.build(drawn.captions, 2))
    assert {len(batch) for batch in lesson.batches(0, 0, 7)} == {7}
    train(drawn, QUICK._replace(epochs=1, batch=7))


# What is told of captions


def test_an_evaluation_says_how_near_and_how_varied_captions_are(drawn: Featured) -> None:
    test = drawn.only("test")
    references = [image.captions for image in test.captions.images]
    written = [said[0] for said in references]
    found = judged(written, test, fewest=50)
    assert found == Evaluation(bleu(written, references), cider_d(written, references, 50), variety(written), 50)
    assert str(found).startswith("BLEU-1 1.000, BLEU-2 1.000, BLEU-3 1.000, BLEU-4 1.000, CIDEr-D ")
    assert f"{found.variety.words} words used, {found.variety.length:.1f} a caption, 100 % of 50 cap" in str(found)


def test_of_few_photos_it_says_why_there_is_no_cider(drawn: Featured) -> None:
    found = judged(["a room"] * 50, drawn.only("test"))
    assert found.cider_d is None
    assert "too few photos for CIDEr-D, 2 words used, 2.0 a caption, 2 % of 50 captions" in str(found)


def test_captions_need_not_be_five(drawn: Featured) -> None:
    images = tuple(
        image._replace(captions=image.captions[: 1 + at % 4]) for at, image in enumerate(drawn.captions.images)
    )
    captions = CaptionSet(Path("x"), KARPATHY, images, len(images))
    assert isinstance(images[0], Captioned)
    found = train(drawn._replace(captions=captions), QUICK._replace(epochs=1))
    assert evaluate(found, drawn._replace(captions=captions)).photos == 190
