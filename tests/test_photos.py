"""Photos open upright and in RGB whatever the file, and what cannot be opened says why."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samespace.errors import SameSpaceError
from samespace.photos import UnreadablePhoto, find, in_threads, open_photo, read_many, read_pixels

RED, BLUE = (220, 20, 20), (20, 20, 220)


def half_and_half(width: int = 64, height: int = 32) -> Image.Image:
    """Red on the left, blue on the right."""
    photo = Image.new("RGB", (width, height), RED)
    photo.paste(BLUE, (width // 2, 0, width, height))
    return photo


def close(pixel: object, colour: tuple[int, int, int], within: int = 12) -> bool:
    return bool(np.abs(np.subtract(pixel, colour)).max() <= within)


def reason(path: Path) -> str:
    with pytest.raises(UnreadablePhoto) as raised:
        open_photo(path)
    assert raised.value.path == path
    assert str(raised.value) == f"{path}: {raised.value.reason}"
    return raised.value.reason


# Where the red half ends up when a viewer follows the EXIF orientation of a photo stored red-left.
@pytest.mark.parametrize(
    ("orientation", "red"),
    [(1, "left"), (2, "right"), (3, "right"), (4, "left"), (5, "top"), (6, "top"), (7, "bottom"), (8, "bottom")],
)
def test_exif_orientation_is_followed(tmp_path: Path, orientation: int, red: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    half_and_half().save(tmp_path / "a.jpg", exif=exif, quality=95)
    photo = open_photo(tmp_path / "a.jpg")
    assert photo.size == ((64, 32) if red in ("left", "right") else (32, 64))
    width, height = photo.size
    spots = {"left": (4, 16), "right": (60, 16), "top": (16, 4), "bottom": (16, 60)}
    opposite = (width - 1 - spots[red][0], height - 1 - spots[red][1])
    assert close(photo.getpixel(spots[red]), RED)
    assert close(photo.getpixel(opposite), BLUE)


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    half_and_half().convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    photo = open_photo(tmp_path / "a.jpg")
    assert photo.mode == "RGB"
    assert close(photo.getpixel((4, 16)), RED, within=20)


def test_16_bit_grey_keeps_its_shades(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(1, 256).repeat(4, axis=0)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    shades = np.asarray(open_photo(tmp_path / "a.png"))
    assert shades.shape == (4, 256, 3)
    assert np.abs(shades[0, :, 0].astype(int) - np.arange(256)).max() <= 1


def test_transparent_palette_lies_on_white(tmp_path: Path) -> None:
    photo = Image.new("P", (10, 10), 0)
    photo.putpalette([0, 0, 0, *RED])
    photo.paste(1, (5, 0, 10, 10))
    photo.save(tmp_path / "a.png", transparency=0)
    opened = open_photo(tmp_path / "a.png")
    assert opened.getpixel((0, 0)) == (255, 255, 255)
    assert opened.getpixel((9, 9)) == RED


def test_half_transparent_pixels_mix_with_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 128)).save(tmp_path / "a.png")
    assert close(open_photo(tmp_path / "a.png").getpixel((4, 4)), (127, 127, 127), within=1)


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_grey_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    Image.new("L", (8, 8), 255).convert(mode).save(tmp_path / "a.png")
    photo = open_photo(tmp_path / "a.png")
    assert photo.mode == "RGB"
    assert photo.getpixel((0, 0)) == (255, 255, 255)


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), BLUE)
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    assert close(open_photo(tmp_path / "a.gif").getpixel((4, 4)), RED)


def test_truncated_jpeg_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert reason(path).startswith("damaged: ")


def test_truncated_png_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    assert reason(path).startswith("damaged: ")


@pytest.mark.skipif(".avif" not in Image.registered_extensions(), reason="this Pillow reads no AVIF")
def test_avif_without_its_image_is_damaged(tmp_path: Path) -> None:
    # Its decoder raises RuntimeError, which no other format does.
    path = tmp_path / "a.avif"
    half_and_half().save(path)
    path.write_bytes(path.read_bytes().replace(b"iloc", b"xxxx"))
    assert reason(path).startswith("damaged: ")


def test_empty_file_is_called_empty(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    assert reason(tmp_path / "a.jpg") == "the file is empty"


def test_text_named_jpg_is_not_an_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("a shopping list")
    assert reason(tmp_path / "a.jpg") == "not an image this program knows"


def test_missing_file_and_folder_are_unreadable(tmp_path: Path) -> None:
    assert reason(tmp_path / "gone.jpg") == "no such file"
    (tmp_path / "folder.jpg").mkdir()
    assert reason(tmp_path / "folder.jpg") == "cannot be opened: Is a directory"


def test_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half_and_half().save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert reason(tmp_path / "a.png") == "too many pixels to open safely"


def test_unreadable_photo_survives_pickling(tmp_path: Path) -> None:
    copy = pickle.loads(pickle.dumps(UnreadablePhoto(tmp_path / "a.jpg", "the file is empty")))
    assert (copy.path, copy.reason) == (tmp_path / "a.jpg", "the file is empty")


def test_draft_is_smaller_but_never_below_what_was_asked(tmp_path: Path) -> None:
    half_and_half(800, 400).save(tmp_path / "a.jpg")
    assert open_photo(tmp_path / "a.jpg").size == (800, 400)
    assert open_photo(tmp_path / "a.jpg", at_least=100).size == (200, 100)
    assert open_photo(tmp_path / "a.jpg", at_least=300).size == (800, 400)


def test_read_pixels_squeezes_the_whole_photo(tmp_path: Path) -> None:
    half_and_half(100, 50).save(tmp_path / "a.png")
    pixels = read_pixels(tmp_path / "a.png", 16)
    assert (pixels.shape, pixels.dtype) == ((16, 16, 3), np.uint8)
    assert close(pixels[0, 0], RED)
    assert close(pixels[15, 15], BLUE)


def test_read_many_keeps_order_and_hands_over_errors(tmp_path: Path) -> None:
    half_and_half().save(tmp_path / "a.png")
    (tmp_path / "b.png").touch()
    first, second, third = read_many([tmp_path / "a.png", tmp_path / "b.png", tmp_path / "a.png"], 8)
    assert isinstance(second, UnreadablePhoto)
    assert np.array_equal(first, third)


def test_find_sorts_passes_over_hidden_and_takes_any_case(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "b/1.png", "a.webp", "b/.hidden.jpg", ".trash/3.jpg", "b/notes.txt", "c/.x/4.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find(tmp_path) == [tmp_path / "a.webp", tmp_path / "b/1.png", tmp_path / "b/2.JPG"]
    assert find(tmp_path, [".PNG"]) == [tmp_path / "b/1.png"]


def test_find_in_a_missing_folder_names_it(tmp_path: Path) -> None:
    with pytest.raises(SameSpaceError, match=r"nowhere is not a folder"):
        find(tmp_path / "nowhere")


def test_in_threads_keeps_order_though_work_ends_in_another() -> None:
    later = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert later.wait(10)  # the first item ends after the second
        else:
            later.set()
        return item * item

    assert list(in_threads(work, range(200), threads=2)) == [item * item for item in range(200)]


def test_in_threads_stays_only_a_little_ahead() -> None:
    taken: list[int] = []

    def items():
        for item in range(1000):
            taken.append(item)
            yield item

    results = in_threads(lambda item: item, items(), threads=2)
    assert next(results) == 0
    assert len(taken) <= 33


def test_in_threads_raises_what_the_work_raises() -> None:
    results = in_threads(lambda item: 1 // item, [1, 0], threads=2)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
