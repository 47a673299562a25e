"""Read an experiment's settings, and refuse in one sentence what they cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from samespace.base.errors import SameSpaceError

PROJECT = Path(__file__).resolve().parents[1]


def check_names(hparams: dict[str, Any], known: Sequence[str]) -> None:
    """Refuse, in one sentence, hyperparameters that an experiment does not have or that it lacks."""
    if hparams.keys() != set(known):
        raise SameSpaceError(f"hyperparameters are {', '.join(hparams)}: set {', '.join(known)}, as const.yaml does")


def read_config(choices: Sequence[str]) -> dict[str, Any]:
    """const.yaml, or the YAML file among `choices`, with their KEY=VALUE laid over it as `det --config` does."""
    files = [Path(choice) for choice in choices if "=" not in choice] or [PROJECT / "const.yaml"]
    config: dict[str, Any] = {}
    try:
        for file in files:
            config.update(yaml.safe_load(file.read_text()))
        for choice in choices:
            if "=" in choice:
                key, _, value = choice.partition("=")
                *sections, name = key.split(".")
                section = config
                for part in sections:
                    section = section.setdefault(part, {})
                section[name] = yaml.safe_load(value)
    except (OSError, TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise SameSpaceError(
            f"cannot use --config {' '.join(choices)} ({' '.join(str(error).split())}): "
            "give a YAML file like const.yaml, or KEY=VALUE as in hyperparameters.head=concat"
        ) from error
    if not isinstance(config.get("hyperparameters"), dict):
        raise SameSpaceError(f"{' '.join(map(str, files))} has no hyperparameters: give a YAML file like const.yaml")
    if "dir" not in (config.get("data") or {}):
        raise SameSpaceError("no photos to train on: give --data ROOT, the folder that holds 'Airbnb Data'")
    return config
