"""A toy trial on the stub master: what the real tests may rely on."""

from __future__ import annotations

import math
import os
import threading
import time
from pathlib import Path
from typing import Any

import determined
import numpy as np
import pytest
import torch
from determined import pytorch
from torch import nn

from tests.stub_master import StubMaster

TOY = {"global_batch_size": 4, "learning_rate": 0.1}


class ToyTrial(pytorch.PyTorchTrial):
    """Learns y = 2x from 12 numbers, in 3 batches an epoch."""

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        self.context = context
        self.model = context.wrap_model(nn.Linear(1, 1))
        rate = context.get_hparam("learning_rate")
        self.optimizer = context.wrap_optimizer(torch.optim.SGD(self.model.parameters(), rate))
        self.steps_seen: list[int] = []

    def build_training_data_loader(self) -> pytorch.DataLoader:
        x = torch.linspace(-1, 1, 12).unsqueeze(1)
        data = torch.utils.data.TensorDataset(x, 2 * x)
        return pytorch.DataLoader(data, batch_size=self.context.get_per_slot_batch_size())

    build_validation_data_loader = build_training_data_loader

    def train_batch(self, batch: Any, epoch_idx: int, batch_idx: int) -> dict[str, torch.Tensor]:
        self.steps_seen.append(batch_idx)
        x, y = batch
        loss = nn.functional.mse_loss(self.model(x), y)
        self.context.backward(loss)
        self.context.step_optimizer(self.optimizer)
        return {"loss": loss}

    def evaluate_batch(self, batch: Any, batch_idx: int) -> dict[str, float]:
        if self.context.get_hparam("learning_rate") > 1:
            raise determined.InvalidHP("diverges")
        x, y = batch
        loss = float(nn.functional.mse_loss(self.model(x), y))
        return {"validation_loss": self.context.get_hparams().get("pretend_loss", loss)}


def train(epochs: int = 3) -> ToyTrial:
    info = determined.get_cluster_info()
    assert info is not None
    with pytorch.init(hparams=info.trial.hparams) as context:
        trial = ToyTrial(context)
        pytorch.Trainer(trial, context).fit(
            max_length=pytorch.Epoch(epochs),
            validation_period=pytorch.Epoch(1),
            reporting_period=pytorch.Batch(2),
            checkpoint_policy="all",
            latest_checkpoint=info.latest_checkpoint,
        )
    return trial


def let_checkpoints_hold_numpy() -> None:
    """From torch 2.6 on, Determined's own resume refuses its random state unless these are allowed."""
    if hasattr(torch.serialization, "add_safe_globals"):
        array = np.zeros(1, "u4")
        kinds = [np.ndarray, np.dtype, type(array.dtype), array.__reduce__()[0]]
        torch.serialization.add_safe_globals(kinds)


def test_a_whole_run_reports_metrics_and_checkpoints(tmp_path: Path) -> None:
    with StubMaster(tmp_path, TOY) as master:
        train(epochs=3)

    assert [metrics["epochs"] for metrics in master.validation_metrics] == [1, 2, 3]
    assert master.validation_metrics[-1]["validation_loss"] < master.validation_metrics[0]["validation_loss"]
    assert master.training_metrics[-1]["batches"] == 9
    assert [checkpoint.metadata["steps_completed"] for checkpoint in master.checkpoints] == [3, 6, 9]
    assert all((checkpoint.path / "state_dict.pth").is_file() for checkpoint in master.checkpoints)
    assert not master.stopped.is_set()
    assert master.early_exit is None


def test_the_searcher_stops_a_trial_right_after_the_epoch(tmp_path: Path) -> None:
    with StubMaster(tmp_path, TOY, stop_after_epoch=2) as master:
        trial = train(epochs=30)

    assert [metrics["epochs"] for metrics in master.validation_metrics] == [1, 2]
    assert trial.steps_seen == list(range(6))
    assert any(request.path.endswith("/signals/ack_preemption") for request in master.requests)


def test_a_paused_trial_continues_where_it_was(tmp_path: Path) -> None:
    let_checkpoints_hold_numpy()
    with StubMaster(tmp_path, TOY, stop_after_epoch=1) as paused:
        train(epochs=3)
    with StubMaster(tmp_path, TOY, latest_checkpoint=paused.checkpoints[-1].uuid) as resumed:
        trial = train(epochs=3)

    assert trial.steps_seen == list(range(3, 9))
    assert [metrics["epochs"] for metrics in resumed.validation_metrics] == [2, 3]
    before, after = paused.validation_metrics[-1], resumed.validation_metrics[0]
    assert after["validation_loss"] < before["validation_loss"]


def test_hyperparameters_that_cannot_work_are_reported_as_such(tmp_path: Path) -> None:
    with StubMaster(tmp_path, {**TOY, "learning_rate": 5.0}) as master, pytest.raises(SystemExit) as exit_:
        train()

    assert master.early_exit == "EXITED_REASON_INVALID_HP"
    assert exit_.value.code == 0  # Determined's choice: $? does not tell


def test_a_loss_that_is_not_a_number_arrives_as_text(tmp_path: Path) -> None:
    with StubMaster(tmp_path, {**TOY, "pretend_loss": math.nan}) as master:
        train(epochs=1)

    assert master.validation_metrics[0]["validation_loss"] == "NaN"
    assert master.best_validation() is None


def test_only_the_best_validations_are_kept_if_asked(tmp_path: Path) -> None:
    with StubMaster(tmp_path, {**TOY, "pretend_loss": 0.5}) as master:
        info = determined.get_cluster_info()
        assert info is not None
        with pytorch.init(hparams=info.trial.hparams) as context:
            fit = pytorch.Trainer(ToyTrial(context), context).fit
            fit(max_length=pytorch.Epoch(3), validation_period=pytorch.Epoch(1), checkpoint_policy="best")

    # The second is no better than the first; the third is the checkpoint that ends every run.
    assert [checkpoint.metadata["steps_completed"] for checkpoint in master.checkpoints] == [3, 9]


def test_the_experiment_is_what_the_yaml_says_and_the_searcher_chose(tmp_path: Path) -> None:
    config = {"hyperparameters": {"head": "compare", "alpha": {"type": "double"}}, "data": {"dir": "/data"}}
    with StubMaster(tmp_path, {"alpha": 0.9}, config, trial_id=7):
        info = determined.get_cluster_info()
        assert info is not None
        assert info.trial.hparams == {"head": "compare", "alpha": 0.9}
        assert info.user_data == {"dir": "/data"}
        assert info.trial.trial_id == 7
    with pytest.raises(ValueError, match="alpha"):
        StubMaster(tmp_path, config=config)


def test_the_stub_leaves_nothing_behind(tmp_path: Path) -> None:
    before = set(threading.enumerate()), dict(os.environ), determined.get_cluster_info()
    with StubMaster(tmp_path, TOY) as master:
        train(epochs=1)
        end = time.perf_counter()

    assert time.perf_counter() - end < 1
    threads, *rest = before
    assert set(threading.enumerate()) <= threads
    assert [dict(os.environ), determined.get_cluster_info()] == rest
    assert not list(Path("/tmp").glob(f"tensorboard-{master.allocation_id}*"))
