"""Train on captioned photos with features, an epoch at a time; if stopped at any moment, training can go on.

The network brings its loss and its score on photos that are held out.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from samespace.base import progress, sealed
from samespace.base.arrays import Ints
from samespace.base.errors import SameSpaceError
from samespace.words import model_files
from samespace.words.photo_features import Featured
from samespace.words.tensors import arrays_of, tensors_of
from samespace.words.vocabulary import Vocabulary


class Recipe(Protocol):
    """Settings that all recipes have."""

    @property
    def batch(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def clip(self) -> float:
        """Return the highest length of the gradient."""

    @property
    def epochs(self) -> int: ...
    @property
    def patience(self) -> int:
        """Return the number of epochs without improvement after which training ends."""

    @property
    def seed(self) -> int: ...


STATE = "training state"  # the kind of its file

WHOLE_NUMBERS = {"threshold": 1, "batch": 2, "epochs": 1, "patience": 1, "seed": 0}  # and the least they can be
NUMBERS = {"learning_rate": 1.0, "clip": 1e6}  # and the most they can be


def check_recipe(
    recipe: Recipe,
    choices: Mapping[str, Sequence[str]],
    whole_numbers: Mapping[str, int],
    numbers: Mapping[str, float],
) -> None:
    """Refuse, in one sentence, settings that would fail later or quietly train something else."""
    for name, chosen in choices.items():
        if getattr(recipe, name) not in chosen:
            raise SameSpaceError(f"{name} cannot be {getattr(recipe, name)!r}: choose one of {', '.join(chosen)}")
    for name, least in {**whole_numbers, **WHOLE_NUMBERS}.items():
        value = getattr(recipe, name)
        if not isinstance(value, int) or not least <= value < 2**31:
            raise SameSpaceError(f"{name} cannot be {value!r}: give a whole number from {least} to {2**31 - 1}")
    for name, limit in {**numbers, **NUMBERS}.items():
        value = getattr(recipe, name)
        if not isinstance(value, (int, float)) or not 0 < value <= limit:
            raise SameSpaceError(f"{name} cannot be {value!r}: give a number above 0, at most {limit:g}")


class Batch(NamedTuple):
    """B photos, and a caption of each."""

    photos: Tensor  # (B,): their numbers
    features: Tensor  # (B, D)
    ids: Tensor  # (B, T), filled up with PAD
    lengths: Tensor  # (B,): the number of ids that count; on the CPU


class Lesson:
    """Photos' features and their captions as ids, ready to be learnt from."""

    def __init__(self, featured: Featured, vocabulary: Vocabulary, device: str | torch.device = "cpu") -> None:
        captions = featured.captions
        self.features = torch.from_numpy(featured.features).to(device)
        ids, lengths = vocabulary.encode_all(captions.captions)
        self.ids, self.lengths = torch.from_numpy(ids).to(device), torch.from_numpy(lengths)
        self._counts = np.bincount(captions.image_of)
        self._starts = np.cumsum(self._counts) - self._counts

    def __len__(self) -> int:
        return len(self.features)

    def choose(self, seed: int, epoch: int) -> Ints:
        """Choose one caption of each photo, (N,), at random and anew each epoch."""
        return self._starts + np.random.default_rng([seed, epoch, 1]).integers(self._counts)

    def batches(self, seed: int, epoch: int, size: int) -> Iterator[Ints]:
        """Yield all photos, shuffled anew each epoch; a last batch of one is left out."""
        order = np.random.default_rng([seed, epoch]).permutation(len(self))
        for at in range(0, len(order), size):
            if len(order) - at > 1:
                yield order[at : at + size]

    def take(self, photos: Ints, captions: Ints) -> Batch:
        """Return the batch of B photos and a caption of each, both given by their numbers."""
        device = self.features.device
        rows, columns = torch.from_numpy(photos), torch.from_numpy(captions)
        lengths = self.lengths[columns]
        ids = self.ids[columns.to(device), : int(lengths.max())]
        return Batch(rows.to(device), self.features[rows.to(device)], ids, lengths)


Loss = Callable[[nn.Module, Batch, int], Tensor]  # network, batch, epoch counted from 0


def digest(featured: Featured, recipe: Any) -> str:
    """Return a digest of all that decides what is learnt, except the number of epochs, which may be raised later."""
    said = [(image.file, image.split, image.captions) for image in featured.captions.images]
    settings = recipe._replace(epochs=0, patience=0)
    found = hashlib.sha256(json.dumps([settings, featured.feature_source, said]).encode())
    found.update(featured.features.tobytes())
    return found.hexdigest()


class Course:
    """A training between two epochs: the network, the best so far, and all that is needed to go on."""

    def __init__(self, network: nn.Module, lesson: Lesson, loss: Loss, recipe: Recipe, digest: str) -> None:
        """Start a training; `digest` is of what must be the same to go on with it."""
        self.network, self.lesson, self.loss, self.recipe, self.digest = network, lesson, loss, recipe, digest
        self.optimizer = torch.optim.Adam(self.network.parameters(), recipe.learning_rate)
        self.epoch, self.best_epoch, self.score = 0, 0, -float("inf")
        self.best: dict[str, Tensor] = copy.deepcopy(self.network.state_dict())

    def run(self, judge: Callable[[], float], unfinished: Path | None, title: str) -> None:
        """Train until `judge`, the score on held-out photos, gains no more; leave the network of the best epoch.

        With `unfinished`, the state is kept in that file after every epoch, and training goes on from it if it exists.
        """
        if unfinished and unfinished.is_file():
            self.read(unfinished)
        with progress.bar(title, self.recipe.epochs, unit=" epochs") as bar:
            bar.update(self.epoch)
            while self.epoch < self.recipe.epochs and self.epoch - self.best_epoch < self.recipe.patience:
                self.learn()
                self.keep(judge())
                if unfinished:
                    self.write(unfinished)
                bar.update()
        self.network.load_state_dict(self.best)

    def learn(self) -> None:
        """Train for one epoch."""
        recipe, seed = self.recipe, self.recipe.seed
        captions = self.lesson.choose(seed, self.epoch)
        self.network.train()
        for photos in self.lesson.batches(seed, self.epoch, recipe.batch):
            self.optimizer.zero_grad()
            loss = self.loss(self.network, self.lesson.take(photos, captions[photos]), self.epoch)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip)
            self.optimizer.step()
        self.network.eval()
        self.epoch += 1

    def keep(self, score: float) -> None:
        """Keep the network if its score is the best so far."""
        if score > self.score:
            self.score, self.best_epoch = score, self.epoch
            self.best = copy.deepcopy(self.network.state_dict())

    def write(self, path: Path) -> None:
        """Write the state to a file."""
        optimizer = self.optimizer.state_dict()
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        tensors |= {
            f"optimizer.{number}.{name}": value
            for number, moments in optimizer["state"].items()
            for name, value in moments.items()
        }
        numbers = {"epoch": self.epoch, "best_epoch": self.best_epoch, "score": self.score}
        about = {"digest": self.digest, **numbers, "groups": optimizer["param_groups"]}
        model_files.save(path, STATE, about, arrays_of(tensors), durable=False)

    def read(self, path: Path) -> None:
        """Read the state that `write` wrote; refuse that of another training."""
        model_files.load(
            path,
            STATE,
            lambda about, arrays: self._go_on(path, about, tensors_of(arrays)),
            "remove it, and train from the beginning",
        )

    def _go_on(self, path: Path, about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        if about["digest"] != self.digest:
            raise SameSpaceError(
                f"{path} was begun with other captions, features or settings: go on with those, or remove it"
            )
        self.network.load_state_dict(_named(tensors, "network"))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _named(tensors, "optimizer").items():
            number, _, moment = name.partition(".")
            moments.setdefault(int(number), {})[moment] = value
        self.optimizer.load_state_dict({"state": moments, "param_groups": about["groups"]})
        self.epoch, self.best_epoch, self.score = about["epoch"], about["best_epoch"], about["score"]
        self.best = {name: value.to(self.lesson.features.device) for name, value in _named(tensors, "best").items()}


def _named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix.`, by the rest of their names."""
    return {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(f"{prefix}.")}


class Savable(Protocol):
    def save(self, path: Path) -> None: ...


Model = TypeVar("Model", bound=Savable)


def into_file(output: Path, train: Callable[[Path, str], Model]) -> Model:
    """Train on the best device of this machine, and save; until then the state lies in a file beside."""
    unfinished = output.with_name(f"{output.name}.unfinished")
    for path in (output, unfinished):  # before an hour of work, not after it
        sealed.refuse_unsealed(path)
    model = train(unfinished, "cuda" if torch.cuda.is_available() else "cpu")
    model.save(output)
    unfinished.unlink(missing_ok=True)
    return model
