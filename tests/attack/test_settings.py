"""Settings that somebody spoilt are refused in a sentence, or can be used."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import yaml

import model_def
from experiments.config import read_config
from samespace.base.errors import SameSpaceError
from tests.attack.conftest import mutated, spoilt
from tests.conftest import ROOT


def test_spoilt_settings_are_refused_or_usable(rounds: Iterator[random.Random], tmp_path: Path) -> None:
    whole = (ROOT / "const.yaml").read_text()
    for chance in rounds:
        path = tmp_path / "spoilt.yaml"
        if chance.random() < 0.7:
            path.write_text(yaml.safe_dump(mutated(yaml.safe_load(whole), chance), allow_unicode=False))
        else:
            path.write_bytes(spoilt(whole.encode(), chance))
        try:
            config = read_config([str(path)])
            model_def.check(config["hyperparameters"])
            assert isinstance(config["data"]["dir"], str)
        except SameSpaceError as error:
            assert "\n" not in str(error)
