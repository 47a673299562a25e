"""Read the files that captions come in; their format is recognised by what is in them."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from samespace.base.errors import SameSpaceError
from samespace.base.find import find
from samespace.base.photos import EXTENSIONS
from samespace.base.text import readable

KARPATHY, COCO, TOKENS = "Karpathy's dataset.json", "COCO's captions", "Flickr's tokens"
JSONL, CSV, KAGGLE, SIDECARS = "JSONL", "CSV", "Kaggle's results.csv", "photos with a .txt beside"
KNOWN = (
    "Karpathy's dataset.json, COCO's captions_*.json, Flickr's .token files, CSV with file,caption as its first line, "
    "JSONL with both, or a folder of photos with a .txt beside each"
)
NAMES = {"train": ("training", "restval"), "val": ("valid", "validation", "dev"), "test": ("testing",)}
SPLITS = {name: split for split, names in NAMES.items() for name in (split, *names)}  # by all their names
# Columns of CSV and keys of JSONL, in any case.
FILE = ("file", "image", "file_name", "filename", "image_name", "photo")
CAPTION = ("caption", "comment", "sentence", "text")
NUMBER = ("comment_number", "caption_number")
SHOWN = 5


class Note(NamedTuple):
    """Something that was left out or repaired, and every place where; as text it shows the first few."""

    what: str  # "empty captions"
    items: Sequence[str]

    def __str__(self) -> str:
        few = ", ".join(readable(item) for item in self.items[:SHOWN])
        more = f" and {len(self.items) - SHOWN:,} more" if len(self.items) > SHOWN else ""
        return f"{self.what}: {len(self.items):,} ({few}{more})"


class Said(NamedTuple):
    """Captions of a photo. A source may name a photo twice, or without captions."""

    file: str
    captions: list[str]
    split: str | None = None  # train, val or test, if the source gives one


class Read(NamedTuple):
    """The contents of a source, in its order."""

    format: str
    said: list[Said]
    notes: list[Note]


def read_said(path: Path) -> Read:
    """Read a file, or a folder of sidecars; refuse an unknown format."""
    if path.is_dir():
        return _sidecars(path)
    text = read_text(path)
    if text.lstrip()[:1] in ("{", "["):
        return _json(path, text)
    if _TOKEN.fullmatch(next(filter(str.strip, _lines(text)), "").rstrip("\n")):
        return _tokens(text)
    return _table(path, text)


def read_text(path: Path) -> str:
    """Read a text in UTF-8, or say in one sentence why not."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise SameSpaceError(f"{path}: no such file") from error
    except OSError as error:
        raise SameSpaceError(f"{path} cannot be read ({error.strerror}): check its path and permissions") from error
    except UnicodeDecodeError as error:
        raise SameSpaceError(f"{path} is not text in UTF-8: save it as that, or give {KNOWN}") from error


def _lines(text: str) -> Iterator[str]:
    """Split at the line ends of any system, and at nothing else that `str.splitlines` takes for one."""
    return iter(io.StringIO(text, newline=None))


def _other(path: Path) -> SameSpaceError:
    return SameSpaceError(f"{path} holds no captions in a known format: give {KNOWN}")


# Flickr8k and Flickr30k: NAME#NUMBER, a tab, the caption

_TOKEN = re.compile(r"(.+)#(\d+)\t(.*)")
# Flickr8k has captions of "2258277193_586949ec62.jpg.1".
_OVERLONG = re.compile(rf"(.+(?:{'|'.join(map(re.escape, EXTENSIONS))}))\.\d+", re.IGNORECASE)


def _tokens(text: str) -> Read:
    rows, strange, cut = [], [], {}
    for number, line in enumerate(_lines(text), 1):
        found = _TOKEN.fullmatch(line.rstrip("\n"))
        if found is None:
            strange += [f"line {number:,}"] if line.strip() else []
            continue
        file, place, caption = found.groups()
        if overlong := _OVERLONG.fullmatch(file):
            cut[file] = file = overlong[1]
        rows.append((file, int(place), caption, None))
    notes = [Note("lines other than NAME#NUMBER, tab, caption", strange)]
    notes.append(Note("names read without their ending", list(cut)))
    return Read(TOKENS, _in_order(rows), notes)


def _in_order(rows: Iterable[tuple[str, int, str, str | None]]) -> list[Said]:
    """Group rows of file, number, caption and split: captions by their number, photos as they come."""
    photos: dict[str, list[tuple[int, Said]]] = {}
    for file, number, caption, split in rows:
        photos.setdefault(file, []).append((number, Said(file, [caption], split)))
    return [said for one in photos.values() for _, said in sorted(one, key=lambda numbered: numbered[0])]


# Tables: CSV, such as Kaggle's captions.txt, and Kaggle's results.csv, whose columns are separated by bars


def _table(path: Path, text: str) -> Read:
    header = [cell.strip().lower() for cell in next(_lines(text), "").rstrip("\n").split("|")]
    bars = len(header) > 1
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter="|" if bars else ",",
        quoting=csv.QUOTE_NONE if bars else csv.QUOTE_MINIMAL,
        strict=True,
    )
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
        if _column(header, FILE) is None or _column(header, CAPTION) is None:
            raise _other(path)
        rows, strange = [], []
        for cells in reader:
            row = _row(path, reader.line_num, header, cells)
            if row:
                rows.append(row)
            elif cells:
                strange.append(f"line {reader.line_num:,}")
    except csv.Error as error:
        raise SameSpaceError(
            f"{path} is damaged at or before line {reader.line_num:,} ({error}): mend its quotes"
        ) from error
    return Read(KAGGLE if bars else CSV, _in_order(rows), [Note("lines that do not fit the header", strange)])


def _column(header: Sequence[str], names: Sequence[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _row(path: Path, line: int, header: Sequence[str], cells: Sequence[str]) -> tuple[str, int, str, str | None] | None:
    """Return file, number, caption and split from a line of a table; None if it does not have them."""
    if len(cells) != len(header):
        return None

    def cell(names: Sequence[str]) -> str:
        at = _column(header, names)
        return "" if at is None else cells[at].strip()

    file, number = cell(FILE), cell(NUMBER) or "0"
    if not file or not number.isdecimal():
        return None
    return file, int(number), cell(CAPTION), _split(path, f"line {line:,}", cell(["split"]))


def _split(path: Path, where: str, name: str | None) -> str | None:
    if not name:
        return None
    split = SPLITS.get(name.strip().lower())
    if split is None:
        raise SameSpaceError(f"{path}, {where}, has a split {readable(name)!r}: call it train, val or test")
    return split


# JSON


def _json(path: Path, text: str) -> Read:
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        return _jsonl(path, text, error)
    if not isinstance(whole, dict):
        raise _other(path)
    images = whole.get("images")
    if isinstance(images, list) and isinstance(whole.get("annotations"), list):
        return _coco(path, images, whole["annotations"])
    if isinstance(images, list) and any(isinstance(image, dict) and "sentences" in image for image in images):
        return _karpathy(path, images)
    if images:
        raise SameSpaceError(f"{path} names photos without captions: give the file that has their captions")
    return _jsonl(path, text, None)


def _karpathy(path: Path, images: Sequence[Any]) -> Read:
    said = []
    for number, image in enumerate(images):
        where = f"images[{number}]"
        try:
            folder, file, split = image.get("filepath"), _text(image["filename"]), image.get("split")
            captions = [_text(sentence["raw"], empty=True) for sentence in image["sentences"]]
            split = None if split is None else _split(path, where, _text(split))
            said.append(Said(f"{_text(folder)}/{file}" if folder else file, captions, split))
        except (LookupError, TypeError, AttributeError) as error:
            raise SameSpaceError(
                f"{path} is damaged: {where} should have a filename, a split and sentences with raw text"
            ) from error
    return Read(KARPATHY, said, [])


def _coco(path: Path, images: Sequence[Any], annotations: Sequence[Any]) -> Read:
    where, has = "", ""
    try:
        photos: dict[Any, Said] = {}
        for number, image in enumerate(images):
            where, has = f"images[{number}]", "an id and a file_name"
            photos[image["id"]] = Said(_text(image["file_name"]), [])
        strays = []
        for number, annotation in enumerate(annotations):
            where, has = f"annotations[{number}]", "an image_id and a caption, as in captions_*.json"
            caption, photo = _text(annotation["caption"], empty=True), photos.get(annotation["image_id"])
            if photo:
                photo.captions.append(caption)
            else:
                strays.append(str(annotation["image_id"]))
    except (LookupError, TypeError) as error:
        raise SameSpaceError(f"{path} is not COCO's captions: {where} should have {has}") from error
    return Read(COCO, list(photos.values()), [Note("captions of photos that are not listed", strays)])


def _jsonl(path: Path, text: str, whole_error: Exception | None) -> Read:
    said: list[Said] = []
    for number, line in enumerate(_lines(text), 1):
        if not line.strip():
            continue
        try:
            row = {str(name).lower(): value for name, value in json.loads(line).items()}
            file, caption = _value(row, FILE), _value(row, CAPTION)
            split = row.get("split")
            split = None if split is None else _split(path, f"line {number:,}", _text(split, empty=True))
            said.append(Said(_text(file), [_text(caption, empty=True)], split))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            is_json = not isinstance(error, (ValueError, RecursionError))
            if said or (whole_error and is_json):
                raise SameSpaceError(
                    f"{path}, line {number:,}, should be a JSON object with file and caption: mend or remove it"
                ) from error
            if whole_error:
                reason = str(whole_error) if isinstance(whole_error, ValueError) else "nested too deeply"
                raise SameSpaceError(f"{path} is damaged JSON ({reason}): fetch it again") from error
            raise _other(path) from error
    return Read(JSONL, said, [])


def _value(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    for name in names:
        if name in row:
            return row[name]
    raise KeyError(names[0])


def _text(value: object, empty: bool = False) -> str:
    if not isinstance(value, str) or not (empty or value.strip()):
        raise TypeError(f"{value!r} is not text")
    return value.strip()


# Sidecars: beside photo.jpg a photo.txt, one caption a line


def _sidecars(folder: Path) -> Read:
    texts = {text.with_suffix(""): text for text in find(folder, [".txt"], follow_links=True)}
    said, unreadable, used = [], [], set()
    for photo in find(folder, follow_links=True):
        captions: list[str] = []
        text = texts.get(photo.with_suffix(""))
        if text:
            used.add(text)
            try:
                captions = [line.strip() for line in _lines(text.read_bytes().decode("utf-8-sig")) if line.strip()]
            except (OSError, UnicodeDecodeError):
                unreadable.append(text.relative_to(folder).as_posix())
        said.append(Said(photo.relative_to(folder).as_posix(), captions))
    if not used:
        raise SameSpaceError(
            f"{folder} has no photo with a .txt of its name beside it: name the file of captions, {KNOWN}"
        )
    lonely = sorted((text.relative_to(folder).as_posix() for text in set(texts.values()) - used), key=os.fsencode)
    notes = [Note("texts that are not UTF-8", unreadable), Note("texts without a photo of their name", lonely)]
    return Read(SIDECARS, said, notes)
