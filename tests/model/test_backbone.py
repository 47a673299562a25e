"""Backbones answer as torchvision's own networks do, and refuse what is no weights of theirs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from samespace.base.errors import SameSpaceError
from samespace.base.photos import SIZE
from samespace.model import backbone as backbone_module
from samespace.model.backbone import IMAGENET_MEAN, IMAGENET_STD, make_backbone
from samespace.model.families import CUTS
from samespace.model.layers import pooled
from samespace.model.weights import read_state

SMALL = "mobilenet_v3_small"
State = dict[str, Tensor]


def torchvision_network(name: str) -> Any:
    """Random, with batch norms that do something, and what torchvision sets when it loads ImageNet weights."""
    options = {"transform_input": True, "init_weights": False} if name == "inception_v3" else {}
    torch.manual_seed(7)
    with torch.device("meta"):  # torchvision itself draws weights for seconds
        net = torchvision.models.get_model(name, weights=None, **options).eval()
    net.to_empty(device="cpu")
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_uniform_(layer.weight)  # as torchvision starts, the photo fades on its way
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.1)
    return net


def some_photos(count: int = 2) -> Tensor:
    return torch.randint(0, 256, (count, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)


@pytest.fixture(scope="module")
def state() -> State:
    return dict(torchvision_network(SMALL).state_dict())


@pytest.fixture
def weights(state: State, tmp_path: Path) -> Path:
    torch.save(state, tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def refusal(weights: Path) -> str:
    with pytest.raises(SameSpaceError) as raised:
        make_backbone(SMALL, str(weights))
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("name", "dim", "cells"),
    [
        ("mobilenet_v3_large", 1280, 16),
        ("mobilenet_v3_small", 1024, 16),
        ("mobilenet_v2", 1280, 16),
        ("resnet50", 2048, 16),
        ("inception_v3", 2048, 14),
        ("vgg16", 4096, 16),
    ],
)
@torch.no_grad()
def test_a_backbone_is_torchvisions_network_without_its_last_layer(
    name: str, dim: int, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = torchvision_network(name)
    monkeypatch.setattr(backbone_module, "fetch_imagenet", lambda name: net.state_dict())
    backbone = make_backbone(name)
    parts, _, embedding = backbone.shapes()
    assert parts[1:] == (cells, cells)
    assert embedding == dim
    if hasattr(net, "fc"):
        net.fc = nn.Identity()
    else:
        net.classifier[-1] = nn.Identity()
    photos = some_photos(1)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    expected = net((photos / 255 - mean) / std)
    assert (backbone(photos) - expected).abs().max() < 1e-3 * expected.std()


def test_every_backbone_is_tested() -> None:
    marks = test_a_backbone_is_torchvisions_network_without_its_last_layer.pytestmark
    assert {case[0] for mark in marks for case in mark.args[1]} == set(CUTS)


def test_random_weights_are_the_same_every_time_and_leave_chance_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first = make_backbone(SMALL, "none")
    assert torch.rand(1) == expected
    second = make_backbone(SMALL, "none")
    assert first.fingerprint() == second.fingerprint()
    assert all(torch.equal(*pair) for pair in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "mobilenet_v2"])
@torch.no_grad()
def test_random_weights_tell_photos_apart_even_in_half_precision(name: str) -> None:
    backbone = make_backbone(name, "none")
    seen = backbone.middle(backbone.early(backbone.normalise(some_photos()))).half()
    assert seen.isfinite().all()
    assert (seen[0] != seen[1]).float().mean() > 0.9


@torch.no_grad()
def test_state_dicts_load_from_either_kind_of_file(state: State, weights: Path, tmp_path: Path) -> None:
    save_file(state, tmp_path / "weights.safetensors")
    backbone, same = make_backbone(SMALL, str(weights)), make_backbone(SMALL, str(tmp_path / "weights.safetensors"))
    assert torch.equal(backbone(some_photos()), same(some_photos()))
    assert backbone.fingerprint() == same.fingerprint() != make_backbone(SMALL, "none").fingerprint()


@torch.no_grad()
def test_half_precision_weights_are_taken_as_full(state: State, weights: Path, tmp_path: Path) -> None:
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    torch.save(half, tmp_path / "half.pt")
    backbone, full = make_backbone(SMALL, str(tmp_path / "half.pt")), make_backbone(SMALL, str(weights))
    assert {value.dtype for value in backbone.parameters()} == {torch.float32}
    expected = full(some_photos())
    assert (backbone(some_photos()) - expected).abs().max() < 0.05 * expected.abs().max()


def test_the_classifiers_own_layer_is_not_asked_for(state: State, tmp_path: Path) -> None:
    torch.save(
        {name: value for name, value in state.items() if not name.startswith("classifier.3.")}, tmp_path / "a.pt"
    )
    assert make_backbone(SMALL, str(tmp_path / "a.pt")).shapes()[2] == 1024


def test_batch_norm_keeps_its_statistics_in_training() -> None:
    backbone = make_backbone(SMALL, "none").train()
    norms = [layer for layer in backbone.modules() if isinstance(layer, nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    backbone(some_photos())
    assert backbone.training and norms
    assert all(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True))


@pytest.mark.parametrize("piece", ["early", "middle"])
def test_the_fingerprint_changes_with_a_single_weight(piece: str) -> None:
    backbone = make_backbone(SMALL, "none")
    before = backbone.fingerprint()
    with torch.no_grad():
        list(getattr(backbone, piece).parameters())[-1].view(-1)[0] += 1e-3
    assert backbone.fingerprint() != before


def test_the_fingerprint_does_not_depend_on_the_order_in_memory() -> None:
    backbone = make_backbone(SMALL, "none")
    assert (
        backbone.to(memory_format=torch.contiguous_format).fingerprint() == make_backbone(SMALL, "none").fingerprint()
    )


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(
        SameSpaceError, match=r"unknown backbone 'resnet51', did you mean resnet\d+\? choose one of .*vgg16"
    ):
        make_backbone("resnet51", "none")


def test_a_missing_weights_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nothing.pt").startswith(f"no weights file at {tmp_path / 'nothing.pt'}")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode), suffix=st.sampled_from(["pt", "safetensors"])
)
def test_a_file_of_anything_else_is_refused(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"notes.{suffix}"
    path.write_bytes(content)
    with pytest.raises(SameSpaceError) as raised:
        read_state(path, SMALL)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_a_truncated_weights_file_is_refused(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:-5000])
    assert refusal(weights).startswith(f"{weights} is damaged")


@pytest.mark.parametrize("content", [{"model": {"weight": torch.zeros(3)}}, {"epoch": 3}, [torch.zeros(3)], 3])
def test_what_is_no_state_dict_is_refused(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save(content, path)
    assert refusal(path).startswith(f"{path} is not a state dict")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save(torchvision_network("mobilenet_v3_large").state_dict(), path)
    assert f"{path} does not hold weights of {SMALL}" in refusal(path)


def test_weights_of_another_shape_are_refused(state: State, weights: Path) -> None:
    torch.save({**state, "features.0.0.weight": torch.zeros(16, 3, 5, 5)}, weights)
    assert "1 layers differ, the first is features.0.0.weight" in refusal(weights)


def test_weights_that_are_not_numbers_are_refused(state: State, weights: Path) -> None:
    broken = state["features.0.0.weight"].clone()
    broken[0, 0, 0, 0] = torch.nan
    torch.save({**state, "features.0.0.weight": broken}, weights)
    assert refusal(weights).startswith(f"{weights} holds values that are not finite")


# ---- ImageNet weights


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    def refuse(*_: object, **__: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    yield


@pytest.mark.usefixtures("no_network")
def test_without_a_network_the_message_says_what_else_to_give() -> None:
    with pytest.raises(SameSpaceError) as raised:
        make_backbone(SMALL)
    said = str(raised.value)
    assert said.startswith("could not fetch ImageNet weights for mobilenet_v3_small from https://download.pytorch.org/")
    assert "Name or service not known" in said
    assert "or none for random ones" in said and "\n" not in said


@pytest.mark.parametrize(("side", "cells"), [(64, 32), (61, 30), (8, 7), (7, 7)])
def test_maps_are_pooled_as_torch_pools_them(side: int, cells: int) -> None:
    maps = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.adaptive_avg_pool2d(maps, cells)
    assert torch.allclose(pooled(maps, cells), expected, atol=1e-6)
