"""Train a captioner, which describes photos, on your photos and captions; experiments/captioned.py reads them.

det experiment create experiments/caption/const.yaml .                               on a cluster
python3 -m experiments.caption.caption --data ROOT --output caption.safetensors      here, with const.yaml's settings
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from experiments import captioned
from experiments.captioned import CaptionedTrial
from experiments.trial import Metrics
from samespace.words import train_captioner
from samespace.words.train_captioner import Evaluation, evaluate, loss
from samespace.words.training_loop import Batch


class CaptionTrial(CaptionedTrial):
    """Each word of a photo's caption, given the photo and the words before it, on cross-entropy."""

    CONST = Path(__file__).with_name("const.yaml")
    FILE = "caption.safetensors"
    TRAINING = train_captioner
    RECIPE = ("epochs", "embed_size", "hidden_size", "threshold", "learning_rate")
    METRICS = ("cider_d", "bleu_1", "bleu_4", "distinct")

    def loss(self, batch: Batch, epoch: int) -> Tensor:
        return loss(self.model, batch)

    def validate(self) -> Metrics:
        self.trained.network.settle(self.lesson.features)
        return metrics_of(evaluate(self.trained, self.held_out, fewest=1))


def metrics_of(evaluation: Evaluation) -> Metrics:
    """Return what a trial reports; captions close to people's mean little if all are the same."""
    return {
        "cider_d": evaluation.cider_d or 0.0,
        "bleu_1": evaluation.bleu[0],
        "bleu_4": evaluation.bleu[3],
        "distinct": evaluation.variety.distinct,
    }


def main(words: Sequence[str] | None = None) -> int:
    """Train; a mistake is one line on stderr and exit status 1."""
    return captioned.main(CaptionTrial, "experiments.caption.caption", words)


if __name__ == "__main__":
    sys.exit(main())
