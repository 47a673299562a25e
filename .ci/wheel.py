"""Build the wheel, install it into an environment of its own, and use it from a folder that is not the project's.

python .ci/wheel.py

The environment borrows the dependencies of the one this runs in, for torch alone is gigabytes; samespace it has only
from the wheel.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path
from urllib.request import urlopen

PROJECT = Path(__file__).resolve().parents[1]
PAGES = ("review", "search", "library", "api/openapi.json")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        samespace = install(build(place / "dist"), place / "venv")
        run(samespace, "--version", cwd=place)
        run(samespace, "rooms", "rooms", "--photos", "6", "--test-photos", "0", cwd=place)
        run(samespace, "dedupe", "rooms", "--report", "report.html", cwd=place, statuses=(0, 11))
        assert (place / "report.html").stat().st_size > 1000
        check_pages(samespace, place)
    print("the wheel works")


def build(folder: Path) -> Path:
    shutil.rmtree(PROJECT / "build", ignore_errors=True)  # setuptools would pack what an earlier build left there
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, PROJECT, cwd=folder.parent)
    (wheel,) = folder.glob("samespace-*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """Return the command `samespace` of a new environment."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel, cwd=folder)
    (own,) = folder.glob("lib/python*/site-packages")
    (own / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    found = run(python, "-c", "import samespace; print(samespace.__file__)", cwd=folder).strip()
    assert Path(found).is_relative_to(own), found
    assert Path(found).with_name("py.typed").exists()
    return folder / "bin" / "samespace"


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
    done = subprocess.run([str(word) for word in command], cwd=cwd, stdout=subprocess.PIPE, text=True)
    assert done.returncode in statuses, f"{command} exited with {done.returncode}"
    return done.stdout


if __name__ == "__main__":
    main()
