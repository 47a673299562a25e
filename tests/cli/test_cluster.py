"""What experiments made comes home by one command: the real client, asking a master that lives in this process."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from determined.common.api.authentication import TokenStore

import model_def
import samespace
from experiments.embed import embed
from samespace.cli.main import main
from samespace.library import cluster_files
from samespace.search.compression import fit_pca
from samespace.search.same_shot import Sketches
from samespace.words import train_captioner, train_matcher
from samespace.words.caption_files import KARPATHY
from samespace.words.caption_set import Captioned, CaptionSet
from samespace.words.feature_files import unit_rows
from samespace.words.photo_features import Featured
from tests import stub_master
from tests.conftest import BACKBONE, COLOURS, ROOT, draw
from tests.stub_master import Checkpoint, StubMaster

pytestmark = [
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern"),  # Determined, reading .detignore
    pytest.mark.usefixtures("unpickled"),
]

Files = dict[str, bytes]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, without an address or a login but what a test gives."""
    for name in [name for name in os.environ if name.startswith("DET_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DET_DEBUG_CONFIG_PATH", str(tmp_path / "config"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """`samespace export`: exit status, stdout, stderr."""

    def run_command(*words: object) -> tuple[int, str, str]:
        status = main(["export", *map(str, words)])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run_command


@pytest.fixture
def home(run: Run) -> Run:
    """The same, where a master answers."""

    def run_there(master: StubMaster, *words: object) -> tuple[int, str, str]:
        with master.reachable():
            return run(*words)

    return run_there


def refusal(answer: tuple[int, str, str]) -> str:
    """The one sentence; nothing was written."""
    status, out, err = answer
    assert (status, out) == (1, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert not [path for path in Path().iterdir() if path.name.endswith(".download")]
    return err.removeprefix("error: ").rstrip("\n")


# Models


@pytest.fixture(scope="module")
def trained(rooms: Path, tmp_path_factory: pytest.TempPathFactory) -> StubMaster:
    """A whole training under the master."""
    config = yaml.safe_load((ROOT / "const.yaml").read_text())
    config["hyperparameters"] |= {"backbone": BACKBONE, "weights": "none", "global_batch_size": 32, "epochs": 2}
    config["data"] = {"dir": str(rooms), "cache": str(tmp_path_factory.mktemp("cache")), "held_out": 0.4}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(Path.cwd())
        with StubMaster(tmp_path_factory.mktemp("store"), config=config, trial_id=7) as master:
            assert model_def.main([]) == 0
    return master


def best_of(master: StubMaster) -> tuple[Checkpoint, dict[str, Any]]:
    metric = master.config["searcher"]["metric"]
    sign = 1 if master.config["searcher"]["smaller_is_better"] else -1
    report = min(master.validation_metrics, key=lambda metrics: sign * metrics[metric])
    (found,) = (each for each in master.checkpoints if each.metadata["steps_completed"] == report["batches"])
    return found, report


def files_below(folder: Path) -> Files:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("asked", [["--experiment", 1], ["--trial", 7], ["--checkpoint", "UUID"]])
def test_the_best_model_comes_home_and_says_how_good_it_is(asked: list[object], trained: StubMaster, home: Run) -> None:
    best, report = best_of(trained)
    words = [best.uuid if word == "UUID" else word for word in asked]
    status, out, err = home(trained, *words, "-o", "best")
    assert (status, err) == (0, "")
    first, *figures, written, _, _, command = out.splitlines()
    assert first == f"experiment 1, trial 7, epoch {report['epochs']}, checkpoint {best.uuid}"
    model = samespace.load("best")
    assert {line.split()[0] for line in figures} == set(model.description["metrics"])
    assert [float(line.split()[1]) for line in figures] == [
        pytest.approx(model.description["metrics"][line.split()[0]], abs=1e-4) for line in figures
    ]
    assert written == "written to best"
    assert command.startswith("  samespace compare A.jpg B.jpg --model best  # ")
    assert files_below(Path("best")) == files_below(best.path / "model")
    assert [path.name for path in Path().iterdir()] == ["best"]


@pytest.fixture
def register(model_folders: dict[str, Path], tmp_path: Path) -> Callable[..., tuple[StubMaster, list[Checkpoint]]]:
    """A master of one experiment, and the checkpoints of its trials 1, 2, …: one for each value of the metric."""

    def registered(*values: float | None, **searcher: Any) -> tuple[StubMaster, list[Checkpoint]]:
        master = StubMaster(tmp_path / "store", config={"searcher": {"metric": "quality", **searcher}})
        files = {f"model/{name}": content for name, content in files_below(model_folders["compare"]).items()}
        files |= {"state_dict.pth": b"state", "code/model_def.py": b"code"}
        metrics = [None if value is None else {"quality": value, "epochs": 5, "batches": 50} for value in values]
        made = [master.register(files, each, trial) for trial, each in enumerate(metrics, 1)]
        return master, made

    return registered


@pytest.mark.parametrize(("smaller", "trial"), [(True, 2), (False, 3)])
def test_what_is_better_the_experiment_says(smaller: bool, trial: int, register: Callable[..., Any], home: Run) -> None:
    master, made = register(0.5, 0.2, 0.7, None, smaller_is_better=smaller)
    status, out, _ = home(master, "--experiment", 1)
    assert status == 0
    assert out.startswith(f"experiment 1, trial {trial}, epoch 5, checkpoint {made[trial - 1].uuid}\n  quality ")
    assert samespace.load("model")
    assert f"trial 1, epoch 5, checkpoint {made[0].uuid}\n" in home(master, "--trial", 1)[1]


def downloads(master: StubMaster) -> list[str]:
    return [request.path for request in master.requests if request.path.startswith("/checkpoints/")]


def test_a_storage_that_is_mounted_here_is_read_itself(register: Callable[..., Any], home: Run) -> None:
    master, made = register(0.5)
    assert home(master, "--experiment", 1)[0] == 0
    assert downloads(master) == []
    master.config["checkpoint_storage"]["host_path"] = "/not/mounted"
    assert home(master, "--experiment", 1, "-o", "proxied")[0] == 0
    assert downloads(master) == [f"/checkpoints/{made[0].uuid}"]
    assert files_below(Path("proxied")) == files_below(Path("model"))


def test_no_name_in_an_archive_leads_elsewhere(
    register: Callable[..., Any], home: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    master, made = register(0.5)
    names = ["../model.json", "model/../../model.json", "/tmp/samespace/model.json", "model/weights-0.safetensors"]
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
        link = tarfile.TarInfo("model/weights-1.safetensors")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        archive.add(made[0].path / "model", "./model")
    monkeypatch.setattr(stub_master, "packed", lambda folder: content.getvalue())
    master.config["checkpoint_storage"]["host_path"] = "/not/mounted"
    assert home(master, "--experiment", 1)[0] == 0
    assert files_below(Path()) == {f"model/{name}": file for name, file in files_below(made[0].path / "model").items()}


def test_a_checkpoint_without_its_raw_state_still_has_a_model(register: Callable[..., Any], home: Run) -> None:
    master, made = register(0.5)
    (made[0].path / "state_dict.pth").unlink()  # as `det checkpoint rm --glob` does
    master.checkpoints[0] = made[0]._replace(state="PARTIALLY_DELETED")
    assert home(master, "--experiment", 1)[0] == 0
    assert samespace.load("model")


@pytest.mark.parametrize("sent", [0, 10, 5000])
def test_a_download_that_breaks_off_leaves_what_was_there(sent: int, register: Callable[..., Any], home: Run) -> None:
    master, made = register(0.5)
    home(master, "--experiment", 1)
    before = files_below(Path("model"))
    master.config["checkpoint_storage"]["host_path"] = "/not/mounted"
    master.sent = sent
    told = refusal(home(master, "--experiment", 1))
    assert told.startswith(f"checkpoint {made[0].uuid} could not be downloaded (")
    assert told.endswith(f"): try again, or copy it from /not/mounted/{made[0].uuid} on the cluster")
    assert files_below(Path("model")) == before


def test_what_a_killed_download_left_is_removed_by_the_next(register: Callable[..., Any], home: Run) -> None:
    left = Path(".model.download/model/weights-00.safetensors")
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    assert home(register(0.5)[0], "--experiment", 1)[0] == 0
    assert [path.name for path in Path().iterdir()] == ["model"]
    assert sorted(Path(name).suffix for name in files_below(Path("model"))) == [".json", ".onnx", ".safetensors"]


def test_a_damaged_model_does_not_take_the_place_of_another(register: Callable[..., Any], home: Run) -> None:
    master, made = register(0.5)
    home(master, "--experiment", 1)
    before = files_below(Path("model"))
    (weights,) = made[0].path.glob("model/weights-*")
    weights.write_bytes(weights.read_bytes()[:-1])
    told = refusal(home(master, "--experiment", 1))
    assert told.startswith(f"checkpoint {made[0].uuid}/model/{weights.name} is damaged")
    assert files_below(Path("model")) == before


def test_a_search_under_way_gives_the_best_so_far_and_says_so(register: Callable[..., Any], home: Run) -> None:
    master, _ = register(0.5)
    master.state = "RUNNING"
    status, out, err = home(master, "--experiment", 1)
    assert (status, err) == (0, "not finished yet, it is RUNNING: this is the best so far\n")
    assert "\nwritten to model\n" in out


# What else experiments make


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file as each of these experiments puts it into its checkpoints, though nothing was learnt."""
    folder = tmp_path_factory.mktemp("made")
    vectors = np.random.default_rng(0).standard_normal((80, 8)).astype(np.float32)
    images = tuple(Captioned(f"{number}.jpg", "train", ("a bed", "a red rug"), number) for number in range(80))
    captioned = Featured(CaptionSet(Path("dataset.json"), KARPATHY, images, 80), unit_rows(vectors), COLOURS)
    train_matcher.begin(captioned, train_matcher.Recipe(dim=8, word_dim=4)).save(folder / "match.safetensors")
    train_captioner.begin(captioned, train_captioner.Recipe(embed_size=4, hidden_size=4)).save(
        folder / "caption.safetensors"
    )
    fit_pca(vectors, 4).save(folder / "encoder.safetensors")
    return {path.name: path for path in folder.iterdir()}


NEXT = {
    "match.safetensors": "samespace scan DIR --matcher",
    "caption.safetensors": "samespace caption DIR --captioner",
    "encoder.safetensors": "samespace compress --import",
}


@pytest.mark.parametrize("mounted", [True, False])
@pytest.mark.parametrize("name", NEXT)
def test_each_experiment_has_its_file(
    name: str, mounted: bool, made: dict[str, Path], tmp_path: Path, home: Run
) -> None:
    master = StubMaster(tmp_path / "store")
    content = made[name].read_bytes()
    master.register({name: content, "state_dict.pth": b"state"}, {"validation_loss": 0.5})
    if not mounted:
        master.config["checkpoint_storage"]["host_path"] = "/not/mounted"
    status, out, err = home(master, "--experiment", 1)
    assert (status, err) == (0, "")
    assert f"\nwritten to {name}\n" in out
    assert f"\n  {NEXT[name]} {name}  # " in out
    assert files_below(Path()) == {name: content}
    assert home(master, "--experiment", 1, "-o", "my own/file")[0] == 0
    assert Path("my own/file").read_bytes() == content

    Path(name).write_bytes(b"before")
    (master.checkpoints[0].path / name).write_bytes(content[:-1])
    told = refusal(home(master, "--experiment", 1))
    assert told.startswith(f"checkpoint {master.checkpoints[0].uuid}/{name} is not a ")
    assert Path(name).read_bytes() == b"before"


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> StubMaster:
    """Six photos, embedded under the master, in three files."""
    photos = tmp_path_factory.mktemp("photos")
    for seed in range(6):
        draw(photos / f"{seed}.png", seed)
    config = yaml.safe_load(Path(embed.__file__).with_name("const.yaml").read_text())
    config["data"]["dir"] = str(photos)
    config["hyperparameters"]["batch_size"] = 1  # of 6 photos
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embed, "extractors", lambda hparams: [Sketches()])
        patch.setattr(embed, "BATCHES_BETWEEN_CHECKPOINTS", 2)
        with StubMaster(tmp_path_factory.mktemp("store"), config=config) as master:
            assert embed.main() == 0
    return master


@pytest.fixture
def embedding(embedded: StubMaster) -> Iterator[StubMaster]:
    """The same, for a test to change what it says of itself."""
    storage, state = dict(embedded.config["checkpoint_storage"]), embedded.state
    yield embedded
    embedded.config["checkpoint_storage"], embedded.state = storage, state


def test_what_was_embedded_comes_home_as_a_folder(embedding: StubMaster, home: Run) -> None:
    status, out, err = home(embedding, "--experiment", 1)
    assert (status, err) == (0, "")
    assert out.startswith(f"experiment 1, trial 1, checkpoint {embedding.checkpoints[-1].uuid}\nwritten to embedded\n")
    assert "\n  samespace scan DIR --import embedded  # " in out
    (result,) = embedding.store.glob("*/rank_0")
    assert sorted(files_below(Path("embedded"))) == [f"rank_0/{cluster_files.name(number)}" for number in range(6)]
    assert files_below(Path("embedded")) == files_below(result.parent)
    assert refusal(home(embedding, "--trial", 1)) == "embedded already exists: name another folder with -o"


def test_what_was_embedded_out_of_reach_is_named(embedding: StubMaster, home: Run) -> None:
    embedding.config["checkpoint_storage"] |= {"host_path": "/srv/agents", "storage_path": "checkpoints"}
    told = refusal(home(embedding, "--experiment", 1))
    name = embedding.checkpoints[-1].metadata["default_output_uuid"]
    assert told.startswith(f"what was embedded is in /srv/agents/checkpoints/{name} on the cluster, and cannot")
    assert told.endswith("copy that folder here, then type `samespace scan DIR --import FOLDER`")
    assert not list(Path().iterdir())


def test_half_of_what_is_to_be_embedded_comes_only_if_asked_for(embedding: StubMaster, home: Run) -> None:
    embedding.state = "RUNNING"
    told = refusal(home(embedding, "--experiment", 1))
    newest = embedding.checkpoints[-1].uuid
    assert told == (
        "experiment 1 has not embedded all photos yet, it is RUNNING: let it finish, "
        f"or type `samespace export --checkpoint {newest}` for what it has"
    )
    assert home(embedding, "--checkpoint", newest)[0] == 0


def test_a_damaged_batch_is_not_kept(embedding: StubMaster, tmp_path: Path, home: Run) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(embedding.store, copied)
    max(copied.glob("*/rank_0/*")).write_bytes(b"no batch")
    embedding.config["checkpoint_storage"]["host_path"] = str(copied)
    assert "/rank_0/batch_00000005.safetensors is damaged" in refusal(home(embedding, "--experiment", 1))
    assert not list(Path().iterdir())


# What cannot be had


def test_what_the_master_does_not_have(register: Callable[..., Any], home: Run) -> None:
    master, _ = register(0.5)
    for words in (["--experiment", 99], ["--trial", 99], ["--checkpoint", uuid.uuid4()]):
        noun = str(words[0]).removeprefix("--")
        told = refusal(home(master, *words))
        assert f" has no {noun} {words[1]}: type `det experiment list` to see what it has" in told


def test_a_checkpoint_is_named_by_a_uuid(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("--checkpoint", "latest")
    assert "'latest' is not a UUID: copy it from the web UI" in capsys.readouterr().err


@pytest.mark.parametrize("noun", ["experiment", "trial"])
def test_nothing_is_there_yet(noun: str, register: Callable[..., Any], home: Run) -> None:
    master, _ = register()
    master.state = "STARTING"
    assert refusal(home(master, f"--{noun}", 1)) == (
        f"{noun} 1 has no checkpoint yet, it is STARTING: type `det {noun} logs 1` to see why"
    )


def test_nothing_was_validated_yet(register: Callable[..., Any], home: Run) -> None:
    master, made = register(None, None)
    master.state = "PAUSED"
    assert refusal(home(master, "--experiment", 1)) == (
        "experiment 1 has validated nothing yet, it is PAUSED: wait for its first epoch, "
        f"or type `samespace export --checkpoint {made[1].uuid}` for its newest checkpoint"
    )
    assert home(master, "--checkpoint", made[1].uuid)[0] == 0


def test_no_worse_one_comes_in_place_of_the_best(register: Callable[..., Any], home: Run) -> None:
    master, made = register(0.5, 0.25, 0.75)
    master.delete(made[2])  # as a search deletes what is not the best
    assert home(master, "--experiment", 1)[0] == 0
    master.delete(made[1])
    told = refusal(home(master, "--experiment", 1))
    assert told == (
        f"the best checkpoint of experiment 1, {made[1].uuid} with a quality of 0.25, was deleted: "
        f"type `samespace export --checkpoint {made[0].uuid}` for the best that is left, 0.5"
    )
    assert f"trial 1, epoch 5, checkpoint {made[0].uuid}\n" in home(master, "--checkpoint", made[0].uuid)[1]
    assert refusal(home(master, "--checkpoint", made[1].uuid)) == (
        f"checkpoint {made[1].uuid} is DELETED: type `samespace export --experiment 1` for the best that is left"
    )
    master.delete(made[0])
    assert refusal(home(master, "--experiment", 1)).startswith(
        f"every checkpoint of experiment 1 was deleted, the best was {made[1].uuid}: train again, and keep some"
    )


def test_one_as_good_as_the_best_is_the_best(register: Callable[..., Any], home: Run) -> None:
    master, made = register(0.5, 0.5)
    master.delete(made[0])
    assert f"checkpoint {made[1].uuid}\n" in home(master, "--experiment", 1)[1]


def test_a_checkpoint_of_something_else_is_not_fetched(tmp_path: Path, home: Run) -> None:
    master = StubMaster(tmp_path / "store")
    other = master.register({"model/other.bin": b"", "my match.safetensors": b""}, {"validation_loss": 0.5})
    assert refusal(home(master, "--experiment", 1)) == (
        f"checkpoint {other.uuid} holds none of model, match.safetensors, caption.safetensors, encoder.safetensors: "
        "name one that an experiment of SameSpace wrote"
    )


def test_a_place_that_cannot_be_written_to_is_said(register: Callable[..., Any], home: Run) -> None:
    Path("file").touch()
    told = refusal(home(register(0.5)[0], "--experiment", 1, "-o", "file/model"))
    assert told == f"cannot write to {Path('file').absolute()} (Not a directory): choose another with -o"


# Who asks


def test_no_master_answers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # and does not listen
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("DET_MASTER", address)
        told = refusal(run("--experiment", 1))
    assert told.startswith(f"no Determined master answers at http://{address}: set DET_MASTER to its address, as you")
    monkeypatch.setenv("DET_MASTER", "http://")
    assert refusal(run("--experiment", 1)).startswith("DET_MASTER is not an address (")


def test_determined_is_not_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "determined", None)
    assert refusal(run("--experiment", 1)) == "determined is not installed: pip install 'samespace[train]'"


def test_a_login_of_det_is_enough(register: Callable[..., Any], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    master, _ = register(0.5)
    with master.reachable() as url:
        monkeypatch.delenv("DET_USER")
        monkeypatch.delenv("DET_PASS")
        assert refusal(run("--experiment", 1)) == f"not logged in to {url}: type `det user login USER`"
        store = TokenStore(url)  # what `det user login` leaves
        store.set_token("user", "token")
        store.set_active("user")
        assert run("--experiment", 1)[0] == 0


def test_a_wrong_password_is_said(register: Callable[..., Any], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    master, _ = register(0.5)
    with master.reachable() as url:
        monkeypatch.setenv("DET_PASS", "wrong")
        told = refusal(run("--experiment", 1))
        assert told == f"{url} refuses this user: log in as another with `det user login USER`"


def test_without_a_terminal_nobody_is_asked_for_a_password(register: Callable[..., Any]) -> None:
    """A login that has expired; the standard input stays open, and says nothing."""
    master, _ = register(0.5)
    with master.reachable() as url:
        store = TokenStore(url)
        store.set_token("user", "old")
        store.set_active("user")
        command = [sys.executable, "-m", "samespace", "export", "--experiment", "1"]
        environment = {name: value for name, value in os.environ.items() if name not in ("DET_USER", "DET_PASS")}
        environment["PYTHONPATH"] = str(ROOT)
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        assert child.stdout and child.stderr and child.stdin
        with child, child.stdin:
            assert child.stderr.read() == f"error: not logged in to {url}: type `det user login USER`\n"
            assert (child.wait(), child.stdout.read()) == (1, "")


def test_determined_is_imported_for_this_alone() -> None:
    code = "import sys, samespace, samespace.cli.cluster, samespace.cli.main; print('determined' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert told.stdout == "False\n"
