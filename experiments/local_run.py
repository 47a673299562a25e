"""Train a trial on this machine as a cluster would: keep the best model, write checkpoints, go on from one."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from determined import core, pytorch

from experiments.config import PROJECT
from experiments.trial import fit
from samespace.base.errors import SameSpaceError
from samespace.model.model_folder import read_description
from samespace.model.write import refuse_other_than_model

SEED = 1234
SEARCHER = {"metric": "average_precision", "smaller_is_better": False}


def train_locally(make_trial: Callable[[Any], Any], config: dict[str, Any], output: Path, resume: str | None) -> None:
    """Train alone or as one of torchrun's workers; the best model so far is always in `output`.

    `resume` is a checkpoint's folder, or "latest", or None to begin anew. If the best model so far is not in `output`,
    the checkpoint's own is put there.
    """
    _check_output(output)
    _seed_everything()
    config.setdefault("searcher", SEARCHER)
    hparams = config["hyperparameters"]
    latest = _find_checkpoint(output, resume, hparams) if resume else None
    # Determined keeps local checkpoints in the user's data folder: here that is beside the model.
    os.environ["XDG_DATA_HOME"] = str(_beside(output))
    try:
        (_beside(output) / "determined").mkdir(parents=True, exist_ok=True)  # to resume, it must be there
    except OSError as error:
        raise SameSpaceError(f"cannot write beside {output} ({error}): name another --output") from error
    os.chdir(PROJECT)  # Determined copies the working folder, but for .detignore, into every checkpoint as its code
    with (
        _torchrun() as distributed,
        pytorch.init(
            hparams=hparams, exp_conf=config, distributed=distributed, enable_tensorboard_logging=False
        ) as context,
    ):
        trial = make_trial(context)
        trial.log.output = str(output)
        trial.home = AtHome(trial, output)
        if latest:
            _check_photos(latest, trial.about_data())
        try:
            fit(trial, context, str(latest) if latest else None)
        except Exception as error:
            if latest is None or trial.home.has_begun or isinstance(error, SameSpaceError):
                raise
            # Damaged data makes torch raise nearly anything.
            raise _damaged(latest, error) from error


class AtHome(pytorch.PyTorchCallback):  # type: ignore[misc]  # Determined has no types
    """Keep the best model and the latest checkpoint, as a cluster would."""

    def __init__(self, trial: Any, output: Path) -> None:
        self.trial, self.output = trial, output
        self.has_begun = False  # what a checkpoint holds is loaded before

    def on_training_start(self) -> None:
        self.has_begun = True
        if not self._holds_best():  # of what is at hand, the network as it stands is the best
            self.trial.log.best = self.trial.log.as_it_stands
            if self.trial.log.is_chief and self.trial.log.is_best:
                self.trial.export(self.output)

    def _holds_best(self) -> bool:
        """Tell whether the model of the best epoch so far is where it belongs."""
        log = self.trial.log
        if log.best is None or not (self.output / "model.json").is_file():
            return False
        told = read_description(self.output)
        mine = told.get("data"), told.get("metrics", {}).get(log.metric)
        return mine == (self.trial.about_data(), log.best[1])

    def on_validation_end(self, metrics: dict[str, Any]) -> None:
        if self.trial.log.is_chief and self.trial.log.is_best:
            self.trial.export(self.output)

    def on_checkpoint_upload_end(self, uuid: str) -> None:
        if self.trial.log.is_chief:
            for checkpoint in _checkpoints(self.output)[:-1]:
                shutil.rmtree(checkpoint)

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.trial.log.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.trial.log.epoch = state["epoch"]
        self.trial.batches.epoch = state["epoch"]  # here nobody skips the batches that were seen


def _check_output(output: Path) -> None:
    """Refuse an output that is something else, or in a folder of code, which Determined copies into checkpoints."""
    for folder in (PROJECT / "experiments", PROJECT / "samespace"):
        if folder in (output, *output.parents):
            raise SameSpaceError(f"{output} lies among the code, which checkpoints carry: name another --output")
    refuse_other_than_model(output)


def _beside(output: Path) -> Path:
    """Return the folder of this model's checkpoints; a model next to it has its own."""
    return output.parent / "checkpoints" / output.name


def _checkpoints(output: Path) -> list[Path]:
    """Return the checkpoints of this model, oldest first; one that a kill cut short lacks its metadata."""
    found = (_beside(output) / "determined").glob("*/metadata.json")
    return [path.parent for path in sorted(found, key=lambda path: path.stat().st_mtime)]


def _find_checkpoint(output: Path, resume: str, hparams: dict[str, Any]) -> Path:
    """Return the checkpoint to go on from; refuse one of another network."""
    found = _checkpoints(output)[-1:] if resume == "latest" else [Path(resume).resolve()]
    if not found:
        raise SameSpaceError(f"no checkpoint beside {output}: train without --resume first")
    (checkpoint,) = found
    if not all((checkpoint / name).is_file() for name in ("state_dict.pth", "load_data.json", "trial_state.pkl")):
        raise SameSpaceError(f"{checkpoint} is not a checkpoint: give `latest` or a folder that holds state_dict.pth")
    try:
        before = dict(json.loads((checkpoint / "load_data.json").read_text())["hparams"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(checkpoint, error) from error
    for name in ("backbone", "head", "trainable", "same_space_type"):
        if (before.get(name) or None) != (hparams.get(name) or None):
            raise SameSpaceError(
                f"{checkpoint} was trained with {name} {before.get(name)}, not {hparams.get(name)}: "
                "resume with the hyperparameters it had"
            )
    model = checkpoint / "model" / "model.json"
    if hparams.get("head") == "compare" and model.is_file() and read_description(model.parent)["format"] == 1:
        raise SameSpaceError(
            f"{checkpoint} is of an earlier version, whose compare learnt something else: take its model with "
            "`samespace export`, or train anew"
        )
    return checkpoint


def _damaged(checkpoint: Path, error: Exception) -> SameSpaceError:
    """Return what to raise if a checkpoint cannot be loaded."""
    if isinstance(error, ModuleNotFoundError):  # numpy 1 has no numpy._core, which numpy 2 names
        return SameSpaceError(f"{checkpoint} was written with other packages ({error}): resume with the same ones")
    if isinstance(error, OSError | torch.cuda.OutOfMemoryError):
        reason, _, _ = str(error).partition("\n")
        return SameSpaceError(f"cannot resume from {checkpoint}: {reason}")
    return SameSpaceError(
        f"{checkpoint} is damaged or not a checkpoint of SameSpace: name another, or train anew without --resume"
    )


def _check_photos(checkpoint: Path, about: dict[str, Any]) -> None:
    """Refuse a checkpoint whose photos are not the ones to go on with, as `about` describes them."""
    if not (checkpoint / "model" / "model.json").is_file():
        return
    before = read_description(checkpoint / "model").get("data") or {}
    for name in ("fingerprint", "validation_fingerprint"):
        if before.get(name) not in (None, about[name]):
            raise SameSpaceError(
                f"{checkpoint} was trained on other photos, or with others held out: give the same --data and "
                "data.held_out, or train anew without --resume"
            )


@contextlib.contextmanager
def _torchrun() -> Iterator[core.DistributedContext | None]:
    """Connect the workers that `torchrun model_def.py` started, which would otherwise each train alone."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield None
        return
    os.environ["USE_TORCH_DISTRIBUTED"] = "1"  # Determined asks for it
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        with contextlib.closing(core.DistributedContext.from_torch_distributed()) as distributed:
            yield distributed
    finally:
        torch.distributed.destroy_process_group()


def _seed_everything() -> None:
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002  # what Determined seeds on a cluster
    torch.manual_seed(SEED)
