"""Sealed files: what is read is what was written, and anything else is refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from samespace.base import sealed
from samespace.base.errors import SameSpaceError
from tests.bit_rot import harmed_copy

ABOUT = {"format": 3, "name": "lamp"}
TENSORS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([7], np.uint8)}


def text(about: dict[str, Any]) -> str:
    return json.dumps(about, sort_keys=True)


def write(path: Path, about: dict[str, Any] = ABOUT, kind: str = "lamp") -> Path:
    signed = {**about, "sha256": sealed.digest(text(about), TENSORS)}
    save_file(TENSORS, path, {kind: json.dumps(signed)})
    return path


def load(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    return sealed.load(path, "lamp", 3, "", text, lambda about, tensors: (about, tensors), "make it again")


@pytest.fixture(scope="module")
def lamp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("sealed") / "lamp.safetensors")


def test_what_is_read_is_what_was_written(lamp: Path) -> None:
    about, tensors = load(lamp)
    assert about == ABOUT
    assert sealed.digest("", tensors) == sealed.digest("", TENSORS)


@given(st.data())
def test_a_changed_bit_is_noticed_or_changes_nothing(lamp: Path, data: st.DataObject) -> None:
    harmed = harmed_copy(lamp, data)
    try:
        about, tensors = load(harmed)
    except SameSpaceError as error:
        assert str(error).startswith(f"{harmed} ")
    else:
        assert (about, sealed.digest("", tensors)) == (ABOUT, sealed.digest("", TENSORS))


@pytest.mark.parametrize("changed", ["x", "a", "b"])
def test_a_digest_is_of_names_shapes_and_kinds_too(changed: str) -> None:
    other = {
        "x": {"x": TENSORS["a"], "b": TENSORS["b"]},
        "a": {**TENSORS, "a": TENSORS["a"].reshape(3, 2)},
        "b": {**TENSORS, "b": TENSORS["b"].view(np.int8)},
    }[changed]
    assert sealed.digest("", other) != sealed.digest("", TENSORS)


def test_a_file_of_another_version_says_which(tmp_path: Path) -> None:
    path = write(tmp_path / "lamp", {**ABOUT, "format": 4})
    with pytest.raises(SameSpaceError) as error:
        load(path)
    assert str(error.value) == f"{path} is of format 4, and 3 is known here: use the version of samespace that wrote it"


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SameSpaceError, match=r"other is not a lamp, or damaged: make it again$"):
        load(write(tmp_path / "other", kind="chair"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SameSpaceError, match=r"gone: no such file: name a lamp, or train one$"):
        load(tmp_path / "gone")
