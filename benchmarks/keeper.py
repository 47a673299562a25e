"""Measure how often the camera's original is kept, and not an export that was made from it.

    python benchmarks/keeper.py ROOT [--photos N] [--json]

ROOT is any folder of photos; of more than N JPEGs N are taken, evenly spaced. Each original gets the data of a camera
written into it, its pixels untouched, and each row saves all of them again, at one quality and size. A row is searched
by `samespace dedupe` at its defaults, three times: with camera data in the originals alone, in both, and in neither.
The shares are of all photos; an original that no group holds is kept as well. Exports come first by path, so that
nothing is kept by its name.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from samespace.base.errors import SameSpaceError, exit_status
from samespace.base.find import find
from samespace.duplicates.find import find_duplicates
from samespace.duplicates.group import DedupeOptions
from samespace.library.library import Library
from samespace.library.scan import scan
from samespace.search.same_shot import Sketches

ROWS = {f"quality {quality}": (quality, 1) for quality in (30, 50, 60, 70, 80, 90, 95)} | {"half size": (95, 2)}
DATA = {"in the original": (True, False), "in both": (True, True), "in neither": (False, False)}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder of photos")
    parser.add_argument("--photos", type=int, default=100, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    originals = jpegs(given.root, given.photos)
    with tempfile.TemporaryDirectory() as name:
        shares = {data: measure(originals, *DATA[data], Path(name, data)) for data in DATA}
    if given.json:
        print(json.dumps({"photos": len(originals), "kept": shares}))
        return 0
    print(f"originals kept, of {len(originals)}\n\n{'camera data':13}" + "".join(f"{at:>17}" for at in DATA))
    for row in ROWS:
        print(f"{row:13}" + "".join(f"{shares[data][row]:17.0%}" for data in DATA))
    return 0


def jpegs(root: Path, most: int) -> list[bytes]:
    """Return the bytes of JPEGs below a folder, without what their headers tell."""
    if not root.is_dir():
        raise SameSpaceError(f"{root} is not a folder: give one that holds photos")
    found = [path for path in find(root) if path.suffix.lower() in (".jpg", ".jpeg")]
    if min(most, len(found)) < 1:
        raise SameSpaceError(f"{root} holds {len(found)} JPEGs: one or more are needed, and --photos 1 or more")
    chosen = [found[place] for place in np.linspace(0, len(found) - 1, min(most, len(found))).astype(int)]
    return [without_data(path.read_bytes()) for path in chosen]


def measure(originals: Sequence[bytes], in_original: bool, in_export: bool, folder: Path) -> dict[str, float]:
    """Return for each row the share of originals that are kept."""
    below = folder / "originals"
    for number, content in enumerate(originals):
        write(below / f"{number:06}.jpg", with_data(content) if in_original else content)
    for row in tqdm(ROWS, "exports", delay=1, leave=False):
        quality, times_smaller = ROWS[row]
        for path in sorted(below.iterdir()):
            with Image.open(path) as photo:
                small = photo.convert("RGB").resize([side // times_smaller for side in photo.size])
                export = folder / "exports" / row / path.name
                export.parent.mkdir(parents=True, exist_ok=True)
                small.save(export, quality=quality, **({"exif": camera_data()} if in_export else {}))
    library = Library(folder / "library", create=True)
    scan(library, [folder], [Sketches()])
    return {row: 1 - removed(library, below, folder / "exports" / row) / len(originals) for row in ROWS}


def removed(library: Library, originals: Path, exports: Path) -> int:
    """Count the originals that would be removed for their exports."""
    groups = find_duplicates([library], [originals, exports], DedupeOptions()).groups
    return sum(
        not member.keep and member.photo.path.parent == originals for group in groups for member in group.members
    )


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def camera_data() -> Image.Exif:
    """Return what a camera writes into its photos."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Canon", "Canon EOS R6"
    exif.get_ifd(0x8769).update({0x9003: "2023:05:01 12:30:00", 0xA434: "RF24-105mm F4 L IS USM"})
    exif.get_ifd(0x8825).update({1: "N", 2: (47.0, 22.0, 12.0), 3: "E", 4: (8.0, 32.0, 30.0)})
    return exif


def with_data(content: bytes) -> bytes:
    """Return a JPEG with camera data in its header, its pixels untouched."""
    data = b"Exif\0\0" + camera_data().tobytes().removeprefix(b"Exif\0\0")
    return content[:2] + b"\xff\xe1" + (len(data) + 2).to_bytes(2, "big") + data + content[2:]


def without_data(content: bytes) -> bytes:
    """Return a JPEG without EXIF, XMP, IPTC and comments, its pixels untouched."""
    return content[:2] + b"".join(part for part in parts(content) if part[1] not in (0xE1, 0xED, 0xFE))


def parts(content: bytes) -> Iterator[bytes]:
    """Yield the segments of a JPEG's header, and then all the rest."""
    at = 2
    while content[at] == 0xFF and content[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        yield content[at:end]
        at = end
    yield content[at:]


if __name__ == "__main__":
    sys.exit(exit_status(main))
