"""Attacks that go on for as long as they are given: `make attack`. The other tests leave this folder alone."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from itertools import count
from time import monotonic
from typing import Any

import pytest

SECONDS = float(os.environ.get("ATTACK", "0"))  # for all attacks together
SEED = os.environ.get("ATTACK_SEED", "0")  # another one attacks in other ways
ATTACKS = 7

collect_ignore_glob = [] if SECONDS else ["test_*.py"]

ODD_VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    5,
    2**70,
    0.5,
    1e308,
    float("nan"),
    "",
    "a\0b",
    "\udcff",
    "../..",
    "/",
    "/nowhere",
    "x" * 5000,
    [],
    ["a"],
    {},
    {"a": {"b": []}},
]


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> Iterator[random.Random]:
    """Yield chance for one round after another, until this attack's share of the time is over.

    A failing round is told by its number, and is the same whenever the seed is.
    """

    def each() -> Iterator[random.Random]:
        until = monotonic() + SECONDS / ATTACKS
        for number in count():
            if number and monotonic() > until:
                return
            print(f"round {number} of seed {SEED}")
            yield random.Random(f"{SEED} {request.node.name} {number}")

    return each()


def mutated(value: Any, chance: random.Random) -> Any:
    """Return a copy of a JSON value with something odd somewhere in it."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        name = chance.choice(sorted(value))
        action = chance.random()
        if action < 0.1:
            return {key: inner for key, inner in value.items() if key != name}
        if action < 0.2:
            return {**value, name: value[chance.choice(sorted(value))]}
        return {**value, name: mutated(value[name], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        at = chance.randrange(len(value))
        action = chance.random()
        if action < 0.1:
            return value[:at] + value[at + 1 :]
        if action < 0.2:
            return [*value, value[at]]
        return [*value[:at], mutated(value[at], chance), *value[at + 1 :]]
    if isinstance(value, str) and value and chance.random() < 0.5:
        at = chance.randrange(len(value))
        return value[:at] + chance.choice(["", "/", "/../", "\udcff", "A", "\n"]) + value[at + 1 :]
    return chance.choice(ODD_VALUES)


def spoilt(content: bytes, chance: random.Random) -> bytes:
    """Return bytes with a few of them changed, lost, doubled or zeroed."""
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(content) + 1)
        end = min(len(content), at + chance.choice([1, 2, 4, 100, 4096]))
        content = content[:at] + chance.choice([b"", chance.randbytes(end - at), bytes(end - at)]) + content[end:]
    return content
