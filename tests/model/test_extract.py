"""Whatever runs a network gives the numbers the network gives; the fingerprint says which numbers they are."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from samespace import load
from samespace.base.errors import SameSpaceError
from samespace.base.find import find
from samespace.base.photos import SIZE, Pixels, read_pixels
from samespace.library.library import FOLDER, Library
from samespace.library.read_photos import former
from samespace.library.scan import scan
from samespace.model import bare, extract, graphs, saved
from samespace.model.backbone import make_backbone
from samespace.model.bare import for_backbone
from samespace.model.colours import DIM, colours
from samespace.model.engine import OnnxEngine
from samespace.model.extract import NetworkExtractor
from samespace.model.feature_bank import to_tensor
from samespace.model.graphs import of_network
from samespace.model.model_folder import read
from samespace.model.saved import Model
from samespace.model.torch_engine import TorchEngine
from samespace.model.write import Network, rebuild
from samespace.search.look import Look
from samespace.search.space import Space
from tests.conftest import BACKBONE

HEADS = ("compare", "concat")


@pytest.fixture(params=["PyTorch", "ONNX Runtime"])
def either_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    choose(request.param, monkeypatch)
    return str(request.param)


def choose(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (bare, saved):
        monkeypatch.setattr(module, "has_runtime", lambda: name == "ONNX Runtime")


@pytest.fixture(scope="module")
def photos(rooms: Path) -> list[Path]:
    return find(rooms)[:9]


@pytest.fixture(scope="module")
def pixels(photos: list[Path]) -> Pixels:
    return np.stack([read_pixels(path, SIZE) for path in photos])


@pytest.fixture
def models(model_folders: dict[str, Path], either_engine: str) -> dict[str, Model]:
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


def extractors(models: dict[str, Model]) -> Iterator[NetworkExtractor]:
    yield for_backbone(BACKBONE, "none")
    yield from (models[head].extractor for head in HEADS)


def test_any_number_of_photos_gives_the_same_rows(
    models: dict[str, Model], pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
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
    monkeypatch.setattr(extract, "ThreadPoolExecutor", None)
    backbone, compare, concat = extractors(models)
    seen = {"colours": ((DIM,), "uint8")}
    assert backbone.fields == concat.fields == {**seen, "vectors": ((1024,), "float16")}
    assert compare.fields == {**seen, "vectors": ((512,), "float16"), "parts": ((256, 32), "int8")}
    assert min(backbone.batch, compare.batch) >= 32


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


def changed(folder: Path, change: Callable[[Network], object]) -> str:
    network = rebuild(read(folder))
    with torch.no_grad():
        change(network)
    return of_network(network).sheet.fingerprint


@pytest.mark.parametrize("head", HEADS)
def test_a_model_s_fingerprint_follows_its_numbers(model_folders: dict[str, Path], head: str) -> None:
    folder = model_folders[head]
    original = load(folder).extractor.fingerprint
    assert original == changed(folder, lambda network: None)
    assert changed(folder, lambda network: next(network.head.parameters()).add_(1)) == original
    others = [
        changed(folder, lambda network: next(network.backbone.early.parameters())[0].add_(1)),
        changed(folder, lambda network: next(network.backbone.last.parameters())[0].add_(1)),
        changed(folder, lambda network: setattr(network.backbone, "mean", (0.5, 0.5, 0.5))),
        changed(folder, lambda network: setattr(network.backbone, "std", (0.5, 0.5, 0.5))),
    ]
    if head == "compare":
        others.append(changed(folder, lambda network: network.whiten_vectors.matrix[0, 0].add_(1)))
        others.append(changed(folder, lambda network: network.whiten_parts.mean[0].add_(1)))
    assert len({original, *others}) == 1 + len(others)


def test_a_backbone_s_fingerprint_follows_its_numbers(tmp_path: Path) -> None:
    state = torchvision.models.get_model(BACKBONE).state_dict()
    torch.save(state, tmp_path / "first.pt")
    state["classifier.0.bias"][0] += 1
    torch.save(state, tmp_path / "second.pt")
    first, second = (for_backbone(BACKBONE, str(tmp_path / f"{name}.pt")).fingerprint for name in ("first", "second"))
    assert first == for_backbone(BACKBONE, str(tmp_path / "first.pt")).fingerprint
    assert first != second


def test_a_fingerprint_is_the_same_on_either_engine(
    model_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for engine in ("ONNX Runtime", "PyTorch"):
        choose(engine, monkeypatch)
        found.append([each.fingerprint for each in extractors({head: load(model_folders[head]) for head in HEADS})])
    assert found[0] == found[1] and len(set(found[0])) == 3


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
    assert not any(former(model.extractor) for model in models.values())


def test_torch_does_it_where_nothing_else_is_installed(pixels: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    extractor = for_backbone(BACKBONE, "none")
    assert extractor.name == f"PyTorch, {torch.get_num_threads()} at once"
    assert extractor.extract(pixels[:1])["vectors"].shape == (1, 1024)


@pytest.mark.parametrize("name", [BACKBONE, "inception_v3"])  # of the latter, cells of pooled maps overlap
def test_a_backbone_can_be_written_as_onnx_and_gives_the_same(name: str, pixels: Pixels) -> None:
    graph = graphs.of_backbone(make_backbone(name, "none"))
    engines = OnnxEngine(graphs.to_onnx(graph), Path(name), graph.sheet), TorchEngine(graph)
    for found, expected in zip(*(engine(pixels[:2]) for engine in engines), strict=True):
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


# ---- converted once


def test_a_backbone_is_converted_once_and_then_needs_no_torch(
    pixels: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (folder,) = {bare.convert(BACKBONE, "none"), bare.convert(BACKBONE, "none")}
    assert sorted(path.name for path in folder.iterdir()) == ["network.onnx", "sheet.json"]
    before = for_backbone(BACKBONE, "none")
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"\xff\xd8")
    with monkeypatch.context() as patch:
        for package in ("torch", "torchvision", "onnx"):
            patch.setitem(sys.modules, package, None)
        after = for_backbone(BACKBONE, "none")
        assert np.array_equal(after.extract(pixels[:3])["vectors"], before.extract(pixels[:3])["vectors"])
        with pytest.raises(SameSpaceError, match=r"resnet50 must be converted once, by torch and onnx: pip install"):
            for_backbone("resnet50", "none")
        with pytest.raises(SameSpaceError, match=r"unknown backbone 'resnet51', did you mean resnet50"):
            for_backbone("resnet51", "none")
        with pytest.raises(SameSpaceError, match=r"photo\.jpg is not a backbone: give a name, a folder, or .* \.onnx"):
            for_backbone(str(photo), "none")
    with pytest.raises(SameSpaceError, match="unknown backbone"):
        bare.convert("\udcff", "none")
    content = (folder / "network.onnx").read_bytes()
    for spoilt in (content[:-1], b""):
        (folder / "network.onnx").write_bytes(spoilt)
        with pytest.raises(SameSpaceError, match=f"{folder} is damaged .*: delete it"):
            for_backbone(BACKBONE, "none")
    (folder / "network.onnx").write_bytes(content)
    for spoilt in (b"", b"{}", b"[]", b"3", b"\xff"):
        (folder / "sheet.json").write_bytes(spoilt)
        with pytest.raises(SameSpaceError, match=f"{folder} is damaged .*: delete it"):
            for_backbone(BACKBONE, "none")


# ---- somebody else's


@pytest.fixture
def own_network(tmp_path: Path) -> Path:
    """A network that gives the means of three colours, scaled and normalised."""
    import onnx
    from onnx import TensorProto, helper

    node = helper.make_node("ReduceMean", ["pixels"], ["means"], axes=[2, 3], keepdims=0)
    given = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 3, 64, 64])
    means = helper.make_tensor_value_info("means", TensorProto.FLOAT, ["N", 3])
    model = helper.make_model(
        helper.make_graph([node], "means", [given], [means]), opset_imports=[helper.make_opsetid("", 13)], ir_version=8
    )
    onnx.save(model, tmp_path / "means.onnx")
    (tmp_path / "means.json").write_text('{"size": 64, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.5, 1]}')
    return tmp_path / "means.onnx"


def test_a_network_of_somebody_else_s_is_run_as_its_json_says(own_network: Path, pixels: Pixels) -> None:
    extractor = for_backbone(str(own_network))
    assert extractor.fields["vectors"] == ((3,), "float16") and extractor.materials is None
    expected = (pixels.mean((1, 2)) / 255 - 0.5) / [0.25, 0.5, 1]
    assert extractor.extract(pixels)["vectors"] == pytest.approx(expected, abs=0.01)
    first = extractor.fingerprint
    own_network.with_suffix(".json").write_text('{"size": 64, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.5, 0.5]}')
    assert for_backbone(str(own_network)).fingerprint != first


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        (b"", "does not say the size, mean, std and layout"),
        (b"[]", "does not say the size, mean, std and layout"),
        (b'{"size": 1e9, "mean": [0, 0, 0], "std": [1, 1, 1]}', "does not say the size, mean, std and layout"),
        (b'{"size": 64, "mean": [0, 0, 0], "std": [1, 0, 1]}', "does not say the size, mean, std and layout"),
        (b'{"size": 64, "mean": [0, 0, 0], "std": [1, 1, 1], "layout": "CHWN"}', "does not say the size, mean, std"),
        (b'{"size": 32, "mean": [0, 0, 0], "std": [1, 1, 1]}', "does not take 1 photos as means.json says"),
        (
            b'{"size": 64, "mean": [0, 0, 0], "std": [1, 1, 1], "layout": "NHWC"}',
            "does not take 1 photos as means.json",
        ),
    ],
)
def test_json_that_does_not_fit_a_network_is_refused(stated: bytes, said: str, own_network: Path) -> None:
    own_network.with_suffix(".json").write_bytes(stated)
    with pytest.raises(SameSpaceError, match=said) as raised:
        for_backbone(str(own_network))
    assert "\n" not in str(raised.value)


def test_a_network_that_is_none_or_says_nothing_is_refused(own_network: Path) -> None:
    with pytest.raises(SameSpaceError, match=r"nowhere\.onnx .*: a backbone is NAME\.onnx"):
        for_backbone(str(own_network.with_name("nowhere.onnx")))
    own_network.write_bytes(b"no network")
    with pytest.raises(SameSpaceError, match="is not a network that ONNX Runtime"):
        for_backbone(str(own_network))
    own_network.with_suffix(".json").unlink()
    with pytest.raises(SameSpaceError, match=r"means\.json .*: a backbone is NAME\.onnx"):
        for_backbone(str(own_network))


def test_the_caller_keeps_its_threads(pixels: Pixels, either_engine: str) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for_backbone(BACKBONE, "none").extract(pixels)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
