"""The autoencoder's training: on a stand-in for the cluster's master, and here."""

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

from experiments.compress import compress as trial
from experiments.compress.compress import AutoencoderTrial, read_vectors
from samespace.base import progress
from samespace.base.errors import SameSpaceError
from samespace.library import cluster_files
from samespace.library.read_photos import Batch, Rows
from samespace.search import autoencoder
from samespace.search.choose_compression import recall
from samespace.search.compression import Compression, fit_pca
from tests.conftest import Killed, stop_at
from tests.stub_master import StubMaster

pytestmark = [
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern"),  # Determined, reading .detignore
    pytest.mark.usefixtures("unpickled"),
]

ADAPTIVE = trial.CONST.with_name("adaptive.yaml")
TINY = {"global_batch_size": 32, "epochs": 3, "dim": 12, "hidden": 48}
CHOSEN = {"hidden": 24, "learning_rate": 0.005}
METRICS = {"validation_loss", "recall_at_10", "recall_at_10_of_pca"}


def made(count: int) -> np.ndarray:
    random = np.random.default_rng(0)
    vectors = 2 + random.standard_normal((count, 20)) @ random.standard_normal((20, 40))
    return vectors.astype(np.float16)


def write(folder: Path, number: int, contents: list[str], vectors: np.ndarray, fingerprint: str = "backbone") -> None:
    """A file as experiments/embed writes it."""
    sketches = Rows(contents, {"outline": np.zeros((len(contents), 3), np.float16)})
    batch = Batch([], [], {"sketches": sketches, fingerprint: Rows(contents, {"vectors": vectors})}, "decoders")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / cluster_files.name(number)).write_bytes(cluster_files.to_bytes(batch))


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 photos of which two workers saw 10 both."""
    root, vectors = tmp_path_factory.mktemp("embedded"), made(200)
    names = [f"{np.random.default_rng(row).integers(2**60):016x}" for row in range(200)]
    write(root / "rank_0", 0, names[:110], vectors[:110])
    write(root / "rank_1", 1, names[100:][::-1], vectors[100:][::-1])
    return root


def experiment(data: Path, file: Path = ADAPTIVE, **hparams: Any) -> dict[str, Any]:
    """The YAML file, but small and with the folder of this machine."""
    config: dict[str, Any] = yaml.safe_load(file.read_text())
    config["hyperparameters"] |= TINY | hparams
    config["data"]["dir"] = str(data)
    return config


# Vectors


def test_vectors_come_once_a_photo_in_an_order_that_workers_do_not_decide(embedded: Path, tmp_path: Path) -> None:
    vectors = read_vectors(embedded)
    assert {row.tobytes() for row in vectors} == {row.tobytes() for row in made(200)}
    assert (vectors.shape, vectors.dtype) == ((200, 40), np.float16)
    names = [f"{np.random.default_rng(row).integers(2**60):016x}" for row in range(200)]
    write(tmp_path, 0, names, made(200))
    np.testing.assert_array_equal(read_vectors(tmp_path), vectors)


def test_a_file_of_vectors_is_read_as_it_is(tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", made(70))
    np.testing.assert_array_equal(read_vectors(tmp_path / "vectors.npy"), made(70))


@pytest.mark.parametrize("number", [np.nan, -np.inf])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, number: float) -> None:
    vectors = made(70)
    vectors[69, 0] = number
    np.save(tmp_path / "vectors.npy", vectors)
    with pytest.raises(SameSpaceError, match=r"vectors\.npy holds numbers that are not finite"):
        read_vectors(tmp_path / "vectors.npy")


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros((3, 3), np.int64), np.array([["a"]]), None])
def test_another_file_is_refused(tmp_path: Path, array: np.ndarray | None) -> None:
    file = tmp_path / "vectors.npy"
    if array is None:
        file.write_bytes(b"no array")
    else:
        np.save(file, array)
    with pytest.raises(SameSpaceError, match=r"vectors\.npy (holds no vectors|cannot be read)"):
        read_vectors(file)


def test_vectors_of_two_models_are_not_mixed(tmp_path: Path) -> None:
    write(tmp_path, 0, ["a"], made(1))
    write(tmp_path, 1, ["b"], made(1), "another")
    with pytest.raises(SameSpaceError, match=r"vectors of 2 models \(another, backbone\): give the folder of one"):
        read_vectors(tmp_path)


# On a cluster


@pytest.fixture(scope="module")
def searched(embedded: Path, tmp_path_factory: pytest.TempPathFactory) -> StubMaster:
    """A whole trial of a search."""
    with StubMaster(tmp_path_factory.mktemp("store"), CHOSEN, experiment(embedded)) as master:
        assert trial.main([]) == 0
    return master


def encoder_of(folder: Path) -> Compression:
    return Compression.load(folder / trial.ENCODER)


def test_a_log_says_what_is_learnt_from_and_what_to_fetch(
    embedded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with StubMaster(tmp_path, CHOSEN, experiment(embedded, epochs=1)):
        assert trial.main([]) == 0
    learnt, epoch, _, fetch = capsys.readouterr().out.splitlines()
    assert learnt == f"training on 180 vectors of 40 numbers in {embedded}; validating on 20"
    assert "recall_at_10_of_pca" in epoch and " vectors/s, best so far" in epoch
    assert fetch == "fetch it: samespace export --trial 1 -o encoder.safetensors"


def test_vectors_that_are_not_on_the_agent_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with StubMaster(tmp_path, CHOSEN, experiment(tmp_path / "nowhere")):
        assert trial.main([]) == 1
    assert f"error: there is no {tmp_path}/nowhere on agent agent: put the data" in capsys.readouterr().err


def test_a_trial_trains_what_the_search_chose(searched: StubMaster) -> None:
    found = encoder_of(searched.checkpoints[-1].path)
    assert (found.method, found.dim_in, found.dim) == ("autoencoder", 40, 12)
    assert found.layers[0][0].shape == (24, 40)
    losses = [report["loss"] for report in searched.training_metrics]
    assert losses[-1] < losses[0]


def test_learning_slows_down_to_the_end(searched: StubMaster) -> None:
    state = torch.load(searched.checkpoints[-1].path / "state_dict.pth", weights_only=False)
    (group,) = state["optimizers_state_dict"][0]["param_groups"]
    assert group["initial_lr"] == 0.005
    assert group["lr"] < 0.005 / 3


def test_every_validation_reports_what_is_kept_of_neighbours(searched: StubMaster, embedded: Path) -> None:
    assert [set(report) for report in searched.validation_metrics] == [METRICS | {"epochs", "batches"}] * 3
    assert [report["epochs"] for report in searched.validation_metrics] == [1, 2, 3]
    assert searched.config["searcher"]["metric"] in METRICS
    assert searched.early_exit is None
    vectors = read_vectors(embedded)
    learnt, held = (vectors[rows.numpy()] for rows in autoencoder.split(200))
    expected = recall(fit_pca(learnt, 12, 0), held)
    assert {report["recall_at_10_of_pca"] for report in searched.validation_metrics} == {expected}


def test_the_scale_is_that_of_what_is_learnt_from(
    embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[Tensor] = []
    monkeypatch.setattr(autoencoder.Autoencoder, "fit_scale", lambda self, vectors: fitted.append(vectors))
    with StubMaster(tmp_path, CHOSEN, experiment(embedded, epochs=1)):
        assert trial.main([]) == 0
    (rows,) = fitted
    assert rows.equal(autoencoder.to_tensor(read_vectors(embedded))[autoencoder.split(200)[0]])


def test_a_checkpoint_carries_the_encoder_that_was_measured(searched: StubMaster, embedded: Path) -> None:
    vectors = read_vectors(embedded)
    held = vectors[autoencoder.split(200)[1].numpy()]
    reports = {report["batches"]: report for report in searched.validation_metrics}
    assert searched.checkpoints
    for checkpoint in searched.checkpoints:
        report = reports[checkpoint.metadata["steps_completed"]]
        assert recall(encoder_of(checkpoint.path), held) == report["recall_at_10"]


def test_a_trial_that_is_paused_goes_on_as_if_nothing_had_been(
    searched: StubMaster, embedded: Path, tmp_path: Path
) -> None:
    with StubMaster(tmp_path, CHOSEN, experiment(embedded), stop_after_epoch=1) as paused:
        assert trial.main([]) == 0
    with StubMaster(tmp_path, CHOSEN, experiment(embedded), latest_checkpoint=paused.checkpoints[-1].uuid) as resumed:
        assert trial.main([]) == 0
    assert [report["epochs"] for report in resumed.validation_metrics] == [2, 3]
    assert [*paused.validation_metrics, *resumed.validation_metrics] == searched.validation_metrics


def test_a_trial_that_is_killed_goes_on_from_its_checkpoint(
    searched: StubMaster, embedded: Path, tmp_path: Path
) -> None:
    with (
        pytest.MonkeyPatch.context() as patch,
        StubMaster(tmp_path, CHOSEN, experiment(embedded)) as killed,
        pytest.raises(Killed),
    ):
        stop_at(AutoencoderTrial, 9, patch)  # of the second epoch's six the third
        trial.main([])
    assert [report["epochs"] for report in killed.validation_metrics] == [1]
    with StubMaster(tmp_path, CHOSEN, experiment(embedded), latest_checkpoint=killed.checkpoints[-1].uuid) as resumed:
        assert trial.main([]) == 0
    assert [*killed.validation_metrics, *resumed.validation_metrics] == searched.validation_metrics
    assert encoder_of(resumed.checkpoints[-1].path).fingerprint == encoder_of(searched.checkpoints[-1].path).fingerprint


def test_a_trial_that_diverges_gives_its_hyperparameters_back(
    embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([1.0, float("nan")])
    monkeypatch.setattr(trial, "validation_loss", lambda network, held: next(losses))
    monkeypatch.setattr(sys, "stdin", io.StringIO())  # Determined ends with the `exit` of the prompt, which closes it
    with StubMaster(tmp_path, CHOSEN, experiment(embedded)) as master, pytest.raises(SystemExit):
        trial.main([])
    assert master.early_exit == "EXITED_REASON_INVALID_HP"
    assert [report["epochs"] for report in master.validation_metrics] == [1]


@pytest.mark.parametrize(
    ("mistake", "told"),
    [({"dim": 40}, "vectors of 40 numbers need no compression to 40"), ({"hidden": 0}, "hidden cannot be 0")],
)
def test_on_a_cluster_a_mistake_fails_the_trial(
    mistake: dict[str, int], told: str, embedded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with StubMaster(tmp_path, config=experiment(embedded, trial.CONST, **mistake)) as master:
        assert trial.main([]) == 1
    assert f"error: {told}" in capsys.readouterr().err
    assert master.early_exit is None


# Here


def words(data: Path, output: Path, **hparams: Any) -> list[str]:
    config = [
        word for name, value in (TINY | hparams).items() for word in ("--config", f"hyperparameters.{name}={value}")
    ]
    return ["--data", str(data), "--output", str(output), *config]


def test_here_the_settings_train_the_encoder_that_the_library_would(
    embedded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "encoder.safetensors"
    assert trial.main([*words(embedded, file), "--epochs", "4"]) == 0
    found = Compression.load(file)
    vectors = read_vectors(embedded)
    assert found.fingerprint == autoencoder.train(vectors, 12, 4, 48, 0.001, 32).fingerprint
    learnt, held = (vectors[rows.numpy()] for rows in autoencoder.split(200))
    expected = f"{recall(found, held):.3f} on 20 held-out vectors, PCA {recall(fit_pca(learnt, 12, 0), held):.3f}"
    assert capsys.readouterr().out == f"recall@10 {expected}\n"


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (["--data", "/nowhere"], "/nowhere holds no embedded photos"),
        (["--data", "/nowhere.npy"], "/nowhere.npy cannot be read"),
        (
            ["--config", "hyperparameters.depth=3"],
            "unknown hyperparameter 'depth': choose among global_batch_size, epochs, dim, hidden, learning_rate",
        ),
        (["--config", "hyperparameters.dim=1.5"], "dim cannot be 1.5"),
        (["--config", "hyperparameters.hidden=0"], "hidden cannot be 0"),
        (["--config", "hyperparameters.learning_rate=fast"], "learning_rate cannot be 'fast'"),
        (["--config", "hyperparameters.learning_rate=0"], "learning_rate cannot be 0"),
        (["--config", "hyperparameters.dim=40"], "vectors of 40 numbers need no compression to 40"),
        (["--epochs", "0"], "epochs cannot be 0"),
        (["--output", "/dev/null/encoder"], "cannot write /dev/null/encoder"),
    ],
)
def test_a_mistake_is_one_line(
    mistake: list[str], told: str, embedded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress.off()  # a slow machine would tell of it
    assert trial.main([*words(embedded, tmp_path / "encoder"), *mistake]) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n"), printed.err[:7]) == ("", 1, "error: ")
    assert told in printed.err
    assert not (tmp_path / "encoder").exists()


def test_too_few_photos_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, 0, [str(row) for row in range(59)], made(59))
    assert trial.main(words(tmp_path, tmp_path / "encoder")) == 1
    assert "59 photos are too few to learn from" in capsys.readouterr().err
