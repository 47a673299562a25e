"""Trains a matcher, by which sentences find photos, on photos and captions that you name.

det experiment create experiments/match/const.yaml .                       on a cluster
python3 -m experiments.match.match --data ROOT --output match.safetensors      here, with const.yaml's settings

Data are a folder of photos with captions in it: a dataset.json as Karpathy's, or whatever else data.captions names, or
a .txt beside each photo. A trunk says what is in the photos, or data.features does: vgg_feats.mat, or a .npy file.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import determined as det
import torch
from determined import pytorch
from torch import Tensor

from model_def import GlobalBatches, Rows, check_names, fit, read_config
from samespace.backbones import CUTS
from samespace.errors import SameSpaceError, exit_status
from samespace.features import default_cache
from samespace.looks import look
from samespace.words.course import Lesson, into_file
from samespace.words.data import read
from samespace.words.features import Featured
from samespace.words.training import Evaluation, Recipe, begin, evaluate, loss, train

CONST = Path(__file__).with_name("const.yaml")
MATCHER = "match.safetensors"  # in a checkpoint
# In the recipe as well, where a batch is called a batch.
LEARNT_BY = ("epochs", "measure", "negatives", "margin", "dim", "word_dim", "threshold", "learning_rate")
HPARAMS = ("global_batch_size", *LEARNT_BY, "backbone", "weights")


# ---- data


def read_data(hparams: dict[str, Any], settings: dict[str, Any]) -> Featured:
    """Captioned photos with their features, by the experiment's `hparams` and its section `data`."""
    root = Path(settings["dir"])
    captions, features = (root / settings[name] if settings.get(name) else None for name in ("captions", "features"))
    chosen = partial(look, None, hparams["backbone"], hparams["weights"])
    return read(root, captions, features, chosen, Path(settings.get("cache", "")))


# ---- the trial


class MatchTrial(pytorch.PyTorchTrial):  # type: ignore[misc]  # Determined has no types
    """A caption of each photo, another one each epoch, against the photos of a batch: Adam on a ranking loss."""

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        self.context = context
        hparams = context.get_hparams()
        self.recipe = recipe(hparams)._replace(seed=context.get_trial_seed())
        featured = read_data(hparams, context.get_data_config())
        learnt, self.held = featured.only("train"), featured.only("val")
        self.matcher = begin(learnt, self.recipe)
        self.lesson = Lesson(learnt, self.matcher.vocabulary, context.device)
        self.model = context.wrap_model(self.matcher.network.to(context.device))
        self.optimizer = context.wrap_optimizer(torch.optim.Adam(self.model.parameters(), self.recipe.learning_rate))

    def build_training_data_loader(self) -> pytorch.DataLoader:
        size = self.context.get_global_batch_size()
        return Rows(len(self.lesson)).loader(
            batch_sampler=GlobalBatches(len(self.lesson), size, workers=1, seed=self.recipe.seed)
        )

    def build_validation_data_loader(self) -> pytorch.DataLoader:
        return Rows(len(self.held.features)).loader(batch_size=len(self.held.features))

    def train_batch(self, batch: Tensor, epoch_idx: int, batch_idx: int) -> dict[str, Tensor]:
        photos = batch.cpu().numpy()
        captions = self.lesson.choose(self.recipe.seed, epoch_idx)[photos]
        short = loss(self.model, self.recipe, self.lesson.take(photos, captions), epoch_idx)
        self.context.backward(short)
        self.context.step_optimizer(self.optimizer, clip_grads=self._clip)
        return {"loss": short}

    def _clip(self, parameters: Any) -> None:
        torch.nn.utils.clip_grad_norm_(parameters, self.recipe.clip)

    def evaluate_full_dataset(self, data_loader: Any) -> dict[str, float]:
        """Photos are ranked among all that are held out, so no batch can be validated alone."""
        if not all(value.isfinite().all() for value in self.model.parameters()):
            # Determined would report NaN as text, and the master ends a whole search over that.
            raise det.InvalidHP("the weights are no longer finite: lower learning_rate")
        return figures(evaluate(self.matcher, self.held))

    def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
        return {"export": Export(self)}


def figures(evaluation: Evaluation) -> dict[str, float]:
    """What is reported; a mean rank means nothing without the one that chance would give."""
    photos = evaluation.text_to_photo
    return {
        "recall": evaluation.recall,
        "recall_at_10": photos.recall_at_10,
        "mean_rank": photos.mean,
        "mean_rank_of_chance": photos.chance,
    }


class Export(pytorch.PyTorchCallback):  # type: ignore[misc]
    """Writes the matcher into every checkpoint: that file, not the raw state, is what people take away."""

    def __init__(self, trial: MatchTrial) -> None:
        self.trial = trial

    def on_checkpoint_write_end(self, checkpoint_dir: str) -> None:
        self.trial.matcher.save(Path(checkpoint_dir, MATCHER))


def recipe(hparams: dict[str, Any]) -> Recipe:
    """Refuses, in one sentence, what would fail later or quietly train something else."""
    check_names(hparams, HPARAMS)
    if hparams["backbone"] not in CUTS:
        raise SameSpaceError(f"backbone cannot be {hparams['backbone']!r}: choose one of {', '.join(CUTS)}")
    size = hparams["global_batch_size"]
    if not isinstance(size, int) or size < 2:
        raise SameSpaceError(f"global_batch_size cannot be {size!r}: give a whole number from 2")
    chosen = Recipe(batch=size, **{name: hparams[name] for name in LEARNT_BY})
    chosen.check()
    return chosen


# ---- running


def train_on_cluster(info: det.ClusterInfo) -> None:
    """What runs inside a trial's container."""
    with pytorch.init(hparams=info.trial.hparams) as context:
        fit(MatchTrial(context), context, info.trial.hparams["epochs"], info.latest_checkpoint)


def train_here(config: dict[str, Any], output: Path) -> None:
    """Train on this machine until validation photos gain no more; stopped, it goes on where it was."""
    if output.is_dir():
        raise SameSpaceError(f"{output} is a folder: give --output FILE")
    chosen = recipe(config["hyperparameters"])
    featured = read_data(config["hyperparameters"], config["data"])
    for note in (*featured.captions.notes, *featured.notes):
        print(f"left out: {note}", file=sys.stderr)
    matcher = into_file(output, partial(train, featured, chosen))
    for split in ("val", "test"):
        if featured.captions.counts()[split]:
            print(f"{split}, {evaluate(matcher, featured.only(split))}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m experiments.match.match",
        description="Train a matcher here; on a Determined cluster: det experiment create.",
    )
    parser.add_argument(
        "--data", type=Path, metavar="ROOT", help="folder of photos and their captions (default: const.yaml's)"
    )
    parser.add_argument("--epochs", type=int, help="how long to train at most (default: const.yaml's)")
    parser.add_argument(
        "--config", action="append", default=[], metavar="KEY=VALUE | FILE", help="as in hyperparameters.measure=cosine"
    )
    parser.add_argument(
        "--output", type=Path, default=Path(MATCHER), help="file for the matcher (default: %(default)s)"
    )
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Train; a mistake is one line on stderr and exit status 1."""
    arguments = _parser().parse_args(words)
    return exit_status(lambda: _train(arguments))


def _train(arguments: argparse.Namespace) -> None:
    info = det.get_cluster_info()
    if info is not None and info.task_type == "TRIAL":
        train_on_cluster(info)
        return
    logging.getLogger("determined").setLevel(logging.WARNING)
    choices = [str(CONST), f"data.cache={json.dumps(str(default_cache()))}", *arguments.config]
    choices += [f"data.dir={json.dumps(str(arguments.data))}"] if arguments.data else []
    choices += [f"hyperparameters.epochs={arguments.epochs}"] if arguments.epochs is not None else []
    train_here(read_config(choices), arguments.output)


if __name__ == "__main__":
    sys.exit(main())
