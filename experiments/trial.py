"""Hold what every trial shares: its log, its batches, its export, and the way it is run."""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn

import determined as det
import numpy as np
import torch
from determined import pytorch
from torch import Tensor
from torch.utils.data import BatchSampler, Dataset

from experiments.config import check_data, config_of
from samespace.base import progress
from samespace.base.errors import SameSpaceError, exit_status
from samespace.model.checkpoint import random_state_types

BATCHES_BETWEEN_REPORTS = 100  # a trial that is told to pause or stop does so at the next report

Scored = tuple[int, float]  # an epoch, counted from 1, and its value of the searcher's metric
Metrics = dict[str, float]


# ---- callbacks


class TrialLog(pytorch.PyTorchCallback):  # type: ignore[misc]  # Determined has no types
    """Print what a trial trains on, a line for each epoch, and the command that fetches the best; the chief alone does.

    It also knows how far the trial is and which epoch was best, and carries both through checkpoints.
    """

    def __init__(self, context: pytorch.PyTorchTrialContext, metrics: Collection[str], unit: str, output: str) -> None:
        """Take the names of a validation's metrics, what an epoch is counted in, and the name of the result."""
        self.metrics, self.unit, self.output = metrics, unit, output
        self.epochs = context.get_hparam("epochs")
        searcher = context.get_experiment_config()["searcher"]
        self.metric, self.smaller_is_better = searcher.get("metric"), searcher.get("smaller_is_better", True)
        if self.metric not in metrics:
            raise SameSpaceError(f"searcher.metric cannot be {self.metric!r}: choose one of {', '.join(metrics)}")
        self.is_chief = context.distributed.get_rank() == 0
        if not self.is_chief:
            progress.off()
        self.epoch = 0  # epochs done
        self.seen = 0  # rows of the next epoch done
        self.losses: list[tuple[float, int]] = []  # since the last validation: a mean, and over how many batches
        self.rate = 0.0  # rows a second in the last epoch, 0 if it was before a pause
        self.best: Scored | None = None
        self.as_it_stands: Scored | None = None  # the network's own score, None once it has learnt more
        self.latest: Metrics = {}  # all its metrics, empty once it has learnt more
        self.saved: tuple[Scored, str] | None = None  # the best score in a checkpoint, and the checkpoint's UUID
        self.bar: Any = None

    def say(self, text: str) -> None:
        if self.is_chief:
            print(text, flush=True)

    def start(self, rows: int, about: str) -> None:
        """Print what the trial trains on; an epoch has this many rows."""
        self.rows = rows
        self.say(f"training on {about}")

    @property
    def is_best(self) -> bool:
        """Tell if the epoch just validated is the best so far."""
        return self.as_it_stands is not None and self.as_it_stands == self.best

    # Training

    def on_training_start(self) -> None:
        self.began, self.seen_before = monotonic(), self.seen

    def on_training_epoch_start(self, epoch_idx: int) -> None:
        self.began, self.seen_before = monotonic(), 0

    def tick(self, rows: int) -> None:
        """Count the rows of one training step, those of all workers."""
        if self.bar is None:
            self.bar = progress.bar(f"epoch {self.epoch + 1}/{self.epochs}", self.rows - self.seen, f" {self.unit}")
        self.bar.update(rows)
        self.seen += rows
        self.as_it_stands, self.latest = None, {}

    def on_training_workload_end(self, avg_metrics: dict[str, Any], batch_metrics: list[Any]) -> None:
        self.losses.append((float(avg_metrics["loss"]), len(batch_metrics)))

    def on_training_epoch_end(self, epoch_idx: int) -> None:
        self.rate = (self.seen - self.seen_before) / (monotonic() - self.began)
        self.epoch, self.seen = self.epoch + 1, 0
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def on_validation_end(self, metrics: dict[str, Any]) -> None:
        if not all(math.isfinite(metrics[name]) for name in self.metrics):
            self.give_up("the validation loss is no longer finite: lower learning_rate")
        self.latest = {name: float(metrics[name]) for name in self.metrics}
        self.as_it_stands = self.epoch, self.latest[self.metric]
        if self._is_better(self.as_it_stands, self.best):
            self.best = self.as_it_stands
        figures = ", ".join(f"{name} {value:.4f}" for name, value in {"loss": self._mean_loss(), **self.latest}.items())
        self.losses = []
        speed = f"{self.rate:,.0f} {self.unit}/s, " if self.rate else ""
        best = "best so far" if self.is_best else f"best so far: {self._words(self.best)}"
        self.say(f"epoch {self.epoch}/{self.epochs}: {figures}, {speed}{best}")

    def _mean_loss(self) -> float:
        batches = sum(count for _, count in self.losses)
        return sum(loss * count for loss, count in self.losses) / batches if batches else math.nan

    def give_up(self, reason: str) -> NoReturn:
        """End a trial that diverges, before Determined reports NaN as text, over which the master ends a search."""
        if det.get_cluster_info() is None:
            raise SameSpaceError(reason)
        self.say(f"error: {reason}")
        raise det.InvalidHP(reason)  # the master drops this trial and goes on with the search

    def _is_better(self, one: Scored, other: Scored | None) -> bool:
        if other is None:
            return True
        return one[1] < other[1] if self.smaller_is_better else one[1] > other[1]

    def _words(self, scored: Scored | None) -> str:
        return f"epoch {scored[0]}, {self.metric} {scored[1]:.4f}" if scored else "none"

    # Checkpoints

    def on_trial_startup(self, first_batch_idx: int, checkpoint_uuid: str | None) -> None:
        self.resumed_from = checkpoint_uuid

    def on_checkpoint_upload_end(self, uuid: str) -> None:
        if self.as_it_stands and self._is_better(self.as_it_stands, self.saved and self.saved[0]):
            self.saved = self.as_it_stands, uuid

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("metric", *_CARRIED)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in _CARRIED:
            setattr(self, name, state.get(name, getattr(self, name)))  # earlier versions carried less
        if state["metric"] != self.metric:  # scores by two metrics cannot be compared
            validated = self.as_it_stands is not None and self.metric in self.latest
            self.as_it_stands = self.best = (self.epoch, self.latest[self.metric]) if validated else None
            self.saved = None
        if self.resumed_from:
            self.on_checkpoint_upload_end(self.resumed_from)

    def end(self) -> None:
        """Print which checkpoint is best, and the command that fetches what it holds."""
        info = det.get_cluster_info()
        if self.epoch < self.epochs:
            self.say(f"stopped after {self.epoch} of {self.epochs} epochs")
        if self.saved is None:
            self.say("no epoch has been validated: there is nothing to fetch yet")
        elif info is None:
            self.say(f"best: {self._words(self.best)}, in {self.output}")
        else:
            scored, uuid = self.saved
            self.say(f"best checkpoint: {uuid} ({self._words(scored)})")
            self.say(f"fetch it: samespace export --trial {info.trial.trial_id} -o {self.output}")


_CARRIED = ("epoch", "seen", "losses", "best", "as_it_stands", "latest", "saved")  # to the run that goes on


class Export(pytorch.PyTorchCallback):  # type: ignore[misc]
    """Put into every checkpoint, beside its raw state, what people take away."""

    def __init__(self, write: Callable[[Path], None]) -> None:
        """Take what writes it into a checkpoint's folder."""
        self.write = write

    def on_checkpoint_write_end(self, checkpoint_dir: str) -> None:  # called on the chief alone
        self.write(Path(checkpoint_dir))


# ---- running


def run(
    parser: argparse.ArgumentParser,
    words: Sequence[str] | None,
    on_cluster: Callable[[det.ClusterInfo], None],
    here: Callable[[dict[str, Any], argparse.Namespace], None],
) -> int:
    """Train inside a trial's container, or else here; return 1 after one line on stderr if something is wrong."""
    arguments = parser.parse_args(words)

    def train() -> None:
        info = cluster_trial()
        if info is not None:
            check_data(info.user_data)
            on_cluster(info)
            return
        logging.getLogger("determined").setLevel(logging.WARNING)
        here(config_of(arguments), arguments)

    return exit_status(train)


def cluster_trial() -> det.ClusterInfo | None:
    """Return what Determined says of the trial that this process is, or None outside of one."""
    info = det.get_cluster_info()
    return info if info is not None and info.task_type == "TRIAL" else None


def train_on_cluster(make_trial: Callable[[Any], Any], info: det.ClusterInfo) -> None:
    """Train inside a trial's container, where Determined knows every setting, on data that must be there."""
    check_mounted(info)
    with pytorch.init(hparams=info.trial.hparams) as context:
        fit(make_trial(context), context, info.latest_checkpoint)


def check_mounted(info: det.ClusterInfo) -> None:
    """Refuse data that are not on this agent."""
    folder = Path((info.user_data or {}).get("dir") or "")
    if not folder.exists():
        raise SameSpaceError(
            f"there is no {folder} on agent {info.agent_id}: put the data on every agent, in the folder that the "
            "YAML's bind_mounts name"
        )


def fit(trial: Any, context: Any, latest: str | None) -> None:
    """Train from the latest checkpoint, or from the beginning, and validate after every epoch."""
    if hasattr(torch.serialization, "add_safe_globals"):  # torch 2.4
        torch.serialization.add_safe_globals(random_state_types())
    try:
        pytorch.Trainer(trial, context).fit(
            max_length=pytorch.Epoch(trial.log.epochs),
            validation_period=pytorch.Epoch(1),
            reporting_period=pytorch.Batch(BATCHES_BETWEEN_REPORTS),
            checkpoint_policy="best" if det.get_cluster_info() else "all",
            latest_checkpoint=latest,
        )
    except RuntimeError as error:
        if "inline_container" not in str(error):  # torch names the file that it cannot write, and no reason
            raise
        raise SameSpaceError(
            "a checkpoint cannot be written: make room where they are kept; the next run goes on from the last one"
        ) from error
    trial.log.end()


# ---- batches


class Rows(Dataset[Tensor]):
    """Rows of integers, (N,) or (N, C), that point into data on the device; a batch is fetched at once."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> Tensor:
        return self.rows[indices]

    def loader(self, **options: Any) -> pytorch.DataLoader:
        return pytorch.DataLoader(self, collate_fn=lambda batch: batch, **options)


class GlobalBatches(BatchSampler):
    """Batches of every row once an epoch, in an order that only the seed and the epoch decide.

    Determined deals batches out to its workers in turn, so each global batch is cut into a slice for each worker. All
    take the same number of steps, and in each step they see together what one worker alone would see.
    """

    def __init__(self, count: int, size: int, workers: int, seed: int, fewest: int = 1) -> None:
        self.count, self.size, self.workers, self.seed = count, size, workers, seed
        self.fewest = max(workers, fewest)  # rows in a step
        self.epoch = 0

    def __len__(self) -> int:
        return self._steps() * self.workers

    def _steps(self) -> int:
        # A last step with fewer rows than workers would leave one idle: its rows join the step before.
        full, rest = divmod(self.count, self.size)
        return max(1, full + (rest >= self.fewest))

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count)
        self.epoch += 1
        for batch in np.split(order, [self.size * step for step in range(1, self._steps())]):
            for part in np.array_split(batch, self.workers):
                yield part.tolist()
