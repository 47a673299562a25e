"""The matcher's training: on a stand-in for the cluster's master, and here."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from experiments.captioned import read_data
from experiments.match import match as trial
from experiments.match.match import MatchTrial
from samespace.base.errors import SameSpaceError
from samespace.words.caption_set import read_captions
from samespace.words.match_in_torch import Learner
from samespace.words.matcher import Matcher
from samespace.words.photo_features import Featured
from samespace.words.train_matcher import begin, evaluate, loss, train
from samespace.words.training_loop import Course, Lesson
from tests.conftest import BACKBONE, Killed, stop_at
from tests.stub_master import StubMaster

pytestmark = [
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern"),  # Determined, reading .detignore
    pytest.mark.usefixtures("unpickled"),
]

ADAPTIVE = MatchTrial.CONST.with_name("adaptive.yaml")
TINY = {"global_batch_size": 8, "epochs": 3, "dim": 16, "word_dim": 8, "threshold": 1}
TINY |= {"backbone": BACKBONE, "weights": "none", "learning_rate": 0.005}
CHOSEN = {"measure": "cosine", "negatives": "sum", "margin": 0.2, "dim": 24, "learning_rate": 0.02}
METRICS = {"recall", "recall_at_10", "mean_rank", "mean_rank_of_chance"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def experiment(rooms: Path, cache: Path, file: Path = ADAPTIVE, **hparams: Any) -> dict[str, Any]:
    """The YAML file, but small and with the folders of this machine."""
    config: dict[str, Any] = yaml.safe_load(file.read_text())
    config["hyperparameters"] |= TINY | hparams
    config["data"] |= {"dir": str(rooms), "cache": str(cache)}
    return config


def read(rooms: Path, cache: Path) -> Featured:
    return read_data(TINY, {"dir": str(rooms), "cache": str(cache)})


# Data


def test_captions_are_found_in_the_folder_and_photos_below_it(rooms: Path, cache: Path) -> None:
    found = read(rooms, cache)
    assert found.captions.counts() == read_captions(rooms / "dataset.json").counts()
    assert len(found.features) == 36
    assert found.feature_source.name == BACKBONE


def test_captions_may_lie_beside_the_photos(rooms: Path, cache: Path, tmp_path: Path) -> None:
    for photo in sorted(rooms.rglob("*.jpg"))[:3]:
        (tmp_path / photo.name).write_bytes(photo.read_bytes())
        (tmp_path / photo.name).with_suffix(".txt").write_text("a room\n")
    assert read(tmp_path, cache).captions.captions == ("a room",) * 3


def test_a_file_of_features_needs_no_photos(rooms: Path, tmp_path: Path) -> None:
    (tmp_path / "said.json").write_bytes((rooms / "dataset.json").read_bytes())
    np.save(tmp_path / "some.npy", np.random.default_rng(0).random((36, 5)))
    found = read_data(TINY, {"dir": str(tmp_path), "captions": "said.json", "features": "some.npy"})
    assert found.features.shape == (36, 5)
    assert found.feature_source.origin == ""


# On a cluster


@pytest.fixture(scope="module")
def searched(rooms: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> StubMaster:
    """A whole trial of a search."""
    with StubMaster(tmp_path_factory.mktemp("store"), CHOSEN, experiment(rooms, cache)) as master:
        assert trial.main([]) == 0
    return master


def test_a_log_says_what_is_learnt_from_and_what_to_fetch(
    rooms: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with StubMaster(tmp_path, CHOSEN, experiment(rooms, cache, epochs=1), trial_id=5):
        assert trial.main([]) == 0
    counts = read(rooms, cache).captions.counts()
    features, learnt, epoch, best, fetch = capsys.readouterr().out.splitlines()
    assert features.startswith(f"features of 36 photos: found in {cache}/")
    assert learnt == (
        f"training on {counts['train']} photos with {5 * counts['train']} captions in {rooms}; "
        f"validating on {counts['val']}"
    )
    assert epoch.startswith("epoch 1/1: loss ") and " photos/s, best so far" in epoch
    assert best.endswith("(epoch 1, recall " + epoch.split("recall ")[1][:6] + ")")
    assert fetch == "fetch it: samespace export --trial 5 -o match.safetensors"


def matcher_of(folder: Path) -> Matcher:
    return Matcher.load(folder / MatchTrial.FILE)


def test_a_trial_trains_what_the_search_chose(searched: StubMaster, rooms: Path, cache: Path) -> None:
    found = matcher_of(searched.checkpoints[-1].path)
    assert (found.measure, found.dim, found.network.arrays()["word.weight"].shape[1]) == ("cosine", 24, 8)
    learnt = read(rooms, cache).only("train")
    chosen = MatchTrial.recipe_of(searched.config["hyperparameters"] | CHOSEN)
    lesson, untrained = Lesson(learnt, found.vocabulary), begin(learnt, chosen)
    batch = lesson.take(np.arange(len(lesson)), lesson.choose(0, 0))
    assert loss(Learner.of(found).network, chosen, batch, 0) < loss(untrained.network, chosen, batch, 0)


def test_every_validation_reports_ranks_beside_those_of_chance(searched: StubMaster, rooms: Path, cache: Path) -> None:
    assert [set(report) for report in searched.validation_metrics] == [METRICS | {"epochs", "batches"}] * 3
    assert [report["epochs"] for report in searched.validation_metrics] == [1, 2, 3]
    assert searched.config["searcher"]["metric"] in METRICS
    assert searched.early_exit is None
    photos = read(rooms, cache).captions.counts()["val"]
    assert {report["mean_rank_of_chance"] for report in searched.validation_metrics} == {(photos + 1) / 2}


def test_a_checkpoint_carries_the_matcher_that_was_measured(searched: StubMaster, rooms: Path, cache: Path) -> None:
    held = read(rooms, cache).only("val")
    reports = {report["batches"]: report for report in searched.validation_metrics}
    assert searched.checkpoints
    for checkpoint in searched.checkpoints:
        report = reports[checkpoint.metadata["steps_completed"]]
        assert trial.metrics_of(evaluate(matcher_of(checkpoint.path), held)) == {name: report[name] for name in METRICS}


def test_every_epoch_takes_other_captions(
    rooms: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[tuple[int, dict[int, list[int]]]] = []
    loss = trial.loss

    def noted(network: Any, recipe: Any, batch: Any, epoch: int) -> Tensor:
        said = [batch.ids[at, :length].tolist() for at, length in enumerate(batch.lengths)]
        taken.append((epoch, dict(zip(batch.photos.tolist(), said, strict=True))))
        return loss(network, recipe, batch, epoch)

    monkeypatch.setattr(trial, "loss", noted)
    with StubMaster(tmp_path, CHOSEN, experiment(rooms, cache, epochs=2)):
        assert trial.main([]) == 0
    photos = read(rooms, cache).captions.counts()["train"]
    epochs = [{key: row[key] for at, row in taken if at == epoch for key in row} for epoch in (0, 1)]
    assert [len(one) for one in epochs] == [photos, photos]
    assert epochs[0] != epochs[1]


def test_a_trial_that_is_paused_goes_on_as_if_nothing_had_been(
    searched: StubMaster, rooms: Path, cache: Path, tmp_path: Path
) -> None:
    config = experiment(rooms, cache)
    with StubMaster(tmp_path, CHOSEN, config, stop_after_epoch=1) as paused:
        assert trial.main([]) == 0
    with StubMaster(tmp_path, CHOSEN, config, latest_checkpoint=paused.checkpoints[-1].uuid) as resumed:
        assert trial.main([]) == 0
    assert [*paused.validation_metrics, *resumed.validation_metrics] == searched.validation_metrics
    one, two = (matcher_of(master.checkpoints[-1].path).embed_sentences(["a bed"]) for master in (searched, resumed))
    assert one.tobytes() == two.tobytes()


def test_a_trial_that_is_killed_goes_on_from_its_checkpoint(
    searched: StubMaster, rooms: Path, cache: Path, tmp_path: Path
) -> None:
    with (
        pytest.MonkeyPatch.context() as patch,
        StubMaster(tmp_path, CHOSEN, experiment(rooms, cache)) as killed,
        pytest.raises(Killed),
    ):
        stop_at(MatchTrial, 3, patch)  # in the second epoch, which has two or three
        trial.main([])
    assert [report["epochs"] for report in killed.validation_metrics] == [1]
    latest = killed.checkpoints[-1].uuid
    with StubMaster(tmp_path, CHOSEN, experiment(rooms, cache), latest_checkpoint=latest) as resumed:
        assert trial.main([]) == 0
    assert [*killed.validation_metrics, *resumed.validation_metrics] == searched.validation_metrics


def test_a_trial_that_diverges_gives_its_hyperparameters_back(
    rooms: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_batch = MatchTrial.train_batch

    def diverging(self: MatchTrial, batch: Tensor, epoch_idx: int, batch_idx: int) -> dict[str, Tensor]:
        if epoch_idx == 1:
            with torch.no_grad():
                self.trained.network.photo.weight.fill_(float("nan"))
        return train_batch(self, batch, epoch_idx, batch_idx)

    monkeypatch.setattr(MatchTrial, "train_batch", diverging)
    monkeypatch.setattr(sys, "stdin", io.StringIO())  # Determined ends with the `exit` of the prompt, which closes it
    with StubMaster(tmp_path, CHOSEN, experiment(rooms, cache)) as master, pytest.raises(SystemExit):
        trial.main([])
    assert master.early_exit == "EXITED_REASON_INVALID_HP"
    assert [report["epochs"] for report in master.validation_metrics] == [1]


def test_on_a_cluster_a_mistake_fails_the_trial(
    rooms: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with StubMaster(tmp_path, config=experiment(rooms, cache, MatchTrial.CONST, threshold=0)) as master:
        assert trial.main([]) == 1
    assert "error: threshold cannot be 0: give a whole number from 1" in capsys.readouterr().err
    assert master.early_exit is None


# Here


def arguments(rooms: Path, cache: Path, output: Path, **hparams: Any) -> list[str]:
    config = [
        word for name, value in (TINY | hparams).items() for word in ("--config", f"hyperparameters.{name}={value}")
    ]
    return ["--data", str(rooms), "--output", str(output), "--config", f"data.cache={cache}", *config]


def test_here_the_settings_train_the_matcher_that_the_library_would(
    rooms: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "match.safetensors"
    assert trial.main([*arguments(rooms, cache, file), "--epochs", "4"]) == 0
    featured, found = read(rooms, cache), Learner.of(Matcher.load(file))
    hparams = yaml.safe_load(MatchTrial.CONST.read_text())["hyperparameters"] | TINY | {"epochs": 4}
    train(featured, MatchTrial.recipe_of(hparams)).save(tmp_path / "expected")
    assert file.read_bytes() == (tmp_path / "expected").read_bytes()
    printed = capsys.readouterr().out
    assert printed == "".join(f"{split}, {evaluate(found, featured.only(split))}\n" for split in ("val", "test"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["expected", "match.safetensors"]


def test_here_a_training_that_was_stopped_goes_on(
    rooms: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = arguments(rooms, cache, tmp_path / "match")
    assert trial.main(words) == 0
    whole, learn = (tmp_path / "match").read_bytes(), Course.learn

    def stopped(self: Course) -> None:
        if self.epoch == 2:
            raise Killed
        learn(self)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Course, "learn", stopped)
        trial.main(words)
    assert (tmp_path / "match.unfinished").is_file()
    assert (tmp_path / "match").read_bytes() == whole
    (tmp_path / "match").unlink()
    assert trial.main(words) == 0
    assert (tmp_path / "match").read_bytes() == whole
    assert not (tmp_path / "match.unfinished").exists()


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (["--data", "/nowhere"], "/nowhere is not a folder"),
        (["--config", "data.captions=other.json"], "other.json: no such file"),
        (["--config", "data.features=other.npy"], "other.npy: no such file"),
        (
            ["--config", "hyperparameters.depth=3"],
            "unknown hyperparameter 'depth': choose among global_batch_size",
        ),
        (["--config", "hyperparameters.backbone=vgg99"], "backbone cannot be 'vgg99': choose one of mobilenet"),
        (["--config", "hyperparameters.global_batch_size=1"], "global_batch_size cannot be 1: give a whole number"),
        (["--config", "hyperparameters.measure=angle"], "measure cannot be 'angle': choose one of order, cosine"),
        (["--epochs", "0"], "epochs cannot be 0"),
        (["--config", "hyperparameters.threshold=9999"], "no word is met 9999 times"),
        (["--output", "/dev/null/match"], "cannot write /dev/null/match"),
        (["--output", "/dev"], "/dev is a folder: give --output FILE"),
        (["--data", str(MatchTrial.CONST.parent)], "beside it: name the file of captions, Karpathy's dataset.json"),
    ],
)
def test_a_mistake_is_one_line(
    mistake: list[str], told: str, rooms: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trial.main([*arguments(rooms, cache, tmp_path / "match", epochs=1), *mistake]) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n"), printed.err[:7]) == ("", 1, "error: ")
    assert told in printed.err
    assert not (tmp_path / "match").exists()


def test_what_is_left_out_is_told(rooms: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "photos"
    for photo in sorted(rooms.rglob("*.jpg"))[1:]:
        photos.mkdir(exist_ok=True)
        (photos / photo.name).write_bytes(photo.read_bytes())
    (photos / "dataset.json").write_bytes((rooms / "dataset.json").read_bytes())
    assert trial.main([*arguments(photos, cache, tmp_path / "match"), "--epochs", "1"]) == 0
    assert "left out: captioned photos that are not there: 1 (" in capsys.readouterr().err


def test_hyperparameters_are_all_or_none() -> None:
    hparams = yaml.safe_load(MatchTrial.CONST.read_text())["hyperparameters"]
    assert MatchTrial.recipe_of(hparams).batch == hparams["global_batch_size"]
    del hparams["margin"]
    with pytest.raises(SameSpaceError, match=r"hyperparameter margin is missing: set it as const\.yaml does"):
        MatchTrial.recipe_of(hparams)
