"""What experiments on captioned photos share: their data, how a trial learns from them, and how they are run.

Data are a folder of photos with captions in it: a dataset.json as Karpathy's, or whatever else data.captions names, or
a .txt beside each photo. A backbone says what is in the photos, or data.features does: vgg_feats.mat, or a .npy file.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import determined as det
import torch
from determined import pytorch
from torch import Tensor

from experiments.config import check_names, read_config
from experiments.trial import GlobalBatches, Rows, TrialLog, check_mounted, train_on_cluster
from samespace.base.errors import SameSpaceError, exit_status
from samespace.model.backbone import CUTS
from samespace.model.feature_bank import default_cache
from samespace.search.look import choose_look
from samespace.words.photo_features import Featured, read_featured
from samespace.words.training_loop import Batch, Lesson, into_file


def read_data(
    hparams: dict[str, Any], settings: dict[str, Any], tell: Callable[[str], None] = lambda line: None
) -> Featured:
    """Captioned photos with their features, by the experiment's `hparams` and its section `data`."""
    root = Path(settings["dir"])
    captions, features = (root / settings[name] if settings.get(name) else None for name in ("captions", "features"))
    chosen = partial(choose_look, None, hparams["backbone"], hparams["weights"])
    return read_featured(root, captions, features, chosen, Path(settings.get("cache", "")), tell)


# ---- the trial


class CaptionedTrial(pytorch.PyTorchTrial):  # type: ignore[misc]  # Determined has no types
    """A caption of each photo, another one each epoch: Adam on a loss. What is learnt, an experiment says."""

    CONST: ClassVar[Path]  # its settings
    FILE: ClassVar[str]  # what it makes is called, in a checkpoint and here
    LEARNING: ModuleType  # has Recipe, begin, train and evaluate
    # Hyperparameters that are in the recipe as well, where a batch is called a batch.
    LEARNT_BY: ClassVar[Sequence[str]]
    METRICS: ClassVar[Sequence[str]]  # what `figures` reports

    def loss(self, batch: Batch, epoch: int) -> Tensor:
        raise NotImplementedError

    def figures(self) -> dict[str, float]:
        """What is reported of the photos that are held out."""
        raise NotImplementedError

    @classmethod
    def recipe(cls, hparams: dict[str, Any]) -> Any:
        """Refuses, in one sentence, what would fail later or quietly train something else."""
        check_names(hparams, ("global_batch_size", *cls.LEARNT_BY, "backbone", "weights"))
        if hparams["backbone"] not in CUTS:
            raise SameSpaceError(f"backbone cannot be {hparams['backbone']!r}: choose one of {', '.join(CUTS)}")
        size = hparams["global_batch_size"]
        if not isinstance(size, int) or size < 2:
            raise SameSpaceError(f"global_batch_size cannot be {size!r}: give a whole number from 2")
        chosen = cls.LEARNING.Recipe(batch=size, **{name: hparams[name] for name in cls.LEARNT_BY})
        chosen.check()
        return chosen

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        self.context = context
        hparams = context.get_hparams()
        self.settings = self.recipe(hparams)._replace(seed=context.get_trial_seed())
        self.log = TrialLog(context, self.METRICS, "photos", self.FILE)
        settings = context.get_data_config()
        featured = read_data(hparams, settings, self.log.say)
        for note in (*featured.captions.notes, *featured.notes):
            self.log.say(f"left out: {note}")
        learnt, self.held = featured.only("train"), featured.only("val")
        self.log.start(
            len(learnt.features),
            f"{len(learnt.features):,} photos with {len(learnt.captions.captions):,} captions in {settings['dir']}; "
            f"validating on {len(self.held.features):,}",
        )
        self.trained = self.LEARNING.begin(learnt, self.settings)
        self.lesson = Lesson(learnt, self.trained.vocabulary, context.device)
        self.model = context.wrap_model(self.trained.network.to(context.device))
        self.optimizer = context.wrap_optimizer(torch.optim.Adam(self.model.parameters(), self.settings.learning_rate))

    def build_training_data_loader(self) -> pytorch.DataLoader:
        size = self.context.get_global_batch_size()
        # Of a photo alone there is nothing to learn, and batch norm refuses it.
        batches = GlobalBatches(len(self.lesson), size, workers=1, seed=self.settings.seed, fewest=2)
        return Rows(torch.arange(len(self.lesson))).loader(batch_sampler=batches)

    def build_validation_data_loader(self) -> pytorch.DataLoader:
        return Rows(torch.arange(len(self.held.features))).loader(batch_size=len(self.held.features))

    def train_batch(self, batch: Tensor, epoch_idx: int, batch_idx: int) -> dict[str, Tensor]:
        photos = batch.cpu().numpy()
        captions = self.lesson.choose(self.settings.seed, epoch_idx)[photos]
        loss = self.loss(self.lesson.take(photos, captions), epoch_idx)
        self.context.backward(loss)
        self.context.step_optimizer(self.optimizer, clip_grads=self._clip)
        self.log.tick(len(batch))
        return {"loss": loss}

    def _clip(self, parameters: Any) -> None:
        torch.nn.utils.clip_grad_norm_(parameters, self.settings.clip)

    def evaluate_full_dataset(self, data_loader: Any) -> dict[str, float]:
        """Photos are held against all that are held out, so no batch can be validated alone."""
        if not all(value.isfinite().all() for value in self.model.parameters()):
            self.log.give_up("the weights are no longer finite: lower learning_rate")
        return self.figures()

    def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
        return {"log": self.log, "export": Export(self)}


class Export(pytorch.PyTorchCallback):  # type: ignore[misc]
    """Writes the model into every checkpoint: that file, not the raw state, is what people take away."""

    def __init__(self, trial: CaptionedTrial) -> None:
        self.trial = trial

    def on_checkpoint_write_end(self, checkpoint_dir: str) -> None:
        self.trial.trained.save(Path(checkpoint_dir, self.trial.FILE))


# ---- running


def main(trial: type[CaptionedTrial], program: str, words: Sequence[str] | None = None) -> int:
    """Train; a mistake is one line on stderr and exit status 1."""
    arguments = _parser(trial, program).parse_args(words)
    return exit_status(lambda: _train(trial, arguments))


def _parser(trial: type[CaptionedTrial], program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python3 -m {program}", description="Train here; on a Determined cluster: det experiment create."
    )
    parser.add_argument(
        "--data", type=Path, metavar="ROOT", help="folder of photos and their captions (default: const.yaml's)"
    )
    parser.add_argument("--epochs", type=int, help="how long to train at most (default: const.yaml's)")
    parser.add_argument(
        "--config", action="append", default=[], metavar="KEY=VALUE | FILE", help="as in hyperparameters.threshold=5"
    )
    parser.add_argument("--output", type=Path, default=Path(trial.FILE), help="file to write (default: %(default)s)")
    return parser


def _train(trial: type[CaptionedTrial], arguments: argparse.Namespace) -> None:
    info = det.get_cluster_info()
    if info is not None and info.task_type == "TRIAL":
        check_mounted(info)
        train_on_cluster(trial, info)
        return
    logging.getLogger("determined").setLevel(logging.WARNING)
    choices = [str(trial.CONST), f"data.cache={json.dumps(str(default_cache()))}", *arguments.config]
    choices += [f"data.dir={json.dumps(str(arguments.data))}"] if arguments.data else []
    choices += [f"hyperparameters.epochs={arguments.epochs}"] if arguments.epochs is not None else []
    _train_here(trial, read_config(choices), arguments.output)


def _train_here(trial: type[CaptionedTrial], config: dict[str, Any], output: Path) -> None:
    """Stopped, it goes on where it was."""
    if output.is_dir():
        raise SameSpaceError(f"{output} is a folder: give --output FILE")
    chosen = trial.recipe(config["hyperparameters"])
    featured = read_data(config["hyperparameters"], config["data"])
    for note in (*featured.captions.notes, *featured.notes):
        print(f"left out: {note}", file=sys.stderr)
    trained = into_file(output, partial(trial.LEARNING.train, featured, chosen))
    for split in ("val", "test"):
        if featured.captions.counts()[split]:
            print(f"{split}, {trial.LEARNING.evaluate(trained, featured.only(split))}")
