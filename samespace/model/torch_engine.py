"""Run a network on photos by torch: in training, on Determined's image, and for models without an ONNX file."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from samespace.base.arrays import Array
from samespace.base.photos import Pixels
from samespace.model import extract, graphs
from samespace.model.backbone import Backbone
from samespace.model.graphs import Graph


class TorchEngine:
    """Runs a graph by torch, on the device that its weights are on."""

    def __init__(self, graph: Graph) -> None:
        self._module = graph.module
        self._device = next(graph.module.parameters()).device
        on_cpu = self._device.type == "cpu"
        self.workers = torch.get_num_threads() if on_cpu else 1
        self.photos = 4 if on_cpu else 128

    @property
    def name(self) -> str:
        if self._device.type == "cpu":
            return f"PyTorch, {self.workers} at once"
        return f"PyTorch on {torch.cuda.get_device_name(self._device)}"

    @torch.no_grad()
    def __call__(self, photos: Pixels) -> Sequence[Array]:
        if self._device.type == "cpu":
            torch.set_num_threads(1)  # of this thread, one of several
            return [output.numpy() for output in self._module(torch.from_numpy(photos))]
        pixels = torch.from_numpy(photos).pin_memory().to(self._device, non_blocking=True)
        # TensorFloat-32 would give other answers than a CPU, and decoding is the bottleneck anyway.
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            return [output.cpu().numpy() for output in self._module(pixels)]


def of_backbone(backbone: Backbone) -> extract.NetworkExtractor:
    """Return the extractor of this backbone's vectors and materials."""
    graph = graphs.of_backbone(backbone)
    return extract.of_backbone(TorchEngine(graph), graph.sheet)
