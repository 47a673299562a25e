"""The photos and pairs that the experiment learns from.

python data.py download ROOT                        fetch the Airbnb photos from Kaggle
python data.py summary ROOT                         count photos, spaces and pairs
python data.py samples ROOT --output pairs.png      draw a few pairs

A photo's file name says which space it shows: <city>_<room id>_<number>.jpg, in a folder for its space type.
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
from pathlib import Path

import numpy as np

from experiments.samples import draw_samples
from samespace.base.arrays import Ints
from samespace.base.errors import SameSpaceError, exit_status
from samespace.base.photos import VARIANTS
from samespace.base.pictures import save_picture
from samespace.model.pairs import (
    AIRBNB,
    RANKED,
    TRAINING,
    VERDICTS,
    Photos,
    find_photos,
    known_pairs,
    make_pairs,
    splits,
)

DATASET = "barelydedicated/airbnb-duplicate-image-detection"
PAGE = f"https://www.kaggle.com/datasets/{DATASET}"
HELD_OUT = 0.2  # share of the training spaces kept for validation


# ---- photos and pairs


def photos_of(root: Path, held_out: float = HELD_OUT) -> tuple[Photos, Photos]:
    """Return the photos to train on and those to validate on, with what their names or verdicts say of their spaces.

    Validation takes this share of the training spaces, or the Test Data folder if the share is 0.
    """
    return splits(root, held_out)


def training_rows(photos: Photos, same_space_type: bool) -> Ints:
    """Return pairs to learn from, (P, 3): two rows of photos × variants and a label, 1 for one space; half are 1."""
    return make_pairs(photos, same_space_type=same_space_type).rows()


def validation_rows(photos: Photos, same_space_type: bool) -> Ints:
    """Return pairs to validate on, (P, 4): two rows and a label as in training, and which kind of pair it is.

    Kind 0 are pairs made like training's, kind 1 all pairs of two distinct photos, each as it is.
    """
    balanced = training_rows(photos, same_space_type)
    ranked = known_pairs(photos, same_space_type, RANKED) * [len(VARIANTS), len(VARIANTS), 1]
    return np.concatenate([np.insert(balanced, 3, 0, axis=1), np.insert(ranked, 3, 1, axis=1)])


def count(photos: Photos, same_space_type: bool) -> str:
    """Say how many photos there are, and how many spaces their names tell apart."""
    spaces = len(np.unique(photos.spaces(same_space_type)[photos.named()]))
    return f"{len(photos):,} photos of {spaces:,} spaces"


def left_out(photos: Photos) -> str:
    """Say which photos were left out, and the command that says why; say nothing if none were."""
    unusable = [*(photo.path for photo in photos.unreadable), *photos.unparsed]
    if not unusable:
        return ""
    return f"; {len(unusable):,} left out, the first is {unusable[0]}: python data.py summary says why"


# ---- download


def download(root: Path) -> None:
    """Fetch the data set from Kaggle into `root` unless it is there; if several workers ask at once, one fetches."""
    if is_there(root):
        return
    from filelock import FileLock

    found = find_key()
    if found is None:
        folders = " or ".join(map(str, _key_folders()))
        raise SameSpaceError(
            f"no Kaggle key: create one at https://www.kaggle.com/settings and put its kaggle.json into {folders}, "
            "or set KAGGLE_USERNAME and KAGGLE_KEY"
        )
    root = root.resolve()
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(root.with_name(root.name + ".lock")):
            if not is_there(root):
                _download(root, *found)
    except OSError as error:
        raise SameSpaceError(
            f"cannot write {root} ({error}): give a folder that you may write to and that has room"
        ) from error


def is_there(root: Path) -> bool:
    """Tell if the data set is there, all of it: its folder appears by one rename."""
    return (root / AIRBNB / TRAINING).is_dir()


def _check_not_only_verdicts(root: Path) -> None:
    """Refuse a folder that holds exported verdicts alone, which would pass for the data set."""
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
    shutil.rmtree(partial, ignore_errors=True)  # left by a killed run: nobody else writes it while we hold the lock
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
            f"the archive of {DATASET} holds no '{AIRBNB}/{TRAINING}': download it by hand from {PAGE} and unpack it"
        )
    return folders[0]


def find_key() -> tuple[str, str] | None:
    """Return user name and key from the first place that has them: environment, this folder, home."""
    user, key = os.environ.get("KAGGLE_USERNAME"), os.environ.get("KAGGLE_KEY")
    if user and key:
        return user, key
    files = (folder / "kaggle.json" for folder in _key_folders())
    return next((read_key(file) for file in files if file.is_file()), None)


def _key_folders() -> list[Path]:
    configured = os.environ.get("KAGGLE_CONFIG_DIR")
    return [Path(__file__).resolve().parent, Path(configured) if configured else Path.home() / ".kaggle"]


def read_key(file: Path) -> tuple[str, str]:
    """Return user name and key from a kaggle.json."""
    try:
        content = json.loads(file.read_text())
        return str(content["username"]), str(content["key"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SameSpaceError(
            f"{file} is not a Kaggle key: it must look like kaggle.json.example; create one at "
            "https://www.kaggle.com/settings"
        ) from error


def _fetch(folder: Path, user: str, key: str) -> None:
    """Download and unzip into `folder`; turn whatever Kaggle's client raises into one sentence."""
    with _environment(KAGGLE_USERNAME=user, KAGGLE_KEY=key), redirect_stdout(sys.stderr):
        try:
            # Importing it signs in, with what the environment says, and may even leave the interpreter.
            from kaggle.api.kaggle_api_extended import KaggleApi

            api = KaggleApi()
            api.authenticate()
            api.dataset_download_files(DATASET, path=str(folder), unzip=True, quiet=False)
        except ImportError as error:
            raise SameSpaceError(
                f"cannot import kaggle ({error}): run `pip install 'kaggle>=1.6,<1.8'`, or download {PAGE} by hand"
            ) from error
        except (Exception, SystemExit) as error:
            raise SameSpaceError(_refusal(error)) from error


def _refusal(error: BaseException) -> str:
    """Say what to do about an error of Kaggle's client; version 1.6 puts the HTTP status on it, 1.7 on its response."""
    status = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"Kaggle refused ({status}): check user name and key, and open {PAGE} once while signed in"
    if status == 404:
        return f"Kaggle does not have {DATASET} (404): see {PAGE}, and download the photos by hand if it moved"
    while error.__context__:  # the first cause: "Name or service not known", not the retries around it
        error = error.__context__
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"the download of {DATASET} failed ({reason}): check network and disk, then run this again"


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set environment variables for a while."""
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
    """Return the photos of a split, and counts of what there is to train on.

    Pairs are ordered, and a photo is a duplicate of itself.
    """
    start = time.perf_counter()
    photos = find_photos(root, split)
    pairs = make_pairs(photos, same_space_type=same_space_type)
    named, same = photos.named(), int(photos.verdicts[:, 2].sum())
    different = len(photos.verdicts) - same
    labelled = len(named) ** 2 + 2 * len(photos.verdicts)
    forms = len(VARIANTS) ** 2  # of a duplicate, and of a pair that a verdict calls different
    augmented = int(pairs.label.sum())
    numbers: dict[str, int | float] = {
        "photos": len(photos),
        "spaces": len(np.unique(photos.spaces(same_space_type)[named])),
        "unreadable": len(photos.unreadable),
        "unparsed": len(photos.unparsed),
        "ordered_pairs": labelled,
        "duplicates": augmented // forms,
        "non_duplicates": labelled - augmented // forms,
        "augmented_duplicates": augmented,
        "sampled_non_duplicates": len(pairs.label) - augmented - 2 * forms * different,
    }
    if len(photos.verdicts):
        numbers |= {"verdicts_same": same, "verdicts_different": different}
    numbers |= {"seconds": round(time.perf_counter() - start, 3), "peak_mb": round(peak_mb(), 1)}
    return photos, numbers


def peak_mb() -> float:
    """Return the most memory that this process has held."""
    import resource  # not on Windows, where everything else here runs

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _print_summary(numbers: dict[str, int | float]) -> None:
    for name, number in numbers.items():
        label = name.replace("_", " ").replace(" mb", " MB")
        text = f"{number:,.1f}" if isinstance(number, float) else f"{number:,}"
        print(f"{label:<24}{text:>14}")


def _report_left_out(photos: Photos) -> None:
    for error in photos.unreadable:
        print(f"left out {error.path}: {error.reason}", file=sys.stderr)
    for path in photos.unparsed:
        print(f"left out {path}: its name is not <city>_<room id>_<number>", file=sys.stderr)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.command == "download":
        download(arguments.root)
        _check_not_only_verdicts(arguments.root)
    elif arguments.command == "summary":
        photos, numbers = summary(arguments.root, arguments.split, arguments.same_space_type)
        _report_left_out(photos)
        if arguments.json:
            print(json.dumps(numbers))
        else:
            _print_summary(numbers)
    else:
        photos = find_photos(arguments.root, arguments.split)
        _report_left_out(photos)
        save_picture(draw_samples(photos, make_pairs(photos), arguments.seed), arguments.output)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="The photos and pairs that the experiment learns from.")
    commands = parser.add_subparsers(dest="command", required=True)
    download_ = commands.add_parser("download", help="fetch the photos from Kaggle, unless they are there")
    summary_ = commands.add_parser("summary", help="count photos, spaces and pairs")
    samples_ = commands.add_parser("samples", help="draw a few pairs with their labels")
    for command in (download_, summary_, samples_):
        command.add_argument("root", type=Path, help=f"folder that holds '{AIRBNB}'")
    for command in (summary_, samples_):
        command.add_argument("--split", default=TRAINING, help=f"folder inside '{AIRBNB}' (default: %(default)s)")
    summary_.add_argument("--same-space-type", action="store_true", help="count each room type of a listing as a space")
    summary_.add_argument("--json", action="store_true", help="print JSON")
    samples_.add_argument("--output", type=Path, required=True, metavar="FILE.png", help="picture to write")
    samples_.add_argument("--seed", type=int, default=0, help="another seed draws other pairs (default: %(default)s)")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; a mistake is one line on stderr and exit status 1."""
    arguments = _parser().parse_args(words)
    return exit_status(lambda: _run(arguments))


if __name__ == "__main__":
    sys.exit(main())
