"""Measure if copies of photos end up in one group and other photos do not, beside perceptual hashes and a CNN.

    python benchmarks/near.py ROOT [--photos N] [--peer-backbone NAME --peer-weights FILE] [--json]

ROOT is any folder of photos; identical files count once, and of more than N photos N are taken, evenly spaced. Each row
makes one copy of each photo by one edit, drawn from a generator that the photo's name seeds; edits are saved as JPEG of
quality 95 unless the row says otherwise. A row searches all originals and its copies, the last row all copies together.
Every pair of files counts; it is right if both come from one original.

A second table counts pairs of pictures that only look alike: photos in one frame, slides, bursts. `to look at` are
those that SameSpace shows without marking any for removal.

SameSpace is `samespace dedupe` at its defaults. All pairs in a group of copies count as called copies, although members
are only compared with the keeper. Of the peers, pairs above the default threshold of imagededup count: 64-bit hashes
that differ in at most 10 bits, a cosine of 0.9. Without imagededup the hashes are ImageHash's. Its CNN fetches ImageNet
weights for MobileNetV3-Small; --peer-backbone and --peer-weights put the globally pooled last convolution of another
MobileNet in its place. `best threshold` is the best recall that any peer reaches at a precision of 0.99 if its
threshold is chosen for the row with the truth known.

In a folder 'Airbnb Data' names say which room a photo shows. Two photos of one room may be nearly one shot, so whether
they are copies is a matter of opinion, and in one search a copy may join either's group. A row is then several
searches, none with two photos of one room, whose pairs are added up. The pairs of one room that each method calls
copies are counted below the table.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import imagehash
import numpy as np
import numpy.typing as npt
from lookalikes import KINDS, framed, letterboxed
from PIL import Image, ImageDraw, ImageEnhance, ImageFont
from torch import nn
from tqdm import tqdm

from samespace.base.errors import SameSpaceError, exit_status
from samespace.base.find import find
from samespace.base.hashes import hamming
from samespace.base.photos import UnreadablePhoto, details, in_threads, open_photo
from samespace.duplicates.find import find_duplicates
from samespace.duplicates.group import BURST, COPIES, LOOK_TWICE, DedupeOptions
from samespace.library.library import Library
from samespace.library.scan import scan
from samespace.model.backbone import make_backbone
from samespace.model.metrics import recall_at_precision
from samespace.model.pairs import AIRBNB
from samespace.search.same_shot import Sketches

BITS, COSINE = 10, 0.9  # imagededup's defaults
PRECISION = 0.99
OURS = "SameSpace"
ALIKE = 20  # pictures of a kind that only look alike
MOBILENETS = ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large")

Rows = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]
Figures = dict[str, float]


# The copies


def as_it_is(photo: Image.Image, random: Random) -> Image.Image:
    return photo


def halved(photo: Image.Image, random: Random) -> Image.Image:
    return photo.resize((photo.width // 2, photo.height // 2), Image.Resampling.LANCZOS)


def cropped(photo: Image.Image, random: Random) -> Image.Image:
    """Cut out a window of nine tenths of each side, anywhere."""
    width, height = photo.width * 9 // 10, photo.height * 9 // 10
    left, top = random.randint(0, photo.width - width), random.randint(0, photo.height - height)
    return photo.crop((left, top, left + width, top + height))


def brighter(photo: Image.Image, random: Random) -> Image.Image:
    return ImageEnhance.Brightness(photo).enhance(1.3)


def darker(photo: Image.Image, random: Random) -> Image.Image:
    return ImageEnhance.Brightness(photo).enhance(0.7)


def grey(photo: Image.Image, random: Random) -> Image.Image:
    return photo.convert("L")


def turned(photo: Image.Image, random: Random) -> Image.Image:
    """Turn a photo by 3 to 5 degrees, either way; the corners become black."""
    return photo.rotate(random.choice((-1, 1)) * random.uniform(3, 5), Image.Resampling.BICUBIC)


def stamped(photo: Image.Image, random: Random) -> Image.Image:
    """Write half-transparent white words over most of the width, at any height."""
    words, layer = "© SAMPLE", Image.new("L", photo.size)
    pen, font = ImageDraw.Draw(layer), ImageFont.load_default(photo.width / 6)
    left, top, right, bottom = pen.textbbox((0, 0), words, font)
    corner = (photo.width - right - left) / 2, random.uniform(-top, max(-top, photo.height - bottom))
    pen.text(corner, words, 128, font)
    return Image.composite(Image.new("RGB", photo.size, "white"), photo, layer)


def quarter_turned(photo: Image.Image, random: Random) -> Image.Image:
    return photo.transpose(random.choice((Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270)))


def upside_down(photo: Image.Image, random: Random) -> Image.Image:
    return photo.transpose(Image.Transpose.ROTATE_180)


def mirrored(photo: Image.Image, random: Random) -> Image.Image:
    return photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def keep_area(share: float) -> Callable[[Image.Image, Random], Image.Image]:
    """Return an edit that cuts out a window of this share of the area, anywhere: of the photo's shape or another."""

    def crop(photo: Image.Image, random: Random) -> Image.Image:
        wide = random.choice((share**0.5, random.uniform(share / 0.85, 0.85))) if share < 0.7 else share**0.5
        width, height = round(photo.width * wide), round(photo.height * share / wide)
        left, top = random.randint(0, photo.width - width), random.randint(0, photo.height - height)
        return photo.crop((left, top, left + width, top + height))

    return crop


class Edit(NamedTuple):
    kind: str
    change: Callable[[Image.Image, Random], Image.Image] | None  # None: the file is copied, byte by byte
    quality: int | None = 95  # of the JPEG; None: a PNG


EDITS = {
    "same bytes": Edit("exact", None),
    "same pixels, PNG": Edit("exact", as_it_is, None),
    "JPEG of quality 30": Edit("near", as_it_is, 30),
    "half size": Edit("near", halved),
    "cropped by 10 %": Edit("near", cropped),
    "30 % brighter": Edit("near", brighter),
    "30 % darker": Edit("near", darker),
    "grey": Edit("near", grey),
    "turned by 3 to 5°": Edit("near", turned),
    "watermark": Edit("near", stamped),
    "turned by 90°": Edit("near", quarter_turned),
    "turned by 180°": Edit("near", upside_down),
    "mirrored": Edit("near", mirrored),
    "crop, 75 % of the area": Edit("near", keep_area(0.75)),
    "crop, 50 % of the area": Edit("near", keep_area(0.5)),
    "white frame": Edit("near", lambda photo, random: framed(photo)),
    "letterboxed": Edit("near", lambda photo, random: letterboxed(photo)),
}
ALL = "all of these"


def write_copy(original: Path, name: str, edit: str, folder: Path, number: int) -> Path:
    """Write one copy, with its original's EXIF orientation, so that only the edit differs."""
    _, change, quality = EDITS[edit]
    path = folder / f"{number:06}{original.suffix if change is None else '.png' if quality is None else '.jpg'}"
    if change is None:
        shutil.copyfile(original, path)
        return path
    with Image.open(original) as photo:
        exif = Image.Exif()
        exif[0x0112] = photo.getexif().get(0x0112, 1)
        copy = change(photo.convert("RGB"), Random(f"{edit} {name}"))
        options = {} if quality is None else {"quality": quality}
        copy.save(path, None, exif=exif, **options)
    return path


class Files(NamedTuple):
    """The originals, and then their copies, edit by edit."""

    folder: Path
    paths: list[Path]
    original: Rows  # of each file: the number of its original,
    room: Rows  # the room that the original shows, one of its own if that is unknown,
    turn: Rows  # and how many photos of this room come before it

    def originals(self) -> Rows:
        return np.arange(self.original.max() + 1)

    def searches(self, edit: str) -> list[Rows]:
        """Return originals and the copies of this edit, split so that each part shows no room twice."""
        places = range(1 + len(EDITS)) if edit == ALL else (0, 1 + list(EDITS).index(edit))
        rows = np.concatenate([place * len(self.originals()) + self.originals() for place in places])
        return [rows[self.turn[rows] == turn] for turn in range(self.turn.max() + 1)]


def write_files(root: Path, most: int, folder: Path) -> Files:
    found = distinct(root)
    if min(most, len(found)) < 2:
        raise SameSpaceError(
            f"{root} holds {len(found)} photos that differ: two or more are needed, and --photos 2 or more"
        )
    originals = [found[place] for place in np.linspace(0, len(found) - 1, min(most, len(found))).astype(int)]
    names = [str(path.relative_to(root)) for path in originals]
    room = rooms(originals)
    turn = np.array([int((room[:number] == room[number]).sum()) for number in range(len(room))], np.intp)
    paths = []
    for place, edit in enumerate(["same bytes", *EDITS]):
        for number, original in enumerate(tqdm(originals, edit, delay=1, leave=False)):
            below = folder / str(turn[number]) / str(place)  # a folder for each turn's originals, or copies of a kind
            below.mkdir(parents=True, exist_ok=True)
            paths.append(write_copy(original, names[number], edit, below, number))
    times = 1 + len(EDITS)
    return Files(folder, paths, np.tile(np.arange(len(room)), times), np.tile(room, times), np.tile(turn, times))


def distinct(root: Path) -> list[Path]:
    """Return the readable photos below a folder by path, one of each picture."""

    def pixels(path: Path) -> str | None:
        try:
            return details(path).pixels
        except UnreadablePhoto:
            return None

    if not root.is_dir():
        raise SameSpaceError(f"{root} is no folder: give one that holds photos")
    paths = find(root)
    first: dict[str | None, Path] = {None: root}
    for path, picture in zip(paths, in_threads(pixels, paths), strict=True):
        first.setdefault(picture, path)
    return [path for picture, path in first.items() if picture]


def rooms(paths: Sequence[Path]) -> Rows:
    """Number the rooms of Airbnb-style photos by their names: <city>_<room id>_<number>.jpg."""
    numbers: dict[str, int] = {}
    names = [
        re.fullmatch(r"(.+_[0-9]+)_[0-9]+", path.stem) if AIRBNB in path.resolve().parts else None for path in paths
    ]
    known = [name[1] if name else str(path) for name, path in zip(names, paths, strict=True)]
    return np.array([numbers.setdefault(room, len(numbers)) for room in known], np.intp)


# Who finds them


class Peer(NamedTuple):
    """A method that scores all pairs of files, (n,) → (n, n), and calls those at its threshold or above copies."""

    score: Callable[[Rows], npt.NDArray[Any]]
    threshold: float
    seconds: float


class Ours:
    """`samespace dedupe` as people use it."""

    def __init__(self, files: Files, library: Path) -> None:
        start = time.perf_counter()
        self._files = files
        self._library = Library(library, create=True)
        scan(self._library, [files.folder], [Sketches()])
        self.seconds = time.perf_counter() - start

    def together(self, rows: Rows, kind: str) -> Flags:
        """Tell which of these files, all that their folders hold, share a group: (n, n)."""
        start = time.perf_counter()
        paths = [self._files.paths[row] for row in rows]
        shared = grouped(self._library, paths, kind, COPIES)
        self.seconds += time.perf_counter() - start
        return shared


def grouped(library: Library, paths: Sequence[Path], kind: str, answer: str) -> Flags:
    """Tell which of these photos, all that their folders hold, share a group with this answer: (n, n)."""
    found = find_duplicates([library], sorted({path.parent for path in paths}), DedupeOptions(kind))
    place = {path: place for place, path in enumerate(paths)}
    groups = np.arange(len(paths))
    for group in found.groups:
        if group.answer == answer:
            members = [place[member.photo.path] for member in group.members]
            groups[members] = members[0]
    shared: Flags = groups[:, None] == groups
    return shared


def peers(files: Files, backbone: str | None, weights: str) -> dict[str, Peer | None]:
    """Return the peers by name; None is not installed."""
    try:
        methods = importlib.import_module("imagededup.methods")
    except ImportError:
        return {
            "pHash (ImageHash)": by_hash(files, lambda path: str(imagehash.phash(open_photo(path)))),
            "dHash (ImageHash)": by_hash(files, lambda path: str(imagehash.dhash(open_photo(path)))),
            "CNN": None,
        }
    return {
        "pHash": by_hash(files, methods.PHash(verbose=False).encode_image),
        "dHash": by_hash(files, methods.DHash(verbose=False).encode_image),
        f"CNN ({backbone or 'mobilenet_v3_small'})": by_cnn(files, methods, backbone, weights),
    }


def by_hash(files: Files, encode: Callable[[Path], str]) -> Peer:
    start = time.perf_counter()
    digits = [encode(path) for path in tqdm(files.paths, "hashing", delay=1, leave=False)]
    hashes = np.array([int(hexadecimal, 16) for hexadecimal in digits], np.uint64)
    return Peer(lambda rows: -hamming(hashes[rows], hashes[rows]).astype(np.int16), -BITS, time.perf_counter() - start)


def by_cnn(files: Files, methods: Any, name: str | None, weights: str) -> Peer:
    models = importlib.import_module("imagededup.utils.models")
    if name:
        backbone = make_backbone(name, weights)
        last = next(backbone.last.children())  # the last convolution and its mean over all places: imagededup's cut
        model = nn.Sequential(backbone.early, backbone.middle, last).eval()
        config = models.CustomModel(name, model, models.MobilenetV3.transform)
    try:
        cnn = methods.CNN(verbose=False, model_config=config if name else None)
    except OSError as error:
        raise SameSpaceError(
            f"imagededup could not fetch its weights ({error}): give --peer-backbone and --peer-weights, a file that "
            "is here"
        ) from error
    start = time.perf_counter()
    encodings = cnn.encode_images(files.folder, recursive=True)
    vectors = np.stack([encodings[str(path.relative_to(files.folder))] for path in files.paths])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Peer(lambda rows: vectors[rows] @ vectors[rows].T, COSINE, time.perf_counter() - start)


# How well


def judge(files: Files, edit: str, ours: Ours, others: dict[str, Peer]) -> dict[str, Figures]:
    """Return the figures of each method in one row."""
    searches = files.searches(edit)
    pairs = [np.triu_indices(len(rows), 1) for rows in searches]

    def of_pairs(matrix: Callable[[Rows], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        return np.concatenate([matrix(rows)[pair] for rows, pair in zip(searches, pairs, strict=True)])

    right = of_pairs(lambda rows: files.original[rows, None] == files.original[rows])
    row = {OURS: figures(of_pairs(lambda rows: ours.together(rows, kind_of(edit))), right)}
    for name, peer in others.items():
        scores = of_pairs(peer.score)
        best = recall_at_precision(scores, right, PRECISION)
        row[name] = {**figures(scores >= peer.threshold, right), "recall_at_best_threshold": best}
    return row


def of_one_room(files: Files, ours: Ours, others: dict[str, Peer]) -> dict[str, int]:
    """Count the pairs of originals of one room, and how many of them each method calls copies."""
    rows = files.originals()
    same_room = np.triu(files.room[rows, None] == files.room[rows], 1)
    called = {OURS: ours.together(rows, "near")}
    called |= {name: peer.score(rows) >= peer.threshold for name, peer in others.items()}
    return {"pairs": int(same_room.sum()), **{name: int(found[same_room].sum()) for name, found in called.items()}}


def of_different_pictures(originals: Sequence[Path], folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Count the pairs of pictures that only look alike, by kind, and how many of them each method calls copies."""
    counted: dict[str, Any] = {}
    chosen = [originals[place] for place in np.linspace(0, len(originals) - 1, ALIKE).astype(int)]
    photos = [open_photo(path) for path in chosen]
    for kind, make in KINDS.items():
        below = folder / kind
        below.mkdir(parents=True)
        pictures = make(photos, Random(kind))
        paths = [below / f"{number:03}.jpg" for number in range(len(pictures))]
        for picture, path in zip(pictures, paths, strict=True):
            picture.save(path, quality=95)
        none = np.zeros(len(paths), np.intp)
        files = Files(below, paths, np.arange(len(paths)), np.arange(len(paths)), none)
        library = Library(folder / f"library of {kind}", create=True)
        scan(library, [below], [Sketches()])
        pairs = np.triu_indices(len(paths), 1)
        twice = grouped(library, paths, "near", LOOK_TWICE) | grouped(library, paths, "near", BURST)
        row = {"pairs": len(pairs[0]), OURS: int(grouped(library, paths, "near", COPIES)[pairs].sum())}
        row["to look at"] = int(twice[pairs].sum())
        for name, peer in peers(files, arguments.peer_backbone, arguments.peer_weights).items():
            if peer:
                row[name] = int((peer.score(np.arange(len(paths))) >= peer.threshold)[pairs].sum())
        counted[kind] = row
    return counted


def kind_of(edit: str) -> str:
    return "near" if edit == ALL else EDITS[edit].kind


def figures(found: Flags, right: Flags) -> Figures:
    hits, wrong = int((found & right).sum()), int((found & ~right).sum())
    precision, recall = hits / max(1, hits + wrong), hits / int(right.sum())
    f1 = 2 * precision * recall / max(precision + recall, 1e-9)
    return {"precision": precision, "recall": recall, "f1": f1, "right": hits, "wrong": wrong}


def broken(row: dict[str, Figures]) -> list[str]:
    """Say what breaks the promise in one row: to be precise, and to have the highest recall, alone unless it is 1."""
    mine, others = row[OURS], {name: values for name, values in row.items() if name != OURS}
    faults = [f"precision {mine['precision']:.4f}"] if mine["precision"] < PRECISION else []
    for name, values in others.items():
        if mine["recall"] < 1 and mine["recall"] <= values["recall"]:
            faults.append(f"recall {mine['recall']:.4f}, {name} {values['recall']:.4f}")
    return faults


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    logging.disable(logging.INFO)  # imagededup tells of every step
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve()
        files = write_files(arguments.root, arguments.photos, folder / "photos")
        everybody = peers(files, arguments.peer_backbone, arguments.peer_weights)
        others = {name: peer for name, peer in everybody.items() if peer}
        ours = Ours(files, folder / "library")
        rows = {edit: judge(files, edit, ours, others) for edit in [*EDITS, ALL]}
        one_room = of_one_room(files, ours, others)
        different = of_different_pictures(files.paths[: len(files.originals())], folder / "different", arguments)
    seconds = {OURS: ours.seconds, **{name: peer.seconds for name, peer in others.items()}}
    return {
        "photos": len(files.originals()),
        "files": len(files.paths),
        "rows": rows,
        "broken": {edit: faults for edit, row in rows.items() if (faults := broken(row))},
        "of_one_room": one_room,
        "of_different_pictures": different,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "missing": [name for name in everybody if name not in others],
    }


def print_table(result: dict[str, Any]) -> None:
    rows: dict[str, dict[str, Figures]] = result["rows"]
    methods = [*rows[ALL], *result["missing"]]
    print(f"{result['photos']:,} photos, {result['files']:,} files; precision / recall / F1 per pair\n")
    print(f"| kind | copies | {' | '.join(methods)} | best threshold |")
    print("|---" * (len(methods) + 3) + "|")
    for edit, row in rows.items():
        cells = [cell(row[name]) if name in row else "not installed" for name in methods]
        best = max(values.get("recall_at_best_threshold", 0) for values in row.values())
        print(f"| {kind_of(edit)} | {edit} | {' | '.join(cells)} | {best:.3f} |")
    kept = len(rows) - len(result["broken"])
    print(f"\nIn {kept} of {len(rows)} rows our precision is at least {PRECISION}, and our recall is the highest or 1.")
    for edit, faults in result["broken"].items():
        print(f"Not for `{edit}`: {'; '.join(faults)}.")
    pairs, *calls = result["of_one_room"].items()
    if pairs[1]:
        print(f"Of {pairs[1]} pairs of one room, copies to: {', '.join(f'{name} {count}' for name, count in calls)}.")
    print("\nPairs of different pictures that are called copies, of 1,000:\n")
    for number, (alike, counts) in enumerate(result["of_different_pictures"].items()):
        methods = [name for name in counts if name != "pairs"]
        if not number:
            print(f"| pictures | pairs | {' | '.join(methods)} |")
            print("|---" * (len(methods) + 2) + "|")
        shares = [f"{1000 * counts[name] / counts['pairs']:.0f}" for name in methods]
        print(f"| {alike} | {counts['pairs']} | {' | '.join(shares)} |")
    times = ", ".join(f"{name} {seconds:.0f}" for name, seconds in result["seconds"].items())
    print(f"Seconds for all files, reading included: {times}.")


def cell(values: Figures) -> str:
    return " / ".join(f"{values[name]:.3f}" for name in ("precision", "recall", "f1"))


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure if copies end up in one group and other photos do not.")
    parser.add_argument("root", type=Path, help="a folder of photos")
    parser.add_argument("--photos", type=int, default=500, help="use this many at most (default: %(default)s)")
    parser.add_argument("--peer-backbone", choices=MOBILENETS, help="backbone for imagededup's CNN")
    parser.add_argument("--peer-weights", default="imagenet", help="imagenet or the path of a state dict")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    def run() -> None:
        result = measure(arguments)
        print(json.dumps(result, indent=2)) if arguments.json else print_table(result)

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
