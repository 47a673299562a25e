"""Trains a matcher on captioned photos that have features, and tells how well it finds one by the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from samespace.base.errors import SameSpaceError
from samespace.words.caption_set import CaptionSet
from samespace.words.matcher import DIM, MEASURES, WORD_DIM, Matcher, MatchNetwork, matching_loss, scores
from samespace.words.metrics import Ranks, Retrieval, photo_to_text, ranks, text_to_photo
from samespace.words.photo_features import Featured
from samespace.words.training_loop import Batch, Course, Lesson, check_recipe, digest
from samespace.words.vocabulary import THRESHOLD, Vocabulary

NEGATIVES = ("sum", "hardest")
WARM_UP = 2  # epochs that the hardest wait for: from the first step on they would pull all vectors into one


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
        check_recipe(self, {"measure": MEASURES, "negatives": NEGATIVES}, {"dim": 1, "word_dim": 1}, {"margin": 2.0})


# Smaller than the paper's, and so quicker to learn from some thousand photos: what `benchmarks/match.py` measures.
QUICK = {
    "order": Recipe(dim=256, batch=64, learning_rate=0.002),
    "cosine": Recipe(measure="cosine", margin=0.2, dim=256, batch=64, learning_rate=0.002),
}


def loss(network: nn.Module, recipe: Recipe, batch: Batch, epoch: int) -> Tensor:
    """How far the photos and captions of a batch are from finding each other among all of it."""
    seen, said = network(batch.features, batch.ids, batch.lengths)
    hardest = recipe.negatives == "hardest" and epoch >= WARM_UP
    return matching_loss(scores(seen, said, recipe.measure), batch.photos, recipe.margin, hardest)


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
    matcher.check(featured.feature_source)
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
    return Matcher(network, vocabulary, featured.feature_source, {"captions": featured.captions.source.name})


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
    course = course_of(matcher, Lesson(learnt, matcher.vocabulary, device), recipe, digest(featured, recipe))
    course.run(lambda: evaluate(matcher, held).recall, unfinished, "matcher")
    matcher.about |= {"epoch": course.best_epoch, "recipe": recipe._asdict(), "recall": course.score}
    return matcher


def course_of(matcher: Matcher, lesson: Lesson, recipe: Recipe, digest: str = "") -> Course:
    """A training that is about to begin, where the lesson's features are."""
    matcher.network.to(lesson.features.device)
    return Course(matcher.network, lesson, lambda network, *taken: loss(network, recipe, *taken), recipe, digest)
