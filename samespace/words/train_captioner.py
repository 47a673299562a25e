"""Train a captioner on captioned photos with features, and measure how near its captions come to people's."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samespace.base.errors import SameSpaceError
from samespace.words.caption_in_numpy import EMBED_SIZE, HIDDEN_SIZE
from samespace.words.caption_in_torch import CaptionNetwork, Learner
from samespace.words.metrics import FEWEST, Variety, bleu, cider_d, variety
from samespace.words.photo_features import Featured
from samespace.words.training_loop import Batch, Course, Lesson, check_recipe, digest
from samespace.words.vocabulary import PAD, THRESHOLD, UNKNOWN, Vocabulary
from samespace.words.writers import Writer


class Evaluation(NamedTuple):
    """The similarity of written captions to those that people gave the same photos."""

    bleu: tuple[float, ...]  # BLEU-1 to BLEU-4
    cider_d: float | None  # None of too few photos
    variety: Variety
    photos: int

    def __str__(self) -> str:
        cider = "too few photos for CIDEr-D" if self.cider_d is None else f"CIDEr-D {self.cider_d:.3f}"
        used = f"{self.variety.words:,} words used, {self.variety.length:.1f} a caption"
        bleus = ", ".join(f"BLEU-{order} {value:.3f}" for order, value in enumerate(self.bleu, 1))
        return f"{bleus}, {cider}, {used}, {100 * self.variety.distinct:.0f} % of {self.photos:,} captions distinct"


def evaluate(writer: Writer, featured: Featured, fewest: int = FEWEST) -> Evaluation:
    """Evaluate on all given photos, usually those of one split; CIDEr-D needs `fewest` of them."""
    writer.check(featured.feature_source)
    return judged(writer.captions(featured.features), featured, fewest)


def judged(written: list[str], featured: Featured, fewest: int = FEWEST) -> Evaluation:
    """Evaluate one written caption for each photo."""
    references = [image.captions for image in featured.captions.images]
    cider = cider_d(written, references, fewest) if len(written) >= fewest else None
    return Evaluation(bleu(written, references), cider, variety(written), len(written))


class Recipe(NamedTuple):
    """The settings for training a captioner."""

    embed_size: int = EMBED_SIZE
    hidden_size: int = HIDDEN_SIZE
    threshold: int = THRESHOLD  # times a word must be met
    batch: int = 64
    learning_rate: float = 0.001
    clip: float = 5.0  # the gradient's length, at most
    epochs: int = 100
    patience: int = 20  # epochs without improvement, after which it ends
    seed: int = 0

    def check(self) -> None:
        """Refuse, in one sentence, settings that would fail later or quietly train something else."""
        check_recipe(self, {}, {"embed_size": 1, "hidden_size": 1}, {})


# Quicker on some thousand photos, and no worse; `benchmarks/caption.py` measures it.
QUICK = Recipe(hidden_size=256, learning_rate=0.002)


def loss(network: nn.Module, batch: Batch) -> Tensor:
    """Return the cross-entropy of a batch's captions, in nats per word; unknown words do not count."""
    logits = network(batch.features, batch.ids[:, :-1])
    words = batch.ids[:, 1:]
    return F.cross_entropy(logits.flatten(0, 1), words.masked_fill(words == UNKNOWN, PAD).flatten(), ignore_index=PAD)


def begin(featured: Featured, recipe: Recipe) -> Learner:
    """Make an untrained captioner for these training photos, the same for the same seed."""
    recipe.check()
    if len(featured.features) < 2:
        raise SameSpaceError(f"{featured.captions.source} has one training photo: give at least two")
    vocabulary = Vocabulary.build(featured.captions, recipe.threshold)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        sizes = (featured.features.shape[1], recipe.embed_size, recipe.hidden_size)
        network = CaptionNetwork(len(vocabulary), *sizes)
    return Learner(network, vocabulary, featured.feature_source, {"captions": featured.captions.source.name})


def train(
    featured: Featured, recipe: Recipe | None = None, unfinished: Path | None = None, device: str = "cpu"
) -> Learner:
    """Return the captioner of the epoch that was best on validation photos, the same every time on one thread.

    Best by CIDEr-D, of however few photos. By cross-entropy it would end too early, with one caption for most photos:
    on the other half of the validation photos of drawn rooms CIDEr-D was then 1.38 instead of 1.76.

    With `unfinished`, its state is kept in that file after every epoch: if training is stopped, the next call goes on
    from there.
    """
    recipe = recipe or Recipe()
    learnt, held = featured.only("train"), featured.only("val")
    writer = begin(learnt, recipe)
    lesson = Lesson(learnt, writer.vocabulary, device)
    writer.network.to(device)
    course = Course(
        writer.network, lesson, lambda network, batch, _: loss(network, batch), recipe, digest(featured, recipe)
    )

    def judge() -> float:
        writer.network.settle(lesson.features)
        return evaluate(writer, held, fewest=1).cider_d or 0.0

    course.run(judge, unfinished, "captioner")
    writer.about |= {"epoch": course.best_epoch, "recipe": recipe._asdict(), "cider_d": course.score}
    return writer
