"""Train the autoencoder that shortens a backbone's vectors; `samespace compress --import` takes the encoder.

det experiment create experiments/compress/const.yaml .                                on a cluster
python3 -m experiments.compress.compress --data FOLDER --output encoder.safetensors    here, with const.yaml's settings

The vectors come from experiments/embed: data.dir is the folder that its log names last. A .npy file of vectors (N, D)
will do, too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from determined import pytorch
from torch import Tensor

from experiments.config import RATE, check, make_parser, whole_number
from experiments.trial import Export, GlobalBatches, Metrics, Rows, TrialLog, run, train_on_cluster
from samespace.base.arrays import Array
from samespace.base.errors import SameSpaceError
from samespace.base.sealed import refuse_unsealed
from samespace.library import cluster_files
from samespace.search import choose_compression, compression
from samespace.search.autoencoder import Autoencoder, loss_of, split, to_tensor, train, validation_loss

CONST = Path(__file__).with_name("const.yaml")
ENCODER = "encoder.safetensors"  # in a checkpoint
METRICS = ("validation_loss", "recall_at_10", "recall_at_10_of_pca")
HPARAMS = {
    **dict.fromkeys(("global_batch_size", "epochs", "dim", "hidden"), whole_number(1)),
    "learning_rate": RATE,
}


# ---- vectors


def read_vectors(data: Path) -> Array:
    """Return vectors (N, D): one of each photo's content, in an order of their own; or those of a .npy file, as is."""
    if data.suffix == ".npy":
        return _read_array(data)
    files = sorted(data.rglob(cluster_files.FILES))
    if not files:
        raise SameSpaceError(
            f"{data} holds no embedded photos: give the folder that the log of experiments/embed names last"
        )
    models: dict[str, dict[str, Array]] = {}  # by fingerprint: vectors by content
    for file in files:
        for fingerprint, (contents, fields) in cluster_files.read(file).features.items():
            if "vectors" in fields:
                models.setdefault(fingerprint, {}).update(zip(contents, fields["vectors"], strict=True))
    if len(models) != 1:
        raise SameSpaceError(
            f"{data} holds vectors of {len(models)} models ({', '.join(sorted(models))}): give the folder of one"
        )
    (vectors,) = models.values()
    return np.stack([vectors[content] for content in sorted(vectors)])


def _read_array(file: Path) -> Array:
    try:
        vectors = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SameSpaceError(f"{file} cannot be read ({error}): save vectors with numpy.save") from error
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise SameSpaceError(f"{file} holds no vectors: save an array of shape (photos, numbers) and a float type")
    if not np.isfinite(vectors).all():
        raise SameSpaceError(f"{file} holds numbers that are not finite: leave out the vectors that have them")
    return vectors


# ---- the trial


class AutoencoderTrial(pytorch.PyTorchTrial):  # type: ignore[misc]  # Determined has no types
    """Vectors through a bottleneck and back: Adam, on the reconstruction error and the change in neighbourhoods."""

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        self.context = context
        hparams, settings = context.get_hparams(), context.get_data_config()
        check(hparams, HPARAMS)
        self.log = TrialLog(context, METRICS, "vectors", ENCODER)
        vectors = read_vectors(Path(settings["dir"]))
        choose_compression.check(vectors, hparams["dim"])
        training, held_out = split(len(vectors))  # by rows alone: all trials of a search hold out the same vectors
        self.held_vectors = vectors[held_out.numpy()]
        pca = compression.fit_pca(vectors[training.numpy()], hparams["dim"], 0)
        self.pca_recall = choose_compression.recall(pca, self.held_vectors)
        self.training = to_tensor(vectors[training.numpy()]).to(context.device)
        self.held_out = to_tensor(self.held_vectors).to(context.device)
        self.log.start(
            len(training),
            f"{len(training):,} vectors of {vectors.shape[1]:,} numbers in {settings['dir']}; "
            f"validating on {len(held_out):,}",
        )
        self.network = Autoencoder(vectors.shape[1], hparams["dim"], hparams["hidden"]).to(context.device)
        self.network.fit_scale(self.training)
        context.wrap_model(self.network)
        self.optimizer = context.wrap_optimizer(torch.optim.Adam(self.network.parameters(), hparams["learning_rate"]))
        context.wrap_lr_scheduler(
            torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, hparams["epochs"]),
            pytorch.LRScheduler.StepMode.STEP_EVERY_EPOCH,
        )

    def build_training_data_loader(self) -> pytorch.DataLoader:
        size, seed = self.context.get_global_batch_size(), self.context.get_trial_seed()
        batches = GlobalBatches(len(self.training), size, workers=1, seed=seed)
        return Rows(torch.arange(len(self.training))).loader(batch_sampler=batches)

    def build_validation_data_loader(self) -> pytorch.DataLoader:
        return Rows(torch.arange(len(self.held_out))).loader(batch_size=len(self.held_out))

    def train_batch(self, batch: Tensor, epoch_idx: int, batch_idx: int) -> dict[str, Tensor]:
        vectors = self.training[batch]
        loss = loss_of(vectors, *self.network(vectors))
        self.context.backward(loss)
        self.context.step_optimizer(self.optimizer)
        self.log.tick(len(batch))
        return {"loss": loss}

    def evaluate_full_dataset(self, data_loader: Any) -> Metrics:
        """Validate on all vectors at once: neighbours are sought among all of them."""
        return {
            "validation_loss": validation_loss(self.network, self.held_out),
            "recall_at_10": choose_compression.recall(self.network.compression(), self.held_vectors),
            "recall_at_10_of_pca": self.pca_recall,  # the figure to beat
        }

    def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
        return {"log": self.log, "export": Export(lambda folder: self.network.compression().save(folder / ENCODER))}


# ---- running


def main(words: Sequence[str] | None = None) -> int:
    """Train; a mistake is one line on stderr and exit status 1."""
    what = "folder that experiments/embed has written, or a .npy file of vectors"
    parser = make_parser(CONST, what, ENCODER, "hidden=512", "experiments.compress.compress")
    return run(parser, words, partial(train_on_cluster, AutoencoderTrial), train_here)


def train_here(config: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Train on this machine until held-out vectors gain no more, and print how good the result is."""
    hparams = config["hyperparameters"]
    check(hparams, HPARAMS)
    refuse_unsealed(arguments.output)
    vectors = read_vectors(Path(config["data"]["dir"]))
    dim = hparams["dim"]
    choose_compression.check(vectors, dim)
    encoder = train(
        vectors,
        dim,
        hparams["epochs"],
        hparams["hidden"],
        hparams["learning_rate"],
        hparams["global_batch_size"],
    )
    encoder.save(arguments.output)
    training, held_out = (vectors[rows.numpy()] for rows in split(len(vectors)))
    recall = choose_compression.recall(encoder, held_out)
    pca_recall = choose_compression.recall(compression.fit_pca(training, dim, 0), held_out)
    print(f"recall@10 {recall:.3f} on {len(held_out):,} held-out vectors, PCA {pca_recall:.3f}")


if __name__ == "__main__":
    sys.exit(main())
