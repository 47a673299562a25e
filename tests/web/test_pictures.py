"""Thumbnails and whole photos by id: what they are, how they are kept, and what stands in for one that has gone."""

from __future__ import annotations

import os
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image, ImageCms
from starlette.testclient import TestClient

from samespace.library.library import FOLDER, Library, Photo
from samespace.library.scan import scan
from samespace.web import pictures
from samespace.web.render import photo_as_json
from samespace.web.state import LiveLibrary, photo_id
from samespace.web.thumbnails import forget_thumbnails, kept_thumbnail, make_thumbnail
from tests.conftest import Served


def first(live: LiveLibrary) -> Photo:
    return next(iter(live.snapshot.photos.values()))


@pytest.fixture
def live(live: LiveLibrary) -> LiveLibrary:
    """The album without the thumbnails that it comes with."""
    shutil.rmtree(live.folder / "thumbnails")
    return live


def thumbnails(live: LiveLibrary) -> list[Path]:
    return [path for path in (live.folder / "thumbnails").rglob("*") if path.is_file()]


def scan_again(live: LiveLibrary) -> None:
    with live.library() as library:
        scan(library, live.roots, [live.look.extractor])
    live.refresh()


def test_a_thumbnail_is_small_made_once_and_kept_by_browsers(client: TestClient, live: LiveLibrary) -> None:
    photo = photo_as_json(first(live), {})
    answer = client.get(photo["thumbnail"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    assert "immutable" in answer.headers["cache-control"]
    assert Image.open(BytesIO(answer.content)).size == (320, 240)
    (kept,) = thumbnails(live)
    assert (live.folder / "thumbnails").stat().st_mode & 0o777 == 0o700
    kept.write_bytes(b"as it was kept")
    assert client.get(photo["thumbnail"]).content == b"as it was kept"


def test_a_large_photo_turned_by_the_camera_has_an_upright_thumbnail_of_its_colours(tmp_path: Path) -> None:
    exif, profile = Image.Exif(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif[0x0112] = 6
    Image.new("RGB", (1600, 1000), "red").save(tmp_path / "large.jpg", exif=exif, icc_profile=profile)
    small = Image.open(BytesIO(make_thumbnail(tmp_path, "ab", tmp_path / "large.jpg")))
    assert small.size == (300, 480)
    assert small.info["icc_profile"] == profile
    assert "exif" not in small.info  # where it was taken is nobody's business


def test_the_whole_photo_is_the_file(client: TestClient, live: LiveLibrary) -> None:
    photo = first(live)
    address = photo_as_json(photo, {})["photo"]
    answer = client.get(address)
    assert answer.content == photo.path.read_bytes()
    assert answer.headers["content-type"] == "image/jpeg"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "content-disposition" not in answer.headers
    part = client.get(address, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, photo.path.read_bytes()[10:20])
    assert client.head(address).headers["content-length"] == str(photo.size)


@pytest.mark.parametrize("which", ["thumbnail", "photo"])
def test_an_address_without_the_content_is_asked_again(client: TestClient, live: LiveLibrary, which: str) -> None:
    address = photo_as_json(first(live), {})[which].partition("?")[0]
    answer = client.get(address)
    assert answer.headers["cache-control"] == "no-cache"
    again = client.get(address, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.png", "image/png"),
        ("a.webp", "image/webp"),
        ("a.gif", "image/gif"),
        ("a.avif", "image/avif"),
        ("a.bmp", "image/jpeg"),
        ("a.tif", "image/jpeg"),
        ("a.heic", "image/jpeg"),
    ],
)
def test_every_format_is_shown(client: TestClient, live: LiveLibrary, album: Path, name: str, kind: str) -> None:
    if name == "a.heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    path = album / name
    Image.new("RGB", (64, 48), "green").save(path)
    path.rename(album / "called.jpg")  # its name says nothing
    scan_again(live)
    photo = photo_as_json(live.snapshot.photos[photo_id(album / "called.jpg")], {})
    whole, small = client.get(photo["photo"]), client.get(photo["thumbnail"])
    assert (whole.status_code, whole.headers["content-type"]) == (200, kind)
    assert Image.open(BytesIO(whole.content)).size == Image.open(BytesIO(small.content)).size == (64, 48)


@pytest.mark.parametrize("which", ["thumbnail", "photo"])
def test_what_is_not_what_was_scanned_is_not_shown(
    client: TestClient, live: LiveLibrary, tmp_path: Path, which: str
) -> None:
    gone, changed, led_away, broken = list(live.snapshot.photos.values())[:4]
    Image.new("RGB", (99, 99)).save(tmp_path / "private.png")
    gone.path.unlink()
    changed.path.write_bytes(b"other bytes")
    led_away.path.unlink()
    led_away.path.symlink_to(tmp_path / "private.png")
    for photo in (gone, changed, led_away):
        answer = client.get(photo_as_json(photo, {})[which])
        assert (answer.status_code, answer.headers["content-type"]) == (410, "image/svg+xml")
        assert answer.headers["cache-control"] == "no-store"
    broken.path.write_bytes(b"\0" * broken.size)
    os.utime(broken.path, ns=(broken.mtime_ns, broken.mtime_ns))
    answer = client.get(photo_as_json(broken, {})[which])
    assert (answer.status_code, answer.headers["content-type"]) == (422, "image/svg+xml")


TRICKS = (
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "%2fetc%2fpasswd",
    "..%5c..%5cetc%5cpasswd",
    "%00",
    "....//....//etc/passwd",
    "%c0%ae%c0%ae/etc/passwd",
    "{id}/../../..{path}",
    "{id}%00.jpg",
    "2023/damaged.jpg",
    "{path}",
)


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("below", ["photos", "static", "photos/{id}/thumbnail"])
def test_nothing_else_on_the_disk_has_an_address(served: Served, live: LiveLibrary, trick: str, below: str) -> None:
    photo = first(live)
    address = f"/{below}/{trick}".replace("{id}", photo_id(photo.path)).replace("{path}", str(photo.path))
    assert status_of(served, address) in (400, 404)


def status_of(served: Served, address: str) -> int:
    """As it is spelt: httpx would tidy it up."""
    host = served.url.removeprefix("http://")
    name, _, port = host.partition(":")
    with socket.create_connection((name, int(port))) as line:
        line.sendall(f"GET {address} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    assert b"root:" not in answer
    assert b"JFIF" not in answer
    return int(answer.split()[1])


def test_two_hundred_at_once(served: Served, live: LiveLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not two hundred photos are open for it, and pages are answered meanwhile."""
    open_now, most = [], []

    def counted(*asked: object) -> bytes:
        open_now.append(1)
        most.append(len(open_now))
        try:
            return make_thumbnail(*asked)  # type: ignore[arg-type]
        finally:
            open_now.pop()

    monkeypatch.setattr(pictures, "make_thumbnail", counted)
    photos = [photo_as_json(photo, {}) for photo in live.snapshot.photos.values()]
    addresses = [photos[number % len(photos)]["thumbnail"] for number in range(200)]
    limits = httpx.Limits(max_connections=200)
    with httpx.Client(base_url=served.url, limits=limits, timeout=60) as client, ThreadPoolExecutor(200) as crowd:
        answers = list(crowd.map(client.get, addresses))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.content[8:12] for answer in answers} == {b"WEBP"}
    assert max(most) <= 4
    assert sorted(path.name for path in thumbnails(live)) == sorted(
        {f"{photo.content}.webp" for photo in live.snapshot.photos.values()}
    )


def test_no_thumbnail_is_read_written_or_deleted_through_a_link(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "photo.png")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "abc.webp").write_bytes(b"theirs")
    library = tmp_path / "library"
    (library / "thumbnails" / "cd").mkdir(parents=True)
    (library / "thumbnails" / "ab").symlink_to(tmp_path / "theirs")
    (library / "thumbnails" / "cd" / "cde.webp").symlink_to(tmp_path / "theirs" / "abc.webp")
    for content in ("abc", "cde"):
        assert kept_thumbnail(library, content) is None
        make_thumbnail(library, content, tmp_path / "photo.png")
    forget_thumbnails(library, but=())
    assert [path.read_bytes() for path in (tmp_path / "theirs").iterdir()] == [b"theirs"]


def test_thumbnails_of_photos_that_have_gone_go_with_the_next_scan(client: TestClient, live: LiveLibrary) -> None:
    gone, stays = list(live.snapshot.photos.values())[:2]
    for photo in (gone, stays):
        client.get(photo_as_json(photo, {})["thumbnail"])
    gone.path.unlink()
    scan_again(live)
    assert [path.stem for path in thumbnails(live)] == [stays.content]


def test_a_library_that_cannot_be_written_has_thumbnails_all_the_same(tmp_path: Path, live: LiveLibrary) -> None:
    taken = tmp_path / "no folder"
    taken.write_text("")
    photo = first(live)
    assert make_thumbnail(taken, photo.content, photo.path)[8:12] == b"WEBP"
    forget_thumbnails(taken, but=())


def test_a_photo_that_was_scanned_through_a_link_is_shown(
    client: TestClient, live: LiveLibrary, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere.png"
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(elsewhere)
    (live.roots[0] / "link.png").symlink_to(elsewhere)
    with live.library() as library:
        scan(library, live.roots, [live.look.extractor], follow_links=True)
    live.refresh()
    photo = live.snapshot.photos[photo_id(live.roots[0] / "link.png")]
    assert client.get(photo_as_json(photo, {})["photo"]).content == elsewhere.read_bytes()


def test_a_library_beside_its_photos_keeps_thumbnails_too(tmp_path: Path, scanned_album: Path) -> None:
    before = sorted((scanned_album / FOLDER / "thumbnails").rglob("*"))
    library = Library(tmp_path / "elsewhere", create=True)
    scan(library, [scanned_album])
    (photo, *_) = library.photos()
    make_thumbnail(library.folder, photo.content, photo.path)
    assert (tmp_path / "elsewhere" / "thumbnails" / photo.content[:2]).is_dir()
    assert sorted((scanned_album / FOLDER / "thumbnails").rglob("*")) == before
