"""Time training from the feature bank beside looping over images: the same batches and machine.

    python benchmarks/train.py [--data ROOT] [--json]

The bank's side is the real trial, run by Determined's trainer as `python3 model_def.py` runs it; an epoch's time leaves
out validation. The loop does what a port of the published model does: it opens, squeezes and turns both photos of a
pair, and runs both through the whole backbone; for `compare`, it looks at the materials of both, and at no points.
`speedup_head` is that of the slower head, `speedup_last_conv` that of `concat`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from determined import pytorch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torchvision.transforms import v2

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

import model_def  # noqa: E402
from experiments.config import read_config  # noqa: E402
from experiments.local_run import train_locally  # noqa: E402
from samespace.base.arrays import Floats  # noqa: E402
from samespace.base.errors import exit_status  # noqa: E402
from samespace.base.photos import SIZE  # noqa: E402
from samespace.model.backbone import make_backbone  # noqa: E402
from samespace.model.heads import Embeddings  # noqa: E402
from samespace.model.known import Known  # noqa: E402
from samespace.model.network import TRAINABLE, TwinNetwork  # noqa: E402
from samespace.model.pairs import find_photos, make_pairs  # noqa: E402
from samespace.model.projection import MATERIALS, fit  # noqa: E402
from samespace.model.room_network import RoomNetwork  # noqa: E402
from samespace.model.torch_engine import of_backbone  # noqa: E402
from samespace.rooms.dataset import write_dataset  # noqa: E402
from samespace.search.labelled import see  # noqa: E402

BACKBONE, BATCH, LEARNING_RATE = "mobilenet_v3_large", 64, 0.0001
LOOPED_BATCHES = 3
CHOSEN = {"backbone": BACKBONE, "weights": "none", "global_batch_size": BATCH, "learning_rate": LEARNING_RATE}


# ---- the loop over images


class PhotoPairs(torch.utils.data.Dataset[Any]):
    """Labelled pairs whose photos are opened when asked for."""

    def __init__(self, root: Path) -> None:
        photos = find_photos(root)
        self.paths, self.pairs = photos.paths, make_pairs(photos)
        self.order = torch.randperm(len(self.pairs.label)).tolist()
        self.prepare = v2.Compose(
            [
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> Any:
        first, second, variant0, variant1, label = (int(column[self.order[index]]) for column in self.pairs)
        return self.photo(first, variant0), self.photo(second, variant1), float(label)

    def photo(self, row: int, variant: int) -> Tensor:
        image = Image.open(self.paths[row]).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        image = ImageOps.mirror(image) if variant & 1 else image
        image = image.rotate(5, Image.Resampling.BILINEAR) if variant & 2 else image
        prepared: Tensor = self.prepare(image)
        return prepared


class LoopedTwins(nn.Module):
    """The same head on the same backbone, which is run whole for every photo of every pair."""

    def __init__(self, network: TwinNetwork) -> None:
        super().__init__()
        net: Any = torchvision.models.get_model(BACKBONE, weights=None).eval().requires_grad_(False)
        self.backbone = net.features
        self.rest = nn.Sequential(net.avgpool, nn.Flatten(), *net.classifier[:2])
        if network.trainable == "last_conv":
            self.backbone[-1].requires_grad_(True)
            self.rest.requires_grad_(True)
        self.network = network

    def tower(self, photos: Tensor) -> Embeddings:
        return Embeddings(self.rest(self.backbone(photos)), torch.empty(0))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        logits: Tensor = self.network.head(self.tower(first), self.tower(second))
        return logits


class LoopedRooms(nn.Module):
    """The odds of `compare` on materials that are looked at anew for every photo of every pair."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        backbone = make_backbone(BACKBONE, "none")
        seen = of_backbone(backbone).materials
        assert seen is not None
        rows = see(find_photos(root).paths[:32], seen).materials
        self.seen, self.whiten = seen, fit(rows, np.arange(len(rows)))
        self.network = RoomNetwork(backbone, Known(rows, np.arange(len(rows))))

    def see(self, photos: Tensor) -> Floats:
        """Return the vectors of photos (N, 3, S, S) of 0..1."""
        pixels = (photos * 255).permute(0, 2, 3, 1).byte().numpy()
        return self.whiten(self.seen.extract(pixels)[MATERIALS])

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        alike = np.einsum("nd,nd->n", *(self.see(photos) for photos in (first, second)))
        likeness = torch.from_numpy(alike)
        logits: Tensor = self.network.alone(likeness, torch.zeros_like(likeness))
        return logits


def loop_over_images(root: Path, head: str, trainable: str, device: str) -> float:
    """Return pairs a second; the first batch warms up."""
    twins: nn.Module = LoopedRooms(root) if head == "compare" else LoopedTwins(chosen_twins(trainable))
    twins.to(device)
    learning = [value for value in twins.parameters() if value.requires_grad]
    optimizer = torch.optim.RMSprop(learning, lr=LEARNING_RATE)
    loader = torch.utils.data.DataLoader(
        PhotoPairs(root), BATCH, num_workers=0 if device == "cpu" else os.cpu_count() or 1
    )
    start = 0.0
    for step, (first, second, labels) in enumerate(itertools.islice(loader, LOOPED_BATCHES + 1)):
        if step == 1:
            start = time.perf_counter()
        loss = F.binary_cross_entropy_with_logits(twins(first.to(device), second.to(device)), labels.float().to(device))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()
    return LOOPED_BATCHES * BATCH / (time.perf_counter() - start)


def chosen_twins(trainable: str) -> TwinNetwork:
    return model_def.make_twins({**defaults(), "trainable": trainable})


# ---- the real trial


def defaults() -> dict[str, Any]:
    hyperparameters: dict[str, Any] = read_config([])["hyperparameters"]
    return {**hyperparameters, **CHOSEN}


class EpochTimes(pytorch.PyTorchCallback):  # type: ignore[misc]  # Determined has no types
    """Note how long each epoch trains, validation left out."""

    def __init__(self, trial: model_def.SameSpaceTrial) -> None:
        self.trial = trial
        self.seconds: list[float] = []

    def on_training_epoch_start(self, epoch_idx: int) -> None:
        self.start = time.perf_counter()

    def on_training_epoch_end(self, epoch_idx: int) -> None:
        float(next(value for value in self.trial.network.parameters() if value.requires_grad).sum())  # waits for a GPU
        self.seconds.append(time.perf_counter() - self.start)


def train_from_bank(root: Path, folder: Path, **chosen: Any) -> tuple[float, float, int]:
    """Return pairs a second in the second epoch, the seconds to the end of the first, bank included, and its pairs."""
    config = read_config([])
    config["data"] = {"dir": str(root), "cache": str(folder / "bank")}
    config["hyperparameters"] = {**defaults(), "epochs": 2, **chosen}
    timed: list[EpochTimes] = []

    def make_trial(context: Any) -> model_def.SameSpaceTrial:
        trial = model_def.make_trial(context)
        callbacks, times = trial.build_callbacks(), EpochTimes(trial)
        timed.append(times)
        setattr(trial, "build_callbacks", lambda: {**callbacks, "home": trial.home, "times": times})  # noqa: B010
        return trial

    start = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        train_locally(make_trial, config, folder / "run" / "model", None)
    whole = time.perf_counter() - start
    second, pairs = timed[0].seconds[1], len(timed[0].trial.pairs)
    return pairs / second, whole - second, pairs


# ---- the table


def measure(root: Path, device: str) -> list[dict[str, Any]]:
    """Return one row for each head and each `trainable`."""
    rows = []
    for head, trainable in (("compare", "head"), ("concat", "head"), ("concat", "last_conv")):
        print(f"measuring {head}, trainable: {trainable}", file=sys.stderr)
        looped = loop_over_images(root, head, trainable, device)
        with tempfile.TemporaryDirectory() as folder:
            banked, first_epoch, pairs = train_from_bank(root, Path(folder, "fp32"), head=head, trainable=trainable)
            bf16, *_ = train_from_bank(root, Path(folder, "bf16"), head=head, trainable=trainable, precision="bf16")
        rows.append(
            {
                "head": head,
                "trainable": trainable,
                "looped": looped,
                "banked": banked,
                "banked_bf16": bf16,
                "speedup": banked / looped,
                "speedup_bf16": bf16 / looped,
                "first_epoch_seconds": first_epoch,
                "speedup_first_epoch": pairs / looped / first_epoch,
            }
        )
    return rows


def slower(rows: list[dict[str, Any]], trainable: str) -> float:
    return min(float(row["speedup"]) for row in rows if row["trainable"] == trainable)


def print_table(rows: list[dict[str, Any]], device: str) -> None:
    print(f"{BACKBONE} at {SIZE} px, batches of {BATCH} pairs, on {device}; pairs a second\n")
    print("| head | trainable | looping over images | from the bank | | bf16 | | first epoch, bank included |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['head']} | {row['trainable']} | {row['looped']:.1f} "
            f"| {row['banked']:,.0f} | {row['speedup']:.0f}× "
            f"| {row['banked_bf16']:,.0f} | {row['speedup_bf16']:.0f}× "
            f"| {row['first_epoch_seconds']:.0f} s, {row['speedup_first_epoch']:.1f}× |"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description="Time training from the bank beside looping over images.")
    parser.add_argument(
        "--data", type=Path, metavar="ROOT", help="an Airbnb-style folder (default: rooms drawn for it)"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    return exit_status(lambda: _measure(arguments))


def _measure(arguments: argparse.Namespace) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.data.resolve() if arguments.data else Path(folder, "rooms")
        if not arguments.data:
            write_dataset(root, training_photos=160, test_photos=4)
        rows = measure(root, device)
    if arguments.json:
        both = {f"speedup_{trainable}": slower(rows, trainable) for trainable in TRAINABLE}
        print(json.dumps({**both, "device": device, "rows": rows}, indent=2))
    else:
        print_table(rows, device)


if __name__ == "__main__":
    sys.exit(main())
