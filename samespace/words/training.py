"""Trains a matcher on captioned photos that have features, and tells how well it finds one by the other."""

from __future__ import annotations

import copy
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from samespace import progress
from samespace.errors import SameSpaceError
from samespace.files import save_whole
from samespace.words.captions import CaptionSet
from samespace.words.features import Featured
from samespace.words.matcher import DIM, MEASURES, WORD_DIM, Matcher, MatchNetwork, matching_loss, scores
from samespace.words.metrics import Ranks, Retrieval, photo_to_text, ranks, text_to_photo
from samespace.words.vocabulary import THRESHOLD, Vocabulary

NEGATIVES = ("sum", "hardest")
WARM_UP = 2  # epochs that the hardest wait for: from the first step on they would pull all vectors into one

Numbers = npt.NDArray[np.int64]


class Recipe(NamedTuple):
    """How a matcher is trained: by default as the paper has it."""

    measure: str = MEASURES[0]
    negatives: str = NEGATIVES[0]
    margin: float = 0.05
    dim: int = DIM
    word_dim: int = WORD_DIM
    threshold: int = THRESHOLD  # how often a word has to be met
    batch: int = 128
    learning_rate: float = 0.001
    clip: float = 2.0  # of the gradient's length
    epochs: int = 60
    patience: int = 10  # epochs that bring nothing, after which it ends
    seed: int = 0

    def check(self) -> None:
        """Refuse, in one sentence, what would fail later or quietly train something else."""
        for name, choices in (("measure", MEASURES), ("negatives", NEGATIVES)):
            if getattr(self, name) not in choices:
                raise SameSpaceError(f"{name} cannot be {getattr(self, name)!r}: choose one of {', '.join(choices)}")
        for name, least in WHOLE_NUMBERS.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise SameSpaceError(f"{name} cannot be {value!r}: give a whole number from {least}")
        for name, limit in NUMBERS.items():
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 < value <= limit:
                raise SameSpaceError(f"{name} cannot be {value!r}: give a number above 0, at most {limit:g}")


WHOLE_NUMBERS = {"dim": 1, "word_dim": 1, "threshold": 1, "batch": 2, "epochs": 1, "patience": 1, "seed": 0}
NUMBERS = {"margin": 2.0, "learning_rate": 1.0, "clip": 1e6}


class Lesson:
    """Photos' features and their captions as ids, ready to be learnt from."""

    def __init__(self, featured: Featured, vocabulary: Vocabulary, device: str | torch.device = "cpu") -> None:
        captions = featured.captions
        self.features = torch.from_numpy(featured.features).to(device)
        ids, lengths = vocabulary.encode_all(captions.captions)
        self.ids, self.lengths = torch.from_numpy(ids).to(device), torch.from_numpy(lengths)
        self._counts = np.bincount(captions.image_of)
        self._starts = np.cumsum(self._counts) - self._counts

    def __len__(self) -> int:
        return len(self.features)

    def choose(self, seed: int, epoch: int) -> Numbers:
        """(N,): one caption of each photo, at random and another one each epoch."""
        chosen: Numbers = self._starts + np.random.default_rng([seed, epoch, 1]).integers(self._counts)
        return chosen

    def batches(self, seed: int, epoch: int, size: int) -> Iterator[Numbers]:
        """All photos, shuffled anew each epoch; one alone, which has no negatives, is left out of it."""
        order = np.random.default_rng([seed, epoch]).permutation(len(self))
        for at in range(0, len(order), size):
            if len(order) - at > 1:
                yield order[at : at + size]

    def loss(self, network: torch.nn.Module, recipe: Recipe, photos: Numbers, captions: Numbers, epoch: int) -> Tensor:
        """Of B photos, and a caption of each, both given by their numbers."""
        rows, columns = torch.from_numpy(photos), torch.from_numpy(captions)
        lengths = self.lengths[columns]
        ids = self.ids[columns.to(self.ids.device), : int(lengths.max())]
        seen, said = network(self.features[rows.to(self.features.device)], ids, lengths)
        hardest = recipe.negatives == "hardest" and epoch >= WARM_UP
        return matching_loss(scores(seen, said, recipe.measure), rows.to(ids.device), recipe.margin, hardest)


class Evaluation(NamedTuple):
    """How well photos are found by their sentences, and sentences by their photos."""

    text_to_photo: Retrieval
    photo_to_text: Retrieval

    @property
    def recall(self) -> float:
        """Mean of the six recalls that the papers add up: what chooses between epochs."""
        return float(np.mean([getattr(one, f"recall_at_{k}") for one in self for k in (1, 5, 10)]))

    def __str__(self) -> str:
        return f"photos by sentences: {self.text_to_photo}\nsentences by photos: {self.photo_to_text}"


def evaluate(matcher: Matcher, featured: Featured) -> Evaluation:
    """On all photos and captions there are: take those of one split."""
    matcher.check(featured.trunk)
    image_of = featured.captions.image_of
    found = rank(matcher, featured)
    return Evaluation(text_to_photo(found), photo_to_text(found, image_of))


def rank(matcher: Matcher, featured: Featured) -> Ranks:
    """Of each caption's photo, and of each photo's captions."""
    photos = matcher.embed_photos(featured.features)
    sentences = matcher.embed_sentences(featured.captions.captions)
    return ranks(lambda rows, columns: matcher.score(photos[rows], sentences[columns]), featured.captions.image_of)


def shuffled(captions: CaptionSet, seed: int = 0) -> CaptionSet:
    """With the captions of each photo given to another of its split: of these nothing can be learnt.

    A matcher that still finds photos better than chance has seen what it should not have.
    """
    random, images = np.random.default_rng(seed), list(captions.images)
    for split in sorted({image.split for image in images}):
        order = random.permutation([at for at, image in enumerate(images) if image.split == split])
        for at, other in zip(order, np.roll(order, 1), strict=True):
            images[at] = captions.images[at]._replace(captions=captions.images[other].captions)
    return replace(captions, images=tuple(images))


def begin(featured: Featured, recipe: Recipe) -> Matcher:
    """A matcher for these training photos, that has learnt nothing yet; the same for the same seed."""
    recipe.check()
    if len(featured.features) < 2:
        raise SameSpaceError(f"{featured.captions.source} has one training photo: two are the least to tell apart")
    vocabulary = Vocabulary.build(featured.captions, recipe.threshold)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = MatchNetwork(len(vocabulary), featured.features.shape[1], recipe.dim, recipe.word_dim, recipe.measure)
    return Matcher(network, vocabulary, featured.trunk, {"captions": featured.captions.source.name})


def train(
    featured: Featured, recipe: Recipe | None = None, unfinished: Path | None = None, device: str = "cpu"
) -> Matcher:
    """The matcher of the epoch that was best on validation photos: the same every time on one thread.

    After every epoch all of it is kept in `unfinished`, if that is given: stopped, training goes on from there when it
    is asked for again.
    """
    recipe = recipe or Recipe()
    learnt, held = featured.only("train"), featured.only("val")
    matcher = begin(learnt, recipe)
    matcher.network.to(device)
    course = _Course(matcher, recipe, _digest(featured, recipe))
    if unfinished and unfinished.is_file():
        course.read(unfinished)
    lesson = Lesson(learnt, matcher.vocabulary, device)
    with progress.bar("matcher", recipe.epochs, unit=" epochs") as bar:
        bar.update(course.epoch)
        while course.epoch < recipe.epochs and course.epoch - course.best_epoch < recipe.patience:
            course.learn(lesson)
            course.judge(evaluate(matcher, held))
            if unfinished:
                course.write(unfinished)
            bar.update()
    matcher.network.load_state_dict(course.best)
    matcher.about |= {"epoch": course.best_epoch, "recipe": recipe._asdict(), "recall": course.recall}
    return matcher


def _digest(featured: Featured, recipe: Recipe) -> str:
    """Of all that decides what is learnt but for the number of epochs, which may be raised later."""
    said = [(image.file, image.split, image.captions) for image in featured.captions.images]
    told = recipe._replace(epochs=0, patience=0)
    digest = hashlib.sha256(json.dumps([told, featured.trunk, said]).encode())
    digest.update(featured.features.tobytes())
    return digest.hexdigest()


class _Course:
    """A training between two epochs: what is learnt, what was best, and all that going on needs."""

    def __init__(self, matcher: Matcher, recipe: Recipe, digest: str) -> None:
        self.network, self.recipe, self.digest = matcher.network, recipe, digest
        self.optimizer = torch.optim.Adam(self.network.parameters(), recipe.learning_rate)
        self.epoch, self.best_epoch, self.recall = 0, 0, -1.0
        self.best: dict[str, Tensor] = copy.deepcopy(self.network.state_dict())

    def learn(self, lesson: Lesson) -> None:
        """One epoch."""
        recipe, seed = self.recipe, self.recipe.seed
        captions = lesson.choose(seed, self.epoch)
        self.network.train()
        for photos in lesson.batches(seed, self.epoch, recipe.batch):
            self.optimizer.zero_grad()
            loss = lesson.loss(self.network, recipe, photos, captions[photos], self.epoch)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip)
            self.optimizer.step()
        self.network.eval()
        self.epoch += 1

    def judge(self, evaluation: Evaluation) -> None:
        if evaluation.recall > self.recall:
            self.recall, self.best_epoch = evaluation.recall, self.epoch
            self.best = copy.deepcopy(self.network.state_dict())

    def write(self, path: Path) -> None:
        state = {
            "digest": self.digest,
            "numbers": [self.epoch, self.best_epoch, self.recall],
            "network": self.network.state_dict(),
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
        }
        content = io.BytesIO()
        torch.save(state, content)
        save_whole(path, content.getvalue(), durable=False)

    def read(self, path: Path) -> None:
        try:
            state: dict[str, Any] = torch.load(path, self.network.photo.weight.device, weights_only=True)
            if state["digest"] != self.digest:
                raise SameSpaceError(
                    f"{path} was begun with other captions, features or settings: go on with those, or remove it"
                )
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            (self.epoch, self.best_epoch, self.recall), self.best = state["numbers"], state["best"]
        except SameSpaceError:
            raise
        except Exception as error:
            # Damaged data makes torch raise nearly anything.
            raise SameSpaceError(f"{path} is damaged: remove it, and train from the beginning") from error
