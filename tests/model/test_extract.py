"""Whatever runs a network gives the numbers the network gives; the fingerprint says which numbers they are."""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from samespace import load
from samespace.base.errors import SameSpaceError
from samespace.base.find import find
from samespace.base.photos import Pixels, read_pixels
from samespace.library.library import FOLDER, Library
from samespace.library.read_photos import former
from samespace.library.scan import scan
from samespace.model import extract
from samespace.model.backbone import SIZE, make_backbone
from samespace.model.colours import DIM, colours
from samespace.model.extract import NetworkExtractor, for_backbone, for_model
from samespace.model.feature_bank import to_tensor
from samespace.model.network import Embeddings
from samespace.model.saved import Model
from samespace.search.look import Look
from samespace.search.space import Space
from tests.conftest import BACKBONE, ROOT

HEADS = ("compare", "concat")

openvino = extract.openvino  # the tests of everything else do without
needs_openvino = pytest.mark.skipif(openvino() is None, reason="OpenVINO is not installed")


@pytest.fixture(autouse=True)
def _openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "openvino", openvino)
    monkeypatch.setattr(extract, "convert", convert_once)


convert, converted = extract.convert, dict[object, Any]()


def convert_once(network: torch.nn.Module, photos: int) -> Any:
    """It takes a second, and the weights decide what comes of it."""
    weights = b"".join(value.numpy().tobytes() for value in network.state_dict().values())
    key = type(network), hashlib.sha256(weights).digest(), photos
    if key not in converted:
        converted[key] = convert(network, photos)
    return converted[key]


@pytest.fixture(params=["PyTorch", pytest.param("OpenVINO", marks=needs_openvino)])
def either_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    choose(request.param, monkeypatch)
    return str(request.param)


def choose(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = extract.openvino() if name == "OpenVINO" else None
    monkeypatch.setattr(extract, "openvino", lambda: package)


@pytest.fixture(scope="module")
def photos(rooms: Path) -> list[Path]:
    return find(rooms)[:9]


@pytest.fixture(scope="module")
def pixels(photos: list[Path]) -> Pixels:
    return np.stack([read_pixels(path, SIZE) for path in photos])


@pytest.fixture(scope="module")
def models(model_folders: dict[str, Path]) -> dict[str, Model]:
    return {head: load(model_folders[head]) for head in HEADS}


def cosines(rows0: np.ndarray, rows1: np.ndarray) -> torch.Tensor:
    return torch.cosine_similarity(torch.tensor(rows0).double(), torch.tensor(rows1).double())


def test_a_backbone_keeps_its_embedding(either_engine: str, pixels: Pixels) -> None:
    with torch.no_grad():
        expected = make_backbone(BACKBONE, "none")(to_tensor(list(pixels))).half().numpy()
    extractor = for_backbone(BACKBONE, "none")
    vectors = extractor.extract(pixels)["vectors"]
    assert either_engine in extractor.name
    assert cosines(vectors, expected).min() > 0.99999
    assert np.abs(vectors - expected).max() < 0.002 * np.abs(expected).max()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.usefixtures("either_engine")
def test_a_model_keeps_what_embed_gives(
    models: dict[str, Model], head: str, photos: list[Path], pixels: Pixels
) -> None:
    model = models[head]
    expected, found = model.embed(photos), for_model(model).extract(pixels)
    parts = torch.from_numpy(found["parts"]) if head == "compare" else expected.parts
    embeddings = Embeddings(torch.from_numpy(found["vectors"]), parts)
    assert cosines(found["vectors"], expected.vectors.numpy()).min() > 0.99999
    differences = (parts.int() - expected.parts.int()).abs()
    assert differences.numel() == 0 or (differences.max() <= 1 and differences.float().mean() < 0.002)
    first, second = torch.triu_indices(len(photos), len(photos), 1)
    scores = model.score(embeddings.take(first), embeddings.take(second))
    np.testing.assert_allclose(scores, model.score(expected.take(first), expected.take(second)), atol=0.02)


@needs_openvino
@pytest.mark.parametrize("head", HEADS)
def test_openvino_rounds_maps_as_training_does(
    models: dict[str, Model], head: str, photos: list[Path], pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both engines' codes differ in a few of a million places; without the rounding it would be some of a thousand."""
    choose("OpenVINO", monkeypatch)
    columns = for_model(models[head]).extract(pixels)
    expected = dict(zip(("vectors", "parts"), models[head].embed(photos), strict=True))
    for name in columns.keys() & expected.keys():
        assert np.mean(columns[name] != expected[name].numpy()) < {"vectors": 0.2, "parts": 0.0005}[name]


# Vectors of several machines fit together


def rounds_only(exact: np.ndarray, found: np.ndarray) -> bool:
    """Whether photos keep their vectors, and neighbours that differ at all keep their order."""
    order = np.triu_indices(len(exact), 1)
    unit0, unit1 = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (exact, found.astype(np.float64)))
    alike0, alike1 = unit0 @ unit0.T, unit1 @ unit1.T
    apart0, apart1 = (alike[:, order[0]] - alike[:, order[1]] for alike in (alike0, alike1))
    differ = np.abs(apart0) > 0.001
    assert differ.mean() > 0.5
    return bool((unit0 * unit1).sum(1).min() >= 0.9999 and (apart0 * apart1 > 0)[differ].all())


def embedded(pixels: Pixels, precision: torch.dtype) -> np.ndarray:
    backbone = make_backbone(BACKBONE, "none")
    seen = backbone.normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2)).to(precision)
    backbone.to(precision)
    with torch.no_grad():
        return np.asarray(backbone.last(backbone.middle(backbone.early(seen))).double())


@pytest.fixture(scope="module")
def every_other(rooms: Path) -> Pixels:
    return np.stack([read_pixels(path, SIZE) for path in find(rooms)[::2]])


@pytest.fixture(scope="module")
def exact(every_other: Pixels) -> np.ndarray:
    return embedded(every_other, torch.float64)


def test_engines_differ_by_rounding_and_no_more(either_engine: str, every_other: Pixels, exact: np.ndarray) -> None:
    extractor = for_backbone(BACKBONE, "none")
    assert either_engine in extractor.name
    assert rounds_only(exact, extractor.extract(every_other)["vectors"])


def test_bfloat16_would_move_photos_past_each_other(every_other: Pixels, exact: np.ndarray) -> None:
    """Which is why no engine uses it, fast as it is."""
    assert rounds_only(exact, embedded(every_other, torch.float32))
    assert not rounds_only(exact, embedded(every_other, torch.bfloat16))


@needs_openvino
def test_openvino_is_told_to_use_float32(pixels: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would choose bfloat16 by itself on processors that multiply it, of which this may be none."""
    told = []

    class Core(extract.openvino().Core):  # type: ignore[misc]
        def compile_model(self, *given: object) -> object:
            told.append(given[-1])
            return super().compile_model(*given)

    monkeypatch.setattr(extract.openvino(), "Core", Core)
    for_backbone(BACKBONE, "none").extract(pixels[:1])
    assert [settings["INFERENCE_PRECISION_HINT"] for settings in told] == ["f32"]


def extractors(models: dict[str, Model]) -> Iterator[NetworkExtractor]:
    yield for_backbone(BACKBONE, "none")
    yield from (for_model(models[head]) for head in HEADS)


@pytest.mark.usefixtures("either_engine")
def test_any_number_of_photos_gives_the_same_rows(
    models: dict[str, Model], pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    for extractor in extractors(models):
        everything = extractor.extract(pixels)
        for count in (0, 1, 3, 4, 5):
            columns = extractor.extract(pixels[:count])
            assert list(columns) == list(extractor.fields)
            for name, (shape, dtype) in extractor.fields.items():
                assert columns[name].shape == (count, *shape) and columns[name].dtype == dtype
                np.testing.assert_array_equal(columns[name], everything[name][:count])
        backwards = extractor.extract(pixels[::-1])
        for name, column in everything.items():
            np.testing.assert_array_equal(backwards[name][::-1], column)


def test_fields_are_known_without_a_photo(models: dict[str, Model], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "convert", None)
    monkeypatch.setattr(extract, "ThreadPoolExecutor", None)
    backbone, compare, concat = extractors(models)
    seen = {"colours": ((DIM,), "uint8")}
    assert backbone.fields == concat.fields == {**seen, "vectors": ((1024,), "float16")}
    assert compare.fields == {**seen, "vectors": ((512,), "float16"), "parts": ((256, 32), "int8")}
    assert min(backbone.batch, compare.batch) >= 32


@pytest.mark.usefixtures("either_engine")
def test_colours_are_the_photos_whatever_the_network(models: dict[str, Model], pixels: Pixels) -> None:
    for extractor in extractors(models):
        np.testing.assert_array_equal(extractor.extract(pixels)["colours"], colours(pixels))


def test_a_library_from_before_colours_were_kept_has_to_be_scanned_again(photos: list[Path], tmp_path: Path) -> None:
    for photo in photos:
        shutil.copy(photo, tmp_path)
    chosen = Look(BACKBONE, "cosine", for_backbone(BACKBONE, "none"), "vectors", options=("--backbone", BACKBONE))
    library = Library(tmp_path / FOLDER, create=True)
    scan(library, [tmp_path], [chosen.extractor])
    space = Space(library, chosen)
    before = space.search(space.query_of(space.photos))
    (library.features_folder(chosen.extractor.fingerprint) / "colours").unlink()
    with pytest.raises(
        SameSpaceError, match=f"none of the 9 photos has been scanned for .*: samespace scan {tmp_path}"
    ):
        Space(library, chosen)
    scan(library, [tmp_path], [chosen.extractor])
    space = Space(library, chosen)
    assert space.search(space.query_of(space.photos)) == before


def changed(model: Model, change: Callable[[Model], object]) -> str:
    model = Model(copy.deepcopy(model.network), model.description)
    with torch.no_grad():
        change(model)
    return for_model(model).fingerprint


@pytest.mark.parametrize("head", HEADS)
def test_a_model_s_fingerprint_follows_its_numbers(
    models: dict[str, Model], model_folders: dict[str, Path], head: str
) -> None:
    model = models[head]
    original = for_model(model).fingerprint
    assert for_model(model_folders[head]).fingerprint == original == changed(model, lambda model: None)
    assert changed(model, lambda model: next(model.network.head.parameters()).add_(1)) == original
    others = [
        changed(model, lambda model: next(model.network.backbone.early.parameters())[0].add_(1)),
        changed(model, lambda model: next(model.network.backbone.last.parameters())[0].add_(1)),
        changed(model, lambda model: setattr(model.network.backbone, "mean", (0.5, 0.5, 0.5))),
        changed(model, lambda model: setattr(model.network.backbone, "std", (0.5, 0.5, 0.5))),
    ]
    if head == "compare":
        others.append(changed(model, lambda model: model.network.whiten_vectors.matrix[0, 0].add_(1)))
        others.append(changed(model, lambda model: model.network.whiten_parts.mean[0].add_(1)))
    assert len({original, *others}) == 1 + len(others)


def test_a_backbone_s_fingerprint_follows_its_numbers(tmp_path: Path) -> None:
    state = torchvision.models.get_model(BACKBONE).state_dict()
    torch.save(state, tmp_path / "first.pt")
    state["classifier.0.bias"][0] += 1
    torch.save(state, tmp_path / "second.pt")
    first, second = (for_backbone(BACKBONE, str(tmp_path / f"{name}.pt")).fingerprint for name in ("first", "second"))
    assert first == for_backbone(BACKBONE, str(tmp_path / "first.pt")).fingerprint
    assert first != second


def test_a_fingerprint_is_the_same_on_either_engine(models: dict[str, Model], monkeypatch: pytest.MonkeyPatch) -> None:
    installed = [extractor.fingerprint for extractor in extractors(models)]
    choose("PyTorch", monkeypatch)
    assert [extractor.fingerprint for extractor in extractors(models)] == installed
    assert len(set(installed)) == 3


def test_a_backbone_has_one_fingerprint_and_knows_those_of_earlier_versions(tmp_path: Path) -> None:
    """As the version before computed them: one for each precision, and the present one for what learns from either."""
    state = torchvision.models.get_model(BACKBONE).state_dict()
    halves = {
        name: torch.full_like(value, 0.5) if value.is_floating_point() else value for name, value in state.items()
    }
    torch.save(halves, tmp_path / "halves.pt")
    extractor = for_backbone(BACKBONE, str(tmp_path / "halves.pt"))
    assert extractor.fingerprint == "40594913d133e389"
    assert former(extractor) == ("1cdd0c1d52bacf11", "2c75a68786f295fb")


def test_a_model_has_had_no_other_fingerprint(models: dict[str, Model]) -> None:
    assert not any(former(for_model(model)) for model in models.values())


def test_pytorch_does_it_where_openvino_is_missing(pixels: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    extract.openvino.cache_clear()
    try:
        extractor = for_backbone(BACKBONE, "none")
        assert extractor.name == f"PyTorch, {torch.get_num_threads()} at once"
        assert extractor.extract(pixels[:1])["vectors"].shape == (1, 1024)
    finally:
        extract.openvino.cache_clear()


@needs_openvino
def test_nobody_is_told(pixels: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO's own converter reports each use to its makers."""
    telemetry = pytest.importorskip("openvino_telemetry")
    monkeypatch.setattr(extract, "convert", convert)
    monkeypatch.setattr(telemetry.Telemetry, "init", None)
    monkeypatch.setattr(telemetry.Telemetry, "send_event", None)
    extractor = for_backbone(BACKBONE, "none")
    assert extractor.name.startswith("OpenVINO")
    assert len(extractor.extract(pixels[:1])["vectors"]) == 1


@needs_openvino
def test_nobody_is_told_of_the_import() -> None:
    """In a process that has not imported it: OpenVINO would report that, too."""
    pytest.importorskip("openvino_telemetry")
    told = (
        "import sys, openvino_telemetry\n"
        "openvino_telemetry.Telemetry.__init__ = lambda *given, **named: print('told')\n"
        "from samespace.model import extract as engine\n"
        "print(engine.openvino().__name__, sys.modules['openvino_telemetry'] is openvino_telemetry)"
    )
    environment = {**os.environ, "CI": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=False, env=environment)
    assert (done.stdout, done.stderr) == ("openvino True\n", "")


@pytest.mark.usefixtures("either_engine")
def test_each_worker_is_one_thread_and_the_caller_keeps_its_own(pixels: Pixels) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        extractor = for_backbone(BACKBONE, "none")
        extractor.extract(pixels)
        assert extractor._pool.submit(torch.get_num_threads).result() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
