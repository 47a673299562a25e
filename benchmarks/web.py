"""Time the web app on a library of 10,000 photos: its first page, and pages a second with 20 clients at once.

    python benchmarks/web.py [--json] [--photos N] [--keep FOLDER]

The photos are parts of drawn rooms, turned, so that they are about as similar as those of real rooms; one in five is a
copy, smaller, brighter or of lower quality. They are scanned to find copies only. `samespace serve` runs in its own
process; each client waits for an answer before it asks again, and asks for another photo or another page of groups each
time. Thumbnails are asked for twice: before any has been made, and when all are kept. The server is started twice, for
a library that was never compared and for one that was; the first page with groups is timed as soon as a program can
learn that there are any. --keep leaves the photos and their library in FOLDER and uses them again the next time.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

ROOT = Path(__file__).resolve().parent.parent
CLIENTS, ROOMS, SIZE = 20, 60, (640, 480)
PAGES = ("at_once_ms", "groups_ms", "first_ms", "further_ms")
sys.path.insert(0, str(ROOT))


# ---- photos


def draw_photos(folder: Path, photos: int) -> None:
    """Draw photos into one folder for each thousand."""
    with ProcessPoolExecutor() as pool:
        list(pool.map(_draw, [folder] * photos, range(photos), chunksize=100))


def _draw(folder: Path, number: int) -> None:
    import numpy as np
    from PIL import Image, ImageEnhance

    original = number - 4 if number % 5 == 4 else number
    random, (width, height) = np.random.default_rng(original), SIZE
    room, share = _room(int(random.integers(ROOMS))), random.uniform(0.4, 0.8, 2)
    left, top = (random.uniform(0, 1 - share) * SIZE).astype(int)
    part = (left, top, left + int(share[0] * width), top + int(share[1] * height))
    photo = room.rotate(random.uniform(-20, 20), Image.Resampling.BILINEAR).crop(part).resize(SIZE)
    if random.integers(2):
        photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if number != original:
        kind = number // 5 % 3
        photo = photo.resize((width // 2, height // 2)) if kind == 0 else photo
        photo = ImageEnhance.Brightness(photo).enhance(1.2) if kind == 1 else photo
    path = folder / f"{number // 1000:02}" / f"{number:05}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    photo.save(path, quality=85 if number == original else 60)


@cache
def _room(number: int) -> Image:
    from samespace.rooms.dataset import SPACE_TYPES, draw, make_room, viewpoints

    room = make_room(SPACE_TYPES[number % len(SPACE_TYPES)], number)
    return draw(room, viewpoints(room, 1)[0], SIZE)


@contextmanager
def library_of(photos: int, keep: Path | None) -> Iterator[Path]:
    """Yield a folder with this many photos, scanned."""
    from samespace.library.library import FOLDER, Library
    from samespace.library.scan import scan
    from samespace.search.same_shot import Sketches

    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        if not (folder / FOLDER).is_dir():
            draw_photos(folder, photos)
        scan(Library(folder / FOLDER, create=True), [folder], [Sketches()])
        for thumbnail in (folder / FOLDER / "thumbnails").glob("*/*"):
            thumbnail.unlink()
        yield folder


# ---- the server and its clients


@contextmanager
def served(folder: Path) -> Iterator[tuple[int, float]]:
    """Start a server; yield its port, and the seconds until it printed that."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "samespace", "serve", str(folder), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout
    try:
        line = process.stdout.readline()
        yield int(line.split()[0].rpartition(":")[2]), time.perf_counter() - begun
    finally:
        process.terminate()
        process.wait()


def ask(line: http.client.HTTPConnection, address: str) -> tuple[int, bytes, float]:
    """Return status, body and seconds of a request."""
    begun = time.perf_counter()
    line.request("GET", address, headers={"Accept": "text/html,*/*"})
    answer = line.getresponse()
    body = answer.read()
    return answer.status, body, time.perf_counter() - begun


def crowd(port: int, addresses: Sequence[str], requests: int) -> dict[str, float]:
    """Return the speed that `CLIENTS` clients see over this many requests."""
    taken: list[float] = []

    def client(number: int) -> None:
        line = http.client.HTTPConnection("127.0.0.1", port)
        for address in islice(cycle(addresses), number, requests, CLIENTS):
            status, body, seconds = ask(line, address)
            assert status == 200 and body, (status, address)
            taken.append(seconds)
        line.close()

    begun = time.perf_counter()
    clients = [threading.Thread(target=client, args=[number]) for number in range(CLIENTS)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    seconds = time.perf_counter() - begun
    assert len(taken) == requests
    cuts = statistics.quantiles(taken, n=100)
    return {"requests_per_second": requests / seconds, "p50_ms": 1000 * cuts[49], "p99_ms": 1000 * cuts[98]}


def first_pages(port: int) -> dict[str, float]:
    """Time the review page in milliseconds: at once, until there are groups, the first page with them, and further."""
    line, begun = http.client.HTTPConnection("127.0.0.1", port), time.perf_counter()
    _, _, at_once = ask(line, "/review")
    while ask(line, "/api/groups?count=0")[0] == 202:  # they are being compared
        pass
    waited = time.perf_counter() - begun
    _, page, first = ask(line, "/review")
    assert b'class="group"' in page, "a page without groups"
    further = statistics.median(ask(line, f"/review?start={20 * number}")[2] for number in range(20))
    return {name: 1000 * seconds for name, seconds in zip(PAGES, (at_once, waited, first, further), strict=True)}


def measure(folder: Path) -> dict[str, Any]:
    from samespace.library.library import FOLDER

    for remembered in (folder / FOLDER / "features").glob("*/*.npy"):
        remembered.unlink()
    starts = {}
    for name in ("never compared", "compared before"):
        with served(folder) as (port, start):
            starts[name] = {"start_ms": 1000 * start, **first_pages(port)}
            rows = crowds(port) if name == "compared before" else {}
    return {"starts": starts, "clients": CLIENTS, "rows": rows}


def crowds(port: int) -> dict[str, dict[str, float]]:
    line = http.client.HTTPConnection("127.0.0.1", port)
    groups = json.loads(ask(line, "/api/groups?count=1000")[1])["groups"]
    members = {member["id"]: member for group in groups for member in group["members"]}
    thumbnails = [member["thumbnail"] for member in members.values()]
    return {
        "thumbnails, none made yet": crowd(port, thumbnails, len(thumbnails)),
        "thumbnails, kept": crowd(port, thumbnails, 5000),
        "search": crowd(port, [f"/search?like={photo}" for photo in members], 1000),
        "review": crowd(port, [f"/review?start={20 * number}" for number in range(20)], 1000),
    }


def print_table(result: dict[str, Any]) -> None:
    print(f"| {result['photos']:,} photos, {result['clients']} clients | requests/s | p50 ms | p99 ms |")
    print("|---|---|---|---|")
    for name, row in result["rows"].items():
        print(f"| {name} | {row['requests_per_second']:,.0f} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f} |")
    print(
        "\n| `samespace serve` | listens | first page at once | groups are there | first page with groups | further |"
    )
    print("|---|---|---|---|---|---|")
    for name, start in result["starts"].items():
        at_once, waited, first, further = (start[page] for page in PAGES)
        cells = f"{at_once:.0f} ms | {waited / 1000:.1f} s | {first:.0f} ms | {further:.0f} ms"
        print(f"| {name} | {start['start_ms'] / 1000:.1f} s | {cells} |")


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the web app on many photos.")
    parser.add_argument("--photos", type=int, default=10_000, metavar="N")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the photos here")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    with library_of(arguments.photos, arguments.keep) as folder:
        result = {"photos": arguments.photos, **measure(folder)}
    if arguments.json:
        print(json.dumps(result))
    else:
        print_table(result)


if __name__ == "__main__":
    main()
