"""A model in a folder: it answers as before it was saved; no kill, damage or newer model makes it answer wrongly."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import samespace
from samespace.base.errors import SameSpaceError
from samespace.base.photos import SIZE, UnreadablePhoto, open_photo, read_pixels
from samespace.model import model_folder, saved
from samespace.model import write as write_module
from samespace.model.checkpoint import export
from samespace.model.heads import Embeddings
from samespace.model.network import TwinNetwork
from samespace.model.pairs import TEST, TRAINING, find_photos
from samespace.model.saved import Model, load
from samespace.model.write import Network, describe, write_model
from tests import killing

Trained = tuple[Network, dict[str, Any]]
HEADS = ("compare", "concat")
KINDS = (*HEADS, "rooms")


@pytest.fixture(scope="module")
def models(model_folders: dict[str, Path]) -> dict[str, Model]:
    return {head: load(folder) for head, folder in model_folders.items()}


@pytest.fixture(scope="module")
def photos(rooms: Path) -> tuple[Path, ...]:
    return find_photos(rooms, TEST).paths


@pytest.fixture
def folder(model_folders: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the `compare` model, to be spoilt."""
    return Path(shutil.copytree(model_folders["compare"], tmp_path / "model"))


def weights_of(folder: Path) -> Path:
    (path,) = folder.glob("weights-*.safetensors")
    return path


def without_network(folder: Path, tmp_path: Path) -> Path:
    """The model as earlier versions wrote it."""
    old = Path(shutil.copytree(folder, tmp_path / "old"))
    description = json.loads((old / "model.json").read_text())
    del description["network"]
    (old / "model.json").write_text(json.dumps(description))
    for network in old.glob("*.onnx"):
        network.unlink()
    return old


def rewrite(folder: Path, **changes: object) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refusal(folder: Path) -> str:
    with pytest.raises(SameSpaceError) as raised:
        load(folder)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# ---- in use


@pytest.mark.parametrize("head", HEADS)
def test_a_saved_model_scores_as_before(
    head: str, make_network: Callable[..., TwinNetwork], photos: tuple[Path, ...], tmp_path: Path
) -> None:
    network = make_network(head)
    write_model(tmp_path / "model", network, describe(network, {}, {}))
    model = samespace.load(str(tmp_path / "model"))
    pixels = torch.from_numpy(np.stack([read_pixels(photo, SIZE) for photo in photos[:4]]))
    expected = Embeddings(*(side.numpy() for side in network.embed(pixels.permute(0, 3, 1, 2))))
    found = model.embed(photos[:4])
    assert np.abs(found.vectors - expected.vectors).max() <= 0.002 * np.abs(expected.vectors).max()
    assert np.mean(found.parts != expected.parts) < 0.0005 if head == "compare" else found.parts.size == 0
    first, second = [0, 0, 1], [1, 0, 3]
    scores = [model.score(kept.take(first), kept.take(second)) for kept in (found, expected)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


@pytest.mark.parametrize("head", KINDS)
def test_a_model_answers_as_torch_does_on_a_thousand_pairs(
    head: str, models: dict[str, Model], model_folders: dict[str, Path], rooms: Path, tmp_path: Path
) -> None:
    paths = [path for split in (TRAINING, TEST) for path in find_photos(rooms, split).paths][:23]
    turned = [open_photo(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT) for path in paths]
    portable, by_torch = models[head], load(without_network(model_folders[head], tmp_path))
    assert (portable.extractor.name, by_torch.extractor.name) == ("ONNX Runtime, 1 at once", "PyTorch, 1 at once")
    first, second = np.triu_indices(len(paths) + len(turned), 1)
    assert len(first) >= 1000
    scores = []
    for model in (portable, by_torch):
        kept = model.embed([*paths, *turned])
        scores.append(model.score(kept.take(first), kept.take(second)))
    apart = np.abs(scores[0] - scores[1])
    if head == "compare":  # of format 1, where a part that was nearest by a hair has another partner now and then
        assert np.quantile(apart, 0.98) <= 1e-3 and apart.max() <= 0.02
    else:
        assert apart.max() <= min(1e-3, scores[1].std() / 3)
    assert portable.extractor.fingerprint == by_torch.extractor.fingerprint


@pytest.mark.parametrize("head", KINDS)
def test_comparing_does_not_mind_the_order(head: str, models: dict[str, Model], photos: tuple[Path, ...]) -> None:
    model = models[head]
    one_way, other_way = model.compare(photos[0], photos[1]), model.compare(photos[1], photos[0])
    assert one_way == pytest.approx(other_way, abs=1e-6)
    assert 0 <= one_way <= 1


def test_a_photo_is_most_like_itself(models: dict[str, Model], photos: tuple[Path, ...]) -> None:
    embeddings = models["compare"].embed(photos)
    table = np.stack([models["compare"].score(embeddings.take([row]), embeddings) for row in range(14)])
    assert (table.argmax(1) == np.arange(14)).all()
    assert np.allclose(table, table.T, atol=1e-6)


def test_photos_come_as_paths_text_or_images(models: dict[str, Model], photos: tuple[Path, ...]) -> None:
    vectors, parts = models["compare"].embed([photos[0], str(photos[0]), open_photo(photos[0], at_least=256)])
    assert np.array_equal(vectors[0], vectors[1]) and np.array_equal(parts[0], parts[1])
    assert np.array_equal(vectors[0], vectors[2]) and np.array_equal(parts[0], parts[2])


def test_an_open_image_is_turned_upright(models: dict[str, Model], photos: tuple[Path, ...]) -> None:
    upright = open_photo(photos[0])
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    lying.getexif()[0x0112] = 6  # a viewer turns it clockwise
    vectors, _ = models["compare"].embed([upright, lying, upright.transpose(Image.Transpose.ROTATE_90)])
    assert np.array_equal(vectors[0], vectors[1])
    assert not np.array_equal(vectors[0], vectors[2])


@pytest.mark.parametrize("head", HEADS)
def test_what_is_kept_of_a_photo_fits_in_ten_kilobytes(
    head: str, models: dict[str, Model], photos: tuple[Path, ...]
) -> None:
    kept = models[head].embed(iter(photos[:9]))  # more than one batch
    assert len(kept.vectors) == len(kept.parts) == 9
    assert kept.vectors.dtype == np.float16 and kept.parts.dtype == np.int8
    assert sum(column.nbytes for column in kept) <= 9 * 10_000


def test_one_photo_meets_many_however_many_blocks(
    models: dict[str, Model], photos: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, many = models["compare"], models["compare"].embed(photos[:7])
    one = many.take([2])
    expected = [float(model.score(one, many.take([row]))[0]) for row in range(7)]
    monkeypatch.setattr(saved, "PAIRS_AT_ONCE", 3)
    assert model.score(one, many) == pytest.approx(expected, abs=1e-6)
    assert model.score(many, one) == pytest.approx(expected, abs=1e-6)
    assert model.score(many, many).shape == (7,)


def test_counts_that_do_not_match_are_refused(models: dict[str, Model], photos: tuple[Path, ...]) -> None:
    kept = models["compare"].embed(photos[:3])
    with pytest.raises(SameSpaceError, match="cannot pair 2 photos with 3"):
        models["compare"].score(kept.take([0, 1]), kept)
    nothing = kept.take([])
    assert models["compare"].score(nothing, nothing).shape == (0,)


def test_no_photos_are_refused(models: dict[str, Model]) -> None:
    with pytest.raises(SameSpaceError, match="no photos to embed"):
        models["compare"].embed([])


def test_an_unreadable_photo_is_named(models: dict[str, Model], photos: tuple[Path, ...], tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no photo")
    with pytest.raises(UnreadablePhoto, match=r"a\.jpg: not an image"):
        models["compare"].compare(photos[0], tmp_path / "a.jpg")


# ---- damaged


def test_a_changed_byte_of_the_weights_is_noticed(folder: Path) -> None:
    path = weights_of(folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert refusal(folder).startswith(f"{path} is damaged")


def test_missing_weights_are_named(folder: Path) -> None:
    path = weights_of(folder)
    path.unlink()
    assert refusal(folder) == f"{folder} lacks its weights {path.name}: copy the whole folder"


def test_a_folder_without_a_model_says_what_to_give(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"no model in {tmp_path}: give a folder that holds model.json")


@pytest.mark.parametrize(
    "content", [b"", b'{"format": 1, "trunk": "mob', b"\xff\xfe\x00", b"[1, 2", b'{"a"}', b"[" * 99_999]
)
def test_a_truncated_description_is_refused(content: bytes, folder: Path) -> None:
    (folder / "model.json").write_bytes(content)
    assert refusal(folder) == f"{folder / 'model.json'} is damaged: export the model again"


@pytest.mark.parametrize("content", ["[]", "3", "{}", '{"format": 3}', '{"format": "1"}'])
def test_another_format_is_refused(content: str, folder: Path) -> None:
    (folder / "model.json").write_text(content)
    assert "is not of format 1" in refusal(folder)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("trunk", ["vgg16"], "is damaged"),
        ("head", "cosine", "is damaged"),
        ("head", "concat", "weights of another network"),
        ("network", "here", "is damaged"),
        ("network", {"file": "network.onnx", "sha256": ""}, "lacks its network network.onnx"),
        ("size", 224, "wants photos of 224 pixels"),
        ("size", "2\n4", "wants photos of 2\\n4 pixels"),
        ("mean", "grey", "is damaged"),
        ("std", None, "is damaged"),
        ("mean", [], "is damaged"),
        ("mean", [0.1, 0.2, float("inf")], "is damaged"),
        ("std", [0.1, 0.0, 0.1], "is damaged"),
        ("threshold", "high", "is damaged"),
        ("threshold", float("nan"), "is damaged"),
        ("threshold", 1e300, "is damaged"),
        ("threshold", "0.5", "is damaged"),
        ("thresholds", {"library": {"sure": "0.9", "even": 0.5}}, "is damaged"),
        ("thresholds", {"library": {"sure": 0.9, "even": 0.5, "other": 0.5}}, "is damaged"),
        ("data", None, "is damaged"),
        ("data", {"held_out": "x"}, "is damaged"),
        ("data", {"held_out": 1}, "is damaged"),
        ("weights", "here", "is damaged"),
        ("weights", {"file": "weights.bin"}, "is damaged"),
        ("weights", {"file": 3, "sha256": ""}, "is damaged"),
        ("weights", {"file": "a\0b", "sha256": ""}, "lacks its weights"),
        ("weights", {"file": "a\nb", "sha256": ""}, "lacks its weights a\\nb"),
        ("weights", {"file": "/", "sha256": ""}, "lacks its weights"),
    ],
)
def test_a_description_of_nonsense_is_refused(field: str, value: object, said: str, folder: Path) -> None:
    rewrite(folder, **{field: value})
    assert said in refusal(folder)


def test_a_model_validated_on_the_test_data_loads(folder: Path) -> None:
    """A setting may be null as well as 0."""
    for held_out in (0, None):
        rewrite(folder, data={"held_out": held_out})
        assert samespace.load(folder).description["data"]["held_out"] is held_out


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("trunk", "resnet51", "unknown backbone 'resnet51'"),
        ("cut", "all", "trainable cannot be 'all'"),
        ("trunk", "mobilenet_v3_large", "weights of another network"),
    ],
)
def test_nonsense_that_torch_would_build_a_network_from_is_refused(
    field: str, value: str, said: str, folder: Path, tmp_path: Path
) -> None:
    old = without_network(folder, tmp_path)
    rewrite(old, **{field: value})
    assert said in refusal(old)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("split", torch.tensor([1.5, 2.5])),
        ("library.logarithms", torch.tensor([1000.0, 0.0])),
        ("alone.logarithms", torch.tensor([0.0, 1000.0])),
    ],
)
def test_weights_that_no_head_has_are_refused(
    name: str, value: torch.Tensor, model_folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(model_folders["rooms"], tmp_path / "model"))
    path = folder / "weights-other.safetensors"
    save_file({**load_file(weights_of(folder)), name: value}, path)
    rewrite(folder, weights={"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    assert refusal(folder).endswith("holds weights of another network than model.json says: export it again")


@pytest.mark.parametrize("outputs", [{}, {"vectors": [[9], "float32"], "fine": [[], "float32"]}])
def test_a_network_without_maps_is_refused(
    outputs: dict[str, Any], model_folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(model_folders["rooms"], tmp_path / "model"))
    said = json.loads((folder / "model.json").read_text())["network"]
    rewrite(folder, network={**said, "outputs": outputs})
    assert "is damaged" in refusal(folder)


def test_a_network_that_is_none_is_named(folder: Path, photos: tuple[Path, ...]) -> None:
    (network,) = folder.glob("*.onnx")
    said = json.loads((folder / "model.json").read_text())["network"]

    def embed(content: bytes, **changes: object) -> str:
        network.write_bytes(content)
        rewrite(folder, network={**said, "sha256": hashlib.sha256(content).hexdigest(), **changes})
        with pytest.raises(SameSpaceError) as raised:
            load(folder).embed(photos[:1])
        return str(raised.value)

    content = network.read_bytes()
    assert "is not a network that ONNX Runtime" in embed(b"no network")
    assert "is not a network that ONNX Runtime" in embed(content[: len(content) // 2])
    assert "is another network than is said beside it" in embed(content, outputs={"vectors": [[512], "float16"]})
    assert "is damaged" in embed(content, outputs={"vectors": [[512], "object"]})
    assert "is damaged" in embed(content, outputs=3)
    assert "is damaged: it is not what model.json says" in embed(content, sha256="0")


def test_an_old_model_without_torch_says_how_to_convert_it(folder: Path, tmp_path: Path) -> None:
    old = without_network(folder, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)
        assert refusal(old) == (
            f"{old} holds no network in ONNX, as earlier versions wrote it: convert it where torch is installed "
            f"(pip install 'samespace[train]') by: samespace export {old} -o {old}"
        )
    export(old, old)
    assert load(old).extractor.name.startswith("ONNX Runtime")


def test_weights_that_are_no_numbers_are_refused(folder: Path, tmp_path: Path) -> None:
    weights = load_file(weights_of(folder))
    name = next(name for name, value in weights.items() if value.is_floating_point())
    weights[name] = weights[name] * float("nan")
    path = folder / "weights-other.safetensors"
    save_file(weights, path)
    rewrite(folder, weights={"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    assert refusal(folder) == f"{folder} holds weights that are not finite numbers: train or export the model again"


@pytest.mark.parametrize("field", ["trunk", "mean", "std", "head", "threshold", "weights"])
def test_a_description_that_lacks_something_is_refused(field: str, folder: Path) -> None:
    description = json.loads((folder / "model.json").read_text())
    del description[field]
    (folder / "model.json").write_text(json.dumps(description))
    assert f"{folder / 'model.json'} is damaged (KeyError('{field}'))" in refusal(folder)


def test_weights_are_only_looked_for_in_the_folder(folder: Path, tmp_path: Path) -> None:
    outside = weights_of(folder).rename(tmp_path / "elsewhere.safetensors")
    rewrite(folder, weights={"file": str(outside), "sha256": ""})
    assert "lacks its weights elsewhere.safetensors" in refusal(folder)


def test_a_folder_that_cannot_be_written_is_named(newer: Trained, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SameSpaceError, match="cannot write the model to"):
        write_model(tmp_path / "file", *newer)


# ---- saved over


@pytest.fixture(scope="module")
def newer(make_network: Callable[..., TwinNetwork]) -> Trained:
    network = make_network("compare", seed=1)
    return network, describe(network, {"validation_loss": 0.1}, {})


def test_saving_over_leaves_nothing_of_the_model_before(folder: Path, newer: Trained) -> None:
    (folder / ".weights-0123456789abcdef.safetensors.partial").touch()  # of a save that was killed
    before = weights_of(folder)
    write_model(folder, *newer)
    names = [weights_of(folder).name, *(path.name for path in folder.glob("*.onnx"))]
    assert sorted(path.name for path in folder.iterdir()) == sorted(["model.json", *names]) and len(names) == 2
    assert weights_of(folder) != before
    assert load(folder).description["metrics"] == {"validation_loss": 0.1}


@pytest.mark.parametrize("broken_off_at", [1, 2, 3])
def test_a_save_broken_off_leaves_the_model_before(
    broken_off_at: int, folder: Path, newer: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = write_module.write_whole, []

    def break_off(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) == broken_off_at:
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(write_module, "write_whole", break_off)
    with pytest.raises(KeyboardInterrupt):
        write_model(folder, *newer)
    assert load(folder).description["metrics"] == {"validation_loss": 0.5}
    monkeypatch.undo()
    write_model(folder, *newer)
    assert len(list(folder.iterdir())) == 3


def test_a_kill_at_any_moment_of_a_save_leaves_a_whole_model(folder: Path, newer: Trained, tmp_path: Path) -> None:
    write_model(tmp_path / "newer", *newer)  # converts the network, so that children only write
    losses: list[float] = []
    ended = [-signal.SIGKILL]
    while ended == [-signal.SIGKILL]:
        copy = Path(shutil.copytree(folder, tmp_path / f"killed {len(losses)}"))
        ended = killing.run([(write_model, (copy, *newer))], fatal=len(losses) + 1)
        losses.append(load(copy).description["metrics"]["validation_loss"])
    assert ended == [0]
    assert len(losses) > 5  # weights and description, opened and renamed each, and the old weights removed
    assert losses == sorted(losses, reverse=True)  # the model before up to some step, the new one from there on
    assert set(losses) == {0.5, 0.1}


def test_a_reader_overtaken_by_a_save_gets_the_newer_model(
    folder: Path, newer: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, calls = model_folder.read_description, []

    def read_and_be_overtaken(folder: Path) -> dict[str, Any]:
        description = read(folder)
        calls.append(folder)
        if len(calls) == 1:
            write_model(folder, *newer)
        return description

    monkeypatch.setattr(model_folder, "read_description", read_and_be_overtaken)
    assert load(folder).description["metrics"] == {"validation_loss": 0.1}
    assert len(calls) >= 2
