"""Without a trained model: how alike two photos are to a network that only ever saw ImageNet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F

from samespace.base.photos import read_pixels
from samespace.model.backbone import SIZE, make_trunk
from samespace.model.feature_bank import to_tensor

# From this cosine on two photos are called the same space. A habit of deduplicators, not a calibrated choice:
# imagededup's default.
THRESHOLD = 0.9


@torch.no_grad()
def cosine(photos: Sequence[str | Path], backbone: str = "mobilenet_v3_large", weights: str = "imagenet") -> float:
    """Cosine of the ImageNet features of two photos."""
    pixels = to_tensor([read_pixels(Path(photo), SIZE) for photo in photos])
    first, second = F.normalize(make_trunk(backbone, weights)(pixels), dim=1)
    return float(first @ second)
