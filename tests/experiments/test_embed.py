"""Many workers embed a folder on a cluster, and a library takes in what they wrote as if it had read it itself."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import random
import shutil
import socket
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from determined import core
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load, save

from experiments.embed import embed
from samespace.base import progress
from samespace.base.errors import SameSpaceError
from samespace.base.photos import glimpse
from samespace.library import cluster_files, read_photos
from samespace.library.cluster_files import import_folder, to_bytes
from samespace.library.library import FOLDER, Library
from samespace.library.read_photos import Batch, Extractor, Rows, former, read_batch
from samespace.library.scan import scan
from samespace.model import extract as engine
from samespace.search.same_shot import Sketches
from tests.stub_master import StubMaster

CONST = Path(embed.__file__).with_name("const.yaml")
BACKBONE = {"backbone": "mobilenet_v3_small", "weights": "none", "batch_size": 2}
TRUNK = engine.for_backbone("mobilenet_v3_small", "none")


class Mean:
    """Numbers that are quickly told."""

    fields = {"mean": ((3,), "float32")}  # noqa: RUF012
    batch = 2

    def __init__(self, fingerprint: str = "mean-1") -> None:
        self.fingerprint = fingerprint

    def extract(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        return {"mean": pixels.astype(np.int64).sum((1, 2)).astype(np.float32)}


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    Image.fromarray(colours).resize((60, 40)).save(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """21 files, in the worst order: copies within a batch and far apart, no photos, a name that is not UTF-8."""
    root = tmp_path_factory.mktemp("cluster") / "photos"
    for seed in range(15):
        draw(root / f"{'abc'[seed % 3]}/{seed}.png", seed)
    for copy in ("a/0 again.png", "a/0 once more.png", "z.png"):
        shutil.copyfile(root / "a/0.png", root / copy)
    (root / "b/bad.jpg").write_bytes(b"\xff\xd8\xff no photo")
    (root / "b/empty.jpg").touch()
    shutil.copyfile(root / "b/1.png", os.fsdecode(os.fsencode(root) + b"/\xff.png"))
    (root / ".hidden.png").touch()
    (root / "notes.txt").touch()
    return root


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
    paths = sorted(os.fsencode(path.relative_to(photos)) for path in photos.rglob("[!.]*.[pj]*"))
    assert len(paths) == 21
    batches = [read_batch(photos, paths[at : at + 2], [Sketches(), Mean()]) for at in range(0, 21, 2)]
    return {f"batch_{number:08}.safetensors": to_bytes(batch) for number, batch in enumerate(batches)}


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


def test_a_file_does_not_tell_in_what_order_photos_were_read(photos: Path) -> None:
    batch = read_batch(photos, [b"a/0.png", b"c/2.png", b"a/0 again.png", b"b/bad.jpg", b"b/4.png"], [Mean()])
    chance = random.Random(5)
    for _ in range(5):
        files, contents = (chance.sample(rows, len(rows)) for rows in (batch.files, batch.contents))
        order = np.random.default_rng(chance.randrange(9)).permutation(3)
        (names, fields) = batch.features["mean-1"]
        rows = Rows([names[row] for row in order], {"mean": fields["mean"][order]})
        assert to_bytes(Batch(files, contents, {"mean-1": rows}, batch.decoders)) == to_bytes(batch)


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


# What is taken in


@pytest.fixture(scope="module")
def embedded(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the experiment leaves in its storage, by the extractors it really has."""
    store = tmp_path_factory.mktemp("store")
    with StubMaster(store, config=experiment(photos, batch_size=3)):
        assert embed.main() == 0
    return store


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of every file that is decoded from here on."""
    names: list[str] = []

    def counted(source: Any, size: int) -> Any:
        names.append(Path(os.fsdecode(source.name)).name)
        return glimpse(source, size)

    monkeypatch.setattr(read_photos, "glimpse", counted)
    return names


def state(library: Library) -> list[object]:
    """Everything that a library knows."""
    photos = library.photos()
    told: list[object] = [
        [photo._replace(library="") for photo in photos],
        [(photo.path, photo.reason) for photo in library.unreadable()],
    ]
    for extractor in (Sketches(), TRUNK):
        features = library.features(extractor, photos)
        told += [features.take(name).tobytes() for name in extractor.fields]
    return told


def test_an_import_is_as_good_as_a_scan(photos: Path, embedded: Path, tmp_path: Path, decoded: list[str]) -> None:
    library, scanned = (Library(tmp_path / name, create=True) for name in ("imported", "scanned"))
    assert import_folder(library, photos, embedded, [TRUNK]) == 21
    result = scan(library, [photos], [Sketches(), TRUNK])
    assert (result.photos, result.new, result.changed, decoded) == (19, 0, 0, [])
    assert [photo.path.name for photo in result.unreadable] == ["bad.jpg", "empty.jpg"]
    scan(scanned, [photos], [Sketches(), TRUNK])
    assert len(decoded) == 17
    assert state(library) == state(scanned)


def test_an_import_may_come_late_and_twice(photos: Path, embedded: Path, tmp_path: Path, decoded: list[str]) -> None:
    """Into a library that knows some photos, of a folder where some have come and gone; DIR may be a copy."""
    copy = tmp_path / "copy"
    shutil.copytree(photos, copy, copy_function=shutil.copyfile)
    library = Library(copy / FOLDER, create=True)
    draw(copy / "a/own.png", 70)
    scan(library, [copy / "a"], [Mean()])
    (copy / "b/1.png").unlink()
    draw(copy / "c/new.png", 71)
    decoded.clear()
    import_folder(library, copy, embedded)
    import_folder(library, copy, embedded)
    scan(library, [copy], [Sketches(), TRUNK])
    assert sorted(decoded) == ["new.png", "own.png"]
    assert len(library.photos()) == 20


def test_a_part_of_the_files_may_be_missing(photos: Path, embedded: Path, tmp_path: Path, decoded: list[str]) -> None:
    part = tmp_path / "part"
    shutil.copytree(embedded, part)
    next(part.rglob("batch_00000003*")).unlink()
    (next(part.rglob("rank_0")) / ".batch_00000003.safetensors.partial").write_bytes(b"cut short")
    library = Library(tmp_path / "library", create=True)
    assert import_folder(library, photos, part) == 18
    result = scan(library, [photos], [Sketches(), TRUNK])
    assert (result.photos, result.new, len(decoded)) == (19, 3, 3)


@pytest.fixture
def from_two_agents(photos: Path, tmp_path: Path) -> Path:
    """Files as the version before wrote them, one by an agent that rounds to float32, one to bfloat16."""
    paths = sorted(os.fsencode(path.relative_to(photos)) for path in photos.rglob("[!.]*.[pj]*"))
    (tmp_path / "files").mkdir()
    for number, fingerprint in enumerate(former(TRUNK)):
        batch = read_batch(photos, paths[number::2], [Sketches(), TRUNK])
        batch.features[fingerprint] = batch.features.pop(TRUNK.fingerprint)
        (tmp_path / "files" / cluster_files.name(number)).write_bytes(to_bytes(batch))
    return tmp_path / "files"


@pytest.mark.parametrize("named", [True, False], ids=["with --backbone", "without"])
def test_what_agents_of_two_kinds_wrote_fits_together(
    photos: Path, from_two_agents: Path, tmp_path: Path, decoded: list[str], named: bool
) -> None:
    library, scanned = (Library(tmp_path / name, create=True) for name in ("imported", "scanned"))
    decoded.clear()
    assert import_folder(library, photos, from_two_agents, [TRUNK] if named else []) == 21
    assert scan(library, [photos], [Sketches(), TRUNK]).photos == 19
    assert decoded == []
    scan(scanned, [photos], [Sketches(), TRUNK])
    assert state(library) == state(scanned)
    names = {path.name for path in (library.folder / "features").iterdir()}
    assert names == {Sketches.fingerprint, TRUNK.fingerprint}


def test_a_model_is_embedded_as_a_scan_would(model_folders: dict[str, Path]) -> None:
    """Whatever backbone the file names beside it."""
    folder = str(model_folders["compare"])
    sketches, model = embed.extractors({**BACKBONE, "model": folder})
    assert isinstance(sketches, Sketches)
    assert model.fingerprint == engine.for_model(folder).fingerprint


# What is not taken in


@pytest.fixture
def spoil(embedded: Path, tmp_path: Path) -> Callable[[Callable[[bytes], bytes]], Path]:
    """A copy of what was embedded, with something done to its last file."""

    def spoilt(harm: Callable[[bytes], bytes]) -> Path:
        shutil.copytree(embedded, tmp_path / "spoilt")
        last = max((tmp_path / "spoilt").rglob(cluster_files.FILES))
        last.write_bytes(harm(last.read_bytes()))
        return tmp_path / "spoilt"

    return spoilt


def refused(photos: Path, folder: Path, *extractors: Extractor) -> str:
    """The one sentence; nothing was imported."""
    library = Library(folder.parent / "library", create=True)
    with pytest.raises(SameSpaceError) as error:
        import_folder(library, photos, folder, extractors)
    scan(library, [photos], extensions=["none"])
    assert not [*library.folder.rglob("features"), *library.photos(), *library.unreadable()]
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("harm", [lambda file: file[:-1], lambda file: b"", lambda file: file[:-9] + bytes(9)])
def test_one_damaged_file_stops_an_import(
    photos: Path, spoil: Callable[..., Path], harm: Callable[[bytes], bytes]
) -> None:
    told = refused(photos, spoil(harm))
    assert "rank_0/batch_00000006.safetensors is damaged: fetch it again, or delete it and its photos" in told


@pytest.mark.parametrize(
    ("version", "expected"), [(3, "a newer samespace (its format is 3, 2 is known here)"), (1, "an older samespace")]
)
def test_a_file_of_another_version_stops_an_import(
    photos: Path, spoil: Callable[..., Path], version: int, expected: str
) -> None:
    def other(file: bytes) -> bytes:
        arrays = load(file)
        about = {**json.loads(arrays["about"].tobytes()), "format": version}
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        return bytes(save(arrays))

    assert f"was written by {expected}" in refused(photos, spoil(other))


def test_another_model_stops_an_import(photos: Path, embedded: Path, tmp_path: Path) -> None:
    told = refused(photos, shutil.copytree(embedded, tmp_path / "files"), Mean())
    assert f"another model (it holds {TRUNK.fingerprint}" in told
    assert "not mean-1): name the model it was made with, or leave --model and --backbone out" in told


def test_one_file_of_another_model_stops_an_import(photos: Path, spoil: Callable[..., Path]) -> None:
    other = to_bytes(read_batch(photos, [b"z.png"], [Sketches(), Mean()]))
    assert "batch_00000006.safetensors was made with another model" in refused(photos, spoil(lambda _: other), TRUNK)


def test_other_numbers_by_the_same_name_stop_an_import(photos: Path, spoil: Callable[..., Path]) -> None:
    other = Mean(TRUNK.fingerprint)
    spoilt = spoil(lambda _: to_bytes(read_batch(photos, [b"z.png"], [other])))
    assert "batch_00000006.safetensors was made with another model" in refused(photos, spoilt, TRUNK)


def test_other_folders_are_told_apart(photos: Path, embedded: Path, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    assert "files holds no embedded photos: give the folder that" in refused(photos, tmp_path / "files")
    shutil.copytree(embedded, tmp_path / "files", dirs_exist_ok=True)
    told = refused(photos / "a", tmp_path / "files")
    assert told.endswith("photos/a: scan the folder that was embedded")


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("whole") / cluster_files.name(0)
    path.write_bytes(to_bytes(read_batch(photos, [b"a/0.png", b"b/bad.jpg"], [Mean()])))
    return path


@settings(max_examples=150)
@given(st.data())
def test_a_changed_bit_is_noticed_or_changes_nothing(whole: Path, data: st.DataObject) -> None:
    before = whole.read_bytes()
    at, bit = data.draw(st.integers(0, len(before) - 1)), data.draw(st.integers(0, 7))
    harmed = whole.with_name("harmed")
    harmed.write_bytes(before[:at] + bytes([before[at] ^ 1 << bit]) + before[at + 1 :])
    try:
        read = cluster_files.read(harmed)
    except SameSpaceError as error:
        assert str(error).startswith(f"{harmed} ")
    else:
        assert to_bytes(read) == before


@settings(max_examples=50)
@given(st.integers(0, 10**6))
def test_a_file_cut_short_is_noticed(whole: Path, length: int) -> None:
    before = whole.read_bytes()
    cut = whole.with_name("cut")
    cut.write_bytes(before[: length % len(before)])
    with pytest.raises(SameSpaceError, match="is damaged"):
        cluster_files.read(cut)


@pytest.mark.parametrize("about", [b"7", b"[]", b"{}", b'{"format": "a"}', b'{"format": [1]}', b'{"format": 1}', b"{"])
def test_other_peoples_files_are_refused(tmp_path: Path, about: bytes) -> None:
    path = tmp_path / cluster_files.name(0)
    path.write_bytes(save({"about": np.frombuffer(about, np.uint8)}))
    with pytest.raises(SameSpaceError, match="is damaged"):
        cluster_files.read(path)


def test_a_batch_without_any_photo_is_a_file(photos: Path, tmp_path: Path) -> None:
    batch = read_batch(photos, [b"b/bad.jpg", b"b/gone.jpg"], [Mean()])
    (tmp_path / "batch").write_bytes(to_bytes(batch))
    found = cluster_files.read(tmp_path / "batch")
    assert (found.files, found.contents) == (batch.files, batch.contents)
    assert found.features["mean-1"].fields["mean"].shape == (0, 3)


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
        ({"data": {"dir": None}}, "data.dir cannot be None: give the folder that holds the photos"),
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
