"""Draw review.png, compare.png, search.png and library.png into this folder: the pages as they look.

python images/pages.py --backbone mobilenet_v2 --weights FILE     needs Chromium and playwright
python images/pages.py … --dark --to FOLDER                       in dark, and somewhere else
python images/pages.py … --words FOLDER                           also words.png, with the models trained into FOLDER

A server shows a folder of drawn rooms with copies among them, as `samespace serve` does; the browser does what a person
does: scans from the page, reviews, compares, drops a photo.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from album import draw_folder
from playwright.sync_api import Page, expect, sync_playwright
from report import BROWSERS, in_few_colours

from samespace.base.errors import SameSpaceError, exit_status
from samespace.base.files import write_whole

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 1400, 900
SCAN = 300_000  # milliseconds that it may take on a busy machine


@contextmanager
def served(album: Path, options: Sequence[str]) -> Iterator[str]:
    """Run `samespace serve` on this folder, and yield its address."""
    command = [sys.executable, "-m", "samespace", "serve", str(album), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        address = server.stdout.readline().split(" ")[0]
        if not address:
            raise SameSpaceError(f"{' '.join(command)} ended before it served")
        try:
            yield address
        finally:
            server.terminate()


@contextmanager
def window(address: str, dark: bool) -> Iterator[Page]:
    browser = next((found for found in map(shutil.which, BROWSERS) if found), None)
    if browser is None:
        raise SameSpaceError(f"no browser to take the pictures with: install one of {', '.join(BROWSERS)}")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        context = chromium.new_context(
            base_url=address,
            viewport={"width": WIDTH, "height": HEIGHT},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        yield context.new_page()
        chromium.close()


def wait_for_photos(page: Page) -> None:
    """Wait until every photo in sight is drawn, however busy this machine is."""
    in_sight = """[...document.images].filter((image) => {
      const { top, bottom } = image.getBoundingClientRect();
      return image.checkVisibility() && bottom > 0 && top < innerHeight;
    })"""
    page.wait_for_function(f"() => {in_sight}.every((image) => image.complete && image.naturalWidth)", timeout=SCAN)
    page.evaluate(f"Promise.all({in_sight}.map((image) => image.decode()))")
    page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(() => drawn(true))))")


def library(page: Page) -> None:
    """Scan from the page, and zoom into the map."""
    page.goto("/library")
    page.get_by_role("button", name="Scan these photos").click()
    expect(page.get_by_role("button", name="Scan again")).to_be_visible(timeout=SCAN)
    expect(page.locator("#map[data-ready]")).to_be_visible(timeout=SCAN)
    page.locator("#map").evaluate("map => scrollTo(0, map.offsetTop - 70)")
    page.get_by_role("button", name="Zoom in").click()
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    expect(page.locator("#map-canvas[data-loading='0']")).to_be_visible(timeout=SCAN)


def review(page: Page) -> None:
    page.goto("/review")
    expect(page.locator("article").first).to_be_visible(timeout=SCAN)
    wait_for_photos(page)


def compare(page: Page) -> None:
    review(page)
    page.keyboard.press("c")
    expect(page.get_by_role("dialog")).to_be_visible()
    for photo in ("left-photo", "right-photo"):  # the whole photo, not its thumbnail
        page.wait_for_function(
            "id => { const { src, dataset } = window[id]; return src.endsWith(dataset.of); }", arg=photo
        )


def search(page: Page) -> None:
    """Search with a photo of the library."""
    page.goto("/search")
    page.keyboard.press("/")
    page.keyboard.type("01 living room 1")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator(".hit").first).to_be_visible(timeout=SCAN)
    wait_for_photos(page)


def words(page: Page) -> None:
    """Search by a sentence."""
    page.goto("/search")
    page.keyboard.press("/")
    page.keyboard.type("a kitchen with green cupboards")
    page.keyboard.press("Enter")
    expect(page.locator(".hit").first).to_be_visible(timeout=SCAN)
    page.locator("#box").evaluate("box => box.blur()")
    wait_for_photos(page)


PICTURES: dict[str, Callable[[Page], None]] = {
    "library": library,
    "review": review,
    "compare": compare,
    "search": search,
}


def draw(to: Path, options: Sequence[str], dark: bool, taught: Path | None) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        album = Path(temporary, "album")
        draw_folder(album)
        take(PICTURES, to, album, options, dark)
        if taught:
            samespace = [sys.executable, "-m", "samespace"]
            subprocess.run([*samespace, "scan", album, "--matcher", taught / "match.safetensors"], check=True)
            subprocess.run([*samespace, "caption", album, "--captioner", taught / "caption.safetensors"], check=True)
            take({"words": words}, to, album, [], dark)


def take(
    pictures: dict[str, Callable[[Page], None]], to: Path, album: Path, options: Sequence[str], dark: bool
) -> None:
    with served(album, options) as address, window(address, dark) as page:
        for name, show in pictures.items():
            show(page)
            picture = to / f"{name}.png"
            write_whole(picture, in_few_colours(page.screenshot()))
            print(f"{picture}: {picture.stat().st_size:,} bytes")


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw the pictures of the pages.")
    parser.add_argument("--backbone", default="mobilenet_v2", help="what photos are compared by (default: %(default)s)")
    parser.add_argument("--weights", default="imagenet", help="its state dict's path (default: ImageNet's, fetched)")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--to", type=Path, default=HERE, metavar="FOLDER")
    parser.add_argument(
        "--words", type=Path, metavar="FOLDER", help="where match.safetensors and caption.safetensors are"
    )
    given = parser.parse_args()
    options = ["--backbone", given.backbone, "--weights", given.weights]
    return exit_status(lambda: draw(given.to, options, given.dark, given.words))


if __name__ == "__main__":
    sys.exit(main())
