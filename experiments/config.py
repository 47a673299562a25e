"""Read an experiment's settings, and refuse in one sentence what they cannot be."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from samespace.base.errors import SameSpaceError
from samespace.base.once import default_cache

PROJECT = Path(__file__).resolve().parents[1]


# ---- what a setting can be


class Kind(NamedTuple):
    """A kind of value: which values it allows, and what to tell whoever gives another one."""

    allows: Callable[[Any], bool]
    advice: str
    optional: bool = False  # may be left out, or be null


def whole_number(least: int) -> Kind:
    return Kind(lambda value: type(value) is int and value >= least, f"give a whole number from {least}")


def one_of(choices: Sequence[Any], optional: bool = False) -> Kind:
    return Kind(lambda value: value in list(choices), f"choose one of {', '.join(map(str, choices))}", optional)


ANY = Kind(lambda value: True, "")  # checked elsewhere
SHARE = Kind(lambda value: isinstance(value, (int, float)) and 0 <= value < 1, "give a number from 0 to below 1")
RATE = Kind(lambda value: isinstance(value, (int, float)) and 0 < value < 1, "give a number between 0 and 1")
TEXT = Kind(lambda value: isinstance(value, str), "give a path", optional=True)
DATA = {
    "data.dir": Kind(lambda value: isinstance(value, str) and value != "", "give the folder that holds the data"),
    "data.cache": TEXT,
    "data.captions": TEXT,
    "data.features": TEXT,
    "data.held_out": SHARE._replace(optional=True),
    "data.secrets": Kind(
        lambda value: isinstance(value, Mapping), "give kaggle_username and kaggle_key", optional=True
    ),
}
WEIGHTS = Kind(lambda value: isinstance(value, str), "give imagenet, none or the path of a state dict")


def check(settings: Mapping[str, Any], kinds: Mapping[str, Kind], noun: str = "hyperparameter") -> None:
    """Refuse an unknown setting, a missing one, and a value that is not of the kind its name stands for."""
    for name in settings:
        if name not in kinds:
            raise SameSpaceError(f"unknown {noun} {name!r}: choose among {', '.join(kinds)}")
    for name, kind in kinds.items():
        if kind.optional and settings.get(name) is None:
            continue
        if name not in settings:
            raise SameSpaceError(f"{noun} {name} is missing: set it as const.yaml does")
        if not kind.allows(settings[name]):
            raise SameSpaceError(f"{name} cannot be {settings[name]!r}: {kind.advice}")


def check_data(settings: Any) -> None:
    """Refuse a section `data` of a YAML file whose values cannot be what their names stand for."""
    if not isinstance(settings, Mapping):
        raise SameSpaceError(f"data cannot be {settings!r}: give data.dir and the rest as const.yaml does")
    given = {f"data.{name}": value for name, value in settings.items()}
    check({name: value for name, value in given.items() if name in DATA}, DATA, "setting")


# ---- where settings come from


def read_config(choices: Sequence[str], default: Path = PROJECT / "const.yaml") -> dict[str, Any]:
    """Return an experiment's settings: those of the YAML file among `choices`, or of `default` if there is none.

    KEY=VALUE among `choices` is laid over them, as `det --config` does.
    """
    files = [Path(choice) for choice in choices if "=" not in choice] or [default]
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
    except (OSError, TypeError, ValueError, AttributeError, RecursionError, yaml.YAMLError) as error:
        raise SameSpaceError(
            f"cannot use --config {' '.join(choices)} ({' '.join(str(error).split())}): "
            "give a YAML file like const.yaml, or KEY=VALUE as in hyperparameters.epochs=5"
        ) from error
    if not isinstance(config.get("hyperparameters"), dict):
        raise SameSpaceError(f"{' '.join(map(str, files))} has no hyperparameters: give a YAML file like const.yaml")
    if not isinstance(config.get("searcher", {}), dict):
        raise SameSpaceError(f"searcher cannot be {config['searcher']!r}: give its name and metric as const.yaml does")
    if "data" not in config or (isinstance(config["data"], dict) and "dir" not in config["data"]):
        raise SameSpaceError("nothing to train on: give --data ROOT, or data.dir in the YAML file")
    check_data(config.get("data"))
    return config


def make_parser(
    const: Path, data: str, output: str, example: str, module: str | None = None
) -> argparse.ArgumentParser:
    """Return the parser of a command that trains here, with the settings of `const` unless it is told others.

    `data` says what --data names, `output` is the default of --output, `example` a hyperparameter to change. `module`
    is what `python3 -m` runs, if the command is not a script.
    """
    parser = argparse.ArgumentParser(
        prog=module and f"python3 -m {module}",
        description="Train here. To train on a Determined cluster: det experiment create.",
    )
    parser.set_defaults(const=const)
    parser.add_argument("--data", type=Path, metavar="ROOT", help=f"{data} (default: const.yaml's)")
    parser.add_argument("--epochs", type=int, help="how long to train at most (default: const.yaml's)")
    parser.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="KEY=VALUE | FILE",
        help=f"change a setting, as in hyperparameters.{example}, or take all from a YAML file",
    )
    parser.add_argument("--output", type=Path, default=Path(output), help="what to write (default: %(default)s)")
    return parser


def config_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that a command line asks for; --data and --epochs win over --config."""
    choices = [f"data.cache={json.dumps(str(default_cache()))}", *arguments.config]
    if arguments.data:
        choices.append(f"data.dir={json.dumps(str(arguments.data.absolute()))}")
    if arguments.epochs is not None:
        choices.append(f"hyperparameters.epochs={arguments.epochs}")
    return read_config(choices, arguments.const)
