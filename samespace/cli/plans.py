"""Say which plans a library has, and the commands that carry plans out and take them back."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from samespace.base.errors import SameSpaceError
from samespace.base.find import DATABASE
from samespace.base.text import count, full_path
from samespace.duplicates.plan import Plan, kind_of, read_plan, write_plan
from samespace.duplicates.plan_files import MANY, PLANS, keep_plan, plan_files
from samespace.library.own_folder import no_library


def show_plans(library: Path) -> int:
    """List the plans of a library, the newest first, each with the command that applies it; return exit status 2.

    Plans that remove nothing, which only show what to look at, are left out.
    """
    plans = plan_files(library)
    if not plans and not (library / DATABASE).is_file():
        raise no_library(library)
    if not plans:
        raise SameSpaceError(f"no plans in {library}: `samespace dedupe` writes one")
    described = {path: said for path in plans if (said := _described(path))}
    if not described:
        raise SameSpaceError(f"no plan in {library} removes a photo: `samespace dedupe` writes another")
    print("nothing was applied: name a plan, the newest comes first\n")
    for path, said in described.items():
        print(f"  samespace apply {full_path(path)}  # {said}")
    return 2  # as for any command that lacks a word


def _described(path: Path) -> str:
    """Return what a plan would do; "" for nothing."""
    try:
        plan = read_plan(path)
    except SameSpaceError:
        return "cannot be followed as a plan"
    photos = sum(len(group.remove) for group in plan.groups)
    if not photos:
        return ""
    written = datetime.fromtimestamp(path.stat().st_mtime)
    return f"{plan.kind}, {written:%Y-%m-%d %H:%M}, removes {count(photos, 'photo')}"


def write(plan: Plan, chosen: Path | None, library: Path | None) -> Path | None:
    """Write a plan to the chosen file, or else into the library, if there is one; return its full path.

    Says on stderr if plans pile up: nobody but their owner deletes them.
    """
    if chosen:
        write_plan(chosen.absolute(), plan)
        return chosen.absolute()
    if library is None:
        return None
    path = keep_plan(library, plan)
    number = len(plan_files(library))
    if number > MANY:
        folder = full_path(library / PLANS)
        print(f"there are {number} plans in {folder}: delete those that you no longer need", file=sys.stderr)
    return path


def refuse_other_kind(path: Path, kind: str) -> None:
    """Refuse to write a plan over one of another kind."""
    other = kind_of(path)
    if other not in ("", kind):
        raise SameSpaceError(f"{path} is a plan of {other} duplicates: give --plan another name")


def undo_commands(libraries: Iterable[Path]) -> list[str]:
    """Return the commands that bring back the newest run of each library, from whatever folder they are typed in."""
    return [f"samespace undo --library {full_path(library)}" for library in libraries]
