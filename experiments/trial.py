"""Run any trial: tell its log how training goes, fit it, and end a failure in one sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn

import determined as det
import numpy as np
import torch
from determined import pytorch
from torch import Tensor
from torch.utils.data import BatchSampler, Dataset

from samespace.base import progress
from samespace.base.errors import SameSpaceError
from samespace.model.checkpoint import random_state_types

BATCHES_BETWEEN_REPORTS = 100  # after each a trial that is told to pause, or to stop, does so

Scored = tuple[int, float]  # an epoch, counted from 1, and its figure by the searcher's metric


class TrialLog(pytorch.PyTorchCallback):  # type: ignore[misc]  # Determined has no types
    """Tell, on the chief alone, what a trial trains on, how each epoch did, and at the end what to fetch."""

    def __init__(self, context: pytorch.PyTorchTrialContext, metrics: Collection[str], unit: str, output: str) -> None:
        """Take a validation's `metrics`, the `unit` that an epoch is made of, and what people call the result."""
        self.metrics, self.unit, self.output = metrics, unit, output
        self.epochs = context.get_hparam("epochs")
        searcher = context.get_experiment_config()["searcher"]
        self.metric, self.smaller_is_better = searcher.get("metric"), searcher.get("smaller_is_better", True)
        if self.metric not in metrics:
            raise SameSpaceError(f"searcher.metric cannot be {self.metric!r}: choose one of {', '.join(metrics)}")
        self.is_chief = context.distributed.get_rank() == 0
        if not self.is_chief:
            progress.off()
        self.epoch = 0  # how many are over
        self.seen = 0  # rows of the next one that were learnt from
        self.losses: list[tuple[float, int]] = []  # and of how many batches each is the mean
        self.rate = 0.0  # rows a second in the epoch before; 0 if that was before a pause
        self.best: Scored | None = None
        self.as_it_stands: Scored | None = None  # None once the network has moved on
        self.saved: tuple[Scored, str] | None = None  # the best in a checkpoint, and the checkpoint's UUID
        self.bar: Any = None

    def say(self, text: str) -> None:
        if self.is_chief:
            print(text, flush=True)

    def start(self, rows: int, about: str) -> None:
        """Say what is trained on; an epoch takes so many rows."""
        self.rows = rows
        self.say(f"training on {about}")

    @property
    def is_best(self) -> bool:
        """Tell whether no epoch was better than the one just validated."""
        return self.as_it_stands is not None and self.as_it_stands == self.best

    # Training

    def on_training_start(self) -> None:
        self.began, self.seen_before = monotonic(), self.seen

    def on_training_epoch_start(self, epoch_idx: int) -> None:
        self.began, self.seen_before = monotonic(), 0

    def tick(self, rows: int) -> None:
        """Count the rows that all workers have learnt from in a step."""
        if self.bar is None:
            self.bar = progress.bar(f"epoch {self.epoch + 1}/{self.epochs}", self.rows - self.seen, f" {self.unit}")
        self.bar.update(rows)
        self.seen += rows
        self.as_it_stands = None

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
        self.as_it_stands = self.epoch, float(metrics[self.metric])
        if self._is_better(self.as_it_stands, self.best):
            self.best = self.as_it_stands
        told = {"loss": self._mean_loss(), **{name: float(metrics[name]) for name in self.metrics}}
        self.losses = []
        figures = ", ".join(f"{name} {value:.4f}" for name, value in told.items())
        speed = f"{self.rate:,.0f} {self.unit}/s, " if self.rate else ""
        best = "best so far" if self.is_best else f"best so far: {self._words(self.best)}"
        self.say(f"epoch {self.epoch}/{self.epochs}: {figures}, {speed}{best}")

    def _mean_loss(self) -> float:
        batches = sum(count for _, count in self.losses)
        return sum(loss * count for loss, count in self.losses) / batches if batches else math.nan

    def give_up(self, reason: str) -> NoReturn:
        """End a trial that diverges. Determined would report NaN as text, and the master ends a search over that."""
        if det.get_cluster_info() is None:
            raise SameSpaceError(reason)
        self.say(f"error: {reason}")
        raise det.InvalidHP(reason)  # which has the master drop this trial alone

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
        if state["metric"] != self.metric:  # a run that goes on by another metric: figures are not comparable
            state = {**state, "best": None, "as_it_stands": None, "saved": None}
        for name in _CARRIED:
            setattr(self, name, state[name])
        if self.resumed_from:
            self.on_checkpoint_upload_end(self.resumed_from)

    def end(self) -> None:
        """Say which checkpoint is best, and the command that fetches what it holds."""
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


_CARRIED = ("epoch", "seen", "losses", "best", "as_it_stands", "saved")  # from a checkpoint to the run that goes on


def train_on_cluster(make_trial: Callable[[Any], Any], info: det.ClusterInfo) -> None:
    """Run a trial inside its container: Determined knows everything there is to set."""
    with pytorch.init(hparams=info.trial.hparams) as context:
        fit(make_trial(context), context, info.latest_checkpoint)


def check_mounted(info: det.ClusterInfo) -> None:
    """Refuse, in one sentence, data that are not on this agent."""
    folder = Path((info.user_data or {}).get("dir") or "")
    if not folder.exists():
        raise SameSpaceError(
            f"there is no {folder} on agent {info.agent_id}: put the data where the YAML's bind_mounts look for them, "
            "on every agent"
        )


def fit(trial: Any, context: Any, latest: str | None) -> None:
    """Train from the latest checkpoint on, or from the beginning; validate after every epoch."""
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
        if "inline_container" not in str(error):  # torch's name for a file that it cannot write; it does not say why
            raise
        raise SameSpaceError(
            "a checkpoint cannot be written: make room where they are kept, and the run goes on from the last one"
        ) from error
    trial.log.end()


class Rows(Dataset[Tensor]):
    """Hold rows of integers, (N,) or (N, C), for data that stay on one device; fetch a whole batch at once."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> Tensor:
        return self.rows[indices]

    def loader(self, **options: Any) -> pytorch.DataLoader:
        return pytorch.DataLoader(self, collate_fn=lambda batch: batch, **options)


class GlobalBatches(BatchSampler):
    """Every pair once an epoch, in an order that the seed and the epoch decide, whatever the number of workers.

    Determined hands batches to its workers in turn. So a global batch comes as one slice for each: all take the same
    number of steps, and together they see, step by step, what one alone would see.
    """

    def __init__(self, count: int, size: int, workers: int, seed: int, fewest: int = 1) -> None:
        self.count, self.size, self.workers, self.seed = count, size, workers, seed
        self.fewest = max(workers, fewest)  # in a step
        self.epoch = 0

    def __len__(self) -> int:
        return self._steps() * self.workers

    def _steps(self) -> int:
        # A last step of fewer pairs than workers would leave one idle: such a rest joins the step before.
        full, rest = divmod(self.count, self.size)
        return max(1, full + (rest >= self.fewest))

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count)
        self.epoch += 1
        for batch in np.split(order, [self.size * step for step in range(1, self._steps())]):
            for part in np.array_split(batch, self.workers):
                yield part.tolist()
