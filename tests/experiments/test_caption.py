"""The captioner's training: on a stand-in for the cluster's master, and here. The matcher's tests hold what both do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.caption import caption as trial
from experiments.caption.caption import CaptionTrial
from experiments.captioned import read_data
from samespace.base.errors import SameSpaceError
from samespace.words.caption_in_torch import Learner
from samespace.words.captioner import Captioner
from samespace.words.photo_features import Featured
from samespace.words.train_captioner import evaluate, train
from samespace.words.training_loop import Course
from tests.conftest import BACKBONE, Killed, stop_at
from tests.stub_master import StubMaster

pytestmark = [
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern"),  # Determined, reading .detignore
    pytest.mark.usefixtures("unpickled"),
]

ADAPTIVE = CaptionTrial.CONST.with_name("adaptive.yaml")
TINY = {"global_batch_size": 8, "epochs": 3, "embed_size": 12, "hidden_size": 16, "threshold": 1}
TINY |= {"backbone": BACKBONE, "weights": "none", "learning_rate": 0.01}
CHOSEN = {"embed_size": 10, "hidden_size": 14, "learning_rate": 0.02}
METRICS = {"cider_d", "bleu_1", "bleu_4", "distinct"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def experiment(rooms: Path, cache: Path, **hparams: Any) -> dict[str, Any]:
    """The search's YAML file, but small and with the folders of this machine."""
    config: dict[str, Any] = yaml.safe_load(ADAPTIVE.read_text())
    config["hyperparameters"] |= TINY | hparams
    config["data"] |= {"dir": str(rooms), "cache": str(cache)}
    return config


def read(rooms: Path, cache: Path) -> Featured:
    return read_data(TINY, {"dir": str(rooms), "cache": str(cache)})


# On a cluster


@pytest.fixture(scope="module")
def searched(rooms: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> StubMaster:
    """A whole trial of a search."""
    with StubMaster(tmp_path_factory.mktemp("store"), CHOSEN, experiment(rooms, cache)) as master:
        assert trial.main([]) == 0
    return master


def test_a_log_says_how_captions_are_and_what_to_fetch(
    rooms: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with StubMaster(tmp_path, CHOSEN, experiment(rooms, cache, epochs=1)):
        assert trial.main([]) == 0
    *_, epoch, _, fetch = capsys.readouterr().out.splitlines()
    assert [name for name in METRICS if f" {name} " not in epoch] == []
    assert fetch == "fetch it: samespace export --trial 1 -o caption.safetensors"


def captioner_of(folder: Path) -> Learner:
    return Learner.of(Captioner.load(folder / CaptionTrial.FILE))


def test_a_trial_trains_what_the_search_chose(searched: StubMaster) -> None:
    network = captioner_of(searched.checkpoints[-1].path).network
    assert (network.photo.out_features, network.lstm.hidden_size) == (10, 14)
    losses = [report["loss"] for report in searched.training_metrics]
    assert losses[-1] < losses[0]
    assert [report["epochs"] for report in searched.validation_metrics] == [1, 2, 3]
    assert [set(report) for report in searched.validation_metrics] == [METRICS | {"epochs", "batches"}] * 3
    assert searched.config["searcher"]["metric"] in METRICS
    assert searched.early_exit is None


def test_a_checkpoint_carries_the_captioner_that_was_measured(searched: StubMaster, rooms: Path, cache: Path) -> None:
    held = read(rooms, cache).only("val")
    reports = {report["batches"]: report for report in searched.validation_metrics}
    assert searched.checkpoints
    for checkpoint in searched.checkpoints:
        report = reports[checkpoint.metadata["steps_completed"]]
        found = trial.metrics_of(evaluate(captioner_of(checkpoint.path), held, fewest=1))
        assert found == {name: report[name] for name in METRICS}


def test_a_trial_that_is_paused_or_killed_goes_on_as_if_nothing_had_been(
    searched: StubMaster, rooms: Path, cache: Path, tmp_path: Path
) -> None:
    config = experiment(rooms, cache)
    with StubMaster(tmp_path, CHOSEN, config, stop_after_epoch=1) as paused:
        assert trial.main([]) == 0
    with (
        pytest.MonkeyPatch.context() as patch,
        StubMaster(tmp_path, CHOSEN, config, latest_checkpoint=paused.checkpoints[-1].uuid),
        pytest.raises(Killed),
    ):
        stop_at(CaptionTrial, 1, patch)  # in the second epoch, which has two or three
        trial.main([])
    with StubMaster(tmp_path, CHOSEN, config, latest_checkpoint=paused.checkpoints[-1].uuid) as resumed:
        assert trial.main([]) == 0
    assert [*paused.validation_metrics, *resumed.validation_metrics] == searched.validation_metrics
    one, two = (captioner_of(master.checkpoints[-1].path).network.state_dict() for master in (searched, resumed))
    assert all(value.equal(two[name]) for name, value in one.items())


# Here


def arguments(rooms: Path, cache: Path, output: Path, **hparams: Any) -> list[str]:
    config = [
        word for name, value in (TINY | hparams).items() for word in ("--config", f"hyperparameters.{name}={value}")
    ]
    return ["--data", str(rooms), "--output", str(output), "--config", f"data.cache={cache}", *config]


def test_here_the_settings_train_the_captioner_that_the_library_would(
    rooms: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "caption.safetensors"
    assert trial.main([*arguments(rooms, cache, file), "--epochs", "2"]) == 0
    featured, found = read(rooms, cache), Learner.of(Captioner.load(file))
    hparams = yaml.safe_load(CaptionTrial.CONST.read_text())["hyperparameters"] | TINY | {"epochs": 2}
    train(featured, CaptionTrial.recipe_of(hparams)).save(tmp_path / "expected")
    assert file.read_bytes() == (tmp_path / "expected").read_bytes()
    printed = capsys.readouterr().out
    assert printed == "".join(f"{split}, {evaluate(found, featured.only(split))}\n" for split in ("val", "test"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["caption.safetensors", "expected"]


def test_here_a_training_that_was_stopped_goes_on(rooms: Path, cache: Path, tmp_path: Path) -> None:
    words = arguments(rooms, cache, tmp_path / "caption")
    assert trial.main(words) == 0
    whole, learn = (tmp_path / "caption").read_bytes(), Course.learn
    (tmp_path / "caption").unlink()

    def stopped(self: Course) -> None:
        if self.epoch == 2:
            raise Killed
        learn(self)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Course, "learn", stopped)
        trial.main(words)
    assert [path.name for path in tmp_path.iterdir()] == ["caption.unfinished"]
    assert trial.main(words) == 0
    assert (tmp_path / "caption").read_bytes() == whole
    assert not (tmp_path / "caption.unfinished").exists()


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (["--data", "/nowhere"], "/nowhere is not a folder"),
        (
            ["--config", "hyperparameters.depth=3"],
            "unknown hyperparameter 'depth': choose among global_batch_size",
        ),
        (["--config", "hyperparameters.backbone=vgg99"], "backbone cannot be 'vgg99': choose one of mobilenet"),
        (["--config", "hyperparameters.hidden_size=0"], "hidden_size cannot be 0: give a whole number from 1"),
        (["--output", "/dev/null/caption"], "cannot write /dev/null/caption"),
    ],
)
def test_a_mistake_is_one_line(
    mistake: list[str], told: str, rooms: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trial.main([*arguments(rooms, cache, tmp_path / "caption", epochs=1), *mistake]) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n"), printed.err[:7]) == ("", 1, "error: ")
    assert told in printed.err
    assert not (tmp_path / "caption").exists()


def test_hyperparameters_are_all_or_none() -> None:
    hparams = yaml.safe_load(CaptionTrial.CONST.read_text())["hyperparameters"]
    assert CaptionTrial.recipe_of(hparams).batch == hparams["global_batch_size"]
    del hparams["embed_size"]
    with pytest.raises(SameSpaceError, match=r"hyperparameter embed_size is missing: set it as const\.yaml does"):
        CaptionTrial.recipe_of(hparams)
