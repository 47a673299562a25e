"""Removing all that is suggested of an album as people have it leaves every picture, original and partner."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps

from samespace.base.photos import open_photo
from samespace.duplicates.apply import apply
from samespace.duplicates.find import find_duplicates
from samespace.duplicates.group import BURST, COPIES, LOOK_TWICE, DedupeOptions, Duplicates
from samespace.duplicates.plan import make_plan
from samespace.duplicates.undo import undo
from samespace.library.library import FOLDER, Library
from samespace.library.scan import scan
from samespace.model.pairs import TRAINING, find_photos
from samespace.search import same_shot

BLUE = "#23395d"


def save(picture: Image.Image, path: Path, taken: str | None = None, quality: int = 90) -> Path:
    """Write a photo, with what a camera writes if it was taken at some time."""
    exif = Image.Exif()
    if taken:
        exif[0x010F], exif[0x0110] = "Maker", "Model"
        exif.get_ifd(0x8769)[0x9003] = f"2024:05:01 {taken}"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=quality, exif=exif)
    return path


def slide(title: str, *points: str) -> Image.Image:
    page = Image.new("RGB", (960, 540), "#f7f7f2")
    pen = ImageDraw.Draw(page)
    pen.rectangle((0, 0, 960, 80), fill=BLUE)
    for row, line in enumerate([title, *points]):
        pen.text((40, 20 + 90 * row), line, "white" if row == 0 else "black", ImageFont.load_default(32))
    pen.text((40, 500), "Example Ltd. – Annual meeting", "#555", ImageFont.load_default(18))
    return page


def screenshot(photo: Image.Image, likes: int) -> Image.Image:
    screen = Image.new("RGB", (400, 800), "white")
    pen = ImageDraw.Draw(screen)
    pen.rectangle((0, 0, 400, 60), fill="#111")
    pen.text((130, 70), "Photogram", "black", ImageFont.load_default(26))
    screen.paste(photo.resize((400, 400)), (0, 120))
    pen.text((20, 540), f"{likes} likes", "black", ImageFont.load_default(22))
    pen.rectangle((0, 730, 400, 800), fill="#eee")
    return screen


class Album:
    """An album below a folder: what must stay, and the copies that may go, each with the files that belong to it."""

    def __init__(self, folder: Path, photos: list[Image.Image]) -> None:
        self.folder = folder
        self.stays: list[Path] = []
        self.goes: list[Path] = []
        self._originals(photos[:6])
        self._lookalikes(photos[6:])

    def _originals(self, photos: list[Image.Image]) -> None:
        """Photos of a camera, hours apart, and what was made from each of them."""
        for hour, photo in enumerate(photos):
            taken = f"1{hour}:00:00"
            self.stays.append(save(photo, self.folder / "camera" / f"DSC_{hour}31.JPG", taken, 95))
            half = photo.resize((photo.width // 2, photo.height // 2))
            self.goes += [
                save(half, self.folder / "sent" / f"IMG-2024-WA{hour}7.jpg", quality=40),
                save(photo, self.folder / "web" / f"{hour} export.jpg", quality=80),
                save(photo, self.folder / "web" / f"{hour} export with its date.jpg", taken, 70),
                save(ImageOps.mirror(photo), self.folder / "edited" / f"{hour} mirrored.jpg"),
                save(photo.rotate(90, expand=True), self.folder / "edited" / f"{hour} turned.jpg"),
                save(ImageOps.expand(photo, 24, "white"), self.folder / "edited" / f"{hour} framed.jpg", quality=70),
            ]
        for name in ("DSC_031.CR2", "DSC_031.xmp", "DSC_131.MOV"):
            self.stays.append(self.folder / "camera" / name)
        self.goes.append(self.folder / "edited" / "0 mirrored.jpg.xmp")
        for path in (*self.stays[-3:], self.goes[-1]):
            path.write_bytes(path.name.encode())

    def _lookalikes(self, photos: list[Image.Image]) -> None:
        """Pictures that are alike in all but what they show."""
        for name, photo in zip("abcdef", photos, strict=False):
            square = ImageOps.expand(photo.resize((300, 300)), 30, "white")
            self.stays.append(save(square, self.folder / "framed" / f"square {name}.jpg"))
            boxed = ImageOps.pad(ImageOps.mirror(photo.crop((0, 0, photo.width, photo.height // 2))), (400, 400))
            self.stays.append(save(boxed, self.folder / "framed" / f"film {name}.jpg"))
            posted = screenshot(ImageOps.flip(photo), ord(name))
            self.stays.append(save(posted, self.folder / f"screen {name}.png"))
        scene, passer = photos[0].resize((480, 360)), photos[1].resize((100, 140))
        for second, left in enumerate((20, 160, 330)):
            moment = scene.transpose(Image.Transpose.ROTATE_180)
            moment.paste(passer, (left, 180))
            self.stays.append(save(moment, self.folder / "camera" / f"DSC_04{second}.JPG", f"17:00:0{2 * second}"))
        slides = {
            "first": ["Costs fell"],
            "longer": ["Costs fell", "New offices"],
            "other": ["Sales rose", "Parts rose"],
        }
        for name, points in slides.items():
            self.stays.append(save(slide("Results", *points), self.folder / "slides" / f"{name}.png"))
        for month, total in (("May", "81.40"), ("June", "67.93")):
            self.stays.append(save(slide("Invoice", "Power", f"Total {total}"), self.folder / f"{month}.png"))


@pytest.fixture(scope="module")
def photos(rooms: Path) -> list[Image.Image]:
    """A photo of each of several rooms."""
    table = find_photos(rooms, TRAINING)
    first = dict(zip(table.spaces().tolist(), table.paths, strict=True))
    return [open_photo(path) for path in list(first.values())[:10]]


def test_all_suggested_leaves_all_that_anybody_would_keep(photos: list[Image.Image], tmp_path: Path) -> None:
    assert len(photos) >= 8
    album = Album(tmp_path / "album", photos)
    assert all(path.is_file() for path in (*album.stays, *album.goes))
    library = Library(album.folder / FOLDER, create=True)
    scan(library, [album.folder], [same_shot.Sketches()])
    found = find_duplicates([library], [album.folder], DedupeOptions())
    applied = apply(make_plan(found, [library]))
    assert applied.skipped == ()
    assert [path for path in album.stays if not path.exists()] == []
    assert [path for path in album.goes if path.exists()] == []
    assert shown(found, BURST) == [{"DSC_040.JPG", "DSC_041.JPG", "DSC_042.JPG"}]
    assert any({"May.png", "June.png"} <= group for group in shown(found, LOOK_TWICE))
    assert len(shown(found, COPIES)) == 6
    (run,) = applied.runs
    undo(run)
    assert all(path.is_file() for path in (*album.stays, *album.goes))


def shown(found: Duplicates, answer: str) -> list[set[str]]:
    return [{each.photo.path.name for each in group.members} for group in found.groups if group.answer == answer]
