"""No command writes over a person's file; over its own it does."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import data
from experiments.compress import compress
from samespace.base.errors import SameSpaceError
from samespace.cli.main import main
from samespace.model.saved import load
from samespace.words.training_loop import into_file

Command = Callable[[Path], int]

FOREIGN = {
    "json": json.dumps({"format": 1, "mine": True}).encode(),
    "html": b"<!doctype html>\n<title>My holidays</title>",
    "text": b"a diary",
    "empty": b"",
}


@pytest.fixture
def command(request: pytest.FixtureRequest, tmp_path: Path, rooms: Path, model_folders: dict[str, Path]) -> Command:
    """Return a command that writes to the file that it is given."""
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (40, 30), "red").save(photos / "a.png")
    model = str(model_folders["compare"])
    torch.manual_seed(0)
    vectors = tmp_path / "vectors.npy"
    np.save(vectors, torch.randn(80, 32).numpy())
    settings = {"epochs": 1, "dim": 8, "hidden": 16}
    small = [word for name, value in settings.items() for word in ("--config", f"hyperparameters.{name}={value}")]
    commands: dict[str, Command] = {
        "plan": lambda path: main(["dedupe", str(photos), "--plan", str(path)]),
        "report": lambda path: main(["dedupe", str(photos), "--report", str(path)]),
        "plot": lambda path: main(["evaluate", model, str(rooms), "--plot", str(path)]),
        "samples": lambda path: data.main(["samples", str(rooms), "--output", str(path)]),
        "encoder": lambda path: compress.main(["--data", str(vectors), "--output", str(path), *small]),
    }
    return commands[request.param]


COMMANDS = {"plan": ".json", "report": ".html", "plot": ".png", "samples": ".png", "encoder": ".safetensors"}


@pytest.mark.parametrize(("command", "suffix"), COMMANDS.items(), indirect=["command"], ids=list(COMMANDS))
def test_a_persons_file_stays_and_ones_own_is_replaced(
    command: Command, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in FOREIGN.items():
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(content)
        assert command(path) == 1
        assert capsys.readouterr().err.startswith(f"error: {path} already exists, and is not ")
        assert path.read_bytes() == content
    pipe = tmp_path / f"pipe{suffix}"
    os.mkfifo(pipe)
    assert command(pipe) == 1
    new = tmp_path / f"new{suffix}"
    assert command(new) in (0, 11)
    assert command(new) in (0, 11)


def test_a_models_folder_keeps_what_is_not_the_models(
    tmp_path: Path, model_folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "model"
    output.mkdir()
    save_file({"mine": torch.zeros(3)}, output / "weights-of-mine.safetensors")
    save_file({"mine": torch.zeros(3)}, output / "weights-0123456789abcdef.safetensors")
    for head in ("compare", "concat"):
        assert main(["export", str(model_folders[head]), "-o", str(output)]) == 0
    assert load(output).description["head"] == "concat"
    names = {path.name for path in output.glob("weights-*")}
    assert {"weights-of-mine.safetensors", "weights-0123456789abcdef.safetensors"} < names
    assert len(names) == 3  # the first model's weights are gone

    shutil.rmtree(output)
    output.mkdir()
    (output / "model.json").write_text('{"name": "a model railway"}')
    capsys.readouterr()
    assert main(["export", str(model_folders["compare"]), "-o", str(output)]) == 1
    assert capsys.readouterr().err == (
        f"error: {output}/model.json already exists, and is not a model of samespace: name another folder\n"
    )
    assert [path.name for path in output.iterdir()] == ["model.json"]


def test_no_training_begins_that_could_not_be_saved(tmp_path: Path) -> None:
    save_file({"mine": torch.zeros(3)}, tmp_path / "match.safetensors", {"format": "pt"})
    with pytest.raises(SameSpaceError, match="already exists, and is not one that samespace wrote"):
        into_file(tmp_path / "match.safetensors", lambda unfinished, device: pytest.fail("training began"))
