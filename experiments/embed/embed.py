"""Embed a photo folder that is too big for one machine, with many workers; `samespace scan --import` takes the result.

det experiment create experiments/embed/const.yaml .

Each of N workers does what a scan does, on every Nth batch of the folder, and writes a file for each batch. What a file
holds depends only on its number and the batch size. A run that is paused or killed goes on from its last checkpoint.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import determined as det
import torch
from determined import core
from determined.pytorch import experimental

from experiments.config import ANY, WEIGHTS, Kind, check, check_data, whole_number
from experiments.trial import check_mounted, cluster_trial
from samespace.base import progress
from samespace.base.errors import SameSpaceError, exit_status
from samespace.base.files import write_whole
from samespace.base.find import walk
from samespace.base.photos import EXTENSIONS
from samespace.library import cluster_files
from samespace.library.read_photos import Extractor, read_batch
from samespace.model.saved import load
from samespace.search.look import choose_look
from samespace.search.same_shot import Sketches

BATCHES_BETWEEN_CHECKPOINTS = 5  # of one worker: what it keeps in memory, and repeats after a kill
BATCHES_A_WORKER = 4  # at least, or some workers would idle while others are busy with one large batch
HPARAMS = {
    "model": ANY._replace(optional=True),
    "backbone": ANY._replace(optional=True),
    "weights": WEIGHTS._replace(optional=True),
    "batch_size": whole_number(1),
}
DATA = {
    "data.dir": ANY,
    "data.extensions": Kind(lambda value: isinstance(value, list), "give a list, as in [jpg, png]", optional=True),
}


class Embedder(experimental.TorchBatchProcessor):  # type: ignore[misc]  # Determined has no types
    """One worker of many."""

    def __init__(self, context: experimental.TorchBatchProcessorContext, root: Path, photos: int) -> None:
        self.context, self.root, self.photos = context, root, photos
        self.is_chief = context.get_distributed_rank() == 0
        if not self.is_chief:
            progress.off()
        if context.device.type == "cuda":
            torch.cuda.set_device(context.device)  # extractors take the current one
        self.extractors = extractors(context.get_hparams())
        self.done: dict[str, bytes] = {}  # files not written yet
        self.bar: Any = None

    def process_batch(self, batch: list[bytes], batch_idx: int) -> None:
        workers = self.context.get_distributed_size()
        number = batch_idx * workers + self.context.get_distributed_rank()
        if self.bar is None:
            self.left = self.photos - number * len(batch)  # fewer if the run goes on from a checkpoint
            self.bar = progress.bar("embedding", self.left)
        self.done[cluster_files.name(number)] = cluster_files.to_bytes(read_batch(self.root, batch, self.extractors))
        done = min(self.left, len(batch) * workers)  # the other workers are about as far
        self.left -= done
        self.bar.update(done)

    def on_checkpoint_start(self) -> None:
        """Write the batches that the checkpoint will call done."""
        if self.done:
            with self.context.upload_path() as folder:
                for name, content in self.done.items():
                    write_whole(folder / name, content, durable=True)
            self.done.clear()

    def on_finish(self) -> None:
        info = det.get_cluster_info()
        if self.is_chief and info:
            print(f"embedded {self.photos:,} photos", flush=True)
            print(f"fetch them: samespace export --trial {info.trial.trial_id} -o embedded", flush=True)


def extractors(hparams: dict[str, Any]) -> list[Extractor]:
    """Return what a scan with this model or this backbone runs on each photo."""
    if hparams.get("model"):
        extractor = load(hparams["model"]).extractor
        return [Sketches(), extractor, *([extractor.materials] if extractor.materials else [])]
    look = choose_look(backbone=hparams["backbone"], weights=hparams.get("weights") or "imagenet")
    return [Sketches(), *look.extractors]


def photos_below(root: Path, extensions: Sequence[str]) -> list[bytes]:
    """Return the paths of photos, relative to `root`, in the order in which a scan reads them."""
    found = walk(root, extensions)
    for folder in found.unlisted:
        print(folder, file=sys.stderr)
    if not found.files:
        raise SameSpaceError(f"no photos below {root}: bind the folder that holds them, and name it in data.dir")
    start = len(os.fsencode(os.path.join(root, "")))  # noqa: PTH118 - a Path drops the last slash
    return sorted(os.fsencode(entry.path)[start:] for entry in found.files)


def check_all(hparams: dict[str, Any], settings: dict[str, Any], storage: str) -> None:
    """Refuse hyperparameters, data and a checkpoint storage with which a run would fail later."""
    check(hparams, HPARAMS)
    if not hparams.get("model") and not hparams.get("backbone"):
        raise SameSpaceError("nothing to embed with: give hyperparameters.model, a trained model's folder, or backbone")
    check({f"data.{name}": value for name, value in settings.items()}, DATA, "setting")
    if storage == "directory":
        # Determined would fail at the very end, and say so in a log message only.
        raise SameSpaceError(
            "a checkpoint_storage of type directory cannot take the result: use shared_fs or a cloud storage"
        )


def size_of_batch(photos: int, workers: int, most: int) -> int:
    """Return the photos of a batch: as many as asked for, or fewer if some workers would have no batch."""
    return max(1, min(most, photos // (BATCHES_A_WORKER * workers)))


def embed(info: det.ClusterInfo) -> None:
    """Embed the photos of an experiment, as one of its workers."""
    hparams, settings = info.trial.hparams, info.user_data
    check_data(settings)
    check_all(hparams, settings, info.trial._config["checkpoint_storage"]["type"])
    check_mounted(info)
    root = Path(settings["dir"])
    # Without the launcher's variables this is the only worker, or Determined says what is missing.
    distributed = core.DistributedContext.from_torch_distributed() if "RANK" in os.environ else None
    workers, is_chief = (1, True) if distributed is None else (distributed.get_size(), distributed.get_rank() == 0)
    paths = photos_below(root, settings.get("extensions") or EXTENSIONS) if is_chief else []
    if distributed is not None:
        # One list for all: if photos came or went meanwhile, workers would cut different batches, and one with a batch
        # more than the others would wait for them forever.
        paths = distributed.broadcast(paths)
    size = size_of_batch(len(paths), workers, hparams["batch_size"])
    if is_chief:
        batches = math.ceil(len(paths) / size)
        print(
            f"embedding {len(paths):,} photos in {root}: {batches:,} batches of up to {size:,}, {workers} at once",
            flush=True,
        )
    experimental.torch_batch_process(
        partial(Embedder, root=root, photos=len(paths)),
        paths,
        batch_size=size,
        checkpoint_interval=BATCHES_BETWEEN_CHECKPOINTS,
        dataloader_kwargs={"collate_fn": list},  # the paths as they are: `read_batch` decodes in threads
        distributed_context=distributed,
    )


def main() -> int:
    """Embed; a mistake is one line on stderr and exit status 1."""

    def run() -> None:
        info = cluster_trial()
        if info is None:
            raise SameSpaceError(
                "this is not a Determined cluster: `samespace scan DIR --model DIR` does the same on one machine"
            )
        embed(info)

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
