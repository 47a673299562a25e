"""The photos shown in the pictures of the report and the pages: rooms, with copies among them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageEnhance

from samespace.rooms.dataset import draw, make_room, viewpoints


def draw_folder(root: Path) -> None:
    """Draw photos of twelve rooms from three viewpoints each, and the copies that gather in a folder over the years."""
    for number, space_type in enumerate(
        ("living_room", "bedroom", "kitchen", "bedroom", "living_room", "bathroom") * 2
    ):
        room, name = make_room(space_type, 40 + number), f"{number + 1:02} {space_type.replace('_', ' ')}"
        for shot, camera in enumerate(viewpoints(room, 3)):
            photo = draw(room, camera, (960, 720))
            _save(photo, root / f"2023/{name} {shot + 1}.jpg", 93)
            if shot == 0:
                _copy(photo, root, name, number)


def _copy(photo: Image.Image, root: Path, name: str, number: int) -> None:
    width, height = photo.size
    bright = ImageEnhance.Brightness(photo).enhance(1.15)
    cropped = photo.crop((width // 20, height // 20, width - width // 20, height - height // 20))
    _save(photo.resize((width // 2, height // 2)), root / f"phone backup/{name} small.jpg", 85)
    if number % 2 == 0:
        _save(bright, root / f"edited/{name} brighter.jpg", 90)
    if number % 3 == 0:
        _save(photo, root / f"sent/{name}.jpg", 30)
    if number % 4 == 0:
        _save(cropped, root / f"edited/{name} cropped.jpg", 90)


def _save(photo: Image.Image, path: Path, quality: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    photo.save(path, quality=quality)
