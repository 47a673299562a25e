"""Photos open upright and in RGB whatever the file, and what cannot be opened says why."""

from __future__ import annotations

import os
import pickle
import threading
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samespace.base import decode, photos
from samespace.base.find import find
from samespace.base.photos import UnreadablePhoto, details, glimpse, in_threads, open_photo, read_many, read_pixels

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
    assert type(open_photo(tmp_path / "a.jpg")) is Image.Image  # nothing that still needs the file
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


def test_in_threads_drops_what_nobody_waits_for() -> None:
    begun: list[int] = []
    hold = threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if item:
            assert hold.wait(10)
        return item

    results = in_threads(work, range(1000), threads=1)
    assert next(results) == 0
    threading.Timer(0.05, hold.set).start()
    results.close()
    assert len(begun) <= 3


def exif_of(orientation: int = 1, original: object = None, written: object = None) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    if original is not None:
        exif.get_ifd(0x8769)[0x9003] = original
    if written is not None:
        exif[0x0132] = written
    return exif


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_glimpse_knows_the_upright_size_of_the_whole_photo(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"a.{suffix}"
    half_and_half(402, 200).save(path, exif=exif_of(orientation))
    seen = glimpse(path, 32)
    assert (seen.width, seen.height) == ((402, 200) if orientation < 5 else (200, 402))
    assert (seen.width, seen.height) == open_photo(path).size
    assert seen.pixels.shape == (32, 32, 3)
    assert np.array_equal(seen.pixels, read_pixels(path, 32))


def test_a_glimpse_of_an_open_file_begins_at_its_start_and_leaves_it_open(tmp_path: Path) -> None:
    half_and_half().save(tmp_path / "a.jpg")
    with (tmp_path / "a.jpg").open("rb") as file:
        file.read()
        assert np.array_equal(glimpse(file, 16).pixels, read_pixels(tmp_path / "a.jpg", 16))
        assert not file.closed


@pytest.mark.parametrize(
    ("original", "written", "taken"),
    [
        ("2023:05:01 12:30:00", "2024:01:01 00:00:00", "2023-05-01 12:30:00"),
        (None, "2024:01:02 03:04:05", "2024-01-02 03:04:05"),
        ("0000:00:00 00:00:00", "2024:01:02 03:04:05", "2024-01-02 03:04:05"),
        ("    :  :     :  :  ", None, None),
        ("2023:13:01 12:30:00", None, None),
        ("2023:02:30 12:30:00", None, None),
        ("yesterday", None, None),
        ("2023-05-01T12:30:00+02:00", None, "2023-05-01 12:30:00"),
        (None, None, None),
    ],
)
def test_a_glimpse_says_when_the_photo_was_taken(
    tmp_path: Path, original: str | None, written: str | None, taken: str | None
) -> None:
    half_and_half().save(tmp_path / "a.jpg", exif=exif_of(1, original, written))
    assert glimpse(tmp_path / "a.jpg", 8).taken == taken


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_leaves_the_photo_whole(tmp_path: Path) -> None:
    whole = exif_of(6, "2023:05:01 12:30:00").tobytes()
    for number, exif in enumerate(
        (whole[:20], whole[:40], b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0", b"Exif\0\0junk")
    ):
        path = tmp_path / f"{number}.jpg"
        half_and_half().save(path, exif=exif)
        seen = glimpse(path, 8)
        assert seen.taken is None
        assert sorted((seen.width, seen.height)) == [32, 64]


def test_every_bad_file_has_the_same_reason_for_a_glimpse(tmp_path: Path) -> None:
    half_and_half(800, 600).save(tmp_path / "cut.jpg")
    os.truncate(tmp_path / "cut.jpg", 3000)
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("a shopping list")
    for path in tmp_path.iterdir():
        with pytest.raises(UnreadablePhoto) as raised:
            glimpse(path, 8)
        assert raised.value.path == path
        assert raised.value.reason == reason(path)


def test_heic_is_read_whatever_its_name(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    photo = half_and_half(128, 64)
    photo.save(tmp_path / "a.heic", exif=exif_of(1, "2023:05:01 12:30:00"), quality=95)
    (tmp_path / "a.heic").rename(tmp_path / "a.jpg")
    seen = glimpse(tmp_path / "a.jpg", 16)
    assert (seen.width, seen.height, seen.taken) == (128, 64, "2023-05-01 12:30:00")
    assert close(seen.pixels[0, 0], RED, within=30)
    assert close(seen.pixels[0, 15], BLUE, within=30)
    os.truncate(tmp_path / "a.jpg", 500)
    assert reason(tmp_path / "a.jpg").startswith(("damaged: ", "not an image"))


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"hevc", b"mif1", b"msf1"])
def test_heic_without_the_extra_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, brand: bytes
) -> None:
    learnt: list[bytes] = []
    monkeypatch.setattr(decode, "learn_heif", lambda: bool(learnt.append(brand)))
    Image.init()
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "HEIF"])
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftyp" + brand + b"\0" * 64)
    with (tmp_path / "a.heic").open("rb") as file, pytest.raises(UnreadablePhoto):
        file.read()
        glimpse(file, 8)
    assert len(learnt) == 2  # tried before Pillow looked, and asked why it failed
    assert reason(tmp_path / "a.heic") == "HEIC photos need an extra: pip install 'samespace[heic]'"
    assert find(tmp_path) == [tmp_path / "a.heic"]


def test_decoders_say_whether_heic_is_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", lambda name: "9.8")
    assert photos.decoders().endswith(", pillow-heif 9.8")
    monkeypatch.setattr(metadata, "version", missing)
    assert photos.decoders().endswith(", no HEIC")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("two\nlines"), "damaged: two lines"),
        (MemoryError(), "damaged: MemoryError"),
        (ValueError("\udcff"), "damaged: ?"),
    ],
)
def test_a_reason_is_one_line_that_can_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fail(file: object, **options: object) -> None:
        raise error

    half_and_half().save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "open", fail)
    assert reason(tmp_path / "a.png") == said


def test_the_same_picture_has_the_same_pixels_in_any_lossless_file(tmp_path: Path) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8))
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "b.bmp")
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "c.png", exif=exif_of(6))
    picture.crop((0, 0, 40, 29)).save(tmp_path / "other.png")
    found = [details(tmp_path / name).pixels for name in ("a.png", "b.bmp", "c.png")]
    assert len(set(found)) == 1
    assert len(found[0]) == 64
    assert details(tmp_path / "other.png").pixels != found[0]


def test_pixels_know_their_dimensions(tmp_path: Path) -> None:
    Image.new("RGB", (8, 2), RED).save(tmp_path / "wide.png")
    Image.new("RGB", (2, 8), RED).save(tmp_path / "tall.png")
    assert details(tmp_path / "wide.png").pixels != details(tmp_path / "tall.png").pixels


def test_sharpness_is_the_laplacians_variance_for_the_photos_own_in_whatever_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8))
    photo.save(tmp_path / "a.png")
    grey = np.asarray(photo.convert("L"), float)
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    whole = details(tmp_path / "a.png")
    assert whole.sharpness == pytest.approx(laplacian.var() / grey.var(), rel=1e-12)
    for block in (1, 53 * 2, 53 * 18, 53 * 36):
        monkeypatch.setattr(photos, "BLOCK", block)
        assert details(tmp_path / "a.png") == whole


def test_more_contrast_is_not_sharper(tmp_path: Path) -> None:
    dull = Image.fromarray(np.random.default_rng(0).integers(60, 120, (64, 64, 3), np.uint8))
    dull.save(tmp_path / "dull.png")
    dull.point(lambda level: 2 * level).save(tmp_path / "rich.png")
    assert details(tmp_path / "rich.png").sharpness == pytest.approx(details(tmp_path / "dull.png").sharpness, rel=0.02)


def test_a_blurred_photo_is_less_sharp_and_a_tiny_one_not_at_all(tmp_path: Path) -> None:
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    photo.save(tmp_path / "sharp.png")
    photo.resize((32, 32)).resize((64, 64)).save(tmp_path / "blurred.png")
    assert details(tmp_path / "blurred.png").sharpness < details(tmp_path / "sharp.png").sharpness / 4
    for size in ((1, 1), (2, 9), (9, 2)):
        photo.resize(size).save(tmp_path / "tiny.png")
        assert details(tmp_path / "tiny.png").sharpness == 0
