"""The experiment: train the twin network on photo pairs, on a Determined cluster or here.

det experiment create const.yaml .                      on a cluster
python3 model_def.py --data ROOT --output model         here, with const.yaml's hyperparameters
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import determined as det
import numpy as np
import torch
import torch.nn.functional as F
from determined import pytorch
from torch import Tensor

import data
from experiments import config
from experiments.config import PROJECT, RATE, SHARE, WEIGHTS, Kind, make_parser, one_of, whole_number
from experiments.local_run import SEED, AtHome, train_locally
from experiments.trial import Export, GlobalBatches, Metrics, Rows, TrialLog, run, train_on_cluster
from samespace.base.arrays import Floats, Ints
from samespace.base.errors import SameSpaceError
from samespace.base.once import fingerprint
from samespace.model import metrics
from samespace.model.backbone import Backbone, make_backbone
from samespace.model.feature_bank import Maps, bank
from samespace.model.heads import Embeddings
from samespace.model.known import Known
from samespace.model.names import CHOICES, is_known
from samespace.model.network import HEADS, TRAINABLE, TwinNetwork
from samespace.model.pairs import AIRBNB, Photos
from samespace.model.room_network import RoomNetwork
from samespace.model.torch_engine import of_backbone
from samespace.model.write import Network, describe, write_model
from samespace.search.labelled import Pieces, joined, learn_from

Found = TypeVar("Found")

VALIDATION_BATCH = 256
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}
HPARAMS = {
    "learning_rate": RATE,
    "alpha": SHARE,
    "dropout1": SHARE,
    "dropout2": SHARE,
    "dropout3": SHARE,
    "global_batch_size": whole_number(1),
    "epochs": whole_number(1),
    "backbone": Kind(is_known, CHOICES),
    "weights": WEIGHTS,
    "head": one_of(HEADS),
    "trainable": one_of(TRAINABLE, optional=True),
    "same_space_type": one_of([False, True], optional=True),
    "precision": one_of(list(PRECISIONS), optional=True),
}


def check(hparams: dict[str, Any], workers: int = 1) -> None:
    """Refuse hyperparameters that would fail later or quietly train something else."""
    config.check(hparams, HPARAMS)
    if hparams["head"] == "compare" and hparams.get("trainable") == "last_conv":
        raise SameSpaceError(
            "compare looks at layers before the last convolution, which would learn in vain: leave out trainable, or "
            "set head to concat"
        )
    if hparams["global_batch_size"] % workers:
        raise SameSpaceError(
            f"a global_batch_size of {hparams['global_batch_size']} does not divide among {workers} workers: "
            f"give a multiple of {workers}"
        )


# ---- the trial


class SameSpaceTrial(pytorch.PyTorchTrial):  # type: ignore[misc]  # Determined has no types
    """Hold what training either head shares: photos, batches of pairs, RMSProp, and the export."""

    names: Sequence[str]  # of a validation's metrics

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        self.context = context
        self.hparams, self.settings = context.get_hparams(), context.get_data_config()
        self.log = TrialLog(context, self.names, "pairs", "model")
        self.same_space_type = self.hparams.get("same_space_type") or False
        self.held_out = self.settings.get("held_out", data.HELD_OUT)
        self.photos, self.validation = data.photos_of(Path(self.settings["dir"]), self.held_out)
        self.cache = Path(self.settings["cache"])
        self.home: AtHome | None = None  # set by a run on this machine

    def start(self, pairs: Ints | Floats, validation_pairs: Ints | Floats) -> None:
        """Take the rows that batches are made of, and say what is trained on."""
        self.pairs, self.validation_pairs = Rows(torch.from_numpy(pairs)), Rows(torch.from_numpy(validation_pairs))
        self.log.start(
            len(pairs),
            f"{data.count(self.photos, self.same_space_type)} in {self.settings['dir']}, {len(pairs):,} pairs; "
            f"validating on {data.count(self.validation, self.same_space_type)}{data.left_out(self.photos)}",
        )

    def learn(self, network: Network) -> None:
        """Take the network that learns; it is on the device by now."""
        self.network: Any = network
        self.model = self.context.wrap_model(network)  # the same network, or a wrapper that spans several workers
        learning = [value for value in network.parameters() if value.requires_grad]
        self.optimizer = self.context.wrap_optimizer(
            torch.optim.RMSprop(learning, lr=self.hparams["learning_rate"], alpha=self.hparams["alpha"])
        )
        self.scores = self.context.wrap_reducer(self.metrics_of, for_training=False)

    def step(self, loss: Tensor, rows: int) -> dict[str, Tensor]:
        """Take a step against the loss of so many rows."""
        self.context.backward(loss)
        self.context.step_optimizer(self.optimizer)
        self.log.tick(rows * self.context.distributed.get_size())
        return {"loss": loss}

    def once(self, compute: Callable[[], Found]) -> Found:
        """Compute on one worker of each machine, and then on the others, which find its result in the cache."""
        workers = self.context.distributed
        if workers.get_local_rank() > 0:
            workers.broadcast_local(None)
        found = compute()
        if workers.get_local_rank() == 0:
            workers.broadcast_local("done")
        return found

    def build_training_data_loader(self) -> pytorch.DataLoader:
        seed = SEED if det.get_cluster_info() is None else self.context.get_trial_seed()
        size, workers = self.context.get_global_batch_size(), self.context.distributed.get_size()
        self.batches = GlobalBatches(len(self.pairs), size, workers, seed)
        return self.pairs.loader(batch_sampler=self.batches)

    def build_validation_data_loader(self) -> pytorch.DataLoader:
        # Determined refuses a worker without a batch.
        share = len(self.validation_pairs) // self.context.distributed.get_size()
        return self.validation_pairs.loader(batch_size=min(VALIDATION_BATCH, share))

    def metrics_of(self, scores: list[Any]) -> Metrics:
        """Return the metrics over the pairs of all workers; a mean over batches would overrate the last, short one."""
        raise NotImplementedError

    def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
        callbacks = {"log": self.log, "export": Export(lambda folder: self.export(folder / "model"))}
        return {**callbacks, "home": self.home} if self.home else callbacks

    def export(self, folder: Path) -> None:
        """Write the model as it stands, with the metrics of its validation."""
        write_model(folder, self.network, self.describe())

    def describe(self) -> dict[str, Any]:
        return describe(self.network, self.log.latest, self.about_data())

    def about_data(self) -> dict[str, Any]:
        """Return what tells the photos trained on from others."""
        return {
            "fingerprint": fingerprint(self.photos.paths),
            "validation_fingerprint": fingerprint(self.validation.paths),
            "photos": len(self.photos),
            "held_out": self.held_out,
            "same_space_type": self.same_space_type,
        }


class CompareTrial(SameSpaceTrial):
    """Learn how much each piece of evidence counts, on one third of the rooms at a time as the others know them.

    All else has a closed form. The held-out rooms are one library, as a person's photos are.
    """

    names = metrics.LIBRARY

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        super().__init__(context)
        backbone = make_backbone(self.hparams["backbone"], self.hparams["weights"]).to(context.device)
        known, training, held_out = self.once(lambda: self.gather(backbone))
        self.unseen = joined([training, held_out])
        rows = training.rows()
        rows = rows[rows[:, 5] == 1]
        if not len(rows):
            raise SameSpaceError(f"no two photos in {self.settings['dir']} look alike enough to learn from: add photos")
        self.share = float(rows[:, 4].mean().clip(0.01, 0.99))  # of pairs of one room
        self.start(rows, held_out.rows())
        self.learn(RoomNetwork(backbone, known).to(context.device))

    def gather(self, backbone: Backbone) -> tuple[Known, Pieces, Pieces]:
        materials = of_backbone(backbone).materials
        assert materials is not None
        return learn_from(self.photos, self.validation, self.same_space_type, materials, self.cache, self.log.say)

    def train_batch(self, batch: Tensor, epoch_idx: int, batch_idx: int) -> dict[str, Tensor]:
        same = batch[:, 4]
        library, alone = self.model(batch[:, :4])
        # In a library most pairs are of two rooms. Of pairs that somebody holds side by side, half are of one.
        weight = torch.where(same == 1, 0.5 / self.share, 0.5 / (1 - self.share))
        loss = F.binary_cross_entropy_with_logits(library, same)
        loss = loss + F.binary_cross_entropy_with_logits(alone, same, weight)
        return self.step(loss + self.network.surprise() / len(self.pairs), len(batch))

    def evaluate_batch(self, batch: Tensor) -> dict[str, Any]:
        # Not `self.model`: the wrapper has workers wait for each other, and one may have a batch more to validate.
        logits, _ = self.network(batch[:, :4])
        self.scores.update((logits.double().cpu().numpy(), batch[:, 4].cpu().numpy(), batch[:, 5].cpu().numpy()))
        return {}  # all metrics come from `metrics_of`

    def metrics_of(self, scores: list[Any]) -> Metrics:
        with np.errstate(invalid="ignore"):  # the log finds NaN
            logits, same, listed = (np.concatenate(column) for column in zip(*scores, strict=True))
            return metrics.of_library(logits, same, listed, self.thresholds()["library"]["even"])

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "thresholds": self.thresholds()}

    @torch.no_grad()
    def thresholds(self) -> dict[str, dict[str, float]]:
        """Return those of a library and of two photos alone, by the network as it stands."""
        # Few pairs of one room make thresholds a matter of chance, so the folds' count as well: the projection that
        # compared them had not seen their rooms either.
        pieces, same, listed = self.unseen
        logits = self.network(torch.tensor(pieces, device=self.context.device))
        library, alone = (each.double().cpu().numpy() for each in logits)
        return {
            "library": metrics.thresholds(metrics.as_found(library, listed), same),
            "alone": metrics.thresholds(alone, same),
        }


class ConcatTrial(SameSpaceTrial):
    """Train the classic head: pairs from the feature bank through the twin network."""

    names = metrics.NAMES

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        super().__init__(context)
        self.start(
            data.training_rows(self.photos, self.same_space_type),
            data.validation_rows(self.validation, self.same_space_type),
        )
        network = make_twins(self.hparams).to(context.device)
        self.frozen = network.freeze(*self.bank(self.photos, network.backbone))
        self.validation_frozen = network.freeze(*self.bank(self.validation, network.backbone))
        self.validation_photos: Embeddings | None = None  # by the network as it stands, None once it has learnt more
        self.precision = PRECISIONS[self.hparams.get("precision") or "fp32"]
        self.learn(network)

    def bank(self, photos: Photos, backbone: Backbone) -> Maps:
        device = str(self.context.device)
        return self.once(lambda: bank(photos.paths, backbone, self.cache, device, self.log.say))

    def train_batch(self, batch: Tensor, epoch_idx: int, batch_idx: int) -> dict[str, Tensor]:
        first, second, labels = batch.unbind(1)
        with torch.autocast(self.context.device.type, self.precision, enabled=self.precision is not None):
            logits = self.model(*self.frozen.take(first), *self.frozen.take(second))
        self.validation_photos = None
        return self.step(F.binary_cross_entropy_with_logits(logits.float(), labels.float()), len(batch))

    def evaluate_batch(self, batch: Tensor) -> dict[str, Any]:
        if self.validation_photos is None:  # each photo passes through its tower once, though it is in many pairs
            self.validation_photos = self.network.embed_frozen(self.validation_frozen)
        first, second, labels, ranked = batch.unbind(1)
        # Not `self.model`: the wrapper has workers wait for each other, and one may have a batch more to validate.
        logits = self.network.head(self.validation_photos.take(first), self.validation_photos.take(second))
        self.scores.update((logits.double().cpu().numpy(), labels.cpu().numpy(), ranked.cpu().numpy()))
        return {}  # all metrics come from `metrics_of`

    def metrics_of(self, scores: list[Any]) -> Metrics:
        logits, labels, ranked = (np.concatenate(column) for column in zip(*scores, strict=True))
        balanced, ranked = ranked == 0, ranked == 1
        with np.errstate(invalid="ignore"):  # the log finds NaN
            return {
                **metrics.of_balanced_pairs(logits[balanced], labels[balanced]),
                **metrics.of_all_pairs(logits[ranked], labels[ranked]),
            }


def make_trial(context: pytorch.PyTorchTrialContext) -> SameSpaceTrial:
    """Return the trial of the head that hyperparameters name."""
    check(context.get_hparams(), context.distributed.get_size())
    return CompareTrial(context) if context.get_hparam("head") == "compare" else ConcatTrial(context)


def make_twins(hparams: dict[str, Any]) -> TwinNetwork:
    """Return the twin network that hyperparameters describe, before it has learnt."""
    backbone = make_backbone(hparams["backbone"], hparams["weights"])
    return TwinNetwork(backbone, "concat", hparams.get("trainable"), [hparams[f"dropout{i}"] for i in (1, 2, 3)])


# ---- running


def train_on_agent(info: det.ClusterInfo) -> None:
    """Train inside a trial's container, on photos that are there or that Kaggle has."""
    settings = info.user_data or {}
    secrets = settings.get("secrets", {})  # Determined masks them
    for name in ("kaggle_username", "kaggle_key"):
        if name in secrets:
            os.environ[name.upper()] = str(secrets[name])
    root = Path(settings["dir"])
    if not data.is_there(root) and data.find_key() is None:
        raise SameSpaceError(
            f"no photos in {root} on agent {info.agent_id}: put the folder '{AIRBNB}' there (the YAML's bind_mounts "
            "say which folder of the agent that is), or give a Kaggle key as docs/training.md says"
        )
    data.download(root)  # unless it is there; one worker downloads, the others wait
    train_on_cluster(make_trial, info)


def train_here(settings: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Train on this machine; the best model so far is always in the folder that --output names."""
    check(settings["hyperparameters"])
    train_locally(make_trial, settings, arguments.output.resolve(), arguments.resume)


def main(words: Sequence[str] | None = None) -> int:
    """Train; a mistake is one line on stderr and exit status 1."""
    parser = make_parser(PROJECT / "const.yaml", "folder that holds 'Airbnb Data'", "model", "head=concat")
    parser.add_argument("--resume", metavar="CHECKPOINT", help="continue from a checkpoint's folder, or from `latest`")
    return run(parser, words, train_on_agent, train_here)


if __name__ == "__main__":
    import model_def  # so that checkpoints name model_def:SameSpaceTrial, which can be imported, not __main__

    sys.exit(model_def.main())
