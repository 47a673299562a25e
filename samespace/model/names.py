"""Know by name which of torchvision's networks can be backbones, without torch."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from samespace.base.errors import SameSpaceError
from samespace.model.hub import is_named

MEASURED = ("mobilenet_v3_large", "mobilenet_v3_small", "mobilenet_v2", "resnet50", "inception_v3", "vgg16")

# The sizes of the rest of their families; two whose ONNX files would exceed 2 GB are left out.
_GIGAFLOPS = ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf")
SIZES: dict[str, tuple[str, ...]] = {
    "resnet": ("18", "34", "101", "152"),
    "resnext": ("50_32x4d", "101_32x8d", "101_64x4d"),
    "wide_resnet": ("50_2", "101_2"),
    "regnet_x_": _GIGAFLOPS,
    "regnet_y_": _GIGAFLOPS,
    "efficientnet_": (*(f"b{size}" for size in range(8)), "v2_s", "v2_m", "v2_l"),
    "convnext_": ("tiny", "small", "base", "large"),
    "swin_": ("t", "s", "b", "v2_t", "v2_s", "v2_b"),
    "vit_": ("b_16", "b_32", "l_16", "l_32"),
}

ALL = (*MEASURED, *(family + size for family, sizes in SIZES.items() for size in sizes))

CHOICES = (
    f"choose one of {', '.join(MEASURED)}, another of torchvision's ResNet, ResNeXt, RegNet, EfficientNet, ConvNeXt, "
    "Swin or ViT, or a vision model of the Hugging Face Hub by name (facebook/dinov2-small) or folder"
)


def is_known(name: Any) -> bool:
    """Tell if anything can be a backbone's name: one of torchvision's, a model's on the Hub, or a folder's."""
    return isinstance(name, str) and (name in ALL or is_named(name))


def unknown(name: str) -> SameSpaceError:
    """Return what to raise if there is no backbone of this name."""
    near = get_close_matches(name, ALL, n=1)
    return SameSpaceError(f"unknown backbone {name!r}{f', did you mean {near[0]}?' if near else ':'} {CHOICES}")
