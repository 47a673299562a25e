"""The trial that match and caption share: what it reads, how it learns, and how it is run here.

The data are a folder of photos with captions: a dataset.json like Karpathy's, another file that data.captions names, or
a .txt beside each photo. A backbone computes the photos' features, unless data.features names a file of them:
vgg_feats.mat or a .npy.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import torch
from determined import pytorch
from torch import Tensor

from experiments.config import ANY, WEIGHTS, Kind, check, make_parser, whole_number
from experiments.trial import Export, GlobalBatches, Metrics, Rows, TrialLog, run, train_on_cluster
from samespace.base.errors import SameSpaceError
from samespace.model.names import CHOICES, is_known
from samespace.search.look import choose_look
from samespace.words.photo_features import Featured, read_featured
from samespace.words.training_loop import Batch, Lesson, into_file


def read_data(
    hparams: dict[str, Any], settings: dict[str, Any], tell: Callable[[str], None] = lambda line: None
) -> Featured:
    """Return captioned photos with their features, as hyperparameters and the section `data` say."""
    root = Path(settings["dir"])
    captions, features = (root / settings[name] if settings.get(name) else None for name in ("captions", "features"))
    backbone = partial(choose_look, None, hparams["backbone"], hparams["weights"])
    return read_featured(root, captions, features, backbone, Path(settings.get("cache", "")), tell)


class CaptionedTrial(pytorch.PyTorchTrial):  # type: ignore[misc]  # Determined has no types
    """Photos with one caption of each, another one every epoch, and Adam; a subclass names the network and its loss."""

    CONST: ClassVar[Path]  # its YAML file
    FILE: ClassVar[str]  # the file it makes
    TRAINING: ModuleType  # has Recipe, begin, train and evaluate
    RECIPE: ClassVar[Sequence[str]]  # hyperparameters that the recipe has, too, and checks
    METRICS: ClassVar[Sequence[str]]  # names of what `validate` returns

    def loss(self, batch: Batch, epoch: int) -> Tensor:
        raise NotImplementedError

    def validate(self) -> Metrics:
        """Measure the network on the photos that are held out."""
        raise NotImplementedError

    @classmethod
    def recipe_of(cls, hparams: dict[str, Any]) -> Any:
        """Return the recipe that hyperparameters stand for; refuse what they cannot be."""
        check(
            hparams,
            {
                "global_batch_size": whole_number(2),
                **dict.fromkeys(cls.RECIPE, ANY),
                "backbone": Kind(is_known, CHOICES),
                "weights": WEIGHTS,
            },
        )
        recipe = cls.TRAINING.Recipe(batch=hparams["global_batch_size"], **{name: hparams[name] for name in cls.RECIPE})
        recipe.check()
        return recipe

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        self.context = context
        hparams, settings = context.get_hparams(), context.get_data_config()
        self.recipe = self.recipe_of(hparams)._replace(seed=context.get_trial_seed())
        self.log = TrialLog(context, self.METRICS, "photos", self.FILE)
        featured = read_data(hparams, settings, self.log.say)
        for note in (*featured.captions.notes, *featured.notes):
            self.log.say(f"left out: {note}")
        training, self.held_out = featured.only("train"), featured.only("val")
        self.log.start(
            len(training.features),
            f"{len(training.features):,} photos with {len(training.captions.captions):,} captions in "
            f"{settings['dir']}; validating on {len(self.held_out.features):,}",
        )
        self.trained = self.TRAINING.begin(training, self.recipe)
        self.lesson = Lesson(training, self.trained.vocabulary, context.device)
        self.model = context.wrap_model(self.trained.network.to(context.device))
        self.optimizer = context.wrap_optimizer(torch.optim.Adam(self.model.parameters(), self.recipe.learning_rate))

    def build_training_data_loader(self) -> pytorch.DataLoader:
        size = self.context.get_global_batch_size()
        # A photo alone teaches nothing, and batch norm refuses it.
        batches = GlobalBatches(len(self.lesson), size, workers=1, seed=self.recipe.seed, fewest=2)
        return Rows(torch.arange(len(self.lesson))).loader(batch_sampler=batches)

    def build_validation_data_loader(self) -> pytorch.DataLoader:
        return Rows(torch.arange(len(self.held_out.features))).loader(batch_size=len(self.held_out.features))

    def train_batch(self, batch: Tensor, epoch_idx: int, batch_idx: int) -> dict[str, Tensor]:
        photos = batch.cpu().numpy()
        captions = self.lesson.choose(self.recipe.seed, epoch_idx)[photos]
        loss = self.loss(self.lesson.take(photos, captions), epoch_idx)
        self.context.backward(loss)
        self.context.step_optimizer(
            self.optimizer, clip_grads=lambda values: torch.nn.utils.clip_grad_norm_(values, self.recipe.clip)
        )
        self.log.tick(len(batch))
        return {"loss": loss}

    def evaluate_full_dataset(self, data_loader: Any) -> Metrics:
        """Validate on all photos at once: each is ranked among all of them."""
        if not all(value.isfinite().all() for value in self.model.parameters()):
            self.log.give_up("the weights are no longer finite: lower learning_rate")
        return self.validate()

    def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
        return {"log": self.log, "export": Export(lambda folder: self.trained.save(folder / self.FILE))}


def main(trial: type[CaptionedTrial], module: str, words: Sequence[str] | None) -> int:
    """Train; a mistake is one line on stderr and exit status 1."""
    parser = make_parser(trial.CONST, "folder of photos and their captions", trial.FILE, "threshold=5", module)
    return run(parser, words, partial(train_on_cluster, trial), partial(train_here, trial))


def train_here(trial: type[CaptionedTrial], config: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Train on this machine, or go on with a training that was stopped, and print how good the result is."""
    if arguments.output.is_dir():
        raise SameSpaceError(f"{arguments.output} is a folder: give --output FILE")
    recipe = trial.recipe_of(config["hyperparameters"])
    featured = read_data(config["hyperparameters"], config["data"])
    for note in (*featured.captions.notes, *featured.notes):
        print(f"left out: {note}", file=sys.stderr)
    trained = into_file(arguments.output, partial(trial.TRAINING.train, featured, recipe))
    for split in ("val", "test"):
        if featured.captions.counts()[split]:
            print(f"{split}, {trial.TRAINING.evaluate(trained, featured.only(split))}")
