"""Keep a library's plans: every `dedupe` adds one, named by kind and time, and none takes another's place."""

from __future__ import annotations

import contextlib
import os
from datetime import datetime
from pathlib import Path

from samespace.base.errors import SameSpaceError
from samespace.duplicates.plan import Plan, read_plan, write_plan
from samespace.library.own_folder import PRIVATE

PLANS = "plans"  # the folder, in a library
OF_0_1 = "plan.json"  # in a library: the one plan that 0.1 kept there
MANY = 20  # plans, from which on a person is asked to delete some: none is deleted unasked


def keep_plan(library: Path, plan: Plan) -> Path:
    """Write a plan into a library, and return its file: plans/near-2026-11-29-183000.json.

    It takes the place of the newest of its kind if that says the same.
    """
    folder = library / PLANS
    try:
        folder.mkdir(mode=PRIVATE, exist_ok=True)
    except OSError as error:
        raise SameSpaceError(f"{folder} cannot be written: {error.strerror}") from error
    path = _same_as(library, plan) or _free_name(folder, plan.kind)
    write_plan(path, plan)
    return path


def plan_files(library: Path) -> list[Path]:
    """Return the plans in a library, the newest first."""
    dated = []
    for path in (library / OF_0_1, *(library / PLANS).glob("[!.]*.json")):
        with contextlib.suppress(OSError):
            dated.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(dated, reverse=True)]


def _same_as(library: Path, plan: Plan) -> Path | None:
    """Return the newest plan of this kind if it says the same, edited or not."""
    same_kind = [path for path in plan_files(library) if path.name.startswith(f"{plan.kind}-")]
    with contextlib.suppress(SameSpaceError):
        if same_kind and read_plan(same_kind[0])._replace(made=plan.made) == plan:
            return same_kind[0]
    return None


def _free_name(folder: Path, kind: str) -> Path:
    stem = f"{kind}-{datetime.now():%Y-%m-%d-%H%M%S}"
    path, number = folder / f"{stem}.json", 1
    while os.path.lexists(path):
        number += 1
        path = folder / f"{stem}-{number}.json"
    return path
