"""Make synthetic rooms: furnish them at random, draw them from several viewpoints, and describe them in words.

    samespace rooms ROOT [--photos N] [--test-photos N] [--seed S] [--captions]

draws a data set laid out like the Airbnb Duplicate Image Dataset. Cameras stand at a room's south side: "left" is west.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from samespace.base import progress
from samespace.base.errors import SameSpaceError
from samespace.rooms.drawing import cast, draw_scene, view_of
from samespace.rooms.floorplan import FURNISH, Box, Piece, Plan, overlap, with_article
from samespace.rooms.scene import Camera, Point, Scene, Window

SPACE_TYPES = tuple(FURNISH)
CITIES = ("boston", "lisbon", "oslo", "kyoto", "austin")
SENTENCES = 5  # for each photo
GLANCE = (64, 48)  # a picture just large enough to tell what a photo shows
FEWEST_PIXELS = 8  # of that picture that a thing must cover to be named
VALIDATION = 9  # one in so many training rooms is for validation: not a multiple of the number of space types
PHOTOS_PER_ROOM = {1: 0.06, 2: 0.3, 3: 0.34, 4: 0.22, 5: 0.08}  # photos, and the share of rooms that have so many


@dataclass(frozen=True)
class Room:
    """A furnished room; its words are true of its drawings."""

    space_type: str
    seed: int
    walls: str  # as in "striped blue walls"
    floor: str
    window: str  # "left", "right", "front", or "" if there is none
    pieces: tuple[Piece, ...]
    scene: Scene

    @property
    def size(self) -> Point:
        return self.scene.size


def make_room(space_type: str, seed: int) -> Room:
    """Return the room that this seed stands for, always the same one."""
    if space_type not in SPACE_TYPES:
        raise SameSpaceError(f"no space type {space_type!r}: choose one of {', '.join(SPACE_TYPES)}")
    plan = Plan(space_type, np.random.default_rng([SPACE_TYPES.index(space_type), seed]))
    FURNISH[space_type](plan)
    scene = Scene(plan.size, (*plan.shell(), *plan.shapes), tuple(plan.windows), tuple(plan.lamps))
    return Room(space_type, seed, plan.walls, plan.floor, plan.window, tuple(plan.pieces), scene)


def draw(room: Room, camera: Camera, size: tuple[int, int] = (384, 288)) -> Image.Image:
    """Draw the photo of the room that this camera takes; `size` is (width, height)."""
    return draw_scene(room.scene, camera, size)


def viewpoints(room: Room, count: int) -> list[Camera]:
    """Return cameras at the south side that look across the room; the first ones are the same for any `count`."""
    random = np.random.default_rng([room.seed, SPACE_TYPES.index(room.space_type), 1])
    shares = [0.18, 0.82, 0.5, 0.33, 0.67]
    order = [*random.permutation(3).tolist(), 3, 4]
    return [_viewpoint(room, random, shares[order[index % 5]]) for index in range(count)]


def _viewpoint(room: Room, random: np.random.Generator, share: float) -> Camera:
    width, depth, _ = room.size
    for attempt in range(60):
        x = width * np.clip(share + random.uniform(-0.08, 0.08) * (1 + attempt / 10), 0.1, 0.9)
        place = (float(x), depth * float(random.uniform(0.05, 0.16)), float(random.uniform(1.3, 1.6)))
        if _clear(room, place):
            break
    aim_x, aim_y = width * random.uniform(0.42, 0.58), depth * 0.78
    yaw = -math.atan2(aim_x - place[0], aim_y - place[1]) + random.uniform(-0.06, 0.06)
    return Camera(
        position=place,
        yaw=float(yaw),
        pitch=float(random.uniform(-0.16, -0.05)),
        zoom=float(random.uniform(0.54, 0.66)),
        exposure=float(random.uniform(0.85, 1.25)),
        warmth=float(random.uniform(-0.06, 0.1)),
        seed=int(random.integers(2**31)),
    )


def _clear(room: Room, place: Point) -> bool:
    """Tell if nothing tall is within reach of a camera at this place."""
    reach = 0.5
    around = ((place[0] - reach, place[1] - reach, 0.9), (place[0] + reach, place[1] + reach, 2.0))
    return not any(overlap(around, piece.box) for piece in room.pieces)


# Words


class Thing(NamedTuple):
    """A piece of furniture that a photo shows."""

    words: str
    where: str  # "on the left" of the photo, "in the middle" or "on the right"


def things(room: Room, camera: Camera) -> list[Thing]:
    """Return the pieces that this camera sees, in the order of the room, the window last."""
    shown = cast(room.scene.shapes, view_of(camera), GLANCE).key // 4
    boxes = [(piece.words, piece.box) for piece in room.pieces]
    boxes += [("a window", _hole(window)) for window in room.scene.windows]
    middles = np.array([shape.centre for shape in room.scene.shapes])
    found = []
    for words, (low, high) in boxes:
        inside = np.all((middles > np.array(low) - 0.02) & (middles < np.array(high) + 0.02), axis=1)
        columns = np.nonzero(inside[shown] & (shown >= 0))[1]
        if len(columns) >= FEWEST_PIXELS:
            found.append(Thing(words, _where(float(columns.mean() + 0.5) / GLANCE[0])))
    return found


def _hole(window: Window) -> Box:
    """Return the box that holds a window, its frame and its pane."""
    one = window.point(window.left, window.bottom, -0.2)
    two = window.point(window.right, window.top, 0.02)
    low, high = np.minimum(one, two).tolist(), np.maximum(one, two).tolist()
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def _where(share: float) -> str:
    """Say where a share of the photo's width lies, from 0 at the left."""
    if share < 0.36:
        return "on the left"
    return "on the right" if share > 0.64 else "in the middle"


def describe(room: Room, camera: Camera) -> list[str]:
    """Describe the photo that this camera takes in five true sentences, each with other things or other words."""
    random = np.random.default_rng([room.seed, SPACE_TYPES.index(room.space_type), 2, camera.seed])
    kind = room.space_type.replace("_", " ")
    main, *others = things(room, camera) or [Thing("nothing", "in the middle")]
    shuffled = [others[at] for at in random.permutation(len(others))]
    more, floor = shuffled[2:4] or shuffled[:2], with_article(room.floor)
    pair = shuffled[-2:] or [main]
    return [
        f"A {kind} with {_listed([room.walls, main.words, *(thing.words for thing in shuffled[:2])])}.",
        f"This {kind} has {_listed([room.walls, floor, *(thing.words for thing in more)])}.",
        f"{_capital(_listed([_placed(main), *map(_placed, shuffled[:1])]))} of a {kind} with {room.walls}.",
        f"In a {kind} with {floor} and {room.walls} there is {_listed([_placed(thing) for thing in pair])}.",
        f"Photo of a {kind}: {_listed([room.walls, _placed(main), floor])}.",
    ]


def _placed(thing: Thing) -> str:
    return f"{thing.words} {thing.where}"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


# The data set


@dataclass(frozen=True)
class Listing:
    """The photos of one room in a data set: `count` files in `folder`, numbered from 1."""

    space_type: str
    seed: int
    folder: str
    name: str
    count: int

    @property
    def paths(self) -> list[str]:
        return [f"{self.folder}/{self.name}_{number + 1}.jpg" for number in range(self.count)]


def write_dataset(
    root: Path,
    training_photos: int = 480,
    test_photos: int = 120,
    seed: int = 0,
    captions: bool = True,
    workers: int | None = None,
) -> None:
    """Draw `<root>/Airbnb Data/{Training Data,Test Data}/<space type>/<city>_<room>_<number>.jpg`.

    With `captions` a `dataset.json` in Karpathy's format describes each photo in five sentences; it puts one in nine
    training rooms into validation. The same seed gives the same bytes, whatever the number of `workers` (processes; one
    for each core by default). `root` appears whole or not at all. A script that calls this needs no
    `if __name__ == "__main__"`.
    """
    _check(root, training_photos, test_photos, seed)
    todo = listings(training_photos, test_photos, seed)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent)
    except OSError as error:
        raise SameSpaceError(f"cannot write {root} ({error.strerror}): name a folder that can be written") from error
    with temporary as beside:
        unfinished = Path(beside) / root.name
        unfinished.mkdir()
        said: dict[str, list[str]] = {}
        with progress.bar("drawing rooms", training_photos + test_photos) as bar:
            for listing in _drawn(unfinished, todo, workers or os.cpu_count() or 1):
                said |= _captions(listing) if captions else {}  # while workers draw
                bar.update(listing.count)
        if captions:
            described = json.dumps(_karpathy(todo, said), indent=1)
            (unfinished / "dataset.json").write_text(described, encoding="utf-8")
        if root.exists():
            root.rmdir()
        unfinished.rename(root)


def _check(root: Path, training_photos: int, test_photos: int, seed: int) -> None:
    if root.exists() and not root.is_dir():
        raise SameSpaceError(f"{root} is not a folder: name a new folder, or an empty one")
    if root.exists() and any(root.iterdir()):
        raise SameSpaceError(f"{root} is not empty: name a new folder, or empty this one")
    if min(training_photos, test_photos, seed) < 0:
        raise SameSpaceError(
            f"cannot draw {training_photos} and {test_photos} photos with seed {seed}: none may be negative"
        )


def listings(training_photos: int, test_photos: int, seed: int) -> list[Listing]:
    """Return rooms with this many photos in all; no two rooms of training and test share a number."""
    random, number = np.random.default_rng([seed, len(SPACE_TYPES)]), 1000
    found = []
    for split, left in (("Training Data", training_photos), ("Test Data", test_photos)):
        while left:
            count = min(left, int(random.choice(list(PHOTOS_PER_ROOM), p=list(PHOTOS_PER_ROOM.values()))))
            space_type, city = SPACE_TYPES[number % len(SPACE_TYPES)], CITIES[int(random.integers(len(CITIES)))]
            folder, room_seed = f"Airbnb Data/{split}/{space_type}", 1_000_003 * seed + number
            found.append(Listing(space_type, room_seed, folder, f"{city}_{number}", count))
            left, number = left - count, number + 1
    return found


def draw_listing(root: Path, listing: Listing) -> None:
    (root / listing.folder).mkdir(parents=True, exist_ok=True)
    room = make_room(listing.space_type, listing.seed)
    for path, camera in zip(listing.paths, viewpoints(room, listing.count), strict=True):
        draw(room, camera).save(root / path, quality=90)


def _captions(listing: Listing) -> dict[str, list[str]]:
    room = make_room(listing.space_type, listing.seed)
    cameras = viewpoints(room, listing.count)
    return {path: describe(room, camera) for path, camera in zip(listing.paths, cameras, strict=True)}


_WORDS = re.compile(r"[\w'-]+")  # sentences about drawn rooms have no other


def _karpathy(todo: list[Listing], said: dict[str, list[str]]) -> dict[str, Any]:
    """Return the content of a dataset.json in Karpathy's format; all photos of a room are in one split."""
    images: list[dict[str, Any]] = []
    training = 0
    for listing in todo:
        split = "test"
        if "Training" in listing.folder:
            split, training = "val" if training % VALIDATION == 1 else "train", training + 1
        for path in listing.paths:
            folder, _, name = path.rpartition("/")
            image, first = len(images), len(images) * SENTENCES
            sentences = [
                {"sentid": first + at, "imgid": image, "raw": raw, "tokens": _WORDS.findall(raw.lower())}
                for at, raw in enumerate(said[path])
            ]
            about = {"imgid": image, "filepath": folder, "filename": name, "split": split}
            images.append({**about, "sentids": [one["sentid"] for one in sentences], "sentences": sentences})
    return {"dataset": "rooms", "images": images}


def _drawn(root: Path, todo: list[Listing], workers: int) -> Iterator[Listing]:
    """Draw `todo` below `root` and yield each listing as soon as its photos are there."""
    if workers > 1 and len(todo) > 1:
        yield from _drawn_by_processes(root, todo, min(workers, len(todo)))
        return
    for listing in todo:
        draw_listing(root, listing)
        yield listing


def _drawn_by_processes(root: Path, todo: list[Listing], workers: int) -> Iterator[Listing]:
    # Commands of our own, because multiprocessing would run the caller's script again in every worker. Threads would
    # share one core: many of the steps are short.
    command = [sys.executable, "-m", "samespace.rooms.dataset"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done, report = os.pipe()
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=report, env=environment) for _ in range(workers)
    ]
    os.close(report)
    try:
        with os.fdopen(done) as lines:
            for first, process in enumerate(processes):
                share = {index: asdict(todo[index]) for index in range(first, len(todo), workers)}
                assert process.stdin is not None
                with process.stdin as order:
                    order.write(json.dumps([str(root.absolute()), share]).encode())
            for line in lines:
                yield todo[int(line)]
        if any(process.wait() != 0 for process in processes):
            raise SameSpaceError(f"could not draw below {root.parent.parent}: the reason stands above")
    finally:
        for process in processes:
            process.kill()
            process.wait()


def draw_share() -> None:
    """Draw the listings that stdin names, and print the number of each when it is done: what a worker runs."""
    root, share = json.load(sys.stdin)
    for index, fields in share.items():
        draw_listing(Path(root), Listing(**fields))
        # Number and line end in one write, because workers share the pipe; an unbuffered `print` makes two writes.
        sys.stdout.write(f"{index}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    draw_share()
