"""The pair data of the experiment: download the Airbnb photos once, read the space off each file name, make pairs.

python data.py download ROOT
python data.py summary ROOT
python data.py samples ROOT --output pairs.png
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from samespace.base.errors import SameSpaceError, exit_status
from samespace.base.files import write_whole
from samespace.base.hashes import hamming
from samespace.base.photos import VARIANTS, read_pixels
from samespace.model.pairs import (
    AIRBNB,
    RANKED,
    TRAINING,
    VERDICTS,
    Pairs,
    Photos,
    find_photos,
    known_pairs,
    make_pairs,
)

DATASET = "barelydedicated/airbnb-duplicate-image-detection"


# ---- download


def download(root: Path) -> None:
    """Fetch the data set from Kaggle into `root` unless it is there; of workers that come together, one fetches."""
    if is_there(root):
        return
    from filelock import FileLock

    found = find_key()
    if found is None:
        places = " or ".join(map(str, _key_folders()))
        raise SameSpaceError(
            f"no Kaggle key: create one at https://www.kaggle.com/settings and put its kaggle.json into {places}, "
            "or set KAGGLE_USERNAME and KAGGLE_KEY"
        )
    root = root.resolve()
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(root.with_name(root.name + ".lock")):
            if not is_there(root):
                _download(root, *found)
    except OSError as error:
        raise SameSpaceError(f"cannot write {root} ({error}): give a folder you may write, with room for it") from error


def is_there(root: Path) -> bool:
    """Whole or absent: the folder appears by one rename, after everything in it."""
    return (root / AIRBNB / TRAINING).is_dir()


def _check_whole(root: Path) -> None:
    """Verdicts exported to an empty folder look like a data set that was downloaded before."""
    if {path.name for path in (root / AIRBNB / TRAINING).iterdir()} == {VERDICTS}:
        raise SameSpaceError(
            f"{root} holds exported verdicts and nothing else: download into another folder, then export them there"
        )


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


def find_key() -> tuple[str, str] | None:
    """Return user name and key from the first place that has them."""
    user, key = os.environ.get("KAGGLE_USERNAME"), os.environ.get("KAGGLE_KEY")
    if user and key:
        return user, key
    files = (folder / "kaggle.json" for folder in _key_folders())
    return next((_read_key(file) for file in files if file.is_file()), None)


def _key_folders() -> list[Path]:
    configured = os.environ.get("KAGGLE_CONFIG_DIR")
    return [Path(__file__).resolve().parent, Path(configured) if configured else Path.home() / ".kaggle"]


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


# ---- pairs


def training_rows(photos: Photos, same_space_type: bool) -> npt.NDArray[np.int64]:
    """Return pairs to learn from, (P, 3): rows of photos × variants, and 1 for one space. Half are duplicates."""
    return make_pairs(photos, same_space_type=same_space_type).rows()


def validation_rows(photos: Photos, same_space_type: bool) -> npt.NDArray[np.int64]:
    """Return pairs made as training's, and all of distinct photos as they are: (P, 4), the last column 1 for these."""
    balanced = training_rows(photos, same_space_type)
    ranked = known_pairs(photos, same_space_type, RANKED) * [len(VARIANTS), len(VARIANTS), 1]
    return np.concatenate([np.insert(balanced, 3, 0, axis=1), np.insert(ranked, 3, 1, axis=1)])


# ---- commands


def summary(root: Path, split: str, same_space_type: bool) -> tuple[Photos, dict[str, int | float]]:
    """The table of a split, and what there is to train on in numbers. Ordered pairs; a photo duplicates itself."""
    start = time.perf_counter()
    photos = find_photos(root, split)
    pairs = make_pairs(photos, same_space_type=same_space_type)
    named, same = photos.named(), int(photos.verdicts[:, 2].sum())
    different = len(photos.verdicts) - same
    labelled = len(named) ** 2 + 2 * len(photos.verdicts)
    augmented = int(pairs.label.sum())
    numbers: dict[str, int | float] = {
        "photos": len(photos),
        "spaces": len(np.unique(photos.spaces(same_space_type)[named])),
        "unreadable": len(photos.unreadable),
        "unparsed": len(photos.unparsed),
        "ordered_pairs": labelled,
        "duplicates": augmented // 16,
        "non_duplicates": labelled - augmented // 16,
        "augmented_duplicates": augmented,
        "sampled_non_duplicates": len(pairs.label) - augmented - 32 * different,
        **({"verdicts_same": same, "verdicts_different": different} if len(photos.verdicts) else {}),
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
        card.paste(_as_trained(photos.paths[photo], variant), (left, 26))
        draw.text((left, _TILE[1] + 31), photos.paths[photo].stem, _INK, _font(14))
        draw.text((left, _TILE[1] + 50), VARIANTS[variant], _GREY, _font(13))
    return card


def _as_trained(path: Path, variant: int) -> Image.Image:
    """The photo in this variant as the network is shown it, but for the shape: a network sees squares."""
    import torch

    from samespace.model.feature_bank import vary

    pixels = torch.from_numpy(read_pixels(path, _TILE[0]).copy()).permute(2, 0, 1)[None]
    varied = vary(pixels, variant)[0].permute(1, 2, 0).byte().numpy()
    return Image.fromarray(varied).resize(_TILE, Image.Resampling.BICUBIC)


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
    content = BytesIO()
    picture.save(content, format="PNG")
    try:
        write_whole(path, content.getvalue())
    except OSError as error:
        raise SameSpaceError(f"cannot write {path} ({error}): give a folder that exists and may be written") from error


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
        _check_whole(arguments.root)
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
    arguments = _parser().parse_args(words)
    return exit_status(lambda: _run(arguments))


if __name__ == "__main__":
    sys.exit(main())
