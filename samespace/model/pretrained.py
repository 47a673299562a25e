"""Open a model in the format of Hugging Face's transformers, by PyTorch: safetensors alone, and none of its code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samespace.base.errors import SameSpaceError


def open_model(folder: Path, **options: Any) -> tuple[Any, set[str]]:
    """Return the model in a folder, in float32, and the names of those weights that its files lack."""
    auto = _transformers(str(folder)).AutoModel
    try:
        model, told = auto.from_pretrained(
            folder,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
    except Exception as error:  # of many kinds, by what is wrong
        raise SameSpaceError(f"the model in {folder} is damaged or not whole: copy or fetch it again") from error
    if told.get("mismatched_keys"):
        raise foreign_weights(folder)
    return model.float().eval(), set(told["missing_keys"])


def foreign_weights(folder: Path) -> SameSpaceError:
    """Return what to raise if a folder's weights are those of another model."""
    return SameSpaceError(f"the weights in {folder} are not those of its config.json: copy or fetch both again")


def model_of(config: Mapping[str, Any], name: str, **options: Any) -> Any:
    """Return the model that a config describes, with random weights, the same every time; `name` is for errors."""
    transformers = _transformers(name)
    import torch

    try:
        described = transformers.AutoConfig.for_model(**config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return transformers.AutoModel.from_config(described, trust_remote_code=False, **options).float().eval()
    except Exception as error:
        kind = config.get("model_type")
        raise SameSpaceError(
            f"transformers {transformers.__version__} makes no model of {name}'s config ({kind}): install a later one "
            "(pip install -U transformers), or give another model"
        ) from error


def _transformers(name: str) -> Any:
    try:
        import torch  # noqa: F401 - transformers does without it, and then has no models
        import transformers
        from transformers.utils import logging
    except ImportError as error:
        raise SameSpaceError(f"running the model {name} needs pip install 'samespace[clip]'") from error
    quiet: Any = logging
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    return transformers
