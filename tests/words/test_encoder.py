"""Encoders from elsewhere see and read as their own libraries do, with PyTorch and without, or say what is wrong."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from samespace.base.arrays import unit
from samespace.base.errors import SameSpaceError
from samespace.words import encoder_files
from samespace.words.encoder import FIELD, load_encoder
from tests.encoders import DIM, LONGEST, SIDE, write_model, write_pair

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch, as it writes ONNX

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("clip", "siglip")
SENTENCES = ("a photo of a kitchen", "кухня", "台所", "green", "a green bed of a kitchen of a bed of people walls")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    """A model of each kind: its folder, and what transformers made."""
    made = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp("models") / kind
        made[kind] = folder, write_model(folder, kind)
    return made


@pytest.fixture(scope="module")
def pairs(models: dict[str, tuple[Path, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same as ONNX, in a folder each."""
    made = {}
    for kind, (folder, model) in models.items():
        made[kind] = tmp_path_factory.mktemp("pairs") / kind
        write_pair(model, folder, made[kind])
    return made


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Photos as a scan hands them over: smooth, so that filters agree to rounding."""
    small = np.random.default_rng(0).integers(0, 256, (5, 6, 6, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(photo).resize((256, 256))) for photo in small])


@pytest.fixture
def copied(models: dict[str, tuple[Path, Any]], tmp_path: Path) -> Path:
    """A CLIP that may be damaged."""
    return shutil.copytree(models["clip"][0], tmp_path / "copied")


@pytest.fixture
def copied_pair(pairs: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(pairs["clip"], tmp_path / "pair")


# What is seen and read


@pytest.mark.parametrize("kind", KINDS)
def test_photos_are_seen_as_the_models_own_library_sees_them(
    kind: str, models: dict[str, tuple[Path, Any]], pixels: np.ndarray
) -> None:
    from transformers import CLIPImageProcessor, SiglipImageProcessor

    folder, model = models[kind]
    processor = {"clip": CLIPImageProcessor, "siglip": SiglipImageProcessor}[kind].from_pretrained(folder)
    prepared = processor([Image.fromarray(photo) for photo in pixels], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = unit(model.get_image_features(pixel_values=prepared).pooler_output.numpy())
    found = load_encoder(str(folder)).extract(pixels)[FIELD]
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, expected, atol=0.002)
    assert np.abs(expected[0] - expected[1]).max() > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_sentences_are_read_as_the_models_own_library_reads_them(
    kind: str, models: dict[str, tuple[Path, Any]]
) -> None:
    """SigLIP's are all filled up to one length, without a mask; CLIP's are not."""
    from transformers import PreTrainedTokenizerFast

    folder, model = models[kind]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    padding = "max_length" if kind == "siglip" else True
    given = tokenizer(list(SENTENCES), padding=padding, truncation=True, max_length=LONGEST, return_tensors="pt")
    if kind == "siglip":
        del given["attention_mask"]
    given.pop("token_type_ids", None)
    with torch.no_grad():
        expected = unit(model.get_text_features(**given).pooler_output.numpy())
    encoder = load_encoder(str(folder))
    np.testing.assert_allclose(encoder.embed_sentences(SENTENCES), expected, atol=1e-5)
    alone = np.concatenate([encoder.embed_sentences([sentence]) for sentence in SENTENCES])
    np.testing.assert_allclose(alone, expected, atol=1e-5)
    assert np.abs(expected[1] - expected[2]).max() > 0.001, "two languages, two words"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("below", "fixed"), [("onnx", False), (".", False), ("onnx", True)])
def test_a_pair_of_onnx_files_gives_the_same(
    kind: str, below: str, fixed: bool, models: dict[str, tuple[Path, Any]], pixels: np.ndarray, tmp_path: Path
) -> None:
    """Also one that was exported for one photo at a time and sentences of one length."""
    folder, model = models[kind]
    write_pair(model, folder, tmp_path / "pair", below, fixed)
    whole, pair = load_encoder(str(folder)), None
    seen, read = whole.embed_photos(pixels), whole.embed_sentences(SENTENCES)
    pair = load_encoder(str(tmp_path / "pair"))
    pair.check()
    np.testing.assert_allclose(pair.embed_photos(pixels), seen, atol=1e-5)
    np.testing.assert_allclose(pair.embed_sentences(SENTENCES), read, atol=1e-5)
    assert pair.fields == {FIELD: ((DIM if kind == "clip" else 16,), "float16")}


def test_a_pair_is_used_without_pytorch_or_transformers(pairs: dict[str, Path]) -> None:
    code = (
        "import sys, numpy as np; from samespace.words.encoder import load_encoder; "
        "encoder = load_encoder(sys.argv[1]); encoder.check(); encoder.embed_sentences(['a bed']); "
        "sys.exit(bool({'torch', 'transformers'} & sys.modules.keys()))"
    )
    subprocess.run([sys.executable, "-c", code, pairs["siglip"]], check=True, cwd=ROOT)


def test_a_photos_vector_does_not_depend_on_its_batch(pairs: dict[str, Path], pixels: np.ndarray) -> None:
    encoder = load_encoder(str(pairs["clip"]))
    alone = np.concatenate([encoder.embed_photos(photo[None]) for photo in pixels])
    np.testing.assert_allclose(encoder.embed_photos(pixels), alone, atol=1e-6)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"size": 8, "resample": 0}, lambda photo: photo.resize((8, 8), 0)),
        ({"size": {"height": 8, "width": 12}, "resample": 2}, lambda photo: photo.resize((12, 8), 2)),
        ({"size": {"shortest_edge": 32}, "do_center_crop": True, "crop_size": 16}, None),
        ({"do_resize": False, "do_center_crop": True, "crop_size": {"height": 20, "width": 10}}, None),
    ],
)
def test_preprocessing_is_what_its_file_says(
    said: dict[str, Any], expected: Callable[[Image.Image], Image.Image] | None, copied: Path, pixels: np.ndarray
) -> None:
    from transformers import CLIPImageProcessor

    (copied / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5] * 3, "image_std": [1, 2, 4], **said})
    )
    found = encoder_files.read_preprocessing(copied).apply(pixels)
    if expected:
        wanted = np.stack([np.asarray(expected(Image.fromarray(photo))) for photo in pixels])
        scaled = (wanted / np.float32(255) - 0.5) / [1, 2, 4]
        np.testing.assert_allclose(found, scaled.transpose(0, 3, 1, 2), atol=1e-6)
    else:
        processor = CLIPImageProcessor(image_mean=[0.5] * 3, image_std=[1, 2, 4], **said)
        wanted = processor([Image.fromarray(photo) for photo in pixels], return_tensors="np")["pixel_values"]
        np.testing.assert_allclose(found, wanted, atol=0.02)


def test_a_fingerprint_is_of_weights_and_preprocessing(copied: Path, copied_pair: Path, tmp_path: Path) -> None:
    def fingerprint(folder: Path) -> str:
        return encoder_files.files_of(str(folder)).fingerprint()

    before = {folder: fingerprint(folder) for folder in (copied, copied_pair)}
    assert len(set(before.values())) == 2
    assert fingerprint(shutil.copytree(copied, tmp_path / "elsewhere")) == before[copied]
    write_model(tmp_path / "other", seed=1)
    shutil.copy(tmp_path / "other" / "model.safetensors", copied)
    said = copied_pair / "preprocessor_config.json"
    said.write_text(said.read_text().replace('"resample": 3', '"resample": 2'))
    assert not {fingerprint(folder) for folder in before} & set(before.values())


# What is wrong


def refused(folder: Path | str, told: str) -> None:
    with pytest.raises(SameSpaceError, match=told) as caught:
        load_encoder(str(folder)).check()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["vision_model.onnx", "text_model.onnx"])
def test_a_damaged_or_foreign_onnx_file_is_one_sentence(name: str, copied_pair: Path, pairs: dict[str, Path]) -> None:
    file = copied_pair / "onnx" / name
    whole, other = file.read_bytes(), {"vision_model.onnx", "text_model.onnx"} - {name}
    for content in (b"", b"words", whole[: len(whole) // 2]):
        file.write_bytes(content)
        refused(copied_pair, f"{name} is damaged, or not an ONNX file: copy it again")
    file.write_bytes((pairs["clip"] / "onnx" / other.pop()).read_bytes())
    refused(copied_pair, rf"{name} takes \w+, not \w+ of \w+: give the pair of a CLIP or SigLIP model")
    file.unlink()
    refused(copied_pair, rf"needs {name} beside it: copy that, too")


def test_files_of_two_models_are_one_sentence(copied_pair: Path, pairs: dict[str, Path]) -> None:
    shutil.copy(pairs["siglip"] / "onnx" / "vision_model.onnx", copied_pair / "onnx")
    refused(copied_pair, "gives 16 numbers for a photo and 12 for a sentence: give files of one model")


def test_photos_of_another_size_are_one_sentence(copied: Path, copied_pair: Path) -> None:
    for folder in (copied, copied_pair):
        said = folder / "preprocessor_config.json"
        said.write_text(said.read_text().replace(f'"crop_size": {SIDE}', '"crop_size": 24'))
        refused(folder, r"does not take .*3×24×24: give the JSON files that belong to it")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer.json: copy it from the model"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), r"tokenizer\.json is damaged, or of another"),
        (lambda folder: (folder / "config.json").unlink(), "has no config.json: give a folder with a CLIP or SigLIP"),
        (lambda folder: (folder / "config.json").write_text("["), r"config\.json is damaged: copy it again"),
        (lambda folder: (folder / "config.json").write_text("{}"), "is of kind None: give a model of altclip, "),
        (
            lambda folder: (folder / "preprocessor_config.json").unlink(),
            r"has no preprocessor_config\.json, which says",
        ),
        (
            lambda folder: (folder / "preprocessor_config.json").write_text('{"size": {"width": -3}}'),
            r"preprocessor_config\.json is damaged, or says too little of photos",
        ),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"words"), "is damaged or not whole: copy or fetch"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"has no model\.safetensors and no onnx/vision_model"),
    ],
)
def test_a_damaged_or_foreign_folder_is_one_sentence(damage: Callable[[Path], object], told: str, copied: Path) -> None:
    damage(copied)
    refused(copied, told)


def test_weights_that_are_not_the_configs_are_not_made_up(copied: Path, models: dict[str, tuple[Path, Any]]) -> None:
    shutil.copy(models["siglip"][0] / "model.safetensors", copied)
    refused(copied, r"(are not those of its config\.json|is damaged or not whole): copy or fetch")


def test_nothing_is_unpickled_or_run(copied: Path) -> None:
    """Neither weights of before safetensors, nor code that a config names."""
    ran = copied / "ran"
    (copied / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Evil: pass\n")
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.Evil"}}))
    load_encoder(str(copied)).check()
    (copied / "config.json").write_text(
        json.dumps({**config, "model_type": "evil", "auto_map": {"AutoModel": "evil.Evil"}})
    )
    refused(copied, "is of kind evil: give a model of")
    (copied / "config.json").write_text(json.dumps(config))
    torch.save({"x": torch.zeros(1)}, copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()
    refused(copied, "only weights that would have to be unpickled, which can run code: give another model")
    assert not ran.exists()


def test_a_name_that_cannot_be_fetched_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    def unreachable(*_: object, **__: object) -> str:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    refused("some/model", r"^some/model is not a folder, and cannot be fetched .* give a folder \(no route to host\)$")
    refused(
        tmp_path / "nowhere", "nowhere is not a folder: give one with a CLIP or SigLIP model, or its name on the Hub"
    )


@pytest.mark.parametrize("fetched", ["pairs", "models"])
def test_a_name_is_fetched_once_without_pickles_or_code(
    fetched: str,
    pairs: dict[str, Path],
    models: dict[str, tuple[Path, Any]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The stand-in copies what the patterns allow, as the Hub would."""
    import huggingface_hub

    source, asked = pairs["clip"] if fetched == "pairs" else models["clip"][0], []
    mixed = shutil.copytree(source, tmp_path / "hub")
    for name in ("pytorch_model.bin", "evil.py", "onnx/model_q4.onnx"):
        (mixed / name).parent.mkdir(exist_ok=True)
        (mixed / name).write_bytes(b"")
    cache = tmp_path / "cache"

    def download(name: str, allow_patterns: list[str], local_files_only: bool) -> str:
        assert name == "some/model"
        if local_files_only:
            if not cache.is_dir():
                raise FileNotFoundError("not there")
            return str(cache)
        asked.append(allow_patterns)
        for path in mixed.rglob("*"):
            relative = path.relative_to(mixed)
            if path.is_file() and any(fnmatch(str(relative), pattern) for pattern in allow_patterns):
                (cache / relative).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, cache / relative)
        return str(cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    encoder = load_encoder("some/model")
    assert (encoder.source, encoder.name) == ("some/model", "model")
    times = len(asked)
    assert load_encoder("some/model").fingerprint == encoder.fingerprint
    assert len(asked) == times == (1 if fetched == "pairs" else 2)
    names = {path.name for path in cache.rglob("*")}
    assert names >= {"config.json", "tokenizer.json", "preprocessor_config.json"}
    assert not names & {"pytorch_model.bin", "evil.py", "model_q4.onnx"}


@pytest.mark.parametrize(
    ("lacking", "kind", "wanted"),
    [
        ("onnxruntime", "pair", "onnxruntime"),
        ("tokenizers", "pair", "'samespace[clip]'"),
        ("transformers", "whole", "'samespace[clip]'"),
        ("torch", "whole", "'samespace[clip]'"),
    ],
)
def test_a_package_that_is_not_installed_is_named(
    lacking: str, kind: str, wanted: str, copied: Path, copied_pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, lacking, None)
    refused(copied_pair if kind == "pair" else copied, re.escape(f"pip install {wanted}"))
