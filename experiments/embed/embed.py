"""Embeds a photo folder too big for one machine, with many workers; `samespace scan --import` takes in the result.

det experiment create experiments/embed/const.yaml .

A worker does what a scan does, on every Nth batch of the folder, and writes a file for each: what one holds depends on
its number and the batches' size alone. A run that is paused or killed continues from the last checkpoint.
"""

from __future__ import annotations

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

from experiments.trial import check_mounted
from samespace.base import progress
from samespace.base.errors import SameSpaceError, exit_status
from samespace.base.files import write_whole
from samespace.base.find import walk
from samespace.base.photos import EXTENSIONS
from samespace.library import cluster_files
from samespace.library.read_photos import Extractor, read_batch
from samespace.model import extract
from samespace.search.same_shot import Sketches

BATCHES_BETWEEN_CHECKPOINTS = 5  # a worker's; also what it holds in memory and has to do again
BATCHES_A_WORKER = 4  # at least, or some would idle while others are busy with one large batch
HPARAMS = ("model", "backbone", "weights", "batch_size")
SETTINGS = ("dir", "extensions")


class Embedder(experimental.TorchBatchProcessor):  # type: ignore[misc]  # Determined has no types
    """One worker."""

    def __init__(self, context: experimental.TorchBatchProcessorContext, root: Path, photos: int) -> None:
        self.context, self.root, self.photos = context, root, photos
        self.is_chief = context.get_distributed_rank() == 0
        if not self.is_chief:
            progress.off()
        if context.device.type == "cuda":
            torch.cuda.set_device(context.device)  # the engine takes the current one
        self.extractors = extractors(context.get_hparams())
        self.done: dict[str, bytes] = {}  # files not written yet
        self.bar: Any = None

    def process_batch(self, batch: list[bytes], batch_idx: int) -> None:
        workers = self.context.get_distributed_size()
        number = batch_idx * workers + self.context.get_distributed_rank()
        if self.bar is None:
            self.left = self.photos - number * len(batch)  # a run that goes on has done some
            self.bar = progress.bar("embedding", self.left)
        self.done[cluster_files.name(number)] = cluster_files.to_bytes(read_batch(self.root, batch, self.extractors))
        done = min(self.left, len(batch) * workers)  # the others are about as far
        self.left -= done
        self.bar.update(done)

    def on_checkpoint_start(self) -> None:
        """The checkpoint will say that these batches are done: by then they must be on disk."""
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
    """What a scan with this model, or with this backbone, keeps of each photo."""
    if hparams.get("model"):
        return [Sketches(), extract.for_model(hparams["model"])]
    return [Sketches(), extract.for_backbone(hparams["backbone"], hparams.get("weights", "imagenet"))]


def photos_below(root: Path, extensions: Sequence[str]) -> list[bytes]:
    """Their paths from `root`, in the order that a scan reads them in."""
    found = walk(root, extensions)
    for folder in found.unlisted:
        print(folder, file=sys.stderr)
    if not found.files:
        raise SameSpaceError(f"no photos below {root}: bind the folder that holds them, and name it in data.dir")
    start = len(os.fsencode(os.path.join(root, "")))  # noqa: PTH118 - a Path drops the last slash
    return sorted(os.fsencode(entry.path)[start:] for entry in found.files)


def check(hparams: dict[str, Any], settings: dict[str, Any], storage: str) -> None:
    """Refuse, in one sentence, what would fail later or quietly do something else."""
    for section, chosen, known in (("hyperparameters", hparams, HPARAMS), ("data", settings, SETTINGS)):
        for name in chosen:
            if name not in known:
                raise SameSpaceError(f"{section} has an unknown key {name!r}: choose among {', '.join(known)}")
    if not hparams.get("model") and not hparams.get("backbone"):
        raise SameSpaceError("nothing to embed with: give hyperparameters.model, a trained model's folder, or backbone")
    size = hparams.get("batch_size")
    if not isinstance(size, int) or size < 1:
        raise SameSpaceError(f"batch_size cannot be {size!r}: give a whole number from 1")
    if not settings.get("dir"):
        raise SameSpaceError("no photos to embed: give data.dir, the folder that holds them in the container")
    if not isinstance(settings.get("extensions", []), list):
        raise SameSpaceError(f"data.extensions cannot be {settings['extensions']!r}: give a list, as in [jpg, png]")
    if storage == "directory":
        # Determined fails there once all is done, in a log message.
        raise SameSpaceError("a checkpoint storage of type directory cannot take the result: give shared_fs or a cloud")


def size_of_batch(photos: int, workers: int, most: int) -> int:
    """Return how many photos go into a batch: as many as asked for, or what gives each worker its share of few."""
    return max(1, min(most, photos // (BATCHES_A_WORKER * workers)))


def embed(info: det.ClusterInfo) -> None:
    hparams, settings = info.trial.hparams, info.user_data or {}
    check(hparams, settings, info.trial._config["checkpoint_storage"]["type"])
    check_mounted(info)
    root = Path(settings["dir"])
    # Without the launcher's variables this is one worker, or Determined says what is missing.
    distributed = core.DistributedContext.from_torch_distributed() if "RANK" in os.environ else None
    workers, is_chief = (1, True) if distributed is None else (distributed.get_size(), distributed.get_rank() == 0)
    paths = photos_below(root, settings.get("extensions") or EXTENSIONS) if is_chief else []
    if distributed is not None:
        # One list for all: photos that come or go meanwhile would cut other batches for each worker, and one with a
        # batch more than the rest would wait for them forever.
        paths = distributed.broadcast(paths)
    size = size_of_batch(len(paths), workers, hparams["batch_size"])
    if is_chief:
        batches = f"{-(-len(paths) // size):,} batches of up to {size:,}"
        print(f"embedding {len(paths):,} photos in {root}: {batches}, {workers} at once", flush=True)
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
    return exit_status(_embed_on_cluster)


def _embed_on_cluster() -> None:
    info = det.get_cluster_info()
    if info is None or info.task_type != "TRIAL":
        raise SameSpaceError("there is no cluster here: `samespace scan DIR --model DIR` does the same on one machine")
    embed(info)


if __name__ == "__main__":
    sys.exit(main())
