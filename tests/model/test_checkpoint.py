"""A checkpoint becomes a model folder, with or without the model it carries, and without Determined."""

from __future__ import annotations

import json
import random
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from samespace.base.errors import SameSpaceError
from samespace.model.checkpoint import export
from samespace.model.network import TwinNetwork
from samespace.model.saved import Model, load
from samespace.model.weights import UNPICKLES_SAFELY
from tests.conftest import Run

needs_torch_2_6 = pytest.mark.skipif(not UNPICKLES_SAFELY, reason="a raw state is read by torch 2.6 or later")
HPARAMS = {"backbone": "mobilenet_v3_small", "weights": "imagenet", "head": "compare", "learning_rate": 0.001}


def write_checkpoint(folder: Path, network: TwinNetwork, prefix: str = "", **hparams: Any) -> Path:
    """As Determined writes it: its random states hold a numpy array."""
    folder.mkdir(parents=True)
    state = {f"{prefix}{name}": value for name, value in network.state_dict().items()}
    rng_state = {
        "cpu_rng_state": torch.random.get_rng_state(),
        "np_rng_state": np.random.get_state(),  # noqa: NPY002  # what Determined saves
        "random_rng_state": random.getstate(),
    }
    checkpoint = {"models_state_dict": [state], "optimizers_state_dict": [], "callbacks": {}, "rng_state": rng_state}
    torch.save(checkpoint, folder / "state_dict.pth")
    load_data = {"trial_type": "PyTorchTrial", "hparams": {**HPARAMS, **hparams}}
    (folder / "load_data.json").write_text(json.dumps(load_data))
    return folder


@pytest.fixture
def checkpoint(make_network: Callable[..., TwinNetwork], tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint", make_network("compare"))


def refusal(checkpoint: Path) -> str:
    with pytest.raises(SameSpaceError) as raised:
        export(checkpoint, checkpoint.with_name("exported"))
    assert "\n" not in str(raised.value)
    assert not checkpoint.with_name("exported").exists()
    return str(raised.value)


def same_weights(model: Model, other: Model | TwinNetwork) -> bool:
    found = model.contents.weights
    if isinstance(other, Model):
        expected = other.contents.weights
    else:
        expected = {name: value.numpy() for name, value in other.state_dict().items()}
    return found.keys() == expected.keys() and all(np.array_equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("place", ["model", "."])
def test_the_model_a_checkpoint_carries_is_copied(place: str, model_folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(model_folders["compare"], tmp_path / "checkpoint" / place, dirs_exist_ok=True)
    export(tmp_path / "checkpoint", tmp_path / "exported")
    original, exported = load(model_folders["compare"]), load(tmp_path / "exported")
    assert exported.description == original.description
    assert same_weights(exported, original)


def test_a_damaged_model_is_not_copied(model_folders: dict[str, Path], tmp_path: Path) -> None:
    carried = Path(shutil.copytree(model_folders["compare"], tmp_path / "checkpoint" / "model"))
    (weights,) = carried.glob("weights-*")
    weights.write_bytes(weights.read_bytes()[:-1])
    assert refusal(tmp_path / "checkpoint").startswith(f"{weights} is damaged")


@needs_torch_2_6
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize(("head", "trainable"), [("compare", None), ("concat", None), ("compare", "last_conv")])
def test_a_model_is_rebuilt_from_the_raw_state(
    prefix: str, head: str, trainable: str | None, make_network: Callable[..., TwinNetwork], tmp_path: Path
) -> None:
    network = make_network(head, trainable)
    choices = {"head": head} | ({"trainable": trainable} if trainable else {})
    export(write_checkpoint(tmp_path / "checkpoint", network, prefix, **choices), tmp_path / "exported")
    exported = load(tmp_path / "exported")
    assert same_weights(exported, network)
    assert (exported.description["head"], exported.description["cut"]) == (head, network.trainable)


@needs_torch_2_6
def test_a_checkpoint_of_an_older_numpy_is_read_too(checkpoint: Path, tmp_path: Path) -> None:
    """numpy 1, which Determined's image has, calls the function that rebuilds an array by another name."""
    newer, older = checkpoint / "state_dict.pth", checkpoint / "older.pth"
    with zipfile.ZipFile(newer) as archive, zipfile.ZipFile(older, "w") as rewritten:
        for name in archive.namelist():
            content = archive.read(name)
            rewritten.writestr(name, content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    assert b"cnumpy.core.multiarray\n" in older.read_bytes()
    older.replace(newer)
    export(checkpoint, tmp_path / "exported")
    assert load(tmp_path / "exported").description["trunk"] == "mobilenet_v3_small"


@needs_torch_2_6
def test_a_folder_that_is_no_checkpoint_says_what_it_lacks(checkpoint: Path) -> None:
    assert refusal(checkpoint / "nowhere").startswith(f"{checkpoint / 'nowhere'} is not a folder")
    (checkpoint / "state_dict.pth").unlink()
    assert refusal(checkpoint) == f"{checkpoint} is not a checkpoint of SameSpace: it lacks state_dict.pth"
    (checkpoint / "load_data.json").unlink()
    assert refusal(checkpoint) == f"{checkpoint} is not a checkpoint of SameSpace: it lacks load_data.json"


@pytest.mark.parametrize("content", ["", "[]", '{"hparams": null}', '{"hparams": {"backbone": "vgg16"', "{}"])
def test_damaged_hyperparameters_are_refused(content: str, checkpoint: Path) -> None:
    (checkpoint / "load_data.json").write_text(content)
    assert refusal(checkpoint).startswith(f"{checkpoint} is damaged or not a checkpoint of SameSpace")


@needs_torch_2_6
@pytest.mark.parametrize("kept", [0, 100, -100])
def test_a_truncated_state_is_refused(kept: int, checkpoint: Path) -> None:
    path = checkpoint / "state_dict.pth"
    path.write_bytes(path.read_bytes()[:kept])
    assert refusal(checkpoint).startswith(f"{path} is damaged or not a checkpoint of SameSpace")


@needs_torch_2_6
@pytest.mark.parametrize("state", [{}, [], {"models_state_dict": []}, {"models_state_dict": [3]}])
def test_a_state_of_something_else_is_refused(state: Any, checkpoint: Path) -> None:
    torch.save(state, checkpoint / "state_dict.pth")
    assert "is damaged or not a checkpoint of SameSpace" in refusal(checkpoint)


@needs_torch_2_6
def test_a_state_of_another_network_is_refused(checkpoint: Path) -> None:
    load_data = {"hparams": {**HPARAMS, "backbone": "mobilenet_v3_large"}}
    (checkpoint / "load_data.json").write_text(json.dumps(load_data))
    assert refusal(checkpoint).startswith(f"{checkpoint} is damaged or not a checkpoint of SameSpace")


def test_an_older_torch_is_told_what_it_takes(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samespace.model.checkpoint.UNPICKLES_SAFELY", False)
    assert "needs torch 2.6 or later: install it, or take its model/" in refusal(checkpoint)


class Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('code from a checkpoint ran')",)


@needs_torch_2_6
def test_code_in_a_checkpoint_is_not_run(checkpoint: Path) -> None:
    torch.save({"models_state_dict": [Harm()]}, checkpoint / "state_dict.pth")
    assert "is damaged or not a checkpoint of SameSpace" in refusal(checkpoint)


@needs_torch_2_6
def test_export_does_without_determined(
    checkpoint: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ["determined", *(name for name in sys.modules if name.startswith("determined."))]:
        monkeypatch.setitem(sys.modules, name, None)
    exported = tmp_path / "exported"
    said = f"{exported}: compare head on mobilenet_v3_small\n"
    assert run("export", checkpoint, "-o", exported) == (0, said, "")
