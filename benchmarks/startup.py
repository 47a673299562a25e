"""Measure what it costs to start: CPU and wall time, the best of several runs, beside what each may take.

    python benchmarks/startup.py DIR [--runs N] [--json]

DIR is a folder of photos, which is copied to a temporary folder and scanned there first. `dedupe` then finds it
unchanged. The limits hold for a machine that does nothing else; on a busy one the CPU time says more.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SAMESPACE = [sys.executable, "-m", "samespace"]


class Row(NamedTuple):
    """Hold what was started, and the seconds that it took and may take."""

    name: str
    wall: float
    cpu: float
    limit: float


def best_of(command: list[str], runs: int) -> tuple[float, float]:
    """Return the least wall time and the least CPU time of several runs, in seconds."""
    walls, cpus = [], []
    for _ in range(runs):
        before, start = os.times(), time.perf_counter()
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
        after = os.times()
        walls.append(time.perf_counter() - start)
        cpus.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return min(walls), min(cpus)


def measure(folder: Path, runs: int) -> list[Row]:
    """Return what each command takes on a copy of a folder."""
    with tempfile.TemporaryDirectory() as place:
        photos = Path(place, "photos")
        shutil.copytree(folder, photos, ignore=shutil.ignore_patterns(".samespace"))
        subprocess.run([*SAMESPACE, "dedupe", str(photos)], check=False, stdout=subprocess.DEVNULL, cwd=ROOT)
        photo = min(path for path in photos.rglob("*") if path.is_file() and ".samespace" not in path.parts)
        commands = {
            "python -c pass": ([sys.executable, "-c", "pass"], 0.0),
            "import samespace": ([sys.executable, "-c", "import samespace"], 0.05),
            "samespace --help": ([*SAMESPACE, "--help"], 0.1),
            "samespace dedupe DIR, unchanged": ([*SAMESPACE, "dedupe", str(photos)], 0.4),
            "samespace search PHOTO": ([*SAMESPACE, "search", str(photo), "--library", f"{photos}/.samespace"], 1.0),
        }
        return [Row(name, *best_of(command, runs), limit) for name, (command, limit) in commands.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what it costs to start.")
    parser.add_argument("folder", type=Path, help="a folder of photos")
    parser.add_argument("--runs", type=int, default=10, help="runs of each (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    rows = measure(arguments.folder, arguments.runs)
    if arguments.json:
        print(json.dumps([row._asdict() for row in rows]))
        return
    print("| | wall s | CPU s | limit s |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row.name} | {row.wall:.2f} | {row.cpu:.2f} | {row.limit or ''} |")


if __name__ == "__main__":
    main()
