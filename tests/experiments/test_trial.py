"""What a trial's log says, by a trial that learns little and is told how good it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import determined
import pytest
import torch
from determined import pytorch
from torch import nn

from experiments import trial
from experiments.trial import TrialLog, check_mounted, train_on_cluster
from samespace.base import progress
from samespace.base.errors import SameSpaceError, exit_status
from tests.conftest import call_at
from tests.stub_master import StubMaster

pytestmark = [
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern"),  # Determined, reading .detignore
    pytest.mark.usefixtures("unpickled"),
]

ROWS = 12


class Toy(pytorch.PyTorchTrial):
    """Learns y = 2x from 12 numbers, in 6 steps an epoch; `scores` are its validations'."""

    scores: Sequence[float] = (0.5, 0.7, 0.6)

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        self.context = context
        self.log = TrialLog(context, ("score", "chance"), "numbers", "toy.safetensors")
        self.log.start(ROWS, f"{ROWS} numbers in memory")
        self.model = context.wrap_model(nn.Linear(1, 1))
        self.optimizer = context.wrap_optimizer(torch.optim.SGD(self.model.parameters(), 0.1))

    def build_training_data_loader(self) -> pytorch.DataLoader:
        x = torch.linspace(-1, 1, ROWS).unsqueeze(1)
        return pytorch.DataLoader(torch.utils.data.TensorDataset(x, 2 * x), batch_size=2)

    build_validation_data_loader = build_training_data_loader

    def train_batch(self, batch: Any, epoch_idx: int, batch_idx: int) -> dict[str, torch.Tensor]:
        x, y = batch
        loss = nn.functional.mse_loss(self.model(x), y)
        self.context.backward(loss)
        self.context.step_optimizer(self.optimizer)
        self.log.tick(len(x))
        return {"loss": loss}

    def evaluate_full_dataset(self, data_loader: Any) -> dict[str, float]:
        return {"score": self.scores[self.log.epoch - 1], "chance": 0.5}

    def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
        return {"log": self.log}


def config(metric: str = "score", smaller_is_better: bool = False, **searcher: Any) -> dict[str, Any]:
    return {"searcher": {"metric": metric, "smaller_is_better": smaller_is_better, **searcher}}


HPARAMS = {"epochs": 3, "global_batch_size": 2}


def run(master: StubMaster, make: Any = Toy) -> None:
    with master:
        info = determined.get_cluster_info()
        assert info is not None
        train_on_cluster(make, info)


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the log says, with rates and losses left out: those depend on the machine."""
    lines = [re.sub(r"[\d,]+ numbers/s", "N numbers/s", line) for line in capsys.readouterr().out.splitlines()]
    return [re.sub(r"loss \d\.\d{4}", "loss L", line) for line in lines]


def test_a_log_tells_a_trial_from_its_beginning_to_the_command_that_fetches_its_best(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    master = StubMaster(tmp_path, HPARAMS, config(), trial_id=17)
    run(master)
    assert said(capsys) == [
        "training on 12 numbers in memory",
        "epoch 1/3: loss L, score 0.5000, chance 0.5000, N numbers/s, best so far",
        "epoch 2/3: loss L, score 0.7000, chance 0.5000, N numbers/s, best so far",
        "epoch 3/3: loss L, score 0.6000, chance 0.5000, N numbers/s, best so far: epoch 2, score 0.7000",
        f"best checkpoint: {master.checkpoints[1].uuid} (epoch 2, score 0.7000)",
        "fetch it: samespace export --trial 17 -o toy.safetensors",
    ]


def test_the_loss_is_the_mean_of_all_steps_however_often_it_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: list[float] = []
    train_batch = Toy.train_batch

    def noted(self: Toy, *given: Any, **named: Any) -> dict[str, torch.Tensor]:
        told = train_batch(self, *given, **named)
        losses.append(float(told["loss"].detach()))
        return told

    monkeypatch.setattr(Toy, "train_batch", noted)
    monkeypatch.setattr(trial, "BATCHES_BETWEEN_REPORTS", 4)  # of 6 in an epoch
    run(StubMaster(tmp_path, HPARAMS, config()))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    means = [sum(losses[at : at + 6]) / 6 for at in (0, 6, 12)]
    assert [float(line.split("loss ")[1].split(",")[0]) for line in lines] == pytest.approx(means, abs=1e-4)


def test_the_best_is_by_the_experiments_own_metric(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(master := StubMaster(tmp_path, HPARAMS, config(smaller_is_better=True)))
    assert f"best checkpoint: {master.checkpoints[0].uuid} (epoch 1, score 0.5000)" in said(capsys)


def test_a_trial_that_is_stopped_says_so_and_goes_on_with_the_best_it_had(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = StubMaster(tmp_path, HPARAMS, config(), stop_after_epoch=2)
    run(stopped)
    assert said(capsys)[-3] == "stopped after 2 of 3 epochs"
    best = stopped.checkpoints[-1].uuid
    resumed = StubMaster(tmp_path, HPARAMS, config(), latest_checkpoint=best)
    run(resumed)
    assert said(capsys)[1:3] == [
        "epoch 3/3: loss L, score 0.6000, chance 0.5000, N numbers/s, best so far: epoch 2, score 0.7000",
        f"best checkpoint: {best} (epoch 2, score 0.7000)",
    ]


def test_an_epoch_that_a_pause_kept_from_validation_is_validated_when_the_trial_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paused = StubMaster(tmp_path, HPARAMS, config())
    with pytest.MonkeyPatch.context() as patch:
        call_at(Toy, 3 * ROWS // 2 - 1, paused.stop, patch)
        run(paused)
    assert said(capsys)[-2:] == [
        f"best checkpoint: {paused.checkpoints[-2].uuid} (epoch 2, score 0.7000)",
        "fetch it: samespace export --trial 1 -o toy.safetensors",
    ]
    run(StubMaster(tmp_path, HPARAMS, config(), latest_checkpoint=paused.checkpoints[-1].uuid))
    assert said(capsys)[1] == ("epoch 3/3: loss L, score 0.6000, chance 0.5000, best so far: epoch 2, score 0.7000")


def test_figures_of_another_metric_are_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stopped = StubMaster(tmp_path, HPARAMS, config(), stop_after_epoch=2)
    run(stopped)
    other = config("chance", smaller_is_better=True)
    run(StubMaster(tmp_path, HPARAMS, other, latest_checkpoint=stopped.checkpoints[-1].uuid))
    # The third epoch is not better than the second by the new metric.
    assert said(capsys)[-2] == f"best checkpoint: {stopped.checkpoints[-1].uuid} (epoch 2, chance 0.5000)"


def test_a_trial_that_is_stopped_before_any_validation_has_nothing_to_fetch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "BATCHES_BETWEEN_REPORTS", 2)
    (master := StubMaster(tmp_path, HPARAMS, config())).stop()
    run(master)
    assert said(capsys)[1:] == [
        "stopped after 0 of 3 epochs",
        "no epoch has been validated: there is nothing to fetch yet",
    ]


def test_of_many_workers_the_chief_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    def context(rank: int) -> Any:
        return SimpleNamespace(
            distributed=SimpleNamespace(get_rank=lambda: rank),
            get_hparam=lambda name: 3,
            get_experiment_config=config,
        )

    for rank in (0, 1):
        log = TrialLog(context(rank), ("score",), "numbers", "toy")
        log.start(ROWS, f"numbers on {rank}")
    assert said(capsys) == ["training on numbers on 0"]
    assert not progress.wanted


def test_a_metric_that_is_not_reported_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(SameSpaceError, match=r"searcher\.metric cannot be 'beauty': choose one of score, chance"):
        run(StubMaster(tmp_path, HPARAMS, config("beauty")))


# Failures


def test_data_that_are_not_on_the_agent_are_named_with_it(tmp_path: Path) -> None:
    info: Any = SimpleNamespace(user_data={"dir": str(tmp_path / "photos")}, agent_id="agent-7")
    with pytest.raises(SameSpaceError, match=f"there is no {tmp_path}/photos on agent agent-7: put the data"):
        check_mounted(info)
    (tmp_path / "photos").mkdir()
    check_mounted(info)


@pytest.mark.parametrize(
    ("opens", "says"),
    [
        (
            False,
            "a checkpoint cannot be written: make room where they are kept; the next run goes on from the last one",
        ),
        (True, "no room for the output: free some, and run it again"),
    ],
)
def test_a_checkpoint_that_finds_no_room_is_one_sentence(
    opens: bool, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save

    def full(state: Any, path: str) -> None:
        with open("/dev/full", "wb") as file:  # noqa: PTH123
            save(state, file if opens else "/dev/full")

    monkeypatch.setattr(torch, "save", full)
    assert exit_status(lambda: run(StubMaster(tmp_path, HPARAMS, config()))) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {says}"


def test_a_mistake_of_ours_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: Any, **named: Any) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(Toy, "train_batch", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        run(StubMaster(tmp_path, HPARAMS, config()))
