"""Measure how fast an encoder of CLIP ViT-B/32's size sees photos and reads sentences: by PyTorch, and by ONNX Runtime.

    python benchmarks/encoder.py [--photos N] [--rounds N] [--json]

Its weights are random, so that nothing is fetched: this measures speed alone, and says nothing of answers. Both run the
same network in one run, by turns; their ratio tells more than the rates, which depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import CLIPConfig, CLIPModel

from samespace.words.encoder import Encoder, load_encoder

WORDS = ["a", "photo", "of", "the", "kitchen", "with", "green", "walls", "and", "two", "wooden", "chairs"]
SPECIALS = ("<pad>", "<start>", "<stop>")


class Row(NamedTuple):
    """Hold what ran, and how many of what it did in a second."""

    what: str
    engine: str
    rate: float  # a second of wall time
    per_cpu: float  # a second of all processors together


class Half(nn.Module):
    """One of the two networks, whose vectors alone are returned."""

    def __init__(self, model: Any, half: str) -> None:
        super().__init__()
        self.model, self.sees = model, half == "vision"

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        half = self.model.vision_model if self.sees else self.model.text_model
        project = self.model.visual_projection if self.sees else self.model.text_projection
        found: torch.Tensor = project(half(given).pooler_output)
        return found


def write_model(folder: Path) -> Any:
    """Write a network of the size of CLIP ViT-B/32, which the configuration's own defaults are, and return it."""
    torch.manual_seed(0)
    model: Any = CLIPModel(CLIPConfig(text_config={"bos_token_id": 1, "eos_token_id": 2}))
    model.eval()
    model.save_pretrained(folder)
    vocabulary = {word: number for number, word in enumerate((*SPECIALS, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("<start>", 1), ("<stop>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing("<start> $A <stop>", None, ends)
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 77, "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    means = {"image_mean": [0.4815, 0.4578, 0.4082], "image_std": [0.2686, 0.2613, 0.2758]}
    size = {"size": {"shortest_edge": 224}, "do_center_crop": True, "crop_size": 224}
    (folder / "preprocessor_config.json").write_text(json.dumps({**size, **means, "resample": 3}))
    return model


def write_pair(model: Any, source: Path, folder: Path) -> None:
    """Write the same network as a pair of ONNX files."""
    (folder / "onnx").mkdir(parents=True)
    for file in source.glob("*.json"):
        (folder / file.name).write_bytes(file.read_bytes())
    model.set_attn_implementation("eager")
    for half, given, taken, gives in (
        ("vision", torch.zeros(1, 3, 224, 224), "pixel_values", "image_embeds"),
        ("text", torch.full((1, 16), 2), "input_ids", "text_embeds"),
    ):
        torch.onnx.export(
            Half(model, half).train(False),
            (given,),
            folder / "onnx" / f"{half}_model.onnx",
            input_names=[taken],
            output_names=[gives],
            dynamic_axes={taken: {0: "batch", **({1: "length"} if half == "text" else {})}, gives: {0: "batch"}},
            dynamo=False,
        )


def measure(encoders: dict[str, Encoder], photos: int, rounds: int) -> list[Row]:
    """Return the best rate of each engine, which take turns."""
    pixels = np.random.default_rng(0).integers(0, 256, (photos, 256, 256, 3), np.uint8)
    sentences = [" ".join(np.random.default_rng(number).permutation(WORDS)) for number in range(4 * photos)]
    jobs: dict[str, tuple[int, Callable[[Encoder], object]]] = {
        "photos": (photos, lambda encoder: [encoder.embed_photos(pixels[at : at + 32]) for at in range(0, photos, 32)]),
        "sentences": (len(sentences), lambda encoder: encoder.embed_sentences(sentences)),
    }
    rows = []
    for what, (count, work) in jobs.items():
        taken: dict[str, list[tuple[float, float]]] = {engine: [] for engine in encoders}
        for _ in range(rounds + 1):  # the first of all opens the networks
            for engine, encoder in encoders.items():
                start, cpu = perf_counter(), process_time()
                work(encoder)
                taken[engine].append((perf_counter() - start, process_time() - cpu))
        for engine, times in taken.items():
            wall, processors_time = (min(column) for column in zip(*times[1:], strict=True))
            rows.append(Row(what, engine, count / wall, count / processors_time))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how fast an encoder is.")
    parser.add_argument("--photos", type=int, default=64, help="photos in a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the best counts (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        whole, pair = Path(place, "transformers"), Path(place, "onnx")
        whole.mkdir()
        write_pair(write_model(whole), whole, pair)
        encoders = {"PyTorch": load_encoder(str(whole)), "ONNX Runtime": load_encoder(str(pair))}
        rows = measure(encoders, arguments.photos, arguments.rounds)
    if arguments.json:
        print(json.dumps([row._asdict() for row in rows]))
        return
    print("| | engine | a second | a second of CPU |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row.what} | {row.engine} | {row.rate:,.0f} | {row.per_cpu:,.1f} |")
    by_engine = {(row.what, row.engine): row.per_cpu for row in rows}
    for what in ("photos", "sentences"):
        print(f"{what}: ONNX Runtime / PyTorch {by_engine[what, 'ONNX Runtime'] / by_engine[what, 'PyTorch']:.2f}")


if __name__ == "__main__":
    main()
