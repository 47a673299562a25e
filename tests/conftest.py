"""What several tests share: drawn rooms, a network on random weights fitted to them, and model folders."""

from __future__ import annotations

import copy
import functools
import gc
import importlib.util
import os
import pickle
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin

# The threads of one small operation wait for each other: on a busy machine that takes twenty times as long. numpy reads
# this as it is imported.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import numpy.typing as npt
import pytest
import torch
from filelock import FileLock
from hypothesis import settings
from PIL import Image, ImageEnhance

from samespace.base import progress
from samespace.base.files import write_whole
from samespace.cli.main import main
from samespace.duplicates.find import Comparison
from samespace.duplicates.group import DedupeOptions
from samespace.library.library import FOLDER, Library
from samespace.library.scan import scan
from samespace.model import graphs
from samespace.model.backbone import Backbone, make_backbone
from samespace.model.feature_bank import Maps, bank
from samespace.model.heads import Embeddings, evidence
from samespace.model.known import Known
from samespace.model.network import CompareHead, TwinNetwork
from samespace.model.pairs import AIRBNB, TRAINING, find_photos
from samespace.model.room_network import RoomNetwork
from samespace.model.torch_engine import of_backbone
from samespace.model.write import describe, write_model
from samespace.rooms.dataset import SPACE_TYPES, Room, make_room, viewpoints, write_dataset
from samespace.rooms.dataset import describe as sentences
from samespace.rooms.dataset import draw as draw_room
from samespace.rooms.drawing import cast, view_of
from samespace.rooms.scene import Camera
from samespace.search.labelled import see
from samespace.search.look import Look
from samespace.search.same_shot import Sketches
from samespace.words.caption_files import KARPATHY
from samespace.words.caption_set import Captioned, CaptionSet
from samespace.words.feature_files import unit_rows
from samespace.words.photo_features import Featured, FeatureSource
from tests import killing
from tests.format_1 import fit_head, fit_network
from tests.killing import Children

if TYPE_CHECKING:
    from determined.pytorch import PyTorchTrial
    from playwright.sync_api import Browser, ConsoleMessage, Error, Page
    from starlette.testclient import TestClient

    from samespace.web.state import LiveLibrary

ROOT = Path(__file__).resolve().parents[1]  # of the project
BACKBONE = "mobilenet_v3_small"

Floats = npt.NDArray[np.float32]


# How long an example may take is no promise of ours, and a busy machine would break it. Examples are the same on every
# run, so that a change is refused for what it changes; with ATTACK set they are others each time.
settings.register_profile("ours", deadline=None, max_examples=50, derandomize="ATTACK" not in os.environ)
settings.load_profile("ours")

# Torch and all that tests import are a million objects for good: looking through them for cycles again and again took
# a twentieth of the suite's time.
gc.set_threshold(10_000, 20, 20)


def pytest_collection_finish() -> None:
    """Leave what was imported out of every search for cycles."""
    gc.collect()
    gc.freeze()


# Tests start hundreds of processes, which would all compile the same code.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _bars() -> Iterator[None]:
    """A test that starts a server turns progress bars off, for itself alone."""
    before = progress.wanted
    yield
    progress.wanted = before


class Unsynced(sqlite3.Connection):
    """Waits for no disk."""

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        return super().execute(statement.replace("synchronous = FULL", "synchronous = OFF"), *values)


@pytest.fixture(autouse=True)
def _unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests are many and disks slow; a kill, unlike a power cut, loses nothing that was written."""
    monkeypatch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=Unsynced))
    monkeypatch.setattr(os, "fsync", lambda file: None)


_converted: dict[str, bytes] = {}
_to_onnx = graphs.to_onnx


@pytest.fixture(autouse=True)
def _converted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests save the same few networks, and converting one takes as long as all else that they do."""

    def convert(graph: graphs.Graph) -> bytes:
        key = graph.sheet.of_graph
        return _converted.get(key) or _converted.setdefault(key, _to_onnx(graph))

    monkeypatch.setattr(graphs, "to_onnx", convert)


@functools.cache
def make_backbone_once() -> Backbone:
    """A backbone on random weights, which nobody changes."""
    return make_backbone(BACKBONE, "none")


def made_once(name: str, make: Callable[[Path], None], folders: pytest.TempPathFactory) -> Path:
    """A file or folder that one of the processes that run the tests makes for all of them."""
    folder = folders.getbasetemp()
    path = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / name
    with FileLock(f"{path}.lock"):
        if not path.exists():
            make(path)
    return path


@pytest.fixture(scope="session")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 22 photos to train on and 14 of other rooms; read only."""

    def make(root: Path) -> None:
        write_dataset(root, training_photos=22, test_photos=14, seed=1, workers=2)  # several tests wait for it

    return made_once("rooms", make, tmp_path_factory)


@pytest.fixture(scope="session")
def training_maps(rooms: Path) -> Maps:
    return bank(find_photos(rooms, TRAINING).paths, make_backbone(BACKBONE, "none"))


@pytest.fixture(scope="session")
def make_network(training_maps: Maps) -> Callable[..., TwinNetwork]:
    """A network as training begins it: whatever has a closed form is fitted to the drawn rooms."""

    @functools.cache
    def fitted(head: str, trainable: str | None, seed: int) -> TwinNetwork:
        torch.manual_seed(seed)
        network = TwinNetwork(make_backbone(BACKBONE, "none"), head, trainable)
        fit_network(network, training_maps)
        if isinstance(network.head, CompareHead):
            photos = Embeddings(*(side.numpy() for side in network.embed_frozen(network.freeze(*training_maps))))
            first, second = np.random.default_rng(seed).integers(0, len(photos.vectors), (2, 500))
            fit_head(network.head, evidence(photos.take(first), photos.take(second)))
            torch.nn.init.uniform_(network.head.weight, 0.5, 1.5)  # as if it had learnt something
        return network.eval()

    return lambda head, trainable=None, seed=0: copy.deepcopy(fitted(head, trainable, seed))


@pytest.fixture(scope="session")
def model_folders(
    tmp_path_factory: pytest.TempPathFactory, rooms: Path, request: pytest.FixtureRequest
) -> dict[str, Path]:
    """A saved model of format 1 for each head, and of format 2 as "rooms"; never write to these."""

    def make(folder: Path) -> None:
        make_network = request.getfixturevalue("make_network")  # a process that finds the models needs none
        data = {"held_out": 0.3, "same_space_type": False}
        for head in ("compare", "concat"):
            network = make_network(head)
            write_model(folder / head, network, describe(network, {"validation_loss": 0.5}, data))
        known = Known(find_materials(rooms), find_photos(rooms, TRAINING).spaces())
        rooms_network = RoomNetwork(make_backbone_once(), known)
        thresholds = {"library": {"sure": 0.9, "even": 0.1}, "alone": {"sure": 0.95, "even": 0.3}}
        write_model(folder / "rooms", rooms_network, {**describe(rooms_network, {}, data), "thresholds": thresholds})

    folder = made_once("models", make, tmp_path_factory)
    return {name: folder / name for name in ("compare", "concat", "rooms")}


def find_materials(rooms: Path) -> np.ndarray:
    """Return what the drawn rooms' photos to train on are made of, to a network on random weights."""
    extractor = of_backbone(make_backbone_once()).materials
    assert extractor is not None
    return see(find_photos(rooms, TRAINING).paths, extractor).materials


# Commands

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process: exit status, stdout, stderr."""

    def run_command(*words: object) -> tuple[int, str, str]:
        status = main([str(word) for word in words])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run_command


# Processes


@pytest.fixture(scope="session")
def children() -> Iterator[Children]:
    """Runs each (function, arguments) in a process of its own, all at once; their exit codes."""
    code = f"from {killing.__name__} import serve; serve()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, env=environment) as server:
        assert server.stdin
        assert server.stdout

        def run(*works: tuple[Callable[..., object], tuple[object, ...]], fatal: int = 0) -> list[int]:
            pickle.dump((works, fatal), server.stdin)
            server.stdin.flush()
            return pickle.load(server.stdout)

        yield run
        server.stdin.close()


# Search


class Colours:
    """The mean colour of each of 4×4 squares, in half precision and of any length, as a backbone's vectors are."""

    fingerprint = "colours-1"
    fields = {"vectors": ((48,), "float16")}  # noqa: RUF012
    batch = 8

    def extract(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        squares = pixels.reshape(len(pixels), 4, 64, 4, 64, 3).astype(np.float32).mean((2, 4)) - 128
        return {"vectors": squares.reshape(len(pixels), 48).astype(np.float16)}


COLOUR_LOOK = Look("colours", "cosine", Colours(), "vectors", options=("--backbone", "colours"))

# Words

COLOURS = FeatureSource("colours", "colours 1")


def paintless(room: Room, camera: Camera, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """A photo without light or patterns, in a third of the time: each thing is all of one colour."""
    shapes = room.scene.shapes
    paints = np.array([shape.surface.colour for shape in shapes])
    seen = paints[cast(shapes, view_of(camera), size).key // 4]  # inside a room something is seen everywhere
    return (255 * np.sqrt(seen.clip(0, 1))).astype(np.uint8)


def colours(photo: npt.NDArray[np.uint8]) -> npt.NDArray[np.floating]:
    """A backbone that a test can wait for: the mean colour of each of 24 tiles, and how much there is of 64 colours."""
    height, width, _ = photo.shape
    tiles = photo.reshape(4, height // 4, 6, width // 6, 3).mean(axis=(1, 3)).ravel() / 255
    counts = np.bincount(photo.reshape(-1, 3) // 64 @ [16, 4, 1], minlength=64)
    return np.concatenate([tiles, 4 * np.sqrt(counts / counts.sum())])


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Featured:
    """190 rooms, each in one photo: 120 to train on, 20 for validation and 50 to test with."""

    def part(number: int) -> list[tuple[Captioned, npt.NDArray[np.floating]]]:
        def make(path: Path) -> None:
            write_whole(path, pickle.dumps([_draw_room(seed) for seed in range(number, 190, 38)]))

        rooms: list[tuple[Captioned, npt.NDArray[np.floating]]]
        rooms = pickle.loads(made_once(f"drawn-{number}.pickle", make, tmp_path_factory).read_bytes())
        return rooms

    # In any order, so that of two processes neither waits for all that the other draws.
    rooms = [room for number in random.sample(range(38), 38) for room in part(number)]
    images, features = zip(*sorted(rooms, key=lambda room: room[0].row), strict=True)
    captions = CaptionSet(Path("dataset.json"), KARPATHY, images, len(images))
    return Featured(captions, unit_rows(np.array(features, np.float32)), COLOURS)


def _draw_room(seed: int) -> tuple[Captioned, npt.NDArray[np.floating]]:
    room = make_room(SPACE_TYPES[seed % len(SPACE_TYPES)], seed)
    (camera,) = viewpoints(room, 1)
    split = "train" if seed < 120 else "val" if seed < 140 else "test"
    image = Captioned(f"{seed}.jpg", split, tuple(sentences(room, camera)), seed)
    return image, colours(paintless(room, camera, (96, 72)))


class Killed(BaseException):
    """Nobody catches it, as nobody catches a power cut."""


def call_at(trial: type[PyTorchTrial], step: int, call: Callable[[], object], patch: pytest.MonkeyPatch) -> None:
    """Call something, before each batch from then on, once it has trained so many."""
    train_batch, left = trial.train_batch, iter(range(step))

    def watched(self: PyTorchTrial, batch: Any, epoch_idx: int, batch_idx: int) -> Any:
        if next(left, None) is None:
            call()
        return train_batch(self, batch, epoch_idx, batch_idx)

    patch.setattr(trial, "train_batch", watched)


def kill() -> None:
    raise Killed


def stop_at(trial: type[PyTorchTrial], step: int, patch: pytest.MonkeyPatch) -> None:
    """Kill it once it has trained so many batches."""
    call_at(trial, step, kill, patch)


@pytest.fixture(scope="module")
def unpickled() -> Iterator[None]:
    """Undoes what a run leaves in its process: the types torch may unpickle."""
    allowed = torch.serialization.get_safe_globals() if hasattr(torch.serialization, "get_safe_globals") else []
    if hasattr(torch.serialization, "clear_safe_globals"):
        torch.serialization.clear_safe_globals()  # so that resuming works only if the trial sees to it
    yield
    if hasattr(torch.serialization, "clear_safe_globals"):
        torch.serialization.clear_safe_globals()
    if hasattr(torch.serialization, "add_safe_globals"):
        torch.serialization.add_safe_globals(allowed)


def unit(vectors: npt.NDArray[np.floating]) -> Floats:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def album_vectors(count: int, size: int = 64) -> Floats:
    """As photos have them: a few directions matter most, and topics of all sizes crowd around their middles."""
    random = np.random.default_rng(0)
    spread = np.arange(1, size + 1) ** -0.5

    def directions(number: int) -> Floats:
        return unit(random.standard_normal((number, size)) * spread)

    topics = directions(count // 30)
    sizes = random.pareto(1.5, len(topics)) + 1
    of_topic = np.sqrt(random.normal(0.4, 0.15, count).clip(0, 0.9))[:, None]
    topic = random.choice(len(topics), count, p=sizes / sizes.sum())
    return unit(of_topic * topics[topic] + np.sqrt(1 - of_topic**2) * directions(count))


def draw(path: Path, seed: int) -> None:
    """A small photo of something: coarse random blocks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    Image.fromarray(blocks).resize((60, 40)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Seven photos of four listings; one listing shows both its kitchen and its bedroom."""
    names = (
        "bedroom/boston_7_3",
        "bedroom/new_york_12_1",
        "bedroom/new_york_12_2",
        "kitchen/boston_12_1",
        "kitchen/boston_7_1",
        "kitchen/boston_7_2",
        "kitchen/rome_1_1",
    )
    for seed, name in enumerate(names):
        draw(tmp_path / "photos" / AIRBNB / TRAINING / f"{name}.jpg", seed)
    return tmp_path / "photos"


@pytest.fixture
def blocks(tmp_path: Path) -> list[Path]:
    """Three small photos of coarse random blocks."""
    paths = [tmp_path / "photos" / f"boston_{number}_1.png" for number in range(3)]
    paths[0].parent.mkdir()
    for seed, path in enumerate(paths):
        colours = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
        Image.fromarray(colours).resize((90, 60)).save(path)
    return paths


# The web app


@pytest.fixture(scope="session")
def scanned_album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rooms in one shot each, ten of them with copies, one file that is no photo, and a library; read only."""
    return made_once("album", _make_album, tmp_path_factory)


def _make_album(album: Path) -> None:
    from samespace.web.thumbnails import make_thumbnail

    for number in range(12):
        room = make_room(SPACE_TYPES[number % len(SPACE_TYPES)], number)
        photo = draw_room(room, viewpoints(room, 1)[0], (320, 240))
        name = f"{number + 1:02} {room.space_type.replace('_', ' ')}.jpg"
        _save(photo, album / "2023" / name, 92)
        if number < 10:
            _save(photo.resize((200, 150)), album / "phone" / name, 80)
        if number < 4:
            _save(ImageEnhance.Brightness(photo).enhance(1.2), album / "edited" / name, 85)
    (album / "2023" / "damaged.jpg").write_bytes(b"no photo")
    library = Library(album / FOLDER, create=True)
    scan(library, [album], [Sketches()])
    compared = Comparison([library], [album], DedupeOptions("near", 0.5))
    compared.at()
    compared.remember([library])  # or each of a hundred tests would compare the same photos
    for photo in library.photos():
        make_thumbnail(album / FOLDER, photo.content, photo.path)
    library.close()


def _save(photo: Image.Image, path: Path, quality: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    photo.save(path, quality=quality)


@pytest.fixture
def album(scanned_album: Path, tmp_path: Path) -> Path:
    """A copy of its own for a test to do with as it likes, library and all."""
    return Path(shutil.copytree(scanned_album, tmp_path / "album"))


@pytest.fixture
def live(album: Path) -> LiveLibrary:
    """On the album, by the same-shot look."""
    from samespace.search.look import look_for_copies
    from samespace.web.state import LiveLibrary

    live = LiveLibrary(album / FOLDER, [album], look_for_copies())
    live.refresh()
    return live


@pytest.fixture
def client(live: LiveLibrary, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """Asks the app as a program on this machine does; see `token`. Answers wait for what is made in the background."""
    from starlette.testclient import TestClient

    from samespace.web.app import make_app
    from samespace.web.guard import Guard
    from samespace.web.library import photo_map
    from samespace.web.review import groups

    for background in (groups, photo_map):
        monkeypatch.setattr(
            background, "PATIENCE", 60
        )  # else tests ask again and again, which costs more than the work
    with TestClient(make_app(live, Guard()), base_url="http://127.0.0.1", follow_redirects=False) as client:
        yield client


@pytest.fixture
def token(client: TestClient) -> dict[str, str]:
    """The header that changes something: `client.post(address, json=…, headers=token)`."""
    return {"X-SameSpace-Token": client.app.csrf}


class Served(NamedTuple):
    """A server that listens on this machine."""

    url: str  # "http://127.0.0.1:41234"
    token: dict[str, str]  # header


@pytest.fixture
def served(live: LiveLibrary) -> Iterator[Served]:
    """The app on a real server, for clients that `client` cannot be: browsers, crowds, and those that hang up."""
    from samespace.web.app import make_app
    from samespace.web.guard import Guard
    from samespace.web.server import make_server

    guard = Guard()
    server = make_server(make_app(live, guard))
    with socket.create_server(("127.0.0.1", 0)) as door:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        yield Served(f"http://127.0.0.1:{door.getsockname()[1]}", {"X-SameSpace-Token": guard.csrf})
        server.should_exit = True
        thread.join()


# Each would start processes of its own with every window: one in reserve, and one for suggestions at the address.
UNSEEN = ("SpareRendererForSitePerProcess", "WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "WebUIOmniboxFullPopup")


# The first draws pages for two thirds of what the others take.
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


# Of a module, not of a session: as long as it runs, no other test of this thread could run an event loop.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found or not importlib.util.find_spec("playwright"):
        missing = "playwright" if found else "Chromium"
        ending = pytest.fail if os.environ.get("SAMESPACE_BROWSER") == "required" else pytest.skip
        ending(f"{missing} is not installed")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)  # milliseconds: a busy machine is slow, and no test is of that
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", f"--disable-features={','.join(UNSEEN)}"]
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def scriptless(chromium: Browser) -> Iterator[Page]:
    """A page in a fresh window that runs no scripts."""
    context = chromium.new_context(java_script_enabled=False)
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser's console complains of; a test that means to provoke some clears it."""
    return []


@pytest.fixture(scope="module")
def window(chromium: Browser) -> Iterator[Page]:
    """A page for one test after the other: a fresh one costs as much as all that a test does in it."""
    context = chromium.new_context()
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


@pytest.fixture
def browser(window: Page, served: Served, complaints: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """A page of `served`, `browser.goto("/review")`; errors of its scripts and in its console fail the test."""
    go = window.goto
    monkeypatch.setattr(window, "goto", lambda address: go(urljoin(served.url, address)))

    def here() -> bool:  # not on the page that the test before has left
        return window.url.startswith(served.url)

    def failed(error: Error) -> None:
        if here():
            complaints.append(str(error))

    def said(message: ConsoleMessage) -> None:
        if here() and message.type == "error":
            complaints.append(message.text)

    window.set_viewport_size({"width": 1400, "height": 700})
    window.emulate_media(color_scheme="light", reduced_motion="reduce")  # what moves is drawn anew all the time
    window.context.clear_cookies()
    window.on("pageerror", failed)
    window.on("console", said)
    yield window
    window.remove_listener("pageerror", failed)
    window.remove_listener("console", said)
    assert complaints == []
