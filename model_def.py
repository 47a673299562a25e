"""The experiment: trains the twin network on photo pairs, on a Determined cluster or right here.

det experiment create const.yaml .                      on a cluster
python3 model_def.py --data ROOT --output model         here, with const.yaml's hyperparameters
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import random
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import determined as det
import numpy as np
import torch
import torch.nn.functional as F
from determined import core, pytorch
from torch import Tensor

import data
from data import training_rows, validation_rows
from experiments.config import PROJECT, read_config
from experiments.trial import GlobalBatches, Rows, TrialLog, fit, train_on_cluster
from samespace.base.errors import SameSpaceError, exit_status
from samespace.model import metrics
from samespace.model.backbone import CUTS, make_backbone
from samespace.model.feature_bank import Maps, bank, default_cache, fingerprint
from samespace.model.network import HEADS, TRAINABLE, CompareHead, Embeddings, Frozen, TwinNetwork
from samespace.model.pairs import AIRBNB, Photos, splits
from samespace.model.saved import Model, describe

SEED = 1234
HELD_OUT = 0.2
VALIDATION_BATCH = 256
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}


# ---- the trial


class SameSpaceTrial(pytorch.PyTorchTrial):  # type: ignore[misc]  # Determined has no types
    """Pairs from the feature bank through the twin network: RMSProp on binary cross-entropy."""

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        self.context = context
        hparams, settings = context.get_hparams(), context.get_data_config()
        check(hparams, context.distributed.get_size())
        self.log = TrialLog(context, metrics.NAMES, "pairs", "model")
        same_space_type, held_out = hparams.get("same_space_type", False), settings.get("held_out", HELD_OUT)
        training, validation = splits(Path(settings["dir"]), held_out)
        self.pairs = Rows(torch.from_numpy(training_rows(training, same_space_type)))
        self.validation_pairs = Rows(torch.from_numpy(validation_rows(validation, same_space_type)))

        self.network = make_network(hparams).to(context.device)
        self.log.start(
            len(self.pairs),
            f"{_count(training, same_space_type)} in {settings['dir']}, {len(self.pairs):,} pairs; "
            f"validating on {_count(validation, same_space_type)}{_left_out(training)}",
        )
        self.network.fit(maps := self._bank(training))
        self.frozen = self.network.freeze(*maps)
        self.validation_frozen = self.network.freeze(*self._bank(validation))
        self.validation_photos: Embeddings  # as the network sees them in a validation that has begun
        self._fit_scales()

        self.model = context.wrap_model(self.network)  # the same network, or a wrapper that spans several workers
        learning = [value for value in self.network.parameters() if value.requires_grad]
        self.optimizer = context.wrap_optimizer(
            torch.optim.RMSprop(learning, lr=hparams["learning_rate"], alpha=hparams["alpha"])
        )
        self.precision = PRECISIONS[hparams.get("precision") or "fp32"]
        self.scores = context.wrap_reducer(_reduce, for_training=False)
        self.metrics: dict[str, float] = {}  # of the network as it stands: empty once it has moved on
        self.about_data = {
            "fingerprint": fingerprint(training.paths),
            "validation_fingerprint": fingerprint(validation.paths),
            "photos": len(training),
            "held_out": held_out,
            "same_space_type": same_space_type,
        }
        self.home: AtHome | None = None

    def _bank(self, photos: Photos) -> Maps:
        """Have one worker of each machine compute it while others wait: on the chief's, the one that says how far."""
        workers, cache = self.context.distributed, Path(self.context.get_data_config()["cache"])
        if workers.get_local_rank() > 0:
            workers.broadcast_local(None)
        maps = bank(photos.paths, self.network.backbone, cache, str(self.context.device), self.log.say)
        if workers.get_local_rank() == 0:
            workers.broadcast_local("done")
        return maps

    @torch.no_grad()
    def _fit_scales(self) -> None:
        """Show the head that weighs evidence a few thousand training pairs, that it may set its scales."""
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

    @staticmethod
    def score(network: torch.nn.Module, rows: Tensor, frozen: Frozen) -> tuple[Tensor, Tensor]:
        """Logits and labels, (B,) each, of pairs given as rows of `frozen`: (B, 3)."""
        first, second, labels = rows.unbind(1)
        return network(*frozen.take(first), *frozen.take(second)).float(), labels.float()

    def train_batch(self, batch: Tensor, epoch_idx: int, batch_idx: int) -> dict[str, Tensor]:
        with torch.autocast(self.context.device.type, self.precision, enabled=self.precision is not None):
            logits, labels = self.score(self.model, batch, self.frozen)
        loss = F.binary_cross_entropy_with_logits(logits, labels)
        self.context.backward(loss)
        self.context.step_optimizer(self.optimizer)
        self.metrics = {}
        self.log.tick(len(batch) * self.context.distributed.get_size())
        return {"loss": loss}

    def evaluate_batch(self, batch: Tensor) -> dict[str, Any]:
        # Not the wrapper: it has workers wait for each other, and one may have a batch more to validate.
        first, second, labels, ranked = batch.unbind(1)
        logits = self.network.head(self.validation_photos.take(first), self.validation_photos.take(second))
        self.scores.update((logits.double().cpu().numpy(), labels.cpu().numpy(), ranked.cpu().numpy()))
        return {}  # all metrics come from `_reduce`

    def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
        callbacks = {"log": self.log, "export": Export(self)}
        return {**callbacks, "home": self.home} if self.home else callbacks

    def export(self, folder: Path) -> None:
        """Write the model as it stands, with the metrics of its validation."""
        training = self.network.training
        Model(self.network, describe(self.network, self.metrics, self.about_data)).save(folder)
        self.network.train(training)


def _count(photos: Photos, same_space_type: bool) -> str:
    spaces = len(np.unique(photos.spaces(same_space_type)[photos.named()]))
    return f"{len(photos):,} photos of {spaces:,} spaces"


def _left_out(photos: Photos) -> str:
    unusable = len(photos.unreadable) + len(photos.unparsed)
    first = photos.unreadable[0].path if photos.unreadable else photos.unparsed[0] if photos.unparsed else None
    return f"; {unusable:,} left out, the first is {first}: python data.py summary says why" if first else ""


def make_network(hparams: dict[str, Any]) -> TwinNetwork:
    """The network that these hyperparameters describe, before anything is fitted."""
    backbone = make_backbone(hparams["backbone"], hparams["weights"])
    return TwinNetwork(backbone, hparams["head"], hparams.get("trainable"), [hparams[f"dropout{i}"] for i in (1, 2, 3)])


def _reduce(scores: list[tuple[Any, Any, Any]]) -> dict[str, float]:
    """Metrics over the pairs of all workers at once: means of batch means would overrate the last, short batch."""
    logits, labels, ranked = (np.concatenate(column) for column in zip(*scores, strict=True))
    balanced, ranked = ranked == 0, ranked == 1
    with np.errstate(invalid="ignore"):  # NaN is for the log to find
        return {
            **metrics.of_balanced_pairs(logits[balanced], labels[balanced]),
            **metrics.of_all_pairs(logits[ranked], labels[ranked]),
        }


class Export(pytorch.PyTorchCallback):  # type: ignore[misc]
    """Writes the model into every checkpoint: that folder, not the raw state, is what people take away."""

    def __init__(self, trial: SameSpaceTrial) -> None:
        self.trial = trial

    def on_validation_start(self) -> None:
        # Each photo passes through its tower once, though it is in many pairs.
        self.trial.validation_photos = self.trial.network.embed_frozen(self.trial.validation_frozen)

    def on_validation_end(self, metrics: dict[str, Any]) -> None:
        self.trial.metrics = {name: float(value) for name, value in metrics.items()}

    def on_checkpoint_write_end(self, checkpoint_dir: str) -> None:  # called on the chief alone
        self.trial.export(Path(checkpoint_dir, "model"))


class AtHome(pytorch.PyTorchCallback):  # type: ignore[misc]
    """Do what a cluster does elsewhere: keep the best model, and tidy away old checkpoints."""

    def __init__(self, trial: SameSpaceTrial, output: Path) -> None:
        self.trial, self.output = trial, output

    def on_validation_end(self, metrics: dict[str, Any]) -> None:
        if self.trial.log.is_chief and self.trial.log.is_best:
            self.trial.export(self.output)

    def on_checkpoint_upload_end(self, uuid: str) -> None:
        if self.trial.log.is_chief:
            for checkpoint in _checkpoints(self.output)[:-1]:
                shutil.rmtree(checkpoint)

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.trial.log.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.trial.log.epoch = state["epoch"]
        self.trial.batches.epoch = state["epoch"]  # away from a cluster nobody skips the batches that were seen


# ---- hyperparameters

NUMBERS = {"learning_rate": 1.0, "alpha": 1.0, "dropout1": 1.0, "dropout2": 1.0, "dropout3": 1.0}  # from 0 to below
WHOLE_NUMBERS = ("global_batch_size", "epochs")
CHOICES: dict[str, tuple[Any, ...]] = {
    "backbone": tuple(CUTS),
    "head": HEADS,
    "trainable": TRAINABLE,
    "same_space_type": (False, True),
    "precision": tuple(PRECISIONS),
}
OPTIONAL = ("trainable", "same_space_type", "precision")


def check(hparams: dict[str, Any], workers: int = 1) -> None:
    """Refuse, in one sentence, what would fail later or quietly train something else."""
    known = (*NUMBERS, *WHOLE_NUMBERS, *CHOICES, "weights")
    for name in hparams:
        if name not in known:
            raise SameSpaceError(f"unknown hyperparameter {name!r}: choose among {', '.join(known)}")
    for name in known:
        if name not in hparams and name not in OPTIONAL:
            raise SameSpaceError(f"hyperparameter {name} is missing: set it as const.yaml does")
    for name, limit in NUMBERS.items():
        value = hparams[name]
        if not isinstance(value, (int, float)) or not 0 <= value < limit:
            raise SameSpaceError(f"{name} cannot be {value!r}: give a number from 0 to below {limit:g}")
    for name in WHOLE_NUMBERS:
        if not isinstance(hparams[name], int) or hparams[name] < 1:
            raise SameSpaceError(f"{name} cannot be {hparams[name]!r}: give a whole number from 1")
    if hparams["global_batch_size"] % workers:
        raise SameSpaceError(
            f"a global_batch_size of {hparams['global_batch_size']} does not divide among {workers} workers: "
            f"give a multiple of {workers}"
        )
    for name, choices in CHOICES.items():
        value = hparams.get(name)
        if value not in choices and not (value is None and name in OPTIONAL):
            raise SameSpaceError(f"{name} cannot be {value!r}: choose one of {', '.join(map(str, choices))}")
    if not isinstance(hparams["weights"], str):
        raise SameSpaceError(
            f"weights cannot be {hparams['weights']!r}: give imagenet, none or the path of a state dict"
        )


# ---- running


def train_there(info: det.ClusterInfo) -> None:
    """Train inside a trial's container, on photos that are there or that Kaggle has."""
    settings = info.user_data or {}
    secrets = settings.get("secrets", {})  # which Determined masks
    for name in ("kaggle_username", "kaggle_key"):
        if name in secrets:
            os.environ[name.upper()] = str(secrets[name])
    root = Path(settings["dir"])
    if not data.is_there(root) and data.find_key() is None:
        raise SameSpaceError(
            f"no photos in {root} on agent {info.agent_id}: put the folder '{AIRBNB}' there (the YAML's bind_mounts "
            "say which folder of the agent that is), or give a Kaggle key as docs/training.md says"
        )
    data.download(root)  # at once if it is there; otherwise one worker does, the others wait
    train_on_cluster(SameSpaceTrial, info)


def train_here(config: dict[str, Any], output: Path, resume: str | None) -> None:
    """Train on this machine, alone or as one of torchrun's workers; the best model so far is always in `output`."""
    _seed_everything()
    config.setdefault("searcher", {"metric": "average_precision", "smaller_is_better": False})
    hparams = config["hyperparameters"]
    check(hparams)
    latest = _find_checkpoint(output, resume, hparams) if resume else None
    # Determined keeps local checkpoints in the user's data folder: here that is beside the model.
    os.environ["XDG_DATA_HOME"] = str(_beside(output))
    try:
        (_beside(output) / "determined").mkdir(parents=True, exist_ok=True)  # to resume, it must be there
    except OSError as error:
        raise SameSpaceError(f"cannot write beside {output} ({error}): name another --output") from error
    os.chdir(PROJECT)  # it copies the working folder, but for .detignore, into every checkpoint as its code
    with (
        _torchrun() as distributed,
        pytorch.init(
            hparams=hparams, exp_conf=config, distributed=distributed, enable_tensorboard_logging=False
        ) as context,
    ):
        trial = SameSpaceTrial(context)
        trial.log.output = str(output)
        trial.home = AtHome(trial, output)
        fit(trial, context, latest)


@contextlib.contextmanager
def _torchrun() -> Iterator[core.DistributedContext | None]:
    """The workers that `torchrun model_def.py` started, or None: without this each would train on its own."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield None
        return
    os.environ["USE_TORCH_DISTRIBUTED"] = "1"  # Determined asks for it
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        with contextlib.closing(core.DistributedContext.from_torch_distributed()) as distributed:
            yield distributed
    finally:
        torch.distributed.destroy_process_group()


def _seed_everything() -> None:
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002  # what Determined seeds on a cluster
    torch.manual_seed(SEED)


def _beside(output: Path) -> Path:
    """Where the checkpoints for this model lie; the model next to it has its own."""
    return output.parent / "checkpoints" / output.name


def _checkpoints(output: Path) -> list[Path]:
    """The whole checkpoints for `output`, oldest first; one that a kill cut short lacks its metadata."""
    found = (_beside(output) / "determined").glob("*/metadata.json")
    return [path.parent for path in sorted(found, key=lambda path: path.stat().st_mtime)]


def _find_checkpoint(output: Path, resume: str, hparams: dict[str, Any]) -> str:
    found = _checkpoints(output)[-1:] if resume == "latest" else [Path(resume).resolve()]
    if not found:
        raise SameSpaceError(f"no checkpoint beside {output}: train without --resume first")
    (checkpoint,) = found
    if not all((checkpoint / name).is_file() for name in ("state_dict.pth", "load_data.json")):
        raise SameSpaceError(f"{checkpoint} is not a checkpoint: give `latest` or a folder that holds state_dict.pth")
    before = json.loads((checkpoint / "load_data.json").read_text())["hparams"]
    for name in ("backbone", "head", "trainable"):
        if before.get(name) != hparams.get(name):
            raise SameSpaceError(
                f"{checkpoint} was trained with {name} {before.get(name)}, not {hparams.get(name)}: "
                "resume with the hyperparameters it had"
            )
    return str(checkpoint)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Train SameSpace here; on a Determined cluster: det experiment create."
    )
    parser.add_argument(
        "--data", type=Path, metavar="ROOT", help="folder that holds 'Airbnb Data' (default: const.yaml's)"
    )
    parser.add_argument("--epochs", type=int, help="how long to train (default: const.yaml's)")
    parser.add_argument(
        "--config", action="append", default=[], metavar="KEY=VALUE | FILE", help="as in hyperparameters.head=concat"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("model"), help="folder for the best model (default: %(default)s)"
    )
    parser.add_argument("--resume", metavar="CHECKPOINT", help="continue from a checkpoint's folder, or from `latest`")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Train; a mistake is one line on stderr and exit status 1."""
    arguments = _parser().parse_args(words)
    return exit_status(lambda: _train(arguments))


def _train(arguments: argparse.Namespace) -> None:
    info = det.get_cluster_info()
    if info is not None and info.task_type == "TRIAL":
        train_there(info)
        return
    logging.getLogger("determined").setLevel(logging.WARNING)
    choices = [f"data.cache={json.dumps(str(default_cache()))}", *arguments.config]
    choices += [f"data.dir={json.dumps(str(arguments.data.resolve()))}"] if arguments.data else []
    choices += [f"hyperparameters.epochs={arguments.epochs}"] if arguments.epochs is not None else []
    train_here(read_config(choices), arguments.output.resolve(), arguments.resume)


if __name__ == "__main__":
    import model_def  # so that checkpoints name model_def:SameSpaceTrial, which can be imported, not __main__

    sys.exit(model_def.main())
