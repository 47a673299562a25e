"""A plan that somebody spoilt loses no photo, and touches nothing outside its folder."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from samespace.cli.main import main
from samespace.duplicates.plan import write_plan
from tests.attack.conftest import mutated
from tests.duplicates.conftest import MEMORY, Folder, snapshot, undo_all


def contents(root: Path) -> set[bytes]:
    return {path.read_bytes() for path in root.rglob("*") if path.is_file() and not path.is_symlink()}


def test_a_spoilt_plan_loses_no_photo(rounds: Iterator[random.Random], capsys: pytest.CaptureFixture[str]) -> None:
    for chance in rounds:
        with tempfile.TemporaryDirectory(dir=MEMORY) as name:
            folder, other = Folder(Path(name, "photos")), Path(name, "other")
            other.mkdir()
            (other / "diary.txt").write_text("not a photo, and nobody's business")
            outside, photos = (
                snapshot(other),
                {path.read_bytes() for path in (folder.a, folder.b, folder.odd, folder.two)},
            )
            plan = Path(name, "plan.json")
            write_plan(plan, folder.plan)
            record = json.loads(plan.read_text())
            for _ in range(chance.randint(1, 3)):
                record = mutated(record, chance)
            plan.write_text(json.dumps(record))
            status = main(["apply", str(plan), "--to", chance.choice(["quarantine", "hardlink", "symlink"])])
            assert status in (0, 1)
            assert photos <= contents(folder.root)
            assert snapshot(other) == outside
            assert len(capsys.readouterr().err) < 20_000
            undo_all(folder.library.folder)
            assert folder.back()
