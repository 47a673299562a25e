"""A library remembers what it was scanned with, and says so when that is no longer what it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from samespace.base.errors import SameSpaceError
from samespace.base.photos import read_pixels
from samespace.library.library import FOLDER, Library
from samespace.library.read_photos import former
from samespace.model.backbone import make_backbone
from samespace.search import same_shot
from samespace.search.look import (
    COSINE_THRESHOLD,
    Look,
    choose_look,
    compare_pair,
    is_remembered,
    look_for_copies,
    remember_look,
    remembered_look,
)

TRUNK = "mobilenet_v3_small"


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / FOLDER, create=True)


def is_as(look0: Look, look1: Look) -> bool:
    return (look0.name, look0.meaning, look0.field, look0.options, look0.extractor.fingerprint) == (
        *(look1.name, look1.meaning, look1.field, look1.options),
        look1.extractor.fingerprint,
    )


def test_without_anything_photos_are_compared_as_shots(library: Library) -> None:
    assert (choose_look().name, choose_look().meaning, choose_look().threshold) == (
        "the same shot",
        "same shot",
        same_shot.THRESHOLD,
    )
    remember_look(library, look_for_copies())
    assert is_as(remembered_look(library), look_for_copies())


def test_a_backbone_is_remembered_with_its_weights(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision

    torch.save(torchvision.models.get_model(TRUNK).state_dict(), tmp_path / "weights.pth")
    monkeypatch.chdir(tmp_path)
    chosen = choose_look(backbone=TRUNK, weights="weights.pth")
    assert (chosen.name, chosen.meaning, chosen.threshold, chosen.is_unit) == (TRUNK, "cosine", None, False)
    assert chosen.options == ("--backbone", TRUNK, "--weights", str(tmp_path / "weights.pth"))
    remember_look(library, chosen)
    monkeypatch.chdir("/")
    assert is_as(remembered_look(library), chosen)
    (tmp_path / "weights.pth").unlink()
    with pytest.raises(SameSpaceError, match=r"was scanned with --backbone .*weights.pth, which has gone: give"):
        remembered_look(library)


@pytest.mark.parametrize("head", ["compare", "concat"])
def test_a_model_is_remembered_by_its_folder(head: str, library: Library, model_folders: dict[str, Path]) -> None:
    chosen = choose_look(model_folders[head])
    assert (chosen.name, chosen.meaning, chosen.threshold) == (f"the model {head}", "probability", 0.9)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3), np.uint8)
    lengths = np.linalg.norm(chosen.extractor.extract(pixels)[chosen.field].astype(np.float32), axis=1)
    assert chosen.is_unit is bool(np.allclose(lengths, 1, atol=0.01))
    remember_look(library, chosen)
    again = remembered_look(library)
    assert is_as(again, chosen) and again.model is not None


def test_a_model_that_weighs_evidence_keeps_materials_as_its_backbone_does(
    library: Library, model_folders: dict[str, Path]
) -> None:
    chosen = choose_look(model_folders["rooms"])
    assert (chosen.name, chosen.meaning, chosen.threshold) == ("the model rooms", "probability", 0.95)
    assert chosen.is_unit and chosen.extractors == [chosen.extractor, chosen.deciding]
    backbone = choose_look(backbone=TRUNK, weights="none")
    assert chosen.deciding.fingerprint == backbone.deciding.fingerprint
    assert chosen.extractor.fingerprint != backbone.extractor.fingerprint
    pixels = np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3), np.uint8)
    lengths = np.linalg.norm(chosen.extractor.extract(pixels)[chosen.field].astype(np.float32), axis=1)
    assert lengths == pytest.approx(1, abs=1e-3)
    remember_look(library, chosen)
    assert is_as(remembered_look(library), chosen)


def test_what_was_scanned_with_last_is_remembered(library: Library) -> None:
    remember_look(library, choose_look(backbone="mobilenet_v2", weights="none"))
    remember_look(library, choose_look(backbone=TRUNK, weights="none"))
    remember_look(library, look_for_copies())  # a plain scan: what was kept before is kept up to date, and searched by
    assert remembered_look(library).options == ("--backbone", TRUNK, "--weights", "none")


def test_a_look_that_is_remembered_is_known_without_loading_another(library: Library) -> None:
    copies, chosen = look_for_copies(), choose_look(backbone=TRUNK, weights="none")
    assert is_remembered(library, copies) and not is_remembered(library, chosen)
    remember_look(library, chosen)
    assert is_remembered(library, chosen) and not is_remembered(library, copies)
    note = {"options": chosen.options, "fingerprint": former(chosen.extractor)[0]}
    library.write_note("look", json.dumps(note))
    assert is_remembered(library, chosen)
    library.write_note("look", json.dumps(note | {"fingerprint": "another"}))
    assert not is_remembered(library, chosen)


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("writable", [True, False])
def test_a_backbone_is_remembered_by_a_former_fingerprint(library: Library, version: int, writable: bool) -> None:
    chosen = choose_look(backbone=TRUNK, weights="none")
    note = {"options": chosen.options, "fingerprint": former(chosen.extractor)[version]}
    library.write_note("look", json.dumps(note))
    library.is_writable = writable
    assert is_as(remembered_look(library), chosen)
    library.write_note("look", json.dumps(note | {"fingerprint": "another"}))
    with pytest.raises(SameSpaceError, match=f"another version of --backbone {TRUNK} --weights none: scan again"):
        remembered_look(library)


def test_a_model_that_has_gone_or_changed_is_said(
    library: Library, tmp_path: Path, model_folders: dict[str, Path]
) -> None:
    folder = shutil.copytree(model_folders["compare"], tmp_path / "my model")
    remember_look(library, choose_look(folder))
    shutil.rmtree(folder)
    with pytest.raises(
        SameSpaceError, match=r"was scanned with --model '.*/my model', which has gone: give the --model"
    ):
        remembered_look(library)
    shutil.copytree(model_folders["concat"], folder)
    with pytest.raises(SameSpaceError, match=r"another version of --model .*: scan again with these options"):
        remembered_look(library)


def test_a_model_has_a_backbone_of_its_own(model_folders: dict[str, Path]) -> None:
    with pytest.raises(SameSpaceError, match="give --model or --backbone, not both"):
        choose_look(model_folders["compare"], TRUNK)


def test_weights_without_a_backbone_are_refused() -> None:
    with pytest.raises(SameSpaceError, match="--weights are those of a backbone: add --backbone NAME"):
        choose_look(weights="none")


def test_without_a_model_a_pair_is_compared_by_the_cosine_of_the_backbone(blocks: list[Path]) -> None:
    backbone = make_backbone("mobilenet_v3_small", "none")
    pixels = np.stack([read_pixels(path, 256) for path in blocks[:2]])
    with torch.no_grad():
        first, second = backbone(torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2)).double().numpy()
    expected = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    look = choose_look(None, "mobilenet_v3_small", "none")
    assert compare_pair(look, pixels) == (pytest.approx(expected, abs=1e-3), COSINE_THRESHOLD)
    assert compare_pair(look, pixels[[0, 0]])[0] == pytest.approx(1, abs=1e-5)
