"""Photos and sidecars are read wherever they may say a thing, and XMP that is written can be read."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo

from samespace.base.metadata import NOTHING, Metadata, as_place, clean, names_of, only_in, united
from samespace.base.photo_metadata import embedded_in, known_of
from samespace.base.xmp import MOST, CannotComplete, completed, new_sidecar, read_xmp
from tests.conftest import ROOT

KNOWN = Metadata(
    "2023-05-01T12:30:00+02:00", (48.1379, -11.57), 4, ("garden", "Grüße"), 'She said "1 < 2 & 3"', "A title 😀"
)
SMALL = Image.new("RGB", (8, 6), "green")

LIGHTROOM = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<!-- a person's own --><rdf:Description rdf:about="uuid:1" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
 xmp:Rating="2" crs:Exposure="+1.10"><dc:subject><rdf:Bag><rdf:li>Beach</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


def exif() -> Image.Exif:
    tags = Image.Exif()
    tags[0x010E], tags[0x4746] = "In the garden", 4
    tags[0x9C9B], tags[0x9C9E] = "Über".encode("utf-16-le") + b"\0\0", "a; b c;".encode("utf-16-le")
    tags.get_ifd(0x8769).update({0x9003: "2023:05:01 12:30:00", 0x9011: "+02:00"})
    tags.get_ifd(0x8825).update({1: "S", 2: (48.0, 8.0, 15.0), 3: "E", 4: (11.0, 30.0, 0.0)})
    return tags


def iptc(*fields: tuple[int, bytes]) -> bytes:
    return b"".join(b"\x1c\x02" + bytes([number]) + len(value).to_bytes(2, "big") + value for number, value in fields)


def photoshop(block: bytes) -> bytes:
    """A JPEG's APP13 segment with IPTC in it."""
    body = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + len(block).to_bytes(4, "big") + block + b"\0" * (len(block) % 2)
    return b"\xff\xed" + (len(body) + 2).to_bytes(2, "big") + body


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_exif_is_read(tmp_path: Path, name: str) -> None:
    SMALL.save(tmp_path / name, exif=exif())
    known = embedded_in(tmp_path / name)
    assert known == Metadata(
        "2023-05-01T12:30:00+02:00", (-48.1375, 11.5), 4, ("a", "b c"), "In the garden", "Über"
    ) or (name == "a.tif" and known.caption == "In the garden" and known.rating == 4)


def test_a_caption_in_exif_is_read_in_both_its_alphabets(tmp_path: Path) -> None:
    for alphabet in ("utf-8", "latin-1"):
        tags = Image.Exif()
        tags[0x010E] = "Grüße".encode(alphabet)
        SMALL.save(tmp_path / "a.jpg", exif=tags)
        assert embedded_in(tmp_path / "a.jpg").caption == "Grüße"
        (tmp_path / "a.jpg").unlink()


def test_iptc_is_read_in_both_its_alphabets(tmp_path: Path) -> None:
    for name, alphabet in (("new.jpg", "utf-8"), ("old.jpg", "latin-1")):
        words = "Grüße".encode(alphabet)
        block = iptc((5, words), (25, b"one"), (25, words), (55, b"20230501"), (60, b"123000+0200"), (120, b"Say it"))
        SMALL.save(tmp_path / name)
        jpeg = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(jpeg[:2] + photoshop(block) + jpeg[2:])
        expected = Metadata("2023-05-01T12:30:00", None, None, ("one", "Grüße"), "Say it", "Grüße")
        assert embedded_in(tmp_path / name) == expected


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.tif", "a.png"])
def test_xmp_in_a_photo_is_read(tmp_path: Path, name: str) -> None:
    if name == "a.png":
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", new_sidecar(KNOWN).decode())
        SMALL.save(tmp_path / name, pnginfo=text)
    elif name == "a.tif":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[700] = new_sidecar(KNOWN)
        SMALL.save(tmp_path / name, tiffinfo=tags)
    else:
        SMALL.save(tmp_path / name, xmp=new_sidecar(KNOWN))
    assert embedded_in(tmp_path / name).keywords == KNOWN.keywords
    assert near(embedded_in(tmp_path / name), KNOWN)


def test_xmp_that_follows_the_pixels_of_a_png_is_read(tmp_path: Path) -> None:
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", new_sidecar(KNOWN).decode())
    SMALL.save(tmp_path / "before.png", pnginfo=text)
    SMALL.save(tmp_path / "plain.png")
    png, plain = (tmp_path / "before.png").read_bytes(), (tmp_path / "plain.png").read_bytes()
    start = png.index(b"iTXt") - 4
    chunk = png[start : start + 12 + int.from_bytes(png[start : start + 4], "big")]
    (tmp_path / "after.png").write_bytes(plain[:-12] + chunk + plain[-12:])
    assert near(embedded_in(tmp_path / "after.png"), KNOWN)


def test_text_chunks_of_a_png_are_read(tmp_path: Path) -> None:
    for date in ("Mon, 01 May 2023 12:30:00 GMT", "2023:05:01 12:30:00", "2023-05-01T12:30:00"):
        chunks = PngInfo()
        for name, text in (("Title", "Bay"), ("Description", "At the sea"), ("Comment", "no"), ("Creation Time", date)):
            chunks.add_itxt(name, text)
        SMALL.save(tmp_path / "a.png", pnginfo=chunks)
        known = embedded_in(tmp_path / "a.png")
        assert (known.title, known.caption) == ("Bay", "At the sea")
        assert known.date is not None and known.date.startswith("2023-05-01T12:30:00")
    chunks = PngInfo()
    chunks.add_text("Comment", "Created with GIMP")
    chunks.add_text("Creation Time", "yesterday")
    SMALL.save(tmp_path / "a.png", pnginfo=chunks)
    assert embedded_in(tmp_path / "a.png") == NOTHING


@pytest.mark.parametrize(
    ("comment", "said"),
    [
        (b"ASCII\0\0\0Grandma, 90   \0", "Grandma, 90"),
        (b"UNICODE\0" + "Großmutter".encode("utf-16-le"), "Großmutter"),
        (b"UNICODE\0" + "Großmutter".encode("utf-16-be"), "Großmutter"),
        (bytes(8) + b"by hand", "by hand"),
        (b"ASCII\0\0\0Screenshot", None),
        (b"JIS\0\0\0\0\0\x1b$B", None),
        (bytes(8) + b"\xff\xfe\xc0", None),
        (b"ASCII\0\0\0" + bytes(40), None),
    ],
)
def test_a_comment_is_a_caption_if_there_is_no_other(tmp_path: Path, comment: bytes, said: str | None) -> None:
    tags = Image.Exif()
    tags.get_ifd(0x8769)[0x9286] = comment
    SMALL.save(tmp_path / "a.jpg", exif=tags)
    assert embedded_in(tmp_path / "a.jpg").caption == said
    tags[0x010E] = "In the garden"
    SMALL.save(tmp_path / "a.jpg", exif=tags)
    assert embedded_in(tmp_path / "a.jpg").caption == "In the garden"


def test_the_last_words_of_hierarchical_keywords_are_keywords() -> None:
    sidecar = LIGHTROOM.replace(
        b"<dc:subject>",
        b'<lr:hierarchicalSubject xmlns:lr="http://ns.adobe.com/lightroom/1.0/"><rdf:Bag><rdf:li>Place|Beach</rdf:li>'
        b"<rdf:li>People|Anna</rdf:li></rdf:Bag></lr:hierarchicalSubject><dc:subject>",
    )
    assert read_xmp(sidecar).keywords == ("Beach", "Anna")
    assert set(read_xmp(completed(sidecar, KNOWN)).keywords) == {"Beach", "Anna", "garden", "Grüße"}


@pytest.mark.parametrize("name", ["a.jpg.xmp", "a.xmp", "a.jpg.XMP"])
def test_a_sidecar_comes_first_and_the_photo_adds_to_it(tmp_path: Path, name: str) -> None:
    SMALL.save(tmp_path / "a.jpg", exif=exif())
    (tmp_path / name).write_bytes(new_sidecar(Metadata(rating=1, keywords=("mine", "A"))))
    known = known_of(tmp_path / "a.jpg")
    assert (known.rating, known.keywords, known.caption) == (1, ("mine", "A", "b c"), "In the garden")


def test_a_camera_that_was_never_set_knows_nothing(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[0x010E], tags[0x4746] = "OLYMPUS DIGITAL CAMERA         ", 0
    tags.get_ifd(0x8769)[0x9003] = "0000:00:00 00:00:00"
    tags.get_ifd(0x8825).update({1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)})
    SMALL.save(tmp_path / "a.jpg", exif=tags)
    assert known_of(tmp_path / "a.jpg") == NOTHING


def test_whatever_is_damaged_knows_nothing(tmp_path: Path) -> None:
    SMALL.save(tmp_path / "a.jpg", exif=exif(), xmp=new_sidecar(KNOWN))
    whole = (tmp_path / "a.jpg").read_bytes()
    for cut in range(0, len(whole), 13):
        (tmp_path / "cut.jpg").write_bytes(whole[:cut])
        known_of(tmp_path / "cut.jpg")
        (tmp_path / "bit.jpg").write_bytes(whole[:cut] + bytes([whole[cut] ^ 0xFF]) + whole[cut + 1 :])
        known_of(tmp_path / "bit.jpg")
    (tmp_path / "a.xmp").mkdir()
    assert known_of(tmp_path / "a.jpg").rating == 4
    assert known_of(tmp_path / "no such.jpg") == NOTHING


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_entities_are_not_even_looked_at(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    sound = new_sidecar(Metadata(title="THIS")).decode()
    assert read_xmp(sound.encode(encoding)).title == "THIS"
    more = (f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in pairwise("abcdefghi"))
    laughs = '<!ENTITY a "ha">' + "".join(more)
    for inside in ('<!ENTITY i "small">', laughs, f'<!ENTITY i SYSTEM "{(tmp_path / "secret").as_uri()}">'):
        bad = f"<!DOCTYPE x [{inside}]>" + sound[sound.index("<x:") :].replace("THIS", "&i;")
        assert read_xmp(bad.encode(encoding)) == NOTHING


def test_a_large_or_deep_sidecar_says_nothing() -> None:
    assert read_xmp(new_sidecar(KNOWN) + b" " * MOST) == NOTHING
    deep = "from samespace.base.xmp import read_xmp; n = 500_000; print(read_xmp(b'<a>' * n + b'</a>' * n).rating)"
    ended = subprocess.run([sys.executable, "-c", deep], capture_output=True, text=True, cwd=ROOT, check=True)
    assert ended.stdout == "None\n"  # in a process of its own: a crash of the parser would take this one with it


def test_what_a_sidecar_says_there_is_not_counts_as_said() -> None:
    unrated = LIGHTROOM.replace(b'Rating="2"', b'Rating="0"')
    assert read_xmp(unrated).rating == 0
    assert only_in(Metadata(rating=3), read_xmp(unrated)) == NOTHING


# --- comparing --------------------------------------------------------------------------------------------------------


def test_only_what_nobody_else_says_is_lost() -> None:
    kept = Metadata(date="2020-01-01", keywords=("Beach",))
    lost = only_in(Metadata("2021-01-01", (1.0, 2.0), 5, ("beach", "sun"), "", None), kept)
    assert lost == Metadata(gps=(1.0, 2.0), rating=5, keywords=("sun",))
    assert names_of(lost) == ("GPS", "rating", "keywords")
    assert names_of(KNOWN) == ("date", "GPS", "rating", "keywords", "caption", "title")
    assert united([kept, lost, Metadata(rating=1)]) == Metadata(
        date="2020-01-01", gps=(1.0, 2.0), rating=5, keywords=("Beach", "sun")
    )


# --- writing ----------------------------------------------------------------------------------------------------------

texts = st.text(max_size=40).map(clean)
words = st.lists(texts.filter(bool), unique_by=str.casefold, max_size=4).map(tuple)
places = st.tuples(st.floats(-90, 90), st.floats(-180, 180)).map(lambda place: as_place(*place))
known_things = st.builds(
    Metadata,
    st.none() | st.datetimes().map(lambda day: day.replace(microsecond=0).isoformat()),
    st.none() | places,
    st.none() | st.integers(1, 5),
    words,
    texts.map(lambda text: text or None),
    texts.map(lambda text: text or None),
)


def near(known: Metadata, expected: Metadata) -> bool:
    """Return whether both are equal, but for a fifth of a centimetre."""
    if known.gps and expected.gps:
        close = all(abs(mine - theirs) < 1e-8 for mine, theirs in zip(known.gps, expected.gps, strict=True))
        return close and known._replace(gps=None) == expected._replace(gps=None)
    return known._replace(gps=None) == expected._replace(gps=None)


@given(known_things)
def test_what_is_written_is_what_is_read(known: Metadata) -> None:
    assert near(read_xmp(new_sidecar(known)), known)


@given(known_things, known_things)
def test_a_completed_sidecar_says_what_it_said_and_more(old: Metadata, more: Metadata) -> None:
    assert near(read_xmp(completed(new_sidecar(old), more)), united([old, more]))


def test_every_byte_of_a_completed_sidecar_stays() -> None:
    whole = completed(LIGHTROOM, KNOWN)
    rest = iter(whole)
    assert all(byte in rest for byte in LIGHTROOM)  # in this order
    assert b"<!-- a person's own -->" in whole and b'crs:Exposure="+1.10"' in whole
    read = read_xmp(whole)
    assert (read.rating, read.keywords) == (2, ("Beach", "garden", "Grüße"))
    assert (read.date, read.caption, read.title) == (KNOWN.date, KNOWN.caption, KNOWN.title)
    described = ElementTree.fromstring(whole).iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    abouts = {each.get("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}about") for each in described}
    assert abouts == {"uuid:1"}  # one thing is described
    assert completed(whole, KNOWN) == whole


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("padding", ["", "\0", "\0\0\0"])
def test_a_sidecar_of_two_bytes_a_letter_is_completed_in_its_encoding(encoding: str, padding: str) -> None:
    sidecar = ("\ufeff" + LIGHTROOM.decode() + padding).encode(encoding)
    whole = completed(sidecar, KNOWN)
    assert whole.decode("utf-16").rstrip("\0") == completed(LIGHTROOM, KNOWN).decode()
    assert whole.endswith(sidecar[-40:]) and read_xmp(whole) == read_xmp(completed(LIGHTROOM, KNOWN))
    assert completed(whole, KNOWN) == whole


@pytest.mark.parametrize(
    "sidecar",
    [
        b"",
        b"not XML",
        LIGHTROOM[:-5],
        b"<a/>",
        LIGHTROOM.replace(b"<rdf:Bag><rdf:li>Beach</rdf:li></rdf:Bag>", b"<rdf:Bag/>"),
        LIGHTROOM.replace(b"<rdf:Bag><rdf:li>Beach</rdf:li></rdf:Bag>", b"Beach"),
        b"<!DOCTYPE x>" + LIGHTROOM,
    ],
)
def test_a_sidecar_that_cannot_be_completed_is_refused(sidecar: bytes) -> None:
    with pytest.raises(CannotComplete):
        completed(sidecar, KNOWN)


def test_places_are_written_as_other_programs_read_them() -> None:
    text = new_sidecar(Metadata(gps=(-0.5, 179.9999999999))).decode()
    assert "<exif:GPSLatitude>0,30.000000S<" in text and "<exif:GPSLongitude>180,0.000000E<" in text
    assert "<photoshop:DateCreated>2023-05-01T12:30:00+02:00<" in new_sidecar(KNOWN).decode()
    assert '<dc:title><rdf:Alt><rdf:li xml:lang="x-default">A title 😀<' in new_sidecar(KNOWN).decode()
