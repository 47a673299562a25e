"""Build the wheel, install it with what it needs into an environment of its own, and use it there, without torch.

python .ci/wheel.py

The environment this runs in has torch, and makes the model that is used.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from urllib.request import urlopen

PROJECT = Path(__file__).resolve().parents[1]
PAGES = ("review", "search", "library", "api/openapi.json")
MOST = 380_000_000  # bytes that an installation may take
MODEL = """
import sys
from pathlib import Path
import numpy as np
from samespace.model.backbone import make_backbone
from samespace.model.known import Known
from samespace.model.pairs import TRAINING, find_photos
from samespace.model.room_network import RoomNetwork
from samespace.model.torch_engine import of_backbone
from samespace.model.write import describe, write_model
from samespace.search.labelled import see
photos, backbone = find_photos(Path(sys.argv[1]), TRAINING), make_backbone("mobilenet_v3_small", "none")
known = Known(see(photos.paths, of_backbone(backbone).materials).materials, photos.spaces())
network = RoomNetwork(backbone, known)
write_model(Path(sys.argv[2]), network, describe(network, {}, {}))
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        samespace = install(build(place / "dist"), place / "venv")
        print(f"the wheel and what it needs: {size_of(place / 'venv') / 1e6:,.0f} MB, without torch")
        run(samespace, "--version", cwd=place)
        run(samespace, "rooms", "rooms", "--photos", "9", "--test-photos", "0", cwd=place)
        run(sys.executable, "-c", MODEL, place / "rooms", place / "model", cwd=PROJECT)
        clean_up(samespace, place)
        search(samespace, place)
        check_pages(samespace, place)
    print("the wheel works")


def build(folder: Path) -> Path:
    shutil.rmtree(PROJECT / "build", ignore_errors=True)  # setuptools would pack what an earlier build left there
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, PROJECT, cwd=folder.parent)
    (wheel,) = folder.glob("samespace-*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """Return the command `samespace` of a new environment, which has nothing but what the wheel asks for."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    before = size_of(folder)
    run(python, "-m", "pip", "install", "--quiet", "--no-compile", wheel, cwd=folder)
    assert size_of(folder) - before <= MOST, f"{size_of(folder) - before:,} bytes were installed"
    (own,) = folder.glob("lib/python*/site-packages")
    found = run(python, "-c", "import samespace; print(samespace.__file__)", cwd=folder).strip()
    assert Path(found).is_relative_to(own), found
    assert Path(found).with_name("py.typed").exists()
    assert not list(own.glob("torch*")), "torch was installed"
    return folder / "bin" / "samespace"


def size_of(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def clean_up(samespace: Path, place: Path) -> None:
    """A copy is found, moved, brought back; and photos of one space are looked for by a model."""
    album = place / "rooms" / "Airbnb Data" / "Training Data"
    original = next(album.rglob("*.jpg"))
    shutil.copy(original, original.with_name("copy.jpg"))
    library = ("--library", place / "rooms" / ".samespace")
    run(samespace, "scan", "rooms", "--model", "model", cwd=place)
    run(samespace, "dedupe", "rooms", "--report", "report.html", cwd=place, statuses=(10, 11))
    assert (place / "report.html").stat().st_size > 1000
    (plan,) = (place / "rooms" / ".samespace" / "plans").iterdir()
    run(samespace, "apply", plan, *library, cwd=place)
    assert not (original.exists() and original.with_name("copy.jpg").exists())
    run(samespace, "undo", *library, cwd=place)
    assert original.exists() and original.with_name("copy.jpg").exists()
    run(samespace, "dedupe", "rooms", "--kind", "same-space", "--model", "model", cwd=place, statuses=(0, 10, 11))
    run(samespace, "compare", original, original.with_name("copy.jpg"), "--model", "model", cwd=place)


def search(samespace: Path, place: Path) -> None:
    photo = next((place / "rooms").rglob("*.jpg"))
    found = run(samespace, "search", photo, "--library", place / "rooms" / ".samespace", cwd=place)
    assert photo.name in found, found


def check_pages(samespace: Path, place: Path) -> None:
    """Every page and every file that pages ask for must be served as it is in the project."""
    command = [samespace, "serve", place / "rooms", "--port", "0"]
    with subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = next(word for line in server.stdout for word in line.split() if word.startswith("http://"))
            for page in PAGES:
                with urlopen(f"{address.rstrip('/')}/{page}") as answer:
                    assert answer.status == 200, page
            for file in (PROJECT / "samespace" / "web" / "static").iterdir():
                with urlopen(f"{address.rstrip('/')}/static/{file.name}") as answer:
                    assert answer.read() == file.read_bytes(), file.name
        finally:
            server.terminate()


def run(*command: object, cwd: Path, statuses: tuple[int, ...] = (0,)) -> str:
    # Without what this environment is told of where packages are.
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, stdout=subprocess.PIPE, text=True, env=environment)
    assert done.returncode in statuses, f"{words} exited with {done.returncode}: {done.stdout}"
    return done.stdout


if __name__ == "__main__":
    main()
