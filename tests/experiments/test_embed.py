"""Many workers embed a folder on a cluster, and a library takes in what they wrote as if it had read it itself."""

from __future__ import annotations

import gc
import multiprocessing
import os
import socket
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import pytest
import yaml
from determined import core
from hypothesis import given
from hypothesis import strategies as st

from experiments.embed import embed
from samespace.base import progress
from samespace.library import cluster_files
from samespace.library.read_photos import Batch, Extractor, read_batch
from samespace.model.saved import load
from samespace.search.look import choose_look
from samespace.search.same_shot import Sketches
from tests.library.conftest import Mean, draw_mixture, paths_in
from tests.stub_master import StubMaster

CONST = Path(embed.__file__).with_name("const.yaml")
BACKBONE = {"backbone": "mobilenet_v3_small", "weights": "none", "batch_size": 2}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_mixture(tmp_path_factory.mktemp("cluster") / "photos")


def experiment(photos: Path, **hparams: Any) -> dict[str, Any]:
    """The YAML file, of these photos."""
    config: dict[str, Any] = yaml.safe_load(CONST.read_text())
    config["data"]["dir"] = str(photos)
    config["hyperparameters"] |= BACKBONE | hparams
    return config


def written(store: Path) -> dict[str, bytes]:
    """The files that all workers wrote together."""
    files = list(store.rglob(cluster_files.FILES))
    contents = {file.name: file.read_bytes() for file in files}
    assert len(contents) == len(files), "two workers wrote the same batch"
    return contents


def files_of(photos: Path, size: int, extractors: list[Extractor]) -> dict[str, bytes]:
    """The files that should be written, with so many photos in each."""
    batches = [read_batch(photos, paths, extractors) for paths in paths_in(photos, size)]
    return {cluster_files.name(number): cluster_files.to_bytes(batch) for number, batch in enumerate(batches)}


# Many workers


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What forked workers can run, where torch cannot; and more checkpoints, for few photos."""
    monkeypatch.setattr(embed, "extractors", lambda hparams: [Sketches(), Mean()])
    monkeypatch.setattr(embed, "BATCHES_BETWEEN_CHECKPOINTS", 2)


def run(master: StubMaster, workers: int) -> list[int | None]:
    """A process for each worker, as the launcher starts them; once one fails the others are ended, as it does."""
    processes = multiprocessing.get_context("fork")
    ports = _free_ports()
    ranks = [processes.Process(target=_work, args=(rank, workers, ports)) for rank in range(workers)]
    with master:
        for process in ranks:
            process.start()
        while None in (codes := [process.exitcode for process in ranks]):
            if any(codes):
                for process in ranks:
                    process.kill()
                    process.join()
            else:
                # By one look at the codes: a worker may end between two.
                wait([process.sentinel for process, code in zip(ranks, codes, strict=True) if code is None])
    return codes


def _free_ports() -> list[int]:
    with socket.socket() as one, socket.socket() as other:
        for listener in (one, other):
            listener.bind(("", 0))
        return [one.getsockname()[1], other.getsockname()[1]]


def _work(rank: int, workers: int, ports: list[int]) -> None:
    # What other tests left to be collected may hold networks, whose ends wait for threads that a fork does not have.
    gc.disable()
    names = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0}
    names |= {"WORLD_SIZE": workers, "LOCAL_WORLD_SIZE": workers, "GROUP_WORLD_SIZE": 1}
    os.environ.update({name: str(value) for name, value in names.items()})
    core.DistributedContext.__init__.__kwdefaults__.update(pub_port=ports[0], pull_port=ports[1])
    os._exit(embed.main())


@pytest.fixture
def expected(photos: Path, toy: None) -> dict[str, bytes]:
    """What comes of reading every two files, in the order of their paths."""
    return files_of(photos, 2, [Sketches(), Mean()])


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_writes_the_same_bytes(
    photos: Path, tmp_path: Path, expected: dict[str, bytes], workers: int
) -> None:
    master = StubMaster(tmp_path, config=experiment(photos), slots=workers)
    assert run(master, workers) == [0] * workers
    assert written(tmp_path) == expected
    assert {file.parent.name for file in tmp_path.rglob(cluster_files.FILES)} == {
        f"rank_{rank}" for rank in range(workers)
    }


def test_a_batch_is_written_once_and_let_go(
    photos: Path, tmp_path: Path, toy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    monkeypatch.setattr(embed, "write_whole", lambda path, content, durable: names.append(path.name))
    with StubMaster(tmp_path, config=experiment(photos)):
        assert embed.main() == 0
    assert names == [cluster_files.name(number) for number in range(11)]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_continues_to_the_same_bytes(
    photos: Path, tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    last = max(os.fsencode(path.name) for path in photos.iterdir())  # in the eleventh batch

    def killed(root: Path, paths: list[bytes], extractors: list[Extractor]) -> Batch:
        if last in paths:
            os._exit(9)
        return read_batch(root, paths, extractors)

    first = StubMaster(tmp_path, config=experiment(photos), slots=workers)
    with monkeypatch.context() as context:
        context.setattr(embed, "read_batch", killed)
        assert 9 in run(first, workers)
    half = written(tmp_path)
    assert 0 < len(half) < len(expected)
    second = StubMaster(
        tmp_path, config=experiment(photos), slots=workers, latest_checkpoint=first.checkpoints[-1].uuid
    )
    assert run(second, workers) == [0] * workers
    assert written(tmp_path) == expected


def test_a_paused_run_continues_to_the_same_bytes(photos: Path, tmp_path: Path, expected: dict[str, bytes]) -> None:
    uuid = None
    counts = []
    for _ in range(3):
        master = StubMaster(tmp_path, config=experiment(photos), slots=2, latest_checkpoint=uuid)
        master.stop()
        assert run(master, 2) == [0, 0]
        counts.append(len(written(tmp_path)))
        uuid = master.checkpoints[-1].uuid
    assert counts == [4, 8, 11]
    assert written(tmp_path) == expected


def test_all_workers_take_the_list_of_the_first(
    photos: Path, tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    below = embed.photos_below
    # As if photos had come before the second worker looked.
    monkeypatch.setattr(
        embed,
        "photos_below",
        lambda *given: below(*given) if os.environ["RANK"] == "0" else [b"a/00.png", *below(*given), b"zz.png"],
    )
    assert run(StubMaster(tmp_path, config=experiment(photos), slots=2), 2) == [0, 0]
    assert written(tmp_path) == expected


def test_the_log_says_how_far_it_is_and_what_to_fetch(
    photos: Path, tmp_path: Path, toy: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    assert run(StubMaster(tmp_path, config=experiment(photos), slots=2, trial_id=9), 2) == [0, 0]
    printed = capfd.readouterr()
    assert printed.out.splitlines() == [
        f"embedding 21 photos in {photos}: 11 batches of up to 2, 2 at once",
        "embedded 21 photos",
        "fetch them: samespace export --trial 9 -o embedded",
    ]
    lines = [line.split(" photos")[0] for line in printed.err.splitlines() if line.startswith("embedding: ")]
    assert lines == [f"embedding: {done} of 21" for done in (4, 8, 12, 16, 20, 21)]  # the chief's, for both


@given(st.integers(1, 3000), st.integers(1, 9), st.integers(1, 1024))
def test_no_worker_idles_while_others_are_busy(photos: int, workers: int, most: int) -> None:
    size = embed.size_of_batch(photos, workers, most)
    assert 1 <= size <= most
    batches = -(-photos // size)
    assert batches >= min(photos, 4 * workers)  # which are dealt out in turn
    assert size == most or batches <= 8 * workers or size == 1


# What is computed


def test_a_backbone_is_embedded_as_a_scan_would(photos: Path, tmp_path: Path) -> None:
    with StubMaster(tmp_path, config=experiment(photos, batch_size=5)):
        assert embed.main() == 0
    look = choose_look(backbone="mobilenet_v3_small", weights="none")
    assert written(tmp_path) == files_of(photos, 5, [Sketches(), *look.extractors])


def test_a_model_is_embedded_as_a_scan_would(model_folders: dict[str, Path]) -> None:
    """Whatever backbone the file names beside it."""
    folder = str(model_folders["compare"])
    sketches, model = embed.extractors({**BACKBONE, "model": folder})
    assert isinstance(sketches, Sketches)
    assert model.fingerprint == load(folder).extractor.fingerprint


def test_of_a_model_that_weighs_evidence_materials_come_home_too(model_folders: dict[str, Path]) -> None:
    look = choose_look(model_folders["rooms"])
    found = embed.extractors({**BACKBONE, "model": str(model_folders["rooms"])})
    assert [each.fingerprint for each in found[1:]] == [each.fingerprint for each in look.extractors]


# Mistakes


def test_without_a_cluster_one_is_told_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert embed.main() == 1
    assert capsys.readouterr().err == (
        "error: this is not a Determined cluster: `samespace scan DIR --model DIR` does the same on one machine\n"
    )


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        ({"hyperparameters": {"batch_size": 0}}, "batch_size cannot be 0"),
        ({"hyperparameters": {"batch_size": "1e3"}}, "batch_size cannot be '1e3'"),
        ({"hyperparameters": {"backbone": None}}, "give hyperparameters.model, a trained model's folder, or backbone"),
        (
            {"hyperparameters": {"size": 3}},
            "unknown hyperparameter 'size': choose among model, backbone",
        ),
        ({"hyperparameters": {"backbone": "resnet7"}}, "resnet7"),
        ({"data": {"dir": None}}, "data.dir cannot be None: give the folder that holds the data"),
        ({"data": {"dir": "/no/such/folder"}}, "there is no /no/such/folder on agent "),
        ({"data": {"extensions": "jpg,png"}}, "data.extensions cannot be 'jpg,png'"),
        ({"data": {"extensions": ["heic"]}}, "no photos below"),
        ({"data": {"folder": "/photos"}}, "unknown setting 'data.folder': choose among data.dir, data.extensions"),
        ({"checkpoint_storage": {"type": "directory"}}, "a checkpoint_storage of type directory"),
    ],
)
def test_a_mistake_is_one_line(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], mistake: dict[str, Any], told: str
) -> None:
    config = experiment(photos)
    for section, values in mistake.items():
        config[section] |= values
    with StubMaster(tmp_path, config=config):
        assert embed.main() == 1
    error = capsys.readouterr().err
    assert told in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_only_the_extensions_asked_for_are_embedded(photos: Path, tmp_path: Path, toy: None) -> None:
    config = experiment(photos)
    config["data"]["extensions"] = ["JPG"]
    with StubMaster(tmp_path, config=config):
        assert embed.main() == 0
    files = [
        found.path for file in sorted(tmp_path.rglob(cluster_files.FILES)) for found in cluster_files.read(file).files
    ]
    assert files == [b"b/bad.jpg", b"b/empty.jpg"]
