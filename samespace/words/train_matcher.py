"""Train a matcher on captioned photos with features, and measure how well it finds one by the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from samespace.base.errors import SameSpaceError
from samespace.words.caption_set import CaptionSet
from samespace.words.match_in_numpy import DIM, MEASURES, WORD_DIM
from samespace.words.match_in_torch import Learner, MatchNetwork, matching_loss, scores
from samespace.words.matcher import Matcher
from samespace.words.metrics import Ranks, Retrieval, photo_to_text, ranks, text_to_photo
from samespace.words.photo_features import Featured
from samespace.words.training_loop import Batch, Course, Lesson, check_recipe, digest
from samespace.words.vocabulary import THRESHOLD, Vocabulary

NEGATIVES = ("sum", "hardest")
WARM_UP = 2  # epochs before the hardest are used: from the first step they would pull all vectors into one


class Recipe(NamedTuple):
    """The settings for training a matcher, by default the paper's."""

    measure: str = MEASURES[0]
    negatives: str = NEGATIVES[0]
    margin: float = 0.05
    dim: int = DIM
    word_dim: int = WORD_DIM
    threshold: int = THRESHOLD  # times a word must be met
    batch: int = 128
    learning_rate: float = 0.001
    clip: float = 2.0  # the gradient's length, at most
    epochs: int = 60
    patience: int = 10  # epochs without improvement, after which it ends
    seed: int = 0

    def check(self) -> None:
        """Refuse, in one sentence, settings that would fail later or quietly train something else."""
        check_recipe(self, {"measure": MEASURES, "negatives": NEGATIVES}, {"dim": 1, "word_dim": 1}, {"margin": 2.0})


# Smaller than the paper's, and so quicker on some thousand photos; `benchmarks/match.py` measures it.
QUICK = {
    "order": Recipe(dim=256, batch=64, learning_rate=0.002),
    "cosine": Recipe(measure="cosine", margin=0.2, dim=256, batch=64, learning_rate=0.002),
}


def loss(network: nn.Module, recipe: Recipe, batch: Batch, epoch: int) -> Tensor:
    """Return the matching loss of a batch of photos and captions."""
    seen, said = network(batch.features, batch.ids, batch.lengths)
    hardest = recipe.negatives == "hardest" and epoch >= WARM_UP
    return matching_loss(scores(seen, said, recipe.measure), batch.photos, recipe.margin, hardest)


class Evaluation(NamedTuple):
    """Retrieval of photos by their sentences, and of sentences by their photos."""

    text_to_photo: Retrieval
    photo_to_text: Retrieval

    @property
    def recall(self) -> float:
        """Return the mean of the six recalls that the papers add up; the best epoch has the highest."""
        return float(np.mean([getattr(one, f"recall_at_{k}") for one in self for k in (1, 5, 10)]))

    def __str__(self) -> str:
        return f"photos by sentences: {self.text_to_photo}\nsentences by photos: {self.photo_to_text}"


def evaluate(matcher: Matcher, featured: Featured) -> Evaluation:
    """Evaluate on all given photos and captions, usually those of one split."""
    matcher.check(featured.feature_source)
    image_of = featured.captions.image_of
    found = rank(matcher, featured)
    return Evaluation(text_to_photo(found), photo_to_text(found, image_of))


def rank(matcher: Matcher, featured: Featured) -> Ranks:
    """Rank each caption's photo, and each photo's captions."""
    photos = matcher.embed_photos(featured.features)
    sentences = matcher.embed_sentences(featured.captions.captions)
    return ranks(lambda rows, columns: matcher.score(photos[rows], sentences[columns]), featured.captions.image_of)


def shuffled(captions: CaptionSet, seed: int = 0) -> CaptionSet:
    """Give each photo's captions to another photo of its split, so that nothing can be learnt from them.

    A matcher that still finds photos better than chance has seen what it should not.
    """
    random, images = np.random.default_rng(seed), list(captions.images)
    for split in sorted({image.split for image in images}):
        order = random.permutation([at for at, image in enumerate(images) if image.split == split])
        for at, other in zip(order, np.roll(order, 1), strict=True):
            images[at] = captions.images[at]._replace(captions=captions.images[other].captions)
    return replace(captions, images=tuple(images))


def begin(featured: Featured, recipe: Recipe) -> Learner:
    """Make an untrained matcher for these training photos, the same for the same seed."""
    recipe.check()
    if len(featured.features) < 2:
        raise SameSpaceError(f"{featured.captions.source} has one training photo: give at least two")
    vocabulary = Vocabulary.build(featured.captions, recipe.threshold)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = MatchNetwork(len(vocabulary), featured.features.shape[1], recipe.dim, recipe.word_dim, recipe.measure)
    return Learner(network, vocabulary, featured.feature_source, {"captions": featured.captions.source.name})


def train(
    featured: Featured, recipe: Recipe | None = None, unfinished: Path | None = None, device: str = "cpu"
) -> Learner:
    """Return the matcher of the epoch that was best on validation photos, the same every time on one thread.

    With `unfinished`, its state is kept in that file after every epoch: if training is stopped, the next call goes on
    from there.
    """
    recipe = recipe or Recipe()
    learnt, held = featured.only("train"), featured.only("val")
    matcher = begin(learnt, recipe)
    course = course_of(matcher, Lesson(learnt, matcher.vocabulary, device), recipe, digest(featured, recipe))
    course.run(lambda: evaluate(matcher, held).recall, unfinished, "matcher")
    matcher.about |= {"epoch": course.best_epoch, "recipe": recipe._asdict(), "recall": course.score}
    return matcher


def course_of(matcher: Learner, lesson: Lesson, recipe: Recipe, digest: str = "") -> Course:
    """Prepare a training on the device that the lesson's features are on."""
    matcher.network.to(lesson.features.device)
    return Course(matcher.network, lesson, lambda network, *taken: loss(network, recipe, *taken), recipe, digest)
