"""Check for each platform what can be checked on one: the types, and that pip finds wheels for all that is needed.

python .ci/platforms.py

pip resolves what `pip install samespace` asks for, for the oldest and the newest Python, and installs nothing. Wheels
whose metadata the index does not give apart are fetched once, and kept in pip's cache.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import tomllib

PROJECT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.13")
# pip counts down macOS's versions by itself, but not those of manylinux.
PLATFORMS = {
    "linux": ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"),
    "darwin": ("macosx_14_0_arm64",),
    "win32": ("win_amd64",),
}


def main() -> None:
    needed = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
    for platform, tags in PLATFORMS.items():
        if platform != "linux":  # which `make types` has checked, with all that is not in the wheel
            run(
                "mypy", "--platform", platform, "--cache-dir", PROJECT / ".mypy_cache" / platform, PROJECT / "samespace"
            )
        for python in PYTHONS:
            with tempfile.TemporaryDirectory() as nothing:
                tagged = [word for tag in tags for word in ("--platform", tag)]
                resolve = ("pip", "install", "--quiet", "--dry-run", "--only-binary=:all:", "--python-version", python)
                run(*resolve, "--target", nothing, *tagged, *needed)
        print(f"{platform}: types hold, and there are wheels for Python {' and '.join(PYTHONS)}")


def run(module: str, *words: object) -> None:
    subprocess.run([sys.executable, "-m", module, *map(str, words)], cwd=PROJECT, check=True)


if __name__ == "__main__":
    main()
