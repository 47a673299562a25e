"""Draw report.png into this folder: the report on a small folder of rooms with copies among them.

python images/report.py                       needs Chromium
python images/report.py --keep FOLDER         also leaves the photos and report.html there, to open in a browser
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from album import draw_folder
from PIL import Image

from samespace.base.errors import SameSpaceError, exit_status
from samespace.base.files import write_whole
from samespace.cli.report import write_report
from samespace.duplicates.find import find_duplicates
from samespace.duplicates.group import DedupeOptions
from samespace.library.library import FOLDER, Library
from samespace.library.scan import scan
from samespace.search.same_shot import Sketches

PICTURE = Path(__file__).resolve().parent / "report.png"
WINDOW = (1400, 900)
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


# ---- report


def report_on(root: Path) -> Path:
    """Write the report on the duplicates below `root`; return its path."""
    page = root.parent / "report.html"
    library = Library(root / FOLDER, create=True)
    scan(library, [root], [Sketches()])
    folder = Path("/home/me/album/.samespace")
    plan, libraries = folder / "plans/near-2026-11-20-172940.json", [folder]
    write_report(page, find_duplicates([library], [root], DedupeOptions()), [Path(root.name)], plan, None, libraries)
    return page


# ---- picture


def screenshot(page: Path, profile: Path) -> bytes:
    """Return what a browser shows of the page, as PNG."""
    browser = next((found for found in map(shutil.which, BROWSERS) if found), None)
    if browser is None:
        raise SameSpaceError(f"no browser to take the picture with: install one of {', '.join(BROWSERS)}")
    picture = profile / "page.png"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"]
    command += [f"--user-data-dir={profile}", f"--screenshot={picture}", f"--window-size={WINDOW[0]},{WINDOW[1]}"]
    result = subprocess.run([*command, page.as_uri()], capture_output=True, text=True)
    if not picture.exists():
        raise SameSpaceError(f"{browser} took no picture: {result.stderr.strip()[-300:]}")
    return picture.read_bytes()


def in_few_colours(picture: bytes) -> bytes:
    """Keep five bits of each colour: PNG packs them in 60% of the bytes, and flat areas stay flat."""
    few = [value >> 3 << 3 | value >> 5 for value in range(256)]
    small = BytesIO()
    with Image.open(BytesIO(picture)) as image:
        image.convert("RGB").point(few * 3).save(small, "PNG", optimize=True)
    return small.getvalue()


def draw_report(keep: Path | None) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = (keep or Path(temporary)).resolve()
        draw_folder(folder / "photos")
        page = report_on(folder / "photos")
        write_whole(PICTURE, in_few_colours(screenshot(page, Path(temporary))))
    print(f"{PICTURE}: {PICTURE.stat().st_size:,} bytes")


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw the picture of the report.")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the photos and the report there")
    return exit_status(lambda: draw_report(parser.parse_args().keep))


if __name__ == "__main__":
    sys.exit(main())
