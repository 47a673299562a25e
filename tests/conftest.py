"""What several tests share: drawn rooms, a network on random weights fitted to them, and model folders."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from samespace.backbones import make_trunk
from samespace.features import Maps, bank
from samespace.model import Model, describe
from samespace.network import CompareHead, TwinNetwork
from samespace.pairs import AIRBNB, TRAINING, find_photos
from samespace.rooms import write_dataset

BACKBONE = "mobilenet_v3_small"

# The threads of one small operation wait for each other: on a busy machine that takes ten times as long.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 22 photos to train on and 14 of other rooms."""
    root = tmp_path_factory.mktemp("rooms") / "data"
    write_dataset(root, training_photos=22, test_photos=14, seed=1, workers=2)
    return root


@pytest.fixture(scope="session")
def training_maps(rooms: Path) -> Maps:
    return bank(find_photos(rooms, TRAINING).paths, make_trunk(BACKBONE, "none"))


@pytest.fixture(scope="session")
def make_network(training_maps: Maps) -> Callable[..., TwinNetwork]:
    """A network as training begins it: whatever has a closed form is fitted to the drawn rooms."""

    @functools.cache
    def fitted(head: str, trainable: str | None, seed: int) -> TwinNetwork:
        torch.manual_seed(seed)
        network = TwinNetwork(make_trunk(BACKBONE, "none"), head, trainable)
        network.fit(training_maps)
        if isinstance(network.head, CompareHead):
            photos = network.tower(network.freeze(*training_maps))
            first, second = torch.randint(0, len(photos.vectors), (2, 500))
            network.head.fit(network.head.evidence(photos.take(first), photos.take(second)))
            torch.nn.init.uniform_(network.head.weight, 0.5, 1.5)  # as if it had learnt something
        return network.eval()

    return lambda head, trainable=None, seed=0: copy.deepcopy(fitted(head, trainable, seed))


@pytest.fixture(scope="session")
def model_folders(
    tmp_path_factory: pytest.TempPathFactory, make_network: Callable[..., TwinNetwork]
) -> dict[str, Path]:
    """A saved model for each head; never write to these."""
    folders = {}
    for head in ("compare", "concat"):
        network = make_network(head)
        folders[head] = tmp_path_factory.mktemp("models") / head
        data = {"held_out": 0.3, "same_space_type": False}
        Model(network, describe(network, {"validation_loss": 0.5}, data)).save(folders[head])
    return folders


def draw(path: Path, seed: int) -> None:
    """A small photo of something: coarse random blocks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    Image.fromarray(blocks).resize((60, 40)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Seven photos of four listings; one listing shows both its kitchen and its bedroom."""
    names = (
        "bedroom/boston_7_3",
        "bedroom/new_york_12_1",
        "bedroom/new_york_12_2",
        "kitchen/boston_12_1",
        "kitchen/boston_7_1",
        "kitchen/boston_7_2",
        "kitchen/rome_1_1",
    )
    for seed, name in enumerate(names):
        draw(tmp_path / "photos" / AIRBNB / TRAINING / f"{name}.jpg", seed)
    return tmp_path / "photos"


@pytest.fixture
def blocks(tmp_path: Path) -> list[Path]:
    """Three small photos of coarse random blocks."""
    paths = [tmp_path / "photos" / f"boston_{number}_1.png" for number in range(3)]
    paths[0].parent.mkdir()
    for seed, path in enumerate(paths):
        colours = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
        Image.fromarray(colours).resize((90, 60)).save(path)
    return paths
