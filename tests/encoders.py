"""Tiny CLIP and SigLIP models on disk, as Hugging Face's own code writes them: nothing learnt, everything real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn

WORDS = ("a", "photo", "of", "kitchen", "bed", "green", "walls", "people", "кухня", "台所")
SPECIALS = ("<pad>", "<unk>", "<start>", "<stop>")
SIDE = 16  # pixels that the models see
DIM = 12
LONGEST = 9  # tokens

_TEXT = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 2}
_VISION = {**_TEXT, "image_size": SIDE, "patch_size": 8}


def write_model(folder: Path, kind: str = "clip", seed: int = 0) -> Any:
    """Write a model of a kind, its tokenizer and its preprocessing, and return it."""
    from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

    size = len(SPECIALS) + len(WORDS)
    text = {**_TEXT, "vocab_size": size, "max_position_embeddings": LONGEST, "pad_token_id": 0}
    text |= {"bos_token_id": 2, "eos_token_id": 3}
    torch.manual_seed(seed)
    model: Any
    if kind == "clip":
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=_VISION, projection_dim=DIM))
    else:
        model = SiglipModel(SiglipConfig(text_config={**text, "projection_size": 16}, vision_config=_VISION))
    for values in model.parameters():  # the library's own are so small that all sentences are alike
        nn.init.normal_(values, std=0.3)
    model.eval().save_pretrained(folder)
    write_tokenizer(folder)
    write_preprocessing(folder, kind)
    return model


def write_tokenizer(folder: Path) -> None:
    """Write a tokenizer that knows a few words of three languages."""
    vocabulary = {word: number for number, word in enumerate((*SPECIALS, *WORDS))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing("<start> $A <stop>", None, [("<start>", 2), ("<stop>", 3)])
    made.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": LONGEST,
        **dict(zip(("pad_token", "unk_token", "bos_token", "eos_token"), SPECIALS, strict=True)),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def write_preprocessing(folder: Path, kind: str) -> None:
    """Write a preprocessor_config.json as the models of this kind have it."""
    if kind == "clip":
        size: dict[str, Any] = {"size": {"shortest_edge": SIDE}, "do_center_crop": True, "crop_size": SIDE}
        means = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    else:
        size, means = {"size": {"height": SIDE, "width": SIDE}}, ([0.5] * 3, [0.5] * 3)
    said = {**size, "resample": 3, "rescale_factor": 1 / 255, "image_mean": means[0], "image_std": means[1]}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))


class _Seeing(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model.get_image_features(pixel_values=pixel_values).pooler_output


class _Reading(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.model.get_text_features(input_ids=input_ids).pooler_output


def write_pair(model: Any, source: Path, folder: Path, below: str = "onnx", fixed: bool = False) -> None:
    """Write a model as a pair of ONNX files, as exports on the Hub lay them out; `fixed` for one photo, one length."""
    place = folder / below
    place.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        (folder / name).write_bytes((source / name).read_bytes())
    model.set_attn_implementation("eager")
    pixels, ids = torch.zeros(1, 3, SIDE, SIDE), torch.full((1, LONGEST), 3)
    for wrapped, given, name, taken, gives in (
        (_Seeing(model), pixels, "vision_model.onnx", "pixel_values", "image_embeds"),
        (_Reading(model), ids, "text_model.onnx", "input_ids", "text_embeds"),
    ):
        axes = {} if fixed else {taken: {0: "batch"}, gives: {0: "batch"}}
        if not fixed and taken == "input_ids":
            axes[taken][1] = "length"
        torch.onnx.export(
            wrapped.eval(),
            (given,),
            place / name,
            input_names=[taken],
            output_names=[gives],
            dynamic_axes=axes,
            dynamo=False,
        )
