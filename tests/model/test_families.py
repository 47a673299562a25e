"""Backbones of every family answer as their own library's networks do, as ONNX and from a model's folder, too."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
import transformers
from torch import Tensor, nn

import samespace
from samespace.base.errors import SameSpaceError
from samespace.base.photos import SIZE
from samespace.model import backbone as backbone_module
from samespace.model import bare, graphs
from samespace.model.backbone import IMAGENET_MEAN, IMAGENET_STD, make_backbone
from samespace.model.engine import OnnxEngine
from samespace.model.families import NAMES
from samespace.model.feature_bank import to_tensor
from samespace.model.model_folder import read
from samespace.model.names import ALL, is_known
from samespace.model.network import TwinNetwork
from samespace.model.write import describe, rebuild, write_model
from samespace.search.look import choose_look

DEEP = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64}
STAGES = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]}
WINDOWS = {"embed_dim": 8, "depths": [1, 1, 1, 2], "num_heads": [1, 1, 2, 2]}


def pixels(count: int = 2) -> Any:
    return np.random.default_rng(3).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def normalised(photos: Any) -> Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (to_tensor(list(photos)) / 255 - mean) / std


def off(found: Any, expected: Any) -> float:
    """Return how far numbers are from others, as a share of their spread."""
    found, expected = np.asarray(found), np.asarray(expected)
    return float(np.abs(found - expected).max() / expected.std())


def as_onnx(backbone: Any) -> Any:
    graph = graphs.of_backbone(backbone)
    return OnnxEngine(graphs.to_onnx(graph), Path("network.onnx"), graph.sheet)(pixels())


# ---- torchvision


def test_every_network_that_is_known_by_name_can_be_cut() -> None:
    assert sorted(NAMES) == sorted(ALL)


def test_every_name_is_one_of_torchvisions_that_is_normalised_so_and_published_with_its_hash() -> None:
    for name, cut in NAMES.items():
        weights = torchvision.models.get_model_weights(name).DEFAULT
        net = nn.Identity()
        backbone = backbone_module.Backbone(name, net, net, net)
        if name != "inception_v3":  # whose own rescaling is left out
            prepared = weights.transforms()
            assert (backbone.mean, backbone.std) == (tuple(prepared.mean), tuple(prepared.std)), name
        assert cut or weights.meta["min_size"] == (224, 224)
        assert len(weights.url.rpartition("-")[2].partition(".")[0]) == 8


def test_names_are_known_by_family_and_a_slip_is_answered() -> None:
    assert is_known("resnext50_32x4d") and is_known("facebook/dinov2-small")
    assert not is_known("resnet51") and not is_known(["vgg16"])
    with pytest.raises(SameSpaceError, match=r"unknown backbone 'swin_x', did you mean swin_.*facebook/dinov2-small"):
        make_backbone("swin_x")


def tiny(name: str) -> Any:
    """A network of a family's own class, far smaller than any that has weights."""
    models = torchvision.models
    if name == "resnet18":
        return models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 2])
    if name == "convnext_tiny":
        sizes = [(8, 16, 1), (16, 24, 1), (24, 32, 1), (32, None, 2)]
        return models.ConvNeXt([models.convnext.CNBlockConfig(*size) for size in sizes])
    if name == "swin_t":
        return models.SwinTransformer([4, 4], window_size=[7, 7], **WINDOWS)
    if name == "swin_v2_t":
        parts = {"block": models.swin_transformer.SwinTransformerBlockV2}
        parts["downsample_layer"] = models.swin_transformer.PatchMergingV2
        return models.SwinTransformer([4, 4], window_size=[8, 8], **WINDOWS, **parts)
    if name == "vit_b_16":
        return models.VisionTransformer(224, 16, num_layers=4, num_heads=2, hidden_dim=32, mlp_dim=64)
    return getattr(models, name)()


@pytest.mark.parametrize(
    ("name", "last", "places"),
    [
        ("resnet18", "fc", 16),
        ("regnet_y_400mf", "fc", 16),
        ("efficientnet_b0", "classifier", 16),
        ("convnext_tiny", "classifier", 16),
        ("swin_t", "head", 16),
        ("swin_v2_t", "head", 16),
        ("vit_b_16", "heads", 14),
    ],
)
@torch.no_grad()
def test_a_backbone_of_each_family_is_torchvisions_network_without_its_last_layer(
    name: str, last: str, places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(2)
    net = tiny(name).eval()
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, weights: tiny(name))
    monkeypatch.setattr(backbone_module, "fetch_imagenet", lambda name: net.state_dict())
    backbone = make_backbone(name)
    if last == "classifier":
        net.classifier[-1] = nn.Identity()
    else:
        setattr(net, last, nn.Identity())
    photos = normalised(pixels())
    if not backbone.has_last:
        photos = F.interpolate(photos, (224, 224), mode="bilinear", antialias=True)
    expected = net(photos)
    assert off(backbone(to_tensor(list(pixels()))), expected) < 1e-3
    assert backbone.shapes()[0][1:] == (places, places)
    if name in ("swin_t", "swin_v2_t", "vit_b_16"):  # convolutions are tested as ONNX elsewhere
        assert off(as_onnx(backbone)[0], expected) < 1e-3


# ---- Hugging Face


def config(kind: str) -> Any:
    if kind == "dinov2":  # positions for another size than its photos'
        return transformers.Dinov2Config(**DEEP, image_size=70, patch_size=7)
    if kind == "registers":
        return transformers.Dinov2WithRegistersConfig(**DEEP, image_size=70, patch_size=7)
    if kind == "dinov3":
        return transformers.DINOv3ViTConfig(**DEEP, image_size=56, patch_size=7, num_register_tokens=4)
    if kind == "vit":
        return transformers.ViTConfig(**DEEP, image_size=56, patch_size=7)
    if kind == "swin":
        return transformers.SwinConfig(image_size=56, patch_size=2, window_size=4, **WINDOWS)
    if kind == "convnext":
        return transformers.ConvNextConfig(**STAGES)
    if kind == "mae":  # which masks places by chance
        return transformers.ViTMAEConfig(**DEEP, image_size=56, patch_size=7)
    assert kind == "bert"
    return transformers.BertConfig(**DEEP, vocab_size=20)


def write(folder: Path, kind: str) -> Path:
    torch.manual_seed(1)
    transformers.AutoModel.from_config(config(kind)).save_pretrained(folder)
    said = {
        "do_resize": True,
        "size": {"shortest_edge": 64},
        "do_center_crop": True,
        "crop_size": {"height": 56, "width": 56},
        "resample": 3,
        "rescale_factor": 1 / 255,
        "image_mean": IMAGENET_MEAN,
        "image_std": IMAGENET_STD,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return folder


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("hub") / "dinov2", "dinov2")


@pytest.fixture
def copied(dinov2: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(dinov2, tmp_path / "copied"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("kind", "sides"),
    [
        ("dinov2", (8, 8, 8)),
        ("registers", (8, 8, 8)),
        ("dinov3", (8, 8, 8)),
        ("vit", (8, 8, 8)),
        ("swin", (14, 7, 4)),
        ("convnext", (14, 7, 3)),
    ],
)
@torch.no_grad()
def test_a_model_of_hugging_face_answers_as_by_itself(kind: str, sides: tuple[int, ...], tmp_path: Path) -> None:
    folder = write(tmp_path / "model", kind)
    photos = F.interpolate(normalised(pixels()), (56, 56), mode="bicubic", antialias=True)
    found = transformers.AutoModel.from_pretrained(folder).eval()(pixel_values=photos, output_hidden_states=True)
    # A pooler of ViT's is trained for other ends, or not at all.
    expected = found.last_hidden_state[:, 0] if kind == "vit" else found.pooler_output.flatten(1)
    backbone = make_backbone(str(folder))
    vectors, stages = backbone.see(to_tensor(list(pixels())))
    assert off(vectors, expected) < 1e-3
    assert tuple(stage.shape[-1] for stage in stages) == sides
    if kind.startswith("dino"):
        others = 5 if kind == "dinov3" else 1  # tokens that stand for no place
        places = found.hidden_states[3][:, others:]
        assert off(stages[2].flatten(2).transpose(1, 2), places) < 1e-3
    if kind in ("vit", "convnext"):  # nothing in them that others have not
        return
    vectors_, fine, coarse = as_onnx(backbone)
    assert off(vectors_, expected) < 1e-3
    assert (fine.shape[2:], coarse.shape[2:]) == ((sides[1],) * 2, (sides[2],) * 2)


def test_a_models_folder_makes_its_network_again_without_the_models_files(copied: Path, tmp_path: Path) -> None:
    network = TwinNetwork(make_backbone(str(copied)), "concat").eval()
    assert network.trainable == "head"
    write_model(tmp_path / "model", network, describe(network, {}, {}))
    shutil.rmtree(copied)
    contents = read(tmp_path / "model")
    assert contents.description["trunk"] == "copied"
    again = rebuild(contents)
    assert graphs.of_network(again).sheet.fingerprint == graphs.of_network(network).sheet.fingerprint
    expected = network.embed(to_tensor(list(pixels()))).vectors
    assert off(again.embed(to_tensor(list(pixels()))).vectors, expected) < 1e-3
    assert off(samespace.load(tmp_path / "model").embed_pixels(pixels()).vectors, expected) < 1e-2  # half precision
    said = json.loads((tmp_path / "model" / "model.json").read_text())
    for wrong in ({}, {**said["trunk_config"], "side": 1 << 40}, {**said["trunk_config"], "config": {}}):
        (tmp_path / "model" / "model.json").write_text(json.dumps({**said, "trunk_config": wrong}))
        with pytest.raises(SameSpaceError):
            rebuild(read(tmp_path / "model"))


def test_a_transformer_has_no_convolution_that_could_learn(dinov2: Path) -> None:
    with pytest.raises(SameSpaceError, match="dinov2 has no last convolution that could learn: set trainable to head"):
        TwinNetwork(make_backbone(str(dinov2)), "concat", "last_conv")


def test_a_folder_is_converted_once_wherever_it_is(
    copied: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    look = choose_look(backbone="./copied")
    assert look.options == ("--backbone", str(copied.resolve()))
    found = look.extractor.extract(pixels())
    copied.rename(tmp_path / "moved")
    monkeypatch.setattr(bare, "find_spec", lambda package: None)
    extractor = bare.for_backbone(str(tmp_path / "moved"))
    assert extractor.fingerprint == look.extractor.fingerprint
    assert np.array_equal(extractor.extract(pixels())["vectors"], found["vectors"])
    assert extractor.materials and extractor.materials.extract(pixels())["materials"].shape[0] == 2


def drop_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])


def deepen(folder: Path) -> None:
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**said, "num_hidden_layers": 5}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json: give a folder with a vision model"),
        (lambda folder: (folder / "config.json").write_text("[]"), r"config\.json is damaged"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), r"has no preprocessor_config\.json"),
        (drop_weights, "has no model.safetensors, only weights that would have to be unpickled"),
        (cut_weights, "the model in .* is damaged or not whole: copy or fetch it again"),
        (deepen, r"the weights in .* are not those of its config\.json"),
        (partial(write, kind="mae"), "gives other numbers each time that it sees a photo: give another model"),
        (partial(write, kind="bert"), r"is no model of photos alone \(BertModel\): give a vision model"),
    ],
)
def test_a_damaged_or_foreign_folder_is_refused_in_one_sentence(spoil: Any, said: str, copied: Path) -> None:
    spoil(copied)
    with pytest.raises(SameSpaceError, match=said) as raised:
        make_backbone(str(copied))
    assert "\n" not in str(raised.value)


def test_what_cannot_be_fetched_is_said_in_one_sentence(dinov2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("Name or service\nnot known")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(SameSpaceError, match=r"cannot be fetched from the Hugging Face Hub.*service not known\)$"):
        make_backbone("facebook/dinov2-small")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(dinov2))
    assert make_backbone("facebook/dinov2-small").name == "facebook/dinov2-small"
    with pytest.raises(SameSpaceError, match="has weights of its own: leave out weights"):
        make_backbone("facebook/dinov2-small", "weights.pth")
    with pytest.raises(SameSpaceError, match="is not a folder: give one with a vision model, or its name on the Hub"):
        make_backbone("/nowhere/at/all")
