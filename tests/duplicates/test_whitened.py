"""Vectors that were learnt once are the same when they are read, and are learnt anew for whatever changes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from samespace.base.arrays import Floats
from samespace.duplicates.whitened import whitened
from samespace.library.library import FOLDER, Library
from samespace.model.known import Known
from tests.library.conftest import Mean

CONTENTS = ["a" * 64, "b" * 64, "c" * 64]
KNOWN = Known(np.ones((4, 5), np.int8), np.array([0, 0, 1, 1]))


@pytest.fixture
def library(tmp_path: Path) -> Library:
    made = Library(tmp_path / FOLDER, create=True)
    made.features_folder(Mean().fingerprint).mkdir(parents=True)
    return made


class Learning:
    """Gives other vectors each time, so that kept ones can be told."""

    times = 0

    def __call__(self) -> Floats:
        self.times += 1
        return np.random.default_rng(self.times).standard_normal((3, 7)).astype(np.float32)


def test_the_same_photos_keep_their_vectors(library: Library) -> None:
    learn = Learning()
    first = whitened(library, Mean(), CONTENTS, KNOWN, learn)
    assert first == pytest.approx(Learning()(), abs=0.01) and first.dtype == np.float32
    again = whitened(Library(library.folder), Mean(), CONTENTS, KNOWN, learn)
    assert np.array_equal(first, again) and learn.times == 1


def test_other_photos_or_another_model_learn_anew(library: Library) -> None:
    learn = Learning()
    whitened(library, Mean(), CONTENTS, KNOWN, learn)
    for contents, known in (
        (CONTENTS[::-1], KNOWN),
        (CONTENTS, None),
        (CONTENTS, Known(KNOWN.rows, KNOWN.rooms[::-1])),
        (CONTENTS, Known(KNOWN.rows * 2, KNOWN.rooms)),
    ):
        before = learn.times
        whitened(library, Mean(), contents, known, learn)
        assert learn.times == before + 1


def test_what_is_damaged_is_learnt_anew(library: Library) -> None:
    learn = Learning()
    first = whitened(library, Mean(), CONTENTS, KNOWN, learn)
    path = library.features_folder(Mean().fingerprint) / "whitened"
    whole = path.read_bytes()
    for at in (0, 40, 70, len(whole) - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert not np.array_equal(whitened(library, Mean(), CONTENTS, KNOWN, learn), first)
    path.write_bytes(whole[:-1])
    assert not np.array_equal(whitened(library, Mean(), CONTENTS, KNOWN, learn), first)
    path.write_bytes(whole)
    assert np.array_equal(whitened(library, Mean(), CONTENTS, KNOWN, learn), first)


def test_nothing_is_kept_while_somebody_else_holds_the_library(library: Library) -> None:
    other, learn = Library(library.folder), Learning()
    with other.hold():
        whitened(library, Mean(), CONTENTS, KNOWN, learn)
    whitened(library, Mean(), CONTENTS, KNOWN, learn)
    assert learn.times == 2
