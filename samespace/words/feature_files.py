"""Read features of captioned photos that somebody else computed, such as Karpathy's vgg_feats.mat."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from samespace.base.arrays import Array, Floats
from samespace.base.errors import SameSpaceError
from samespace.base.text import count, readable
from samespace.words.caption_set import CaptionSet

KEY = "feats"


def read_features(path: Path, captions: CaptionSet) -> Floats:
    """Return features (N, D) of the caption set's N photos, as they are in the file: see `unit_rows`.

    A .mat has `feats` (D, photos), as Karpathy's does, a .npy (photos, D): for all photos that the captions' source
    names, in its order, captioned or not.
    """
    if path.suffix.lower() not in (".mat", ".npy"):
        raise SameSpaceError(f"{path} is not a .mat or a .npy: save the features as one of them")
    if not path.is_file():
        raise SameSpaceError(f"{path}: no such file")
    turned = path.suffix.lower() == ".mat"
    stored = _read_mat(path) if turned else _read_npy(path)
    if stored.ndim != 2 or stored.dtype.kind not in "fiu":
        raise SameSpaceError(
            f"{path} holds {stored.dtype} of shape {stored.shape}: give features as a table of real numbers"
        )
    features = stored.T if turned else stored
    _check_length(path, features, captions)
    with np.errstate(over="ignore"):  # what is too large for the type becomes infinite, and is refused
        features = np.ascontiguousarray(features[captions.rows], np.float32)
    bad = np.flatnonzero(~np.isfinite(features).all(1))
    if len(bad):
        first = readable(captions.images[bad[0]].file)
        raise SameSpaceError(
            f"{path} has numbers that are not finite for {count(len(bad), 'photo')}, {first} the first: "
            "compute them again"
        )
    return features


def _check_length(path: Path, features: Array, captions: CaptionSet) -> None:
    if len(features) == captions.listed:
        return
    if features.shape[1] == captions.listed:
        shape = "(numbers, photos)" if path.suffix.lower() == ".mat" else "(photos, numbers)"
        raise SameSpaceError(f"{path} lies on its side: a {path.suffix.lower()} has {shape}, so transpose it")
    raise SameSpaceError(
        f"{path} has features of {count(len(features), 'photo')}, {captions.source} names {captions.listed:,}: "
        "give the features that were computed for it"
    )


def _read_npy(path: Path) -> Array:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SameSpaceError(f"{path} is damaged, or not a .npy of numbers: save it with numpy.save") from error


def _read_mat(path: Path) -> Array:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise SameSpaceError(f"{path} needs an extra to be read: pip install 'samespace[words]'") from error
    try:
        return np.asarray(loadmat(path, variable_names=[KEY])[KEY])
    except NotImplementedError as error:
        raise SameSpaceError(f"{path} is of MATLAB 7.3: save it with `save -v7`, or as a .npy") from error
    except KeyError as error:
        raise SameSpaceError(f"{path} has no {KEY!r}: give the features this name, or save them as a .npy") from error
    except Exception as error:
        # Damaged data makes scipy raise nearly anything: ValueError, TypeError, zlib.error, MatReadError.
        raise SameSpaceError(f"{path} is damaged, or not a .mat: fetch it again") from error


def unit_rows(features: Floats) -> Floats:
    """Scale rows (N, D) to length 1, however large or small they are; a row of zeros stays zeros."""
    peaks = np.abs(features).max(axis=1, keepdims=True, initial=0)
    rows = features / np.where(peaks > 0, peaks, 1)  # no square of these overflows or vanishes
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1)).astype(np.float32)
