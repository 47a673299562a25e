"""Rooms: the same for the same seed, drawn without holes, described truthfully, written whole or not at all."""

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samespace.base.errors import SameSpaceError
from samespace.cli.main import main
from samespace.rooms import dataset as rooms
from samespace.rooms.dataset import SPACE_TYPES, describe, draw, make_room, things, viewpoints, write_dataset
from samespace.rooms.drawing import cast, view_of
from samespace.rooms.floorplan import CLOTH_COLOURS, Piece
from samespace.rooms.scene import Shape
from samespace.rooms.surfaces import colour
from samespace.words.caption_files import KARPATHY
from samespace.words.caption_set import read_captions
from samespace.words.tokens import split_words
from tests.conftest import ROOT

SMALL = (96, 72)


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rooms") / "data"
    write_dataset(root, training_photos=4, test_photos=1, seed=3, workers=2)
    return root


def test_same_seed_same_bytes_whatever_the_workers(dataset: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "alone", training_photos=4, test_photos=1, seed=3, workers=1)
    assert files(tmp_path / "alone") == files(dataset)


def test_another_seed_gives_other_rooms(dataset: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "other", training_photos=2, test_photos=0, seed=4, workers=1)
    photos = {data for name, data in files(tmp_path / "other").items() if name.endswith(".jpg")}
    assert len(photos) == 2
    assert not photos & set(files(dataset).values())


def test_layout_and_counts(dataset: Path) -> None:
    names = [name for name in files(dataset) if name != "dataset.json"]
    pattern = r"Airbnb Data/(Training Data|Test Data)/(bedroom|kitchen|bathroom|living_room)/[a-z]+_(\d+)_([1-5])\.jpg"
    found = [match.groups() for name in names if (match := re.fullmatch(pattern, name))]
    assert len(found) == len(names) == 5
    rooms_of = {
        split: {room for where, _, room, _ in found if where == split} for split in ("Training Data", "Test Data")
    }
    assert sum(where == "Test Data" for where, *_ in found) == 1
    assert rooms_of["Training Data"] and rooms_of["Test Data"]
    assert not rooms_of["Training Data"] & rooms_of["Test Data"]
    with Image.open(dataset / names[0]) as photo:
        assert photo.size == (384, 288)


def test_photos_of_a_room_are_numbered_from_one() -> None:
    for listing in rooms.listings(40, 7, seed=1):
        assert [path.rsplit("_", 1)[1] for path in listing.paths] == [f"{n}.jpg" for n in range(1, listing.count + 1)]
    assert sum(listing.count for listing in rooms.listings(40, 7, seed=1)) == 47


def test_every_photo_is_described_in_karpathys_format(dataset: Path) -> None:
    captions = read_captions(dataset / "dataset.json")
    assert captions.format == KARPATHY
    assert captions.notes == ()
    assert {image.file for image in captions.images} == set(files(dataset)) - {"dataset.json"}
    for image in captions.images:
        assert len(set(image.captions)) == 5
        assert all(Path(image.file).parent.name.replace("_", " ") in sentence for sentence in image.captions)
    raw = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))["images"]
    sentences = [sentence for image in raw for sentence in image["sentences"]]
    assert [sentence["sentid"] for sentence in sentences] == list(range(5 * len(raw)))
    assert all(sentence["tokens"] == split_words(sentence["raw"]) for sentence in sentences)
    assert all(image["sentids"] == [sentence["sentid"] for sentence in image["sentences"]] for image in raw)
    assert [image["imgid"] for image in raw] == list(range(len(raw)))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks only what is listed need not wait for drawings."""
    monkeypatch.setattr(rooms, "draw_listing", lambda root, listing: None)
    monkeypatch.setattr(rooms, "describe", lambda room, camera: ["a room"] * 5)


@pytest.mark.usefixtures("undrawn")
def test_all_photos_of_a_room_are_in_one_split(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", training_photos=300, test_photos=60, workers=1)
    captions = read_captions(tmp_path / "data" / "dataset.json")
    splits: dict[str, set[str]] = {}
    for image in captions.images:
        assert (image.split == "test") == ("Test Data" in image.file)
        splits.setdefault(image.file.rsplit("_", 1)[0], set()).add(image.split)
    assert all(len(one) == 1 for one in splits.values())
    assert 20 < captions.counts()["val"] < 50
    assert {image.file.split("/")[2] for image in captions.only("val").images} == set(SPACE_TYPES)


@pytest.mark.usefixtures("undrawn")
def test_two_rooms_are_enough_for_validation(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", training_photos=6, test_photos=0, workers=1)
    counts = read_captions(tmp_path / "data" / "dataset.json").counts()
    assert min(counts["train"], counts["val"]) >= 1


@pytest.mark.parametrize("space_type", SPACE_TYPES)
def test_sentences_are_true_and_differ(space_type: str) -> None:
    """Those of a photo from each other, and those of a room's photos, which show other things in other places."""
    for seed in range(5):
        room = make_room(space_type, seed)
        assert bool(room.window) == bool(room.scene.windows)
        cameras = viewpoints(room, 3)
        said = [describe(room, camera) for camera in cameras]
        assert all(len(set(sentences)) == 5 for sentences in said)
        assert len({" ".join(sentences) for sentences in said}) > 1
        assert len({sentence for sentences in said for sentence in sentences}) >= 8
        for camera, sentences in zip(cameras, said, strict=True):
            seen = things(room, camera)
            placed = {f"{thing.words} {thing.where}" for thing in seen}
            true = {thing.words for thing in seen} | {space_type.replace("_", " "), room.walls, f"a {room.floor}"}
            for sentence in sentences:
                left = sentence.lower()
                for words in [*sorted(placed, key=len), *sorted(true, key=len, reverse=True)]:
                    left = left.replace(words, "")
                assert re.sub(r"\b(an?|with|and|this|has|in|of|photo|there|is)\b|[ ,.:]", "", left) == "", sentence


@pytest.mark.parametrize("space_type", SPACE_TYPES)
def test_things_are_where_they_are_said_to_be(space_type: str) -> None:
    """Where a piece's middle falls on the photo, mostly: of a long row of cupboards another part may be seen."""
    right, wrong = 0, []
    for seed in range(6):
        room = make_room(space_type, seed)
        boxes = {piece.words: np.array(piece.box) for piece in room.pieces}
        for camera in viewpoints(room, 3):
            view = view_of(camera)
            for thing in things(room, camera):
                if thing.words in boxes:
                    away = boxes[thing.words].mean(axis=0) - view.origin
                    across = 0.5 + away @ view.right * camera.zoom**2 / (away @ view.ahead)
                    if 0.1 < across < 0.9 and min(abs(across - 0.36), abs(across - 0.64)) > 0.05:
                        expected = ("on the left", "in the middle", "on the right")[
                            int(np.digitize(across, [0.36, 0.64]))
                        ]
                        right += thing.where == expected
                        wrong += [] if thing.where == expected else [(thing, across)]
    assert right > 20
    assert len(wrong) < 0.1 * right, wrong


def test_what_is_out_of_sight_is_not_named() -> None:
    room = make_room("bedroom", 3)
    camera = viewpoints(room, 1)[0]
    assert things(room, camera)
    turned = replace(camera, yaw=camera.yaw + math.pi)
    assert {thing.words for thing in things(room, turned)} < {thing.words for thing in things(room, camera)}


def shapes_of(room: rooms.Room, piece: Piece) -> dict[int, Shape]:
    """The shapes, by number, that lie in a piece's place."""
    low, high = np.array(piece.box[0]) - 0.02, np.array(piece.box[1]) + 0.02
    middles = np.array([shape.centre for shape in room.scene.shapes])
    inside = np.flatnonzero(((middles > low) & (middles < high)).all(axis=1))
    return {int(number): room.scene.shapes[number] for number in inside}


@pytest.mark.parametrize("space_type", SPACE_TYPES)
def test_every_pixel_sees_something_and_what_is_named_is_there(space_type: str) -> None:
    """Of the pieces that sentences may name, hardly one is hidden in all of three photos."""
    hidden = []
    for seed in range(4):
        room = make_room(space_type, seed)
        seen = [cast(room.scene.shapes, view_of(camera), SMALL) for camera in viewpoints(room, 3)]
        assert all((photo.key >= 0).all() and np.isfinite(photo.depth).all() for photo in seen)
        visible = set((np.unique(np.concatenate([photo.key for photo in seen])) // 4).tolist())
        hidden += [piece.words for piece in room.pieces if visible.isdisjoint(shapes_of(room, piece))]
    assert len(hidden) <= 1, hidden


@pytest.mark.parametrize("space_type", SPACE_TYPES)
def test_cloth_has_the_colour_its_words_say(space_type: str) -> None:
    cloth = ("bed", "sofa", "armchair", "rug", "towels", "shower curtain")
    checked = 0
    for seed in range(8):
        room = make_room(space_type, seed)
        for piece in (piece for piece in room.pieces if piece.name in cloth):
            said = next(name for name in CLOTH_COLOURS if name in piece.words.split())
            tints = {shape.surface.colour for shape in shapes_of(room, piece).values()}
            assert colour(CLOTH_COLOURS[said]) in tints, piece.words
            checked += 1
    assert checked or space_type == "kitchen"


def test_nothing_stands_in_front_of_the_camera() -> None:
    for space_type in SPACE_TYPES:
        room = make_room(space_type, 5)
        for camera in viewpoints(room, 5):
            assert (cast(room.scene.shapes, view_of(camera), SMALL).depth > 0.5).mean() > 0.9


def test_viewpoints_differ_and_do_not_depend_on_their_number() -> None:
    room = make_room("bedroom", 2)
    cameras = viewpoints(room, 5)
    assert len({camera.position for camera in cameras}) == 5
    assert viewpoints(room, 2) == cameras[:2]


def test_photos_of_one_room_are_more_alike() -> None:
    """Their colours are nearer to each other's than to those of other rooms of the same kind, mostly."""
    histograms = []
    for seed in range(6):
        room = make_room("living_room", seed)
        histograms += [(seed, colours(draw(room, camera, SMALL))) for camera in viewpoints(room, 3)]
    same, other = [], []
    for (seed0, one), (seed1, two) in combinations(histograms, 2):
        (same if seed0 == seed1 else other).append(np.minimum(one, two).sum())
    assert np.median(same) > np.quantile(other, 0.9)


def colours(photo: Image.Image) -> np.ndarray:
    """How much of the photo has each of 512 colours."""
    cells = np.asarray(photo).reshape(-1, 3) // 32
    counts = np.bincount(cells @ [64, 8, 1], minlength=512)
    return counts / counts.sum()


def test_drawing_twice_gives_the_same_pixels() -> None:
    room = make_room("bathroom", 7)
    camera = viewpoints(room, 1)[0]
    first = draw(room, camera, SMALL)
    assert first.size == SMALL
    assert first.mode == "RGB"
    assert first.tobytes() == draw(make_room("bathroom", 7), camera, SMALL).tobytes()
    assert len(first.getcolors(SMALL[0] * SMALL[1]) or []) > 500


def test_refuses_a_folder_that_holds_something(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    (root / "mine.txt").write_text("keep")
    with pytest.raises(SameSpaceError, match=r"data is not empty: name a new folder"):
        write_dataset(root, 4, 0)
    assert files(tmp_path) == {"data/mine.txt": b"keep"}


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_dataset(tmp_path / "data", 1, 0, workers=1)
    assert len(files(tmp_path)) == 2


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def fail_at_the_second(root: Path, listing: rooms.Listing) -> None:
        if drawn:
            raise OSError("disk full")
        drawn.append(listing)
        (root / "half.jpg").write_bytes(b"")

    monkeypatch.setattr(rooms, "draw_listing", fail_at_the_second)
    with pytest.raises(OSError, match="disk full"):
        write_dataset(tmp_path / "data", 9, 0, workers=1)
    assert drawn
    assert list(tmp_path.iterdir()) == []


def test_a_script_needs_no_main_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("from pathlib import Path\nfrom samespace.rooms.dataset import write_dataset\n")
    with script.open("a") as lines:
        lines.write(f"write_dataset(Path({str(tmp_path / 'data')!r}), 2, 0, workers=2)\n")
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sum(name.endswith(".jpg") for name in files(tmp_path / "data")) == 2


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "data"
    assert main(["rooms", str(root), "--photos", "1", "--test-photos", "1"]) == 0
    assert capsys.readouterr().out == f"2 photos in {root}\n"
    assert not (root / "dataset.json").exists()
    assert main(["rooms", str(root)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: {root} is not empty")
    assert main(["rooms", str(tmp_path / "described"), "--photos", "1", "--test-photos", "0", "--captions"]) == 0
    assert read_captions(tmp_path / "described" / "dataset.json").listed == 1


def test_refuses_a_file_and_a_place_where_nothing_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SameSpaceError, match="file is not a folder: name a new folder, or an empty one"):
        write_dataset(tmp_path / "file", 1, 0)
    with pytest.raises(SameSpaceError, match=r"cannot write .*data \(File exists\): name a folder that can be written"):
        write_dataset(tmp_path / "file" / "data", 1, 0)


@pytest.mark.parametrize("photos, seed", [(-1, 0), (1, -1)])
def test_refuses_negative_numbers(tmp_path: Path, photos: int, seed: int) -> None:
    with pytest.raises(SameSpaceError, match="none may be negative"):
        write_dataset(tmp_path / "data", photos, 0, seed)
    assert list(tmp_path.iterdir()) == []


def test_unknown_space_type() -> None:
    with pytest.raises(SameSpaceError, match="no space type 'attic': choose one of bedroom"):
        make_room("attic", 0)


def test_importing_stays_light() -> None:
    code = "import sys, samespace.rooms.dataset; print([name for name in ('torch', 'scipy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
