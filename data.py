"""The pair data of the experiment: download the Airbnb photos once, read the space off each file name, make pairs.

python data.py download ROOT
python data.py summary ROOT
python data.py samples ROOT --output pairs.png
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont, ImageOps

from samespace.errors import SameSpaceError
from samespace.hashing import Hashes, hamming, wavelet_hash
from samespace.photos import UnreadablePhoto, find, in_threads, open_photo

DATASET = "barelydedicated/airbnb-duplicate-image-detection"
AIRBNB = "Airbnb Data"
TRAINING, TEST = "Training Data", "Test Data"
VARIANTS = ("as is", "flipped", "turned 5°", "flipped and turned")

IntArray = npt.NDArray[np.integer[Any]]
_NAME = re.compile(r"(?P<city>.+)_(?P<room_id>[0-9]+)_[0-9]+")  # a city may contain underscores


# ---- photos


@dataclass(frozen=True, eq=False)
class Photos:
    """A table, one row a photo, in path order; what was found but left out stands beside it."""

    root: Path
    paths: tuple[Path, ...]
    cities: tuple[str, ...]
    room_ids: tuple[str, ...]
    space_types: tuple[str, ...]
    hashes: Hashes  # (N,) wavelet hashes
    unreadable: tuple[UnreadablePhoto, ...] = ()
    unparsed: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def listings(self) -> list[tuple[str, str]]:
        """City and room id of every photo."""
        return list(zip(self.cities, self.room_ids, strict=True))

    def spaces(self, same_space_type: bool = False) -> npt.NDArray[np.int64]:
        """One number a photo, (N,): equal numbers are one space.

        A space is a listing, or with `same_space_type` one room of it: its kitchen is not its bedroom.
        """
        types = self.space_types if same_space_type else [""] * len(self)
        numbers: dict[tuple[tuple[str, str], str], int] = {}
        keys = zip(self.listings(), types, strict=True)
        return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)

    def take(self, rows: IntArray) -> Photos:
        """The table of these rows only, in the order given."""
        return replace(
            self,
            paths=tuple(self.paths[row] for row in rows),
            cities=tuple(self.cities[row] for row in rows),
            room_ids=tuple(self.room_ids[row] for row in rows),
            space_types=tuple(self.space_types[row] for row in rows),
            hashes=self.hashes[rows],
        )


def find_photos(root: Path, split: str = TRAINING) -> Photos:
    """Every photo of a split whose name says its space and which opens; each is decoded and hashed once."""
    folder = _split_folder(root, split)
    found = find(folder)
    names = [_NAME.fullmatch(path.stem) for path in found]
    named = [(path, name["city"], name["room_id"]) for path, name in zip(found, names, strict=True) if name]
    hashes = _hash_photos([path for path, _, _ in named])
    usable = [(*row, value) for row, value in zip(named, hashes, strict=True) if not isinstance(value, UnreadablePhoto)]
    unreadable = tuple(value for value in hashes if isinstance(value, UnreadablePhoto))
    unparsed = tuple(path for path, name in zip(found, names, strict=True) if not name)
    if not usable:
        raise SameSpaceError(
            f"{folder} holds no usable photo ({len(unreadable)} cannot be read, {len(unparsed)} have another name): "
            "put photos named <city>_<room id>_<number>.jpg into a folder for each space type"
        )
    paths, cities, room_ids, values = zip(*usable, strict=True)
    types = tuple(_space_type(path, folder) for path in paths)
    return Photos(root, paths, cities, room_ids, types, np.array(values, np.uint64), unreadable, unparsed)


def _split_folder(root: Path, split: str) -> Path:
    folder = root / AIRBNB / split
    if not root.is_dir():
        raise SameSpaceError(f"{root} does not exist: run `python data.py download {root}` or give the right folder")
    if not folder.is_dir():
        raise SameSpaceError(f"{root} has no folder '{AIRBNB}/{split}': give the folder that holds '{AIRBNB}'")
    return folder


def _space_type(path: Path, folder: Path) -> str:
    return path.relative_to(folder).parts[0] if path.parent != folder else ""


def _hash_photos(paths: Sequence[Path]) -> list[np.uint64 | UnreadablePhoto]:
    from tqdm import tqdm

    def hashed(path: Path) -> np.uint64 | UnreadablePhoto:
        try:
            return wavelet_hash(open_photo(path))
        except UnreadablePhoto as error:
            return error

    return list(tqdm(in_threads(hashed, paths), "hashing", len(paths), unit=" photos", delay=1, leave=False))


def hold_out(photos: Photos, fraction: float, seed: int = 0) -> tuple[Photos, Photos]:
    """(the rest, the held out): this fraction of the listings, all photos of one on the same side.

    Each listing draws its place from its own name, so neither the order of the photos nor the other listings move it.
    """
    if not 0 < fraction < 1:
        raise SameSpaceError(f"cannot hold out a fraction of {fraction}: give a number between 0 and 1")
    listings = photos.listings()
    shuffled = sorted(set(listings), key=lambda listing: hashlib.sha256(repr((seed, listing)).encode()).digest())
    if len(shuffled) < 2:
        raise SameSpaceError(f"{photos.root} holds a single listing: add photos of another before holding some out")
    count = min(max(1, round(fraction * len(shuffled))), len(shuffled) - 1)
    chosen = set(shuffled[:count])
    held = np.array([listing in chosen for listing in listings])
    return photos.take(np.flatnonzero(~held)), photos.take(np.flatnonzero(held))


# ---- pairs


class Pairs(NamedTuple):
    """P labelled pairs as columns, each (P,): rows of the table, variants (places in `VARIANTS`), 1 for one space."""

    first: npt.NDArray[np.int32]
    second: npt.NDArray[np.int32]
    first_variant: npt.NDArray[np.int8]
    second_variant: npt.NDArray[np.int8]
    label: npt.NDArray[np.int8]


def make_pairs(photos: Photos, *, same_space_type: bool = False, seed: int = 0) -> Pairs:
    """All ordered pairs of one space, a photo with itself included, in all 16 pairs of variants; as many of two spaces.

    Those of two spaces are drawn by likeness (`sample_negatives`), all if there are fewer, and stay as they are:
    they are plentiful, so a new pair teaches more than an old one turned. Duplicates come first; nothing is shuffled.
    """
    spaces = photos.spaces(same_space_type)
    duplicates = _same_space_pairs(spaces)
    if len(duplicates) == len(photos):
        raise SameSpaceError(f"{photos.root} shows no space twice: add a second photo of some space, same city and id")
    if len(duplicates) == len(photos) ** 2:
        raise SameSpaceError(f"{photos.root} shows a single space: add photos of another city or room id")
    variants = np.indices((4, 4), np.int8).reshape(2, 16)
    augmented = np.repeat(duplicates, 16, axis=0)
    others = sample_negatives(photos.hashes, spaces, len(augmented), seed)
    as_is = np.zeros((2, len(others)), np.int8)
    first, second = np.concatenate([augmented, others]).T.copy()
    first_variant, second_variant = np.concatenate([np.tile(variants, len(duplicates)), as_is], axis=1)
    label = np.repeat(np.array([1, 0], np.int8), [len(augmented), len(others)])
    return Pairs(first, second, first_variant, second_variant, label)


def _same_space_pairs(spaces: IntArray) -> npt.NDArray[np.int32]:
    """All ordered pairs of rows with equal numbers, each row with itself included: (P, 2)."""
    order = np.argsort(spaces, kind="stable")
    _, starts, sizes = np.unique(spaces[order], return_index=True, return_counts=True)
    partners = np.repeat(sizes, sizes)  # how many each row of `order` has
    begin_of_run = np.repeat(np.cumsum(partners) - partners, partners)
    place_in_space = np.arange(partners.sum()) - begin_of_run
    first = np.repeat(order, partners)
    second = order[np.repeat(np.repeat(starts, sizes), partners) + place_in_space]
    return np.stack([first, second], axis=1).astype(np.int32)


Race = list[tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]]  # arrivals, and pairs as first * total + second


def sample_negatives(
    hashes: Hashes, spaces: IntArray, count: int, seed: int = 0, block: int = 2**15
) -> npt.NDArray[np.int32]:
    """`count` ordered pairs of two spaces, drawn without replacement with weight e^(-Hamming): (count, 2), sorted.

    All such pairs if there are fewer. The seed alone decides: `block`, how many pairs are looked at together, does not.
    """
    # Keys -x + Gumbel noise, the largest kept, written as a race: Gumbel noise is -log E with E exponential, so the
    # largest -x - log E are the smallest E·e^x, and no logarithm is taken. Winners have a tiny E. E is float64
    # because numpy draws float32 in steps of 2^-23: one pair in 8 million would be 0 and win at any distance.
    noise = np.random.default_rng(seed)
    slowness = np.exp(np.arange(65.0))
    total = len(hashes)
    rows = max(1, block // total)
    race: Race = []
    held, latest = 0, np.inf
    for start in range(0, total, rows):
        here = slice(start, start + rows)
        arrival = noise.standard_exponential((len(hashes[here]), total))
        arrival *= slowness[hamming(hashes[here], hashes)]
        early = np.flatnonzero(arrival < latest)
        early = early[spaces[start + early // total] != spaces[early % total]]
        race.append((arrival.ravel()[early], start * total + early))
        held += len(early)
        if held >= 2 * count:
            race = [_first_to_arrive(race, count)]
            held, latest = count, race[0][0].max(initial=0)
    _, pairs = _first_to_arrive(race, count)
    return np.stack(np.divmod(np.sort(pairs), total), axis=1).astype(np.int32)


def _first_to_arrive(race: Race, count: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """The `count` pairs that arrive first, all if there are fewer."""
    arrivals, pairs = (np.concatenate(column) for column in zip(*race, strict=True))
    if len(arrivals) <= count:
        return arrivals, pairs
    first = np.argpartition(arrivals, count)[:count]
    return arrivals[first], pairs[first]


# ---- download


def download(root: Path) -> None:
    """Fetch the data set from Kaggle into `root` unless it is there; of workers that come together, one fetches."""
    if _is_there(root):
        return
    from filelock import FileLock

    user, key = _kaggle_key()
    root = root.resolve()
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(root.with_name(root.name + ".lock")):
            if not _is_there(root):
                _download(root, user, key)
    except OSError as error:
        raise SameSpaceError(f"cannot write {root} ({error}): give a folder you may write, with room for it") from error


def _is_there(root: Path) -> bool:
    """Whole or absent: the folder appears by one rename, after everything in it."""
    return (root / AIRBNB / TRAINING).is_dir()


def _download(root: Path, user: str, key: str) -> None:
    target = root / AIRBNB
    if root.exists() and not root.is_dir():
        raise SameSpaceError(f"{root} is a file: give a folder for the photos")
    if target.exists() and any(target.iterdir()):
        raise SameSpaceError(f"{target} exists without '{TRAINING}': move it away, then download again")
    # Inside a root that exists: it may be a mount, and a rename cannot leave a file system.
    partial = (root if root.is_dir() else root.parent) / f".{root.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)  # what a killed run left; the lock says nobody is writing it
    try:
        partial.mkdir()
        _fetch(partial, user, key)
        whole = _unpacked(partial)
        root.mkdir(exist_ok=True)
        whole.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _unpacked(partial: Path) -> Path:
    folders = [found for found in sorted(partial.rglob(AIRBNB)) if (found / TRAINING).is_dir()]
    if not folders:
        raise SameSpaceError(
            f"the archive of {DATASET} holds no '{AIRBNB}/{TRAINING}': download it by hand from {_page()} and unpack it"
        )
    return folders[0]


def _page() -> str:
    return f"https://www.kaggle.com/datasets/{DATASET}"


def _kaggle_key() -> tuple[str, str]:
    """User name and key, from the first place that has them."""
    user, key = os.environ.get("KAGGLE_USERNAME"), os.environ.get("KAGGLE_KEY")
    if user and key:
        return user, key
    configured = os.environ.get("KAGGLE_CONFIG_DIR")
    folders = [Path(__file__).resolve().parent, Path(configured) if configured else Path.home() / ".kaggle"]
    for file in (folder / "kaggle.json" for folder in folders):
        if file.is_file():
            return _read_key(file)
    places = " or ".join(str(folder) for folder in folders)
    raise SameSpaceError(
        f"no Kaggle key: create one at https://www.kaggle.com/settings and put its kaggle.json into {places}, "
        "or set KAGGLE_USERNAME and KAGGLE_KEY"
    )


def _read_key(file: Path) -> tuple[str, str]:
    try:
        content = json.loads(file.read_text())
        return str(content["username"]), str(content["key"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SameSpaceError(
            f"{file} is not a Kaggle key: it must look like kaggle.json.example; create one at "
            "https://www.kaggle.com/settings"
        ) from error


def _fetch(folder: Path, user: str, key: str) -> None:
    """Download and unzip into `folder`; whatever Kaggle's client raises becomes one sentence."""
    with _environment(KAGGLE_USERNAME=user, KAGGLE_KEY=key), redirect_stdout(sys.stderr):
        try:
            # Signs in as it is imported, with what the environment says; may even leave the interpreter.
            from kaggle.api.kaggle_api_extended import KaggleApi

            api = KaggleApi()
            api.authenticate()
            api.dataset_download_files(DATASET, path=str(folder), unzip=True, quiet=False)
        except ImportError as error:
            raise SameSpaceError(
                f"cannot import kaggle ({error}): run `pip install 'kaggle>=1.6,<1.8'`, or download {_page()} by hand"
            ) from error
        except (Exception, SystemExit) as error:
            raise SameSpaceError(_refusal(error)) from error


def _refusal(error: BaseException) -> str:
    """What to do about an error of Kaggle's client: version 1.6 puts the HTTP status on it, 1.7 on its response."""
    status = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"Kaggle refused ({status}): check user name and key, and open {_page()} once while signed in"
    if status == 404:
        return f"Kaggle does not have {DATASET} (404): look at {_page()} and get the photos by hand if it moved"
    while error.__context__:  # what began it: "Name or service not known", not the retries around it
        error = error.__context__
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"the download of {DATASET} failed ({reason}): check network and disk, then run it again"


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name)
        os.environ.update((name, before[name]) for name in values if name in before)


# ---- commands


def summary(root: Path, split: str, same_space_type: bool) -> tuple[Photos, dict[str, int | float]]:
    """The table of a split, and what there is to train on in numbers. Ordered pairs; a photo duplicates itself."""
    start = time.perf_counter()
    photos = find_photos(root, split)
    pairs = make_pairs(photos, same_space_type=same_space_type)
    augmented = int(pairs.label.sum())
    numbers: dict[str, int | float] = {
        "photos": len(photos),
        "spaces": len(np.unique(photos.spaces(same_space_type))),
        "unreadable": len(photos.unreadable),
        "unparsed": len(photos.unparsed),
        "ordered_pairs": len(photos) ** 2,
        "duplicates": augmented // 16,
        "non_duplicates": len(photos) ** 2 - augmented // 16,
        "augmented_duplicates": augmented,
        "sampled_non_duplicates": len(pairs.label) - augmented,
        "seconds": round(time.perf_counter() - start, 3),
        "peak_mb": round(peak_mb(), 1),
    }
    return photos, numbers


def peak_mb() -> float:
    """The most memory this process has held."""
    import resource  # not on Windows, where all else here runs

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def draw_samples(photos: Photos, pairs: Pairs, seed: int = 0, count: int = 4) -> Image.Image:
    """`count` duplicates of two different photos on the left, `count` others on the right, as training sees them."""
    choose = np.random.default_rng(seed)
    told_apart = pairs.first != pairs.second
    columns = []
    for label in (1, 0):
        rows = np.flatnonzero((pairs.label == label) & told_apart)
        rows = choose.choice(rows, min(count, len(rows)), replace=False)
        columns.append([_draw_pair(photos, pairs, int(row)) for row in rows])
    return _in_columns(columns)


_TILE = (264, 198)
_GAP = 6
_INK, _GREY, _GREEN, _RED = "#1f2328", "#6e7781", "#1a7f37", "#b42318"


def _draw_pair(photos: Photos, pairs: Pairs, row: int) -> Image.Image:
    rows = (int(pairs.first[row]), int(pairs.second[row]))
    variants = (int(pairs.first_variant[row]), int(pairs.second_variant[row]))
    card = Image.new("RGB", (2 * _TILE[0] + _GAP, _TILE[1] + 74), "white")
    draw = ImageDraw.Draw(card)
    duplicate = bool(pairs.label[row])
    label = "1  duplicate" if duplicate else "0  not a duplicate"
    draw.text((0, 0), label, _GREEN if duplicate else _RED, _font(17))
    distance = int(hamming(photos.hashes[[rows[0]]], photos.hashes[[rows[1]]])[0, 0])
    note, font = f"Hamming distance {distance}", _font(14)
    draw.text((card.width - draw.textlength(note, font), 2), note, _GREY, font)
    for side, (photo, variant) in enumerate(zip(rows, variants, strict=True)):
        left = side * (_TILE[0] + _GAP)
        card.paste(_varied(open_photo(photos.paths[photo]), variant), (left, 26))
        draw.text((left, _TILE[1] + 31), photos.paths[photo].stem, _INK, _font(14))
        draw.text((left, _TILE[1] + 50), VARIANTS[variant], _GREY, _font(13))
    return card


def _varied(photo: Image.Image, variant: int) -> Image.Image:
    photo = ImageOps.fit(photo, _TILE)
    photo = ImageOps.mirror(photo) if variant in (1, 3) else photo
    return photo.rotate(5, Image.Resampling.BILINEAR) if variant in (2, 3) else photo


def _font(size: int) -> Any:
    try:
        return ImageFont.load_default(size)
    except TypeError:  # before Pillow 10.1 there is one small bitmap font
        return ImageFont.load_default()


def _in_columns(columns: list[list[Image.Image]]) -> Image.Image:
    cards = [card for column in columns for card in column]
    margin, width, height = 28, max(card.width for card in cards), cards[0].height
    rows = max(len(column) for column in columns)
    sheet = Image.new(
        "RGB", (margin + len(columns) * (width + margin), margin + rows * (height + margin // 2)), "white"
    )
    for across, column in enumerate(columns):
        for down, card in enumerate(column):
            sheet.paste(card, (margin + across * (width + margin), margin + down * (height + margin // 2)))
    return sheet


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a PNG that appears whole or not at all."""
    if path.suffix.lower() != ".png":
        raise SameSpaceError(f"{path} cannot be drawn: give --output a name that ends in .png")
    partial = path.with_name(f".{path.name}.partial")
    try:
        picture.save(partial, format="PNG")
        partial.replace(path)
    except OSError as error:
        raise SameSpaceError(f"cannot write {path} ({error}): give a folder that exists and may be written") from error
    finally:
        partial.unlink(missing_ok=True)


def _print_summary(numbers: dict[str, int | float]) -> None:
    for name, number in numbers.items():
        text = f"{number:,.1f}" if isinstance(number, float) else f"{number:,}"
        print(f"{name.replace('_', ' ').replace(' mb', ' MB'):<24}{text:>14}")


def _report_left_out(photos: Photos) -> None:
    for error in photos.unreadable:
        print(f"left out {error.path}: {error.reason}", file=sys.stderr)
    for path in photos.unparsed:
        print(f"left out {path}: its name is not <city>_<room id>_<number>", file=sys.stderr)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.command == "download":
        download(arguments.root)
    elif arguments.command == "summary":
        photos, numbers = summary(arguments.root, arguments.split, arguments.same_space_type)
        _report_left_out(photos)
        print(json.dumps(numbers)) if arguments.json else _print_summary(numbers)
    else:
        photos = find_photos(arguments.root, arguments.split)
        _report_left_out(photos)
        save_picture(draw_samples(photos, make_pairs(photos), arguments.seed), arguments.output)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="The pair data of the experiment.")
    commands = parser.add_subparsers(dest="command", required=True)
    download_ = commands.add_parser("download", help="fetch the photos from Kaggle, unless they are there")
    summary_ = commands.add_parser("summary", help="count photos, spaces and pairs")
    samples_ = commands.add_parser("samples", help="draw a few pairs with their labels")
    for command in (download_, summary_, samples_):
        command.add_argument("root", type=Path, help=f"the folder that holds '{AIRBNB}'")
    for command in (summary_, samples_):
        command.add_argument("--split", default=TRAINING, help="folder below it (default: %(default)s)")
    summary_.add_argument("--same-space-type", action="store_true", help="count a listing's space types as spaces")
    summary_.add_argument("--json", action="store_true", help="print JSON")
    samples_.add_argument("--output", type=Path, required=True, metavar="FILE.png", help="the picture to write")
    samples_.add_argument("--seed", type=int, default=0, help="other pairs (default: %(default)s)")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; a mistake is one line on stderr and exit status 1."""
    try:
        _run(_parser().parse_args(words))
    except SameSpaceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
