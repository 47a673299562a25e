"""Trains a matcher, by which sentences find photos, on photos and captions that you name.

det experiment create experiments/match/const.yaml .                       on a cluster
python3 -m experiments.match.match --data ROOT --output match.safetensors      here, with const.yaml's settings

What data are, `experiments.captioned` says.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from experiments import captioned
from experiments.captioned import CaptionedTrial
from samespace.words import train_matcher
from samespace.words.train_matcher import Evaluation, evaluate, loss
from samespace.words.training_loop import Batch


class MatchTrial(CaptionedTrial):
    """A caption of each photo against the photos of a batch, on a ranking loss."""

    CONST = Path(__file__).with_name("const.yaml")
    FILE = "match.safetensors"
    LEARNING = train_matcher
    LEARNT_BY = ("epochs", "measure", "negatives", "margin", "dim", "word_dim", "threshold", "learning_rate")
    METRICS = ("recall", "recall_at_10", "mean_rank", "mean_rank_of_chance")

    def loss(self, batch: Batch, epoch: int) -> Tensor:
        return loss(self.model, self.settings, batch, epoch)

    def figures(self) -> dict[str, float]:
        return figures(evaluate(self.trained, self.held))


def figures(evaluation: Evaluation) -> dict[str, float]:
    """What is reported; a mean rank means nothing without the one that chance would give."""
    photos = evaluation.text_to_photo
    return {
        "recall": evaluation.recall,
        "recall_at_10": photos.recall_at_10,
        "mean_rank": photos.mean,
        "mean_rank_of_chance": photos.chance,
    }


def main(words: Sequence[str] | None = None) -> int:
    """Train; a mistake is one line on stderr and exit status 1."""
    return captioned.main(MatchTrial, "experiments.match.match", words)


if __name__ == "__main__":
    sys.exit(main())
