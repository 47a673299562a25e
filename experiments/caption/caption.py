"""Trains a captioner, which says in a sentence what a photo shows, on photos and captions that you name.

det experiment create experiments/caption/const.yaml .                             on a cluster
python3 -m experiments.caption.caption --data ROOT --output caption.safetensors      here, with const.yaml's settings

What data are, `experiments.captioned` says.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from experiments import captioned
from experiments.captioned import CaptionedTrial
from samespace.words import train_captioner
from samespace.words.train_captioner import Evaluation, evaluate, loss
from samespace.words.training_loop import Batch


class CaptionTrial(CaptionedTrial):
    """Each word of a photo's caption, by the photo and the words before it, on cross-entropy."""

    CONST = Path(__file__).with_name("const.yaml")
    FILE = "caption.safetensors"
    LEARNING = train_captioner
    LEARNT_BY = ("epochs", "embed_size", "hidden_size", "threshold", "learning_rate")
    METRICS = ("cider_d", "bleu_1", "bleu_4", "distinct")

    def loss(self, batch: Batch, epoch: int) -> Tensor:
        return loss(self.model, batch)

    def figures(self) -> dict[str, float]:
        self.trained.network.settle(self.lesson.features)
        return figures(evaluate(self.trained, self.held, fewest=1))


def figures(evaluation: Evaluation) -> dict[str, float]:
    """What is reported; that captions are near people's means little if all say the same."""
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
