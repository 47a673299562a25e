"""Time the scan of a folder, beside imagededup and beside the bound that decoding and inference set.

    python benchmarks/scan.py DIR [--megapixels 12] [--backbone NAME] [--weights FILE] [--peer-weights none] [--json]

`scan` is what `samespace scan DIR --backbone NAME` does, into an empty library elsewhere: find, hash, decode, sketch,
embed, write. Cold: the photos are not in the operating system's cache. `near only` is the same without a network.
`decode` only opens the photos and squeezes them, in threads; `inference` embeds photos that are decoded in memory. One
after the other they would allow 1 / (1/decode + 1/inference), which is the bound because they share the same cores.
imagededup, if it is installed, encodes the same folder with its CNN (MobileNetV3-Small, the smaller one) and its
perceptual hash, at its defaults; its speed does not depend on its weights, so without a network use
`--peer-weights none`. `unchanged` scans 10,000 photos for the second time.

With `--megapixels` the first photos of DIR are enlarged to that size, with the grain of a sensor, and saved as JPEG of
quality 92: a camera's photos take longer to decode than those of a web page, and that is where `draft` helps.

Each row runs in its own interpreter; imports and the loading and conversion of weights are not timed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

UNCHANGED = 10_000
ENLARGED, GRAIN = 96, 4.0
Row = dict[str, float]


def find_photos(folder: Path) -> list[Path]:
    from samespace.base.find import find

    return find(folder)


def enlarge(folder: Path, megapixels: float, target: Path) -> None:
    import numpy as np
    from PIL import Image

    from samespace.base.photos import open_photo

    random = np.random.default_rng(0)
    for number, path in enumerate(find_photos(folder)[:ENLARGED]):
        photo = open_photo(path)
        times = (megapixels * 1e6 / (photo.width * photo.height)) ** 0.5
        large = photo.resize((round(photo.width * times), round(photo.height * times)), Image.Resampling.BICUBIC)
        pixels = np.asarray(large, np.float32)
        pixels = pixels + random.standard_normal(pixels.shape, np.float32) * GRAIN
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(target / f"{number}.jpg", quality=92)


def timed(work: Callable[[], int]) -> Row:
    start = time.perf_counter()
    photos = work()
    return {"photos": photos, "seconds": time.perf_counter() - start}


def forget_cached(folder: Path) -> None:
    """Ask the operating system to read these files from the disk again."""
    os.sync()
    for path in find_photos(folder):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def scan(arguments: argparse.Namespace, embed: bool = True, cold: bool = False) -> Row:
    from samespace.library.library import Library
    from samespace.library.scan import scan as scan_folders
    from samespace.search.same_shot import Sketches

    extractors: list[Any] = [Sketches()]
    if embed:
        extractors.append(warm_extractor(arguments))
    with tempfile.TemporaryDirectory() as folder:
        library = Library(Path(folder, "library"), create=True)
        if cold:
            forget_cached(arguments.folder)
        return timed(lambda: scan_folders(library, [arguments.folder], extractors).photos)


def warm_extractor(arguments: argparse.Namespace) -> Any:
    """Return the network, already converted, so that no photo waits for that."""
    import numpy as np

    from samespace.model.bare import for_backbone

    extractor = for_backbone(arguments.backbone, arguments.weights)
    extractor.extract(np.zeros((extractor.batch, 256, 256, 3), np.uint8))
    print(extractor.name, file=sys.stderr)
    return extractor


def decode(arguments: argparse.Namespace) -> Row:
    from samespace.base.photos import read_many

    return timed(lambda: sum(1 for _ in read_many(find_photos(arguments.folder), 256)))


def inference(arguments: argparse.Namespace) -> Row:
    import numpy as np

    from samespace.base.photos import read_many

    extractor = warm_extractor(arguments)
    paths = find_photos(arguments.folder)
    pixels = np.stack([photo for photo in read_many(paths[:256], 256) if isinstance(photo, np.ndarray)])

    def work() -> int:
        done = 0
        while done < max(512, len(paths)):
            done += len(extractor.extract(pixels[:])["vectors"])  # another array each time: one seen again is not run
        return done

    return timed(work)


def unchanged(arguments: argparse.Namespace) -> Row:
    from samespace.library.library import Library
    from samespace.library.scan import scan as scan_folders
    from samespace.search.same_shot import Sketches

    photos = find_photos(arguments.folder)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        many = Path(folder, "many")
        for number in range(UNCHANGED):
            source = photos[number % len(photos)]
            copy = many / f"{number // 100}" / f"{number}{source.suffix}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())
        library = Library(Path(folder, "library"), create=True)
        scan_folders(library, [many], [Sketches()])
        return timed(lambda: scan_folders(library, [many], [Sketches()]).photos)


def imagededup_cnn(arguments: argparse.Namespace) -> Row:
    import torchvision

    if arguments.peer_weights == "none":
        make = torchvision.models.mobilenet_v3_small
        torchvision.models.mobilenet_v3_small = lambda **_: make(weights=None)
    from imagededup.methods import CNN

    encoder = CNN(verbose=False)
    return timed(lambda: len(encoder.encode_images(str(arguments.folder), recursive=True)))


def imagededup_hash(arguments: argparse.Namespace) -> Row:
    from imagededup.methods import PHash

    encoder = PHash(verbose=False)
    return timed(lambda: len(encoder.encode_images(str(arguments.folder), recursive=True)))


ROWS: dict[str, Callable[[argparse.Namespace], Row]] = {
    "scan, cold": lambda arguments: scan(arguments, cold=True),
    "scan, warm": scan,
    "near only, warm": lambda arguments: scan(arguments, embed=False),
    "decode": decode,
    "inference": inference,
    "imagededup CNN": imagededup_cnn,
    "imagededup perceptual hash": imagededup_hash,
    "unchanged": unchanged,
}


def names(arguments: argparse.Namespace) -> list[str]:
    """Return the rows to run; `unchanged` is the same for photos of any size, so it is left out with --megapixels."""
    return [name for name in ROWS if name != "unchanged" or not arguments.megapixels]


def measure(name: str, words: Sequence[str]) -> Row | None:
    """Return a row of the table, the best of three runs, or None if a peer is not installed."""
    if (
        name.startswith("imagededup")
        and subprocess.run([sys.executable, "-c", "import imagededup"], capture_output=True, check=False).returncode
    ):
        print("imagededup is not installed: its rows are left out", file=sys.stderr)
        return None
    rows = []
    for _ in range(1 if name == "unchanged" else 3):
        ran = subprocess.run([sys.executable, __file__, *words, "--row", name], check=True, stdout=subprocess.PIPE)
        rows.append(json.loads(ran.stdout.splitlines()[-1]))
    best: Row = min(rows, key=lambda row: row["seconds"])
    return best


def compare(rows: dict[str, Row]) -> dict[str, float]:
    """Return photos a second for each row, and the ratios that matter."""
    rates = {name: row["photos"] / row["seconds"] for name, row in rows.items() if name != "unchanged"}
    bound = 1 / (1 / rates["decode"] + 1 / rates["inference"])
    figures = {**rates, "bound": bound, "share of the bound": rates["scan, warm"] / bound}
    for peer in ("imagededup CNN", "imagededup perceptual hash"):
        if peer in rates:
            ours = "scan, warm" if peer == "imagededup CNN" else "near only, warm"
            figures[f"times {peer}"] = rates[ours] / rates[peer]
    if "unchanged" in rows:
        figures["unchanged, seconds"] = rows["unchanged"]["seconds"]
    return figures


def print_table(figures: dict[str, float], backbone: str) -> None:
    print(f"| {backbone}, {os.cpu_count()} cores | photos/s |\n|---|---|")
    for name, figure in figures.items():
        if name.startswith("times"):
            print(f"\n{figure:.1f} {name}", end="")
        elif name == "share of the bound":
            print(f"| share of the bound | {figure:.0%} |")
        elif name == "unchanged, seconds":
            print(f"\n\n{UNCHANGED:,} unchanged photos are scanned in {figure:.2f} s.")
        else:
            print(f"| {name} | {figure:,.0f} |")


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--megapixels", type=float, metavar="N", help="enlarge the photos first")
    parser.add_argument("--backbone", default="mobilenet_v3_large")
    parser.add_argument("--weights", default="none", help="imagenet or a file (default: %(default)s, as fast)")
    parser.add_argument("--peer-weights", default="imagenet", choices=("imagenet", "none"))
    parser.add_argument("--scratch", type=Path, help="where to put 10,000 photos (default: the temporary folder)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--row", choices=ROWS, help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    if arguments.row:
        print(json.dumps(ROWS[arguments.row](arguments)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as enlarged:
        if arguments.megapixels:
            enlarge(arguments.folder, arguments.megapixels, Path(enlarged))
            arguments.folder = Path(enlarged)
        rest = ["--backbone", arguments.backbone, "--weights", arguments.weights]
        rest += [
            "--peer-weights",
            arguments.peer_weights,
            *(["--scratch", arguments.scratch] if arguments.scratch else []),
        ]
        measured = {name: measure(name, [str(arguments.folder), *map(str, rest)]) for name in names(arguments)}
    figures = compare({name: row for name, row in measured.items() if row is not None})
    if arguments.json:
        print(json.dumps({name: round(figure, 3) for name, figure in figures.items()}))
    else:
        print_table(figures, arguments.backbone)


if __name__ == "__main__":
    main(sys.argv[1:])
