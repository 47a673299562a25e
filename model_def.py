"""The experiment: train the twin network on photo pairs, on a Determined cluster or here.

det experiment create const.yaml .                      on a cluster
python3 model_def.py --data ROOT --output model         here, with const.yaml's hyperparameters
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import determined as det
import numpy as np
import torch
import torch.nn.functional as F
from determined import pytorch
from torch import Tensor

import data
from experiments import config
from experiments.config import PROJECT, RATE, SHARE, WEIGHTS, make_parser, one_of, whole_number
from experiments.local_run import SEED, AtHome, train_locally
from experiments.trial import Export, GlobalBatches, Metrics, Rows, TrialLog, run, train_on_cluster
from samespace.base.errors import SameSpaceError
from samespace.model import metrics
from samespace.model.backbone import CUTS, make_backbone
from samespace.model.feature_bank import Maps, bank, fingerprint
from samespace.model.network import HEADS, TRAINABLE, CompareHead, Embeddings, TwinNetwork
from samespace.model.pairs import AIRBNB, Photos
from samespace.model.saved import Model, describe

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
    "backbone": one_of(list(CUTS)),
    "weights": WEIGHTS,
    "head": one_of(HEADS),
    "trainable": one_of(TRAINABLE, optional=True),
    "same_space_type": one_of([False, True], optional=True),
    "precision": one_of(list(PRECISIONS), optional=True),
}


def check(hparams: dict[str, Any], workers: int = 1) -> None:
    """Refuse hyperparameters that would fail later or quietly train something else."""
    config.check(hparams, HPARAMS)
    if hparams["global_batch_size"] % workers:
        raise SameSpaceError(
            f"a global_batch_size of {hparams['global_batch_size']} does not divide among {workers} workers: "
            f"give a multiple of {workers}"
        )


def make_network(hparams: dict[str, Any]) -> TwinNetwork:
    """Return the network that hyperparameters describe, before anything is fitted."""
    backbone = make_backbone(hparams["backbone"], hparams["weights"])
    return TwinNetwork(backbone, hparams["head"], hparams.get("trainable"), [hparams[f"dropout{i}"] for i in (1, 2, 3)])


# ---- the trial


class SameSpaceTrial(pytorch.PyTorchTrial):  # type: ignore[misc]  # Determined has no types
    """Pairs from the feature bank through the twin network: RMSProp on binary cross-entropy."""

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        self.context = context
        hparams, settings = context.get_hparams(), context.get_data_config()
        check(hparams, context.distributed.get_size())
        self.log = TrialLog(context, metrics.NAMES, "pairs", "model")
        same_space_type = hparams.get("same_space_type") or False
        held_out = settings.get("held_out", data.HELD_OUT)
        training, validation = data.photos_of(Path(settings["dir"]), held_out)
        self.pairs = Rows(torch.from_numpy(data.training_rows(training, same_space_type)))
        self.validation_pairs = Rows(torch.from_numpy(data.validation_rows(validation, same_space_type)))

        self.network = make_network(hparams).to(context.device)
        self.log.start(
            len(self.pairs),
            f"{data.count(training, same_space_type)} in {settings['dir']}, {len(self.pairs):,} pairs; "
            f"validating on {data.count(validation, same_space_type)}{data.left_out(training)}",
        )
        maps = self._bank(training)
        self.network.fit(maps)
        self.frozen = self.network.freeze(*maps)
        self.validation_frozen = self.network.freeze(*self._bank(validation))
        self.validation_photos: Embeddings | None = None  # by the network as it stands, None once it has learnt more
        self._fit_scales()

        self.model = context.wrap_model(self.network)  # the same network, or a wrapper that spans several workers
        learning = [value for value in self.network.parameters() if value.requires_grad]
        self.optimizer = context.wrap_optimizer(
            torch.optim.RMSprop(learning, lr=hparams["learning_rate"], alpha=hparams["alpha"])
        )
        self.precision = PRECISIONS[hparams.get("precision") or "fp32"]
        self.scores = context.wrap_reducer(metrics_of, for_training=False)
        self.about_data = {
            "fingerprint": fingerprint(training.paths),
            "validation_fingerprint": fingerprint(validation.paths),
            "photos": len(training),
            "held_out": held_out,
            "same_space_type": same_space_type,
        }
        self.home: AtHome | None = None  # set by a run on this machine

    def _bank(self, photos: Photos) -> Maps:
        """Return the photos' feature bank; one worker of each machine computes it while the others wait."""
        workers, cache = self.context.distributed, Path(self.context.get_data_config()["cache"])
        if workers.get_local_rank() > 0:
            workers.broadcast_local(None)
        maps = bank(photos.paths, self.network.backbone, cache, str(self.context.device), self.log.say)
        if workers.get_local_rank() == 0:
            workers.broadcast_local("done")
        return maps

    @torch.no_grad()
    def _fit_scales(self) -> None:
        """Set the scales of a head that weighs evidence, by a few thousand training pairs."""
        if isinstance(self.network.head, CompareHead):
            first, second, _ = self.pairs.rows[:: max(1, len(self.pairs) // 4096)].to(self.context.device).unbind(1)
            photos = self.network.embed_frozen(self.frozen)
            self.network.head.fit(self.network.head.evidence(photos.take(first), photos.take(second)))

    def build_training_data_loader(self) -> pytorch.DataLoader:
        seed = SEED if det.get_cluster_info() is None else self.context.get_trial_seed()
        size, workers = self.context.get_global_batch_size(), self.context.distributed.get_size()
        self.batches = GlobalBatches(len(self.pairs), size, workers, seed)
        return self.pairs.loader(batch_sampler=self.batches)

    def build_validation_data_loader(self) -> pytorch.DataLoader:
        # Determined refuses a worker without a batch.
        share = len(self.validation_pairs) // self.context.distributed.get_size()
        return self.validation_pairs.loader(batch_size=min(VALIDATION_BATCH, share))

    def train_batch(self, batch: Tensor, epoch_idx: int, batch_idx: int) -> dict[str, Tensor]:
        first, second, labels = batch.unbind(1)
        with torch.autocast(self.context.device.type, self.precision, enabled=self.precision is not None):
            logits = self.model(*self.frozen.take(first), *self.frozen.take(second))
        loss = F.binary_cross_entropy_with_logits(logits.float(), labels.float())
        self.context.backward(loss)
        self.context.step_optimizer(self.optimizer)
        self.validation_photos = None
        self.log.tick(len(batch) * self.context.distributed.get_size())
        return {"loss": loss}

    def evaluate_batch(self, batch: Tensor) -> dict[str, Any]:
        if self.validation_photos is None:  # each photo passes through its tower once, though it is in many pairs
            self.validation_photos = self.network.embed_frozen(self.validation_frozen)
        first, second, labels, ranked = batch.unbind(1)
        # Not `self.model`: the wrapper has workers wait for each other, and one may have a batch more to validate.
        logits = self.network.head(self.validation_photos.take(first), self.validation_photos.take(second))
        self.scores.update((logits.double().cpu().numpy(), labels.cpu().numpy(), ranked.cpu().numpy()))
        return {}  # all metrics come from `metrics_of`

    def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
        callbacks = {"log": self.log, "export": Export(lambda folder: self.export(folder / "model"))}
        return {**callbacks, "home": self.home} if self.home else callbacks

    def export(self, folder: Path) -> None:
        """Write the model as it stands, with the metrics of its validation."""
        training = self.network.training
        Model(self.network, describe(self.network, self.log.latest, self.about_data)).save(folder)
        self.network.train(training)


def metrics_of(scores: list[tuple[Any, Any, Any]]) -> Metrics:
    """Return the metrics over the pairs of all workers; a mean over batches would overrate the last, short one."""
    logits, labels, ranked = (np.concatenate(column) for column in zip(*scores, strict=True))
    balanced, ranked = ranked == 0, ranked == 1
    with np.errstate(invalid="ignore"):  # the log finds NaN
        return {
            **metrics.of_balanced_pairs(logits[balanced], labels[balanced]),
            **metrics.of_all_pairs(logits[ranked], labels[ranked]),
        }


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
    train_on_cluster(SameSpaceTrial, info)


def train_here(settings: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Train on this machine; the best model so far is always in the folder that --output names."""
    check(settings["hyperparameters"])
    train_locally(SameSpaceTrial, settings, arguments.output.resolve(), arguments.resume)


def main(words: Sequence[str] | None = None) -> int:
    """Train; a mistake is one line on stderr and exit status 1."""
    parser = make_parser(PROJECT / "const.yaml", "folder that holds 'Airbnb Data'", "model", "head=concat")
    parser.add_argument("--resume", metavar="CHECKPOINT", help="continue from a checkpoint's folder, or from `latest`")
    return run(parser, words, train_on_agent, train_here)


if __name__ == "__main__":
    import model_def  # so that checkpoints name model_def:SameSpaceTrial, which can be imported, not __main__

    sys.exit(model_def.main())
