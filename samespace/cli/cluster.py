"""Download what an experiment made on a Determined cluster: `samespace export --experiment N`."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import tarfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from samespace.base import progress
from samespace.base.errors import SameSpaceError
from samespace.base.files import save_whole
from samespace.base.sealed import refuse_unsealed
from samespace.library import cluster_files

Keeps = Callable[[str], bool]  # True for the names of files in a checkpoint that are wanted


class Kind(NamedTuple):
    """One of the things that experiments make."""

    output: str  # where it is written by default
    files: str  # a pattern for the names of its files; nothing else is ever written
    keep: Callable[[Path, Path], object]  # checks what a folder holds, and puts it in place
    next: str  # what to type before its path, next …
    purpose: str  # … and what for


class Brought(NamedTuple):
    """What was downloaded, where it is now, and where it comes from."""

    kind: Kind
    path: Path
    experiment: int
    trial: int
    checkpoint: str
    metrics: dict[str, Any]  # of its validation, as reported
    state: str  # of the experiment or trial: COMPLETED, RUNNING, …


def _keep_model(folder: Path, output: Path) -> None:
    from samespace.model.checkpoint import export

    export(folder, output)


def _keep_file(name: str, check: Callable[[Path], object], folder: Path, output: Path) -> None:
    check(folder / name)
    refuse_unsealed(output)
    save_whole(output, (folder / name).read_bytes())


def _check_matcher(path: Path) -> None:
    from samespace.words.matcher import Matcher

    Matcher.load(path)


def _check_captioner(path: Path) -> None:
    from samespace.words.writers import load

    load(path)


def _check_encoder(path: Path) -> None:
    from samespace.search.compression import Compression

    Compression.load(path)


def _keep_batches(folder: Path, output: Path) -> None:
    paths = sorted(folder.rglob(cluster_files.FILES))
    for path in progress.over(paths, "checking", unit=" files"):
        cluster_files.read(path)
    folder.rename(output)


def _file(name: str, check: Callable[[Path], object], next_: str, purpose: str) -> Kind:
    return Kind(name, re.escape(name), partial(_keep_file, name, check), next_, purpose)


MODEL = r"model/(model\.json|weights-[0-9a-f]+\.safetensors|network-[0-9a-f]+\.onnx)"
KINDS = (
    Kind("model", MODEL, _keep_model, "samespace compare A.jpg B.jpg --model", "compare two photos"),
    _file("match.safetensors", _check_matcher, "samespace scan DIR --matcher", "enables search by sentence"),
    _file("caption.safetensors", _check_captioner, "samespace caption DIR --captioner", "caption the photos in DIR"),
    _file("encoder.safetensors", _check_encoder, "samespace compress --import", "make search vectors shorter"),
)
# Its checkpoints hold only a count. The files are beside them in the storage, and unknown to the master.
BATCHES = r"rank_\d+/batch_\d+\.safetensors"
EMBEDDED = Kind("embedded", BATCHES, _keep_batches, "samespace scan DIR --import", "scan DIR without reading it again")


def fetch(noun: str, number: int | str, output: Path | None = None) -> Brought:
    """Download the best checkpoint of an "experiment" or a "trial", or one "checkpoint", and return what came.

    It is downloaded beside `output` and checked there. Until it is whole, what was in `output` stays.
    """
    if not find_spec("determined"):
        raise SameSpaceError("determined is not installed: pip install 'samespace[train]'")
    master = _master()
    with _in_one_sentence(master, f"{noun} {number}"):
        session = _log_in(master)
        if noun == "checkpoint":
            found = _one(session, number)
            state = _state(session, "trial", found.training.trialId)
        else:
            state = _state(session, noun, number)
            found = _best(session, noun, number, state)
        kind = _kind_of(found)
        if kind is EMBEDDED and state != "COMPLETED" and noun != "checkpoint":
            raise SameSpaceError(
                f"{noun} {number} has not embedded all photos yet, it is {state}: let it finish, "
                f"or type `samespace export --checkpoint {found.uuid}` for what it has"
            )
    output = output or Path(kind.output)
    if kind is EMBEDDED and os.path.lexists(output):
        raise SameSpaceError(f"{output} already exists: name another folder with -o")
    with _folder_beside(output) as folder:
        with _in_one_sentence(master, f"checkpoint {found.uuid}"):
            _download(session, found, kind, folder)
        try:
            kind.keep(folder, output)
        except SameSpaceError as error:  # which names a folder that is gone by then
            raise SameSpaceError(str(error).replace(str(folder), f"checkpoint {found.uuid}")) from error
    training = found.training
    metrics = training.validationMetrics.avgMetrics if training.validationMetrics else None
    return Brought(kind, output, training.experimentId, training.trialId, found.uuid, metrics or {}, state)


# Asking the master


def _master() -> str:
    from determined.common import api

    try:
        return str(api.canonicalize_master_url(api.get_default_master_url()))
    except ValueError as error:
        raise SameSpaceError(f"DET_MASTER is not an address ({error}): set it as you do for `det`") from error


@contextmanager
def _in_one_sentence(master: str, wanted: str) -> Iterator[None]:
    """Turn what Determined raises into one sentence that says what to do."""
    from determined.common.api import errors

    try:
        yield
    except (errors.UnauthenticatedException, errors.CorruptTokenCacheException, getpass.GetPassWarning, EOFError):
        raise SameSpaceError(f"not logged in to {master}: type `det user login USER`") from None
    except errors.ForbiddenException as error:
        raise SameSpaceError(f"{master} refuses this user: log in as another with `det user login USER`") from error
    except errors.NotFoundException as error:
        raise SameSpaceError(f"{master} has no {wanted}: type `det experiment list` to see what it has") from error
    except errors.BadRequestException as error:
        raise SameSpaceError(f"{master} could not answer for {wanted} ({_on_one_line(error)}): try again") from error


def _log_in(master: str) -> Any:
    """Return a session, logged in as `det` logs in; ask for a password only at a terminal."""
    from determined.common import api
    from determined.common.api import authentication, certs, errors

    cert = certs.default_load(master)
    try:
        # Without this, Determined's own login tries for 15 seconds before it gives up.
        api.UnauthSession(master, cert, max_retries=0).get("info", timeout=30).json()["cluster_id"]
    except (errors.BadRequestException, OSError, ValueError, LookupError, TypeError) as error:
        cure = "set DET_MASTER to its address"
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            cure = "its certificate is not trusted, so name the file in DET_MASTER_CERT_FILE"
        raise SameSpaceError(f"no Determined master answers at {master}: {cure}, as you do for `det`") from error
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)  # raised if there is no terminal
        return authentication.login_with_cache(master, cert=cert)


def _state(session: Any, noun: str, number: int | str) -> str:
    """Return the state of an "experiment" or a "trial": COMPLETED, RUNNING, …"""
    from determined.common.api import bindings

    if noun == "experiment":
        state = bindings.get_GetExperiment(session, experimentId=number).experiment.state
    else:
        state = bindings.get_GetTrial(session, trialId=number).trial.state
    return str(state.value).removeprefix("STATE_")


def _one(session: Any, uuid: int | str) -> Any:
    """Return the checkpoint of this UUID, if it still exists."""
    from determined.common.api import bindings

    found = bindings.get_GetCheckpoint(session, checkpointUuid=uuid).checkpoint
    if not found.training.trialId:
        raise SameSpaceError(
            f"checkpoint {uuid} does not belong to a trial: name one that the web UI lists for a trial"
        )
    if found.state not in _present():
        state, experiment = str(found.state.value).removeprefix("STATE_"), found.training.experimentId
        raise SameSpaceError(
            f"checkpoint {uuid} is {state}: type `samespace export --experiment {experiment}` for the best that is left"
        )
    return found


def _best(session: Any, noun: str, number: int | str, state: str) -> Any:
    """Return the best checkpoint by the searcher's metric, or the newest if none was measured. Refuse a worse one."""
    from determined.common.api import bindings

    listed = bindings.get_GetExperimentCheckpoints if noun == "experiment" else bindings.get_GetTrialCheckpoints
    by = bindings.checkpointv1SortBy

    def first(states: Any, sort: Any = by.SEARCHER_METRIC, order: Any = None) -> Any:
        """Return the first that the master lists: the best comes first, those without the metric last."""
        found = listed(session, id=number, limit=1, states=states, sortByAttr=sort, orderBy=order).checkpoints
        return found[0] if found else None

    ever = first([*_present(), bindings.checkpointv1State.DELETED])
    if ever is None:
        raise SameSpaceError(
            f"{noun} {number} has no checkpoint yet, it is {state}: type `det {noun} logs {number}` to see why"
        )
    kept = first(_present())
    if kept is None:
        raise SameSpaceError(
            f"every checkpoint of {noun} {number} was deleted, the best was {ever.uuid}: train again, and keep some "
            "with checkpoint_storage.save_experiment_best"
        )
    best, left = ever.training.searcherMetric, kept.training.searcherMetric
    if best is None:
        kept = first(_present(), by.END_TIME, bindings.v1OrderBy.DESC)
        if _kind_of(kept) is not EMBEDDED:
            raise SameSpaceError(
                f"{noun} {number} has validated nothing yet, it is {state}: wait for its first epoch, "
                f"or type `samespace export --checkpoint {kept.uuid}` for its newest checkpoint"
            )
    elif ever.uuid != kept.uuid and best != left:
        metric = ever.training.experimentConfig["searcher"]["metric"]
        remaining = "never validated" if left is None else f"{left:g}"
        raise SameSpaceError(
            f"the best checkpoint of {noun} {number}, {ever.uuid} with a {metric} of {best:g}, was deleted: "
            f"type `samespace export --checkpoint {kept.uuid}` for the best that is left, {remaining}"
        )
    return kept


def _present() -> list[Any]:
    """Return the states of checkpoints that can be downloaded."""
    from determined.common.api import bindings

    return [bindings.checkpointv1State.COMPLETED, bindings.checkpointv1State.PARTIALLY_DELETED]


def _kind_of(checkpoint: Any) -> Kind:
    """Return what this checkpoint holds, by the names of its files."""
    if checkpoint.metadata.get("default_output_uuid"):
        return EMBEDDED
    for kind in KINDS:
        if any(re.fullmatch(kind.files, name) for name in checkpoint.resources):
            return kind
    raise SameSpaceError(
        f"checkpoint {checkpoint.uuid} holds none of {', '.join(kind.output for kind in KINDS)}: "
        "name one that an experiment of SameSpace wrote"
    )


# Downloading


@contextmanager
def _folder_beside(output: Path) -> Iterator[Path]:
    """Make an empty folder on the same disk, and remove it afterwards; also what a killed download left there."""
    output = output.absolute()
    folder = output.parent / f".{output.name}.download"
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    except OSError as error:
        raise SameSpaceError(f"cannot write to {output.parent} ({error.strerror}): choose another with -o") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _download(session: Any, checkpoint: Any, kind: Kind, folder: Path) -> None:
    """Download only what is kept: straight from the storage if this machine reaches it, else through the master."""
    config = checkpoint.training.experimentConfig["checkpoint_storage"]

    def wanted(name: str) -> bool:
        return re.fullmatch(kind.files, name) is not None

    uuid = checkpoint.metadata["default_output_uuid"] if kind is EMBEDDED else checkpoint.uuid
    failure = _from_storage(config, uuid, wanted, folder)
    if failure and kind is EMBEDDED:
        raise SameSpaceError(
            f"what was embedded is in {_place(config, uuid)} on the cluster, and cannot be read from here "
            f"({failure}): copy that folder here, then type `samespace scan DIR --import FOLDER`"
        )
    if failure and (failure := _through_master(session, uuid, wanted, folder)):
        raise SameSpaceError(
            f"checkpoint {uuid} could not be downloaded ({failure}): try again, or copy it from "
            f"{_place(config, uuid)} on the cluster"
        )


def _from_storage(config: dict[str, Any], uuid: str, wanted: Keeps, folder: Path) -> str | None:
    """Download from the storage, which takes its mount or credentials. Return why that failed, or None."""
    from determined.common import storage

    try:
        storage.build(config, container_path=None).download(uuid, folder, wanted)
    except Exception as error:  # every cloud has its own; the master may succeed
        return _on_one_line(error)
    return None if any(path.is_file() for path in folder.rglob("*")) else "no such files there"


def _through_master(session: Any, uuid: str, wanted: Keeps, folder: Path) -> str | None:
    """Download from the master, which sends the whole checkpoint as one archive. Return why that failed, or None."""
    try:
        answer = session.get(f"/checkpoints/{uuid}", headers={"Accept": "application/gzip"}, stream=True)
        with tarfile.open(fileobj=answer.raw, mode="r|*") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                source = archive.extractfile(member) if member.isfile() and wanted(name) else None
                if source is not None:
                    (folder / name).parent.mkdir(exist_ok=True)
                    with (folder / name).open("wb") as file:
                        shutil.copyfileobj(source, file)
    except Exception as error:  # HTTP, gzip, tar and the disk have their own
        return _on_one_line(error)
    return None


def _on_one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _place(config: dict[str, Any], uuid: str) -> str:
    """Return where the storage keeps a checkpoint: a path on the agents, or in a bucket."""
    root = next(config[key] for key in ("host_path", "container_path", "bucket", "container") if config.get(key))
    return str(PurePosixPath(root, config.get("storage_path") or config.get("prefix") or "", uuid))
