"""A plan comes back as it was written, and one that cannot be followed is refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from samespace.base.errors import SameSpaceError
from samespace.duplicates.apply import apply
from samespace.duplicates.plan import read_plan, write_plan
from tests.duplicates.conftest import Folder, Happened


def test_a_plan_comes_back_as_it_was_written(folder: Folder, tmp_path: Path) -> None:
    write_plan(tmp_path / "plan.json", folder.plan)
    assert read_plan(tmp_path / "plan.json") == folder.plan


def test_a_plan_outlives_a_power_cut(folder: Folder, tmp_path: Path, happened: Happened) -> None:
    write_plan(tmp_path / "plan.json", folder.plan)
    assert [path for what, path in happened if what == "sync"] == [tmp_path / ".plan.json.partial", tmp_path]


def change(record: dict[str, Any], where: str, value: Any) -> None:
    *parents, last = (int(part) if part.isdigit() else part for part in where.split("."))
    for parent in parents:
        record = record[parent]  # type: ignore[index]
    record[last] = value  # type: ignore[index]


@pytest.mark.parametrize(
    ("where", "value", "complaint"),
    [
        ("format", 2, "its format is 2, this version reads 1"),
        ("groups", None, "`groups` is missing"),
        ("groups.0.keep", [], "its group 1 keeps no photo"),
        ("groups.0.keep.0.path", "{b}", "is both kept and removed"),
        ("groups.1.remove.0.path", "{b}", "is removed twice"),
        ("groups.0.remove.0.path", "/etc/passwd", "is not inside its folder"),
        ("groups.0.remove.0.path", "{root}", "is not inside its folder"),
        ("groups.0.remove.0.path", "{root}/../x.jpg", "must be an absolute path without `..`"),
        ("groups.0.remove.0.path", "b/one.jpg", "must be an absolute path without `..`"),
        ("groups.0.remove.0.path", "/a\0b", "must be an absolute path without `..`"),
        ("groups.0.remove.0.path", "/\ud800", "must be an absolute path without `..`"),
        ("groups.0.remove.0.path", "{root}/.samespace/library.sqlite", "the library's own folder"),
        ("groups.0.remove.0.size", "11", "`size` is missing or has the wrong type"),
        ("groups.0.remove.0.size", True, "`size` is missing or has the wrong type"),
        ("groups.0.remove.0.library", "another", "it does not say where the library"),
        ("groups.0.remove.0", "b.jpg", "`path` is missing"),
        ("libraries", [], "`libraries` is missing"),
    ],
)
def test_a_plan_that_is_none_is_refused_in_one_sentence(
    folder: Folder, tmp_path: Path, where: str, value: Any, complaint: str
) -> None:
    path = tmp_path / "plan.json"
    write_plan(path, folder.plan)
    record = json.loads(path.read_text())
    change(record, where, value.format(root=folder.root, b=folder.b) if isinstance(value, str) else value)
    path.write_text(json.dumps(record))
    with pytest.raises(SameSpaceError, match="cannot be followed") as raised:
        read_plan(path)
    assert complaint in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"[]", b"null"])
def test_what_is_not_json_is_not_a_plan(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(SameSpaceError, match=r"plan\.json cannot be followed"):
        read_plan(tmp_path / "plan.json")
    with pytest.raises(SameSpaceError, match="cannot be read"):
        read_plan(tmp_path / "no such file")


def test_a_plan_that_contradicts_itself_is_not_written_and_not_followed(folder: Folder, tmp_path: Path) -> None:
    group = folder.plan.groups[0]
    plan = folder.plan._replace(groups=(group._replace(keep=()),))
    with pytest.raises(SameSpaceError, match="keeps no photo"):
        write_plan(tmp_path / "plan.json", plan)
    with pytest.raises(SameSpaceError, match="keeps no photo"):
        apply(plan)
    assert not (tmp_path / "plan.json").exists()
    assert folder.back()
