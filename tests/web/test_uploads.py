"""Photos from outside: what is refused, when, and that nothing of them stays."""

from __future__ import annotations

import asyncio
import io
import resource
import socket
import struct
import tempfile
import threading
import zipfile
import zlib
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import samespace
from samespace.search.look import choose_look
from samespace.web import uploads
from samespace.web.app import make_app
from samespace.web.guard import Guard
from samespace.web.state import LiveLibrary
from tests.conftest import Served


def photo_of(live: LiveLibrary, number: int) -> bytes:
    return list(live.snapshot.photos.values())[number].path.read_bytes()


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """With this header, whatever follows."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def compare(client: TestClient, photo0: bytes, photo1: bytes, **more: Any) -> Any:
    return client.post("/api/compare", files={"photo0": ("a.jpg", photo0), "photo1": ("b.jpg", photo1)}, **more)


# Two photos


def test_copies_are_the_same_shot_and_other_rooms_are_not(client: TestClient, live: LiveLibrary) -> None:
    names = [photo.path.name for photo in live.snapshot.photos.values()]
    copy = names.index(names[0], 1)
    answer = compare(client, photo_of(live, 0), photo_of(live, copy)).json()
    assert answer["meaning"] == "same shot"
    assert answer["score"] > answer["threshold"] == 0.6
    assert answer["same"] is True
    assert compare(client, photo_of(live, 0), photo_of(live, 1)).json()["same"] is False


def test_a_model_tells_the_probability_that_the_command_tells(
    live: LiveLibrary, model_folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model = samespace.load(model_folders["compare"])
    live.look = live.look._replace(name="the model", meaning="probability", model=model)
    first, second = (photo.path for photo in list(live.snapshot.photos.values())[:2])
    with TestClient(make_app(live, Guard()), "http://127.0.0.1") as client:
        answer = compare(client, first.read_bytes(), second.read_bytes()).json()
    assert answer["probability"] == answer["score"] == pytest.approx(model.compare(first, second), abs=1e-6)
    assert answer["threshold"] == model.threshold


def test_a_backbone_tells_a_cosine(live: LiveLibrary) -> None:
    live.look = choose_look(backbone="mobilenet_v3_small", weights="none")
    with TestClient(make_app(live, Guard()), "http://127.0.0.1") as client:
        answer = compare(client, photo_of(live, 0), photo_of(live, 0)).json()
    assert (answer["meaning"], answer["threshold"], answer["same"]) == ("cosine", 0.9, True)
    assert answer["score"] == pytest.approx(1, abs=1e-3)


def test_both_are_needed(client: TestClient, live: LiveLibrary) -> None:
    answer = client.post("/api/compare", files={"photo0": photo_of(live, 0)})
    assert answer.status_code == 400
    assert answer.json()["error"].endswith(": photo1 is missing.")


# What is no photo


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        (b"no photo at all", "not an image this program knows"),
        (b"<script>alert(1)</script>", "not an image this program knows"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "not an image this program knows"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "not an image this program knows"),
        (b"P6 4 4 255\n" + b"x" * 48, "not an image this program knows"),
        (png(50_000, 50_000), "too many pixels to open safely"),
        (png(8_000, 7_000), "8,000 × 7,000 pixels are too many to open safely"),
        (png(2**31 - 1, 1), "too many"),
        (png(64, 64), "damaged"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 99, "not an image this program knows"),
    ],
)
def test_what_is_no_photo_is_said_in_a_sentence(client: TestClient, file: bytes, sentence: str) -> None:
    answer = compare(client, file, file)
    assert answer.status_code == 415
    assert answer.json()["error"].startswith(f"This cannot be used as a photo: {sentence}")
    assert "\n" not in answer.json()["error"]


def test_a_photo_of_too_many_pixels_is_refused_before_it_is_decoded(client: TestClient) -> None:
    """Black compresses well: a megabyte that would be 7.5 GB."""
    row = zlib.compressobj(9)
    data = b"".join(row.compress(b"\0" * 150_001) for _ in range(300)) + row.flush()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert compare(client, png(50_000, 50_000, data), png(50_000, 50_000, data)).status_code == 415
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_a_large_photo_of_a_camera_is_taken(client: TestClient) -> None:
    file = io.BytesIO()
    Image.new("L", (8_000, 7_000), "gray").save(file, "JPEG")
    assert compare(client, file.getvalue(), file.getvalue()).status_code == 200


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_a_truncated_photo_is_said_to_be_damaged(client: TestClient, live: LiveLibrary, share: float) -> None:
    whole = photo_of(live, 0)
    answer = compare(client, whole, whole[: int(len(whole) * share)])
    assert answer.status_code == 415
    assert answer.json()["error"].startswith("This cannot be used as a photo: damaged: ")


def polyglots(photo: bytes) -> dict[str, bytes]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("index.html", "<script>alert(1)</script>")
    gif = io.BytesIO()
    Image.fromarray(np.kron(np.eye(4), np.full((16, 16), 255)).astype(np.uint8)).save(
        gif, "GIF", comment=b"*/=1;alert(1)//<script>alert(1)</script>"
    )
    return {
        "jpeg and html": photo + b"<html><script>alert(1)</script>",
        "jpeg and zip": photo + archive.getvalue(),
        "gif and javascript": gif.getvalue(),
    }


@pytest.mark.parametrize("name", polyglots(b""))
def test_a_file_that_is_also_something_else_is_a_photo_and_nothing_else(
    client: TestClient, live: LiveLibrary, name: str
) -> None:
    file = polyglots(photo_of(live, 0))[name]
    answer = compare(client, file, file)
    assert (answer.status_code, answer.json()["same"]) == (200, True)
    assert answer.headers["content-type"] == "application/json"
    assert "alert" not in answer.text


def test_of_an_odd_form_it_is_said_what_is_wrong(client: TestClient, live: LiveLibrary) -> None:
    photo, kind = photo_of(live, 0), {"content-type": "multipart/form-data; boundary=x"}
    both, many = {"photo0": photo, "photo1": photo}, {str(number): "x" for number in range(30)}
    for answer, status in (
        (client.post("/api/compare", files={"picture": photo}), 400),
        (client.post("/api/compare", files=[*both.items(), ("photo0", photo)]), 400),
        (client.post("/api/compare", data=many, files=both), 400),
        (client.post("/api/compare", content=b"--y\r\n", headers=kind), 400),
        (client.post("/api/compare", content=b"--x\r\nContent-Dispo", headers=kind), 400),
        (client.post("/api/compare", content=b"x", headers={"content-type": "multipart/form-data"}), 400),
        (client.post("/api/compare", content=b"x", headers={"content-type": "text/plain"}), 415),
        (client.post("/api/compare", content=b"[" * 100_000, headers={"content-type": "application/json"}), 400),
        (client.post("/api/compare", content=b"", headers={"content-type": "image/jpeg"}), 415),
        (client.post("/api/compare"), 415),
    ):
        assert answer.status_code == status
        assert answer.json()["error"].endswith(".")


@pytest.mark.parametrize("charset", ["undefined", "idna"])
def test_a_form_of_an_odd_charset_is_refused(client: TestClient, charset: str) -> None:
    """Python knows it, and cannot read these bytes by it."""
    kind = {"content-type": f"multipart/form-data; boundary=x; charset={charset}"}
    form = b'--x\r\nContent-Disposition: form-data; name="words"\r\n\r\n' + b"xn--a" * 30 + b"\r\n--x--\r\n"
    answer = client.post("/api/search", content=form, headers=kind)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("This form cannot be read: ")


def test_a_photo_of_another_name_is_said_to_be_one(client: TestClient, live: LiveLibrary) -> None:
    answer = client.post("/api/compare", files={"picture": photo_of(live, 0)})
    assert answer.json() == {"error": "Send a photo as photo0 and photo1, not as 'picture'."}


# How much, and how much at once


def test_a_photo_of_too_many_bytes_is_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PHOTO", 1_000_000)
    answer = compare(client, b"x" * 1_000_001, b"x")
    assert (answer.status_code, answer.json()) == (
        413,
        {"error": "The photo is too large: at most 1.0 MB are read."},
    )


def test_nothing_is_written(client: TestClient, live: LiveLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even of a photo of many megabytes."""

    def refuse(*asked: object, **more: object) -> None:
        raise AssertionError("a file was made")

    before = sorted(path for path in live.folder.rglob("*"))
    for make in ("mkstemp", "NamedTemporaryFile", "TemporaryFile"):
        monkeypatch.setattr(tempfile, make, refuse)
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    assert len(file.getvalue()) > 4_000_000
    assert compare(client, file.getvalue(), photo_of(live, 0)).json()["same"] is False
    assert sorted(path for path in live.folder.rglob("*")) == before


def test_one_too_many_is_told_to_come_back(client: TestClient, live: LiveLibrary) -> None:
    taken = [uploads.places.acquire(blocking=False) for _ in range(uploads.REQUESTS)]
    try:
        answer = compare(client, photo_of(live, 0), photo_of(live, 1))
    finally:
        for _ in taken:
            uploads.places.release()
    assert all(taken)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert compare(client, photo_of(live, 0), photo_of(live, 1)).status_code == 200


def test_only_two_are_decoded_at_once(served: Served, live: LiveLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    decoding, most, decode = [], [], uploads.decode

    def counted(file: bytes) -> Any:
        decoding.append(1)
        most.append(len(decoding))
        try:
            return decode(file)
        finally:
            decoding.pop()

    monkeypatch.setattr(uploads, "decode", counted)
    photos = {"photo0": photo_of(live, 0), "photo1": photo_of(live, 1)}
    answers = []

    def ask() -> None:
        answers.append(httpx.post(f"{served.url}/api/compare", files=photos, timeout=60).status_code)

    crowd = [threading.Thread(target=ask) for _ in range(30)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert set(answers) <= {200, 503}
    assert 200 in answers
    assert max(most) <= 2


def test_a_request_that_never_arrives_is_given_up(live: LiveLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "SECONDS", 0.01)
    app, answer = make_app(live, Guard()), []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        answer.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"image/jpeg")]
    scope = {"type": "http", "method": "POST", "path": "/api/compare", "query_string": b"", "headers": headers}
    asyncio.run(app(scope, receive, send))
    assert answer[0]["status"] == 408


def places() -> int:
    """How many requests could be read now."""
    taken = 0
    while uploads.places.acquire(blocking=False):
        taken += 1
    for _ in range(taken):
        uploads.places.release()
    return taken


def test_a_client_that_hangs_up_leaves_nothing(
    served: Served, live: LiveLibrary, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    left, receive = threading.Event(), uploads.receive_photos

    async def watched(*asked: Any) -> Any:
        try:
            return await receive(*asked)
        finally:
            left.set()

    monkeypatch.setattr(uploads, "receive_photos", watched)
    host, _, port = served.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as line:
        line.sendall(
            b"POST /api/compare HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9000000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
            b'--x\r\nContent-Disposition: form-data; name="photo0"; filename="a.jpg"\r\n\r\n' + b"x" * 3_000_000
        )
    assert left.wait(30)
    answer = httpx.post(f"{served.url}/api/compare", files={"photo0": photo_of(live, 0), "photo1": photo_of(live, 1)})
    assert answer.status_code == 200
    assert places() == uploads.REQUESTS
    assert capfd.readouterr().err == ""
