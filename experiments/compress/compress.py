"""Trains the autoencoder that shortens a backbone's vectors; `samespace compress --import` takes in what comes of it.

det experiment create experiments/compress/const.yaml .                          on a cluster
python3 -m experiments.compress.compress --data FOLDER --output encoder.safetensors    here, with const.yaml's settings

The vectors are those of photos that experiments/embed has embedded: data is the folder that its log names last. Or a
.npy file of any vectors (N, D).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import determined as det
import numpy as np
import numpy.typing as npt
import torch
from determined import pytorch
from torch import Tensor

from experiments.config import check_names, read_config
from experiments.trial import GlobalBatches, Rows, TrialLog, check_mounted, train_on_cluster
from samespace.base.errors import SameSpaceError, exit_status
from samespace.library import cluster_files
from samespace.search import choose_compression, compression
from samespace.search.autoencoder import Autoencoder, loss_of, split, to_tensor, train, validation_loss

CONST = Path(__file__).with_name("const.yaml")
ENCODER = "encoder.safetensors"  # in a checkpoint
METRICS = ("validation_loss", "recall_at_10", "recall_at_10_of_pca")
WHOLE_NUMBERS = ("global_batch_size", "epochs", "dim", "hidden")
HPARAMS = (*WHOLE_NUMBERS, "learning_rate")

Array = npt.NDArray[np.floating[Any]]


# ---- vectors


def read_vectors(data: Path) -> Array:
    """(N, D), of each content once, the same whatever order the photos were embedded in; or a file's as they are."""
    if data.suffix == ".npy":
        return _load(data)
    files = sorted(data.rglob(cluster_files.FILES))
    if not files:
        raise SameSpaceError(
            f"{data} holds no embedded photos: give the folder that the log of experiments/embed names last"
        )
    found: dict[str, dict[str, Array]] = {}
    for file in files:
        for fingerprint, (contents, fields) in cluster_files.read(file).features.items():
            if "vectors" in fields:
                found.setdefault(fingerprint, {}).update(zip(contents, fields["vectors"], strict=True))
    if len(found) != 1:
        raise SameSpaceError(
            f"{data} holds vectors of {len(found)} models ({', '.join(sorted(found))}): give the folder of one"
        )
    (rows,) = found.values()
    return np.stack([rows[content] for content in sorted(rows)])


def _load(file: Path) -> Array:
    try:
        vectors = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SameSpaceError(f"{file} cannot be read ({error}): save vectors with numpy.save") from error
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise SameSpaceError(f"{file} holds no vectors: save an array of (photos, numbers) of a float type")
    return vectors


# ---- the trial


class AutoencoderTrial(pytorch.PyTorchTrial):  # type: ignore[misc]  # Determined has no types
    """Vectors through a bottleneck and back: Adam, on what comes back and on who stays near whom."""

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        self.context = context
        hparams = context.get_hparams()
        check(hparams)
        self.log = TrialLog(context, METRICS, "vectors", ENCODER)
        settings = context.get_data_config()
        vectors = read_vectors(Path(settings["dir"]))
        choose_compression.check(vectors, hparams["dim"])
        # By rows alone: every trial of a search holds out the same ones.
        learnt, held = split(len(vectors))
        self.held_vectors = vectors[held.numpy()]
        self.pca_recall = choose_compression.recall(
            compression.fit_pca(vectors[learnt.numpy()], hparams["dim"], 0), self.held_vectors
        )
        self.learnt, self.held = (to_tensor(vectors[rows.numpy()]).to(context.device) for rows in (learnt, held))
        self.log.start(
            len(learnt),
            f"{len(learnt):,} vectors of {vectors.shape[1]:,} numbers in {settings['dir']}; "
            f"validating on {len(held):,}",
        )
        self.network = Autoencoder(vectors.shape[1], hparams["dim"], hparams["hidden"]).to(context.device)
        self.network.fit_scale(self.learnt)
        context.wrap_model(self.network)
        self.optimizer = context.wrap_optimizer(torch.optim.Adam(self.network.parameters(), hparams["learning_rate"]))
        context.wrap_lr_scheduler(
            torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, hparams["epochs"]),
            pytorch.LRScheduler.StepMode.STEP_EVERY_EPOCH,
        )

    def build_training_data_loader(self) -> pytorch.DataLoader:
        size, seed = self.context.get_global_batch_size(), self.context.get_trial_seed()
        batches = GlobalBatches(len(self.learnt), size, workers=1, seed=seed)
        return Rows(torch.arange(len(self.learnt))).loader(batch_sampler=batches)

    def build_validation_data_loader(self) -> pytorch.DataLoader:
        return Rows(torch.arange(len(self.held))).loader(batch_size=len(self.held))

    def train_batch(self, batch: Tensor, epoch_idx: int, batch_idx: int) -> dict[str, Tensor]:
        vectors = self.learnt[batch]
        loss = loss_of(vectors, *self.network(vectors))
        self.context.backward(loss)
        self.context.step_optimizer(self.optimizer)
        self.log.tick(len(batch))
        return {"loss": loss}

    def evaluate_full_dataset(self, data_loader: Any) -> dict[str, float]:
        """Neighbours are counted among all that is held out, so no batch can be validated alone."""
        return {
            "validation_loss": validation_loss(self.network, self.held),
            "recall_at_10": choose_compression.recall(self.network.compression(), self.held_vectors),
            "recall_at_10_of_pca": self.pca_recall,  # what is to be beaten
        }

    def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
        return {"log": self.log, "export": Export(self)}


class Export(pytorch.PyTorchCallback):  # type: ignore[misc]
    """Writes the encoder into every checkpoint: that file, not the raw state, is what people take away."""

    def __init__(self, trial: AutoencoderTrial) -> None:
        self.trial = trial

    def on_checkpoint_write_end(self, checkpoint_dir: str) -> None:
        self.trial.network.compression().save(Path(checkpoint_dir, ENCODER))


def check(hparams: dict[str, Any]) -> None:
    """Refuse, in one sentence, what would fail later or quietly train something else."""
    check_names(hparams, HPARAMS)
    for name in WHOLE_NUMBERS:
        if not isinstance(hparams[name], int) or hparams[name] < 1:
            raise SameSpaceError(f"{name} cannot be {hparams[name]!r}: give a whole number from 1")
    rate = hparams["learning_rate"]
    if not isinstance(rate, (int, float)) or not 0 < rate < 1:
        raise SameSpaceError(f"learning_rate cannot be {rate!r}: give a number between 0 and 1")


# ---- running


def train_here(config: dict[str, Any], output: Path) -> None:
    """Train on this machine, and stop where vectors held out gain no more."""
    hparams = config["hyperparameters"]
    check(hparams)
    vectors = read_vectors(Path(config["data"]["dir"]))
    choose_compression.check(vectors, hparams["dim"])
    encoder = train(
        vectors,
        hparams["dim"],
        hparams["epochs"],
        hparams["hidden"],
        hparams["learning_rate"],
        hparams["global_batch_size"],
    )
    encoder.save(output)
    learnt, held = (vectors[rows.numpy()] for rows in split(len(vectors)))
    print(
        f"recall@10 {choose_compression.recall(encoder, held):.3f} of {len(held):,} vectors that were held out", end=""
    )
    print(f", PCA {choose_compression.recall(compression.fit_pca(learnt, hparams['dim'], 0), held):.3f}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m experiments.compress.compress",
        description="Train the autoencoder here; on a Determined cluster: det experiment create.",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER | FILE.npy",
        help="what experiments/embed has written, or vectors (default: const.yaml's)",
    )
    parser.add_argument("--epochs", type=int, help="how long to train at most (default: const.yaml's)")
    parser.add_argument(
        "--config", action="append", default=[], metavar="KEY=VALUE | FILE", help="as in hyperparameters.hidden=512"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(ENCODER),
        help="file for `samespace compress --import` (default: %(default)s)",
    )
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Train; a mistake is one line on stderr and exit status 1."""
    arguments = _parser().parse_args(words)
    return exit_status(lambda: _train(arguments))


def _train(arguments: argparse.Namespace) -> None:
    info = det.get_cluster_info()
    if info is not None and info.task_type == "TRIAL":
        check_mounted(info)
        train_on_cluster(AutoencoderTrial, info)
        return
    choices = [str(CONST), *arguments.config]
    choices += [f"data.dir={json.dumps(str(arguments.data))}"] if arguments.data else []
    choices += [f"hyperparameters.epochs={arguments.epochs}"] if arguments.epochs is not None else []
    train_here(read_config(choices), arguments.output)


if __name__ == "__main__":
    sys.exit(main())
