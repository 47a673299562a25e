"""Weights are read as tensors; no code that somebody put into a file runs."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from samespace.base.errors import SameSpaceError
from samespace.model import weights
from samespace.model.weights import fetch_imagenet, read_state

NAME = "mobilenet_v3_small"
STATE = {"layer.weight": torch.arange(6.0).reshape(2, 3)}


class Evil:
    """Code that runs when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.mark,)


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where torch's cache would have the network's weights; nothing may be fetched."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda *given, **named: pytest.fail("fetched"))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder / torchvision.models.get_model_weights(NAME).DEFAULT.url.rpartition("/")[2]


def publish(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have torchvision publish the bytes of this file, under a name that tells their hash."""
    digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    default = torchvision.models.get_model_weights(NAME).DEFAULT
    monkeypatch.setattr(type(default), "url", f"https://example.org/net-{digits}.pth")


def test_a_pickle_in_the_cache_is_not_run(cached: Path, tmp_path: Path) -> None:
    cached.write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    with pytest.raises(SameSpaceError) as error:
        fetch_imagenet(NAME)
    assert str(error.value) == (
        f"{cached} is not the file that torchvision published: delete it, and it is fetched again"
    )
    assert not (tmp_path / "ran").exists()


def test_not_even_one_with_the_right_hash(cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached.write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    publish(cached, monkeypatch)
    cached.rename(cached.with_name(torchvision.models.get_model_weights(NAME).DEFAULT.url.rpartition("/")[2]))
    with pytest.raises(SameSpaceError, match="damaged or not a state dict of tensors"):
        fetch_imagenet(NAME)
    assert not (tmp_path / "ran").exists()


def test_without_a_network_the_option_that_helps_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(SameSpaceError, match=r"\(no network\): give --weights, or `weights` in a YAML file, the path"):
        fetch_imagenet(NAME)


def test_what_is_in_the_cache_is_read(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(STATE, cached)
    publish(cached, monkeypatch)
    cached.rename(cached.with_name(torchvision.models.get_model_weights(NAME).DEFAULT.url.rpartition("/")[2]))
    assert same(fetch_imagenet(NAME), STATE)


def test_what_is_not_there_is_fetched_to_the_cache(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(STATE, cached.with_name("published"))
    publish(cached.with_name("published"), monkeypatch)

    def fetch(url: str, path: str, hash_prefix: str, progress: bool) -> None:
        content = cached.with_name("published").read_bytes()
        assert hashlib.sha256(content).hexdigest().startswith(hash_prefix)
        assert len(hash_prefix) == 8
        Path(path).write_bytes(content)

    monkeypatch.setattr("torch.hub.download_url_to_file", fetch)
    assert same(fetch_imagenet(NAME), STATE)


@pytest.mark.parametrize("name", sorted({"mobilenet_v3_large", "mobilenet_v2", "resnet50", "inception_v3", "vgg16"}))
def test_every_published_name_tells_a_hash(name: str) -> None:
    for published in torchvision.models.get_model_weights(name):
        digits = published.url.rpartition("-")[2].removesuffix(".pth")
        assert len(digits) == 8 and int(digits, 16)


def test_an_old_torch_reads_no_strangers_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "UNPICKLES_SAFELY", False)
    torch.save(STATE, tmp_path / "state.pth")
    save_file(STATE, tmp_path / "state.safetensors")
    with pytest.raises(SameSpaceError, match=r"could run code, .*: save the tensors as \.safetensors, or"):
        read_state(tmp_path / "state.pth", NAME)
    assert same(read_state(tmp_path / "state.safetensors", NAME), STATE)
    publish(tmp_path / "state.pth", monkeypatch)
    assert same(read_state(tmp_path / "state.pth", NAME), STATE)


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
