"""Train a matcher, with which sentences find photos, on your photos and captions; experiments/captioned.py reads them.

det experiment create experiments/match/const.yaml .                           on a cluster
python3 -m experiments.match.match --data ROOT --output match.safetensors      here, with const.yaml's settings
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from experiments import captioned
from experiments.captioned import CaptionedTrial
from experiments.trial import Metrics
from samespace.words import train_matcher
from samespace.words.train_matcher import Evaluation, evaluate, loss
from samespace.words.training_loop import Batch


class MatchTrial(CaptionedTrial):
    """A caption of each photo against the photos of a batch, on a ranking loss."""

    CONST = Path(__file__).with_name("const.yaml")
    FILE = "match.safetensors"
    TRAINING = train_matcher
    RECIPE = ("epochs", "measure", "negatives", "margin", "dim", "word_dim", "threshold", "learning_rate")
    METRICS = ("recall", "recall_at_10", "mean_rank", "mean_rank_of_chance")

    def loss(self, batch: Batch, epoch: int) -> Tensor:
        return loss(self.model, self.recipe, batch, epoch)

    def validate(self) -> Metrics:
        return metrics_of(evaluate(self.trained, self.held_out))


def metrics_of(evaluation: Evaluation) -> Metrics:
    """Return what a trial reports; a mean rank means little without the one that chance would give."""
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
