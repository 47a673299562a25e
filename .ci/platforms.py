"""Check for each platform what can be checked on one: the types, and that pip finds wheels for all that is needed.

python .ci/platforms.py

pip resolves what `pip install samespace` asks for, for the oldest and the newest Python, and installs nothing. Wheels
whose metadata the index does not give apart are fetched once, and kept in pip's cache.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import requires
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.13")
# pip wants a place for what is made for another platform; nothing is written there.
RESOLVE = ("pip", "install", "--quiet", "--dry-run", "--only-binary=:all:", "--target", PROJECT / "build" / "nothing")
# pip counts down macOS's versions by itself, but not those of manylinux.
PLATFORMS = {
    "linux": ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"),
    "darwin": ("macosx_13_0_arm64",),  # onnxruntime has none for an earlier one and Python 3.13
    "win32": ("win_amd64",),
}


def main() -> None:
    needed = [each for each in requires("samespace") or () if "extra ==" not in each]
    jobs: list[tuple[object, ...]] = []
    for platform, tags in PLATFORMS.items():
        if platform != "linux":  # which `make types` has checked, with all that is not in the wheel
            kept = PROJECT / ".mypy_cache" / platform
            jobs.append(("mypy", "--platform", platform, "--cache-dir", kept, PROJECT / "samespace"))
        tagged = [word for tag in tags for word in ("--platform", tag)]
        jobs += [(*RESOLVE, "--python-version", python, *tagged, *needed) for python in PYTHONS]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda job: run(*job), jobs))
    print(f"types hold, and there are wheels for Python {' and '.join(PYTHONS)}: {', '.join(PLATFORMS)}")


def run(*words: object) -> None:
    subprocess.run([sys.executable, "-m", *map(str, words)], cwd=PROJECT, check=True)


if __name__ == "__main__":
    main()
