"""Turn arrays, which files and whoever uses a model have, into tensors of PyTorch, which trains it, and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from samespace.base.arrays import Array


def arrays_of(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    """Return the same numbers as arrays, which share memory with tensors on the CPU."""
    return {name: value.detach().cpu().numpy() for name, value in tensors.items()}


def tensors_of(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    """Return the same numbers as tensors on the CPU."""
    return {name: torch.from_numpy(value.copy()) for name, value in arrays.items()}
