"""A library that was scanned with an encoder: sentences and sums find its photos, in the terminal and on the pages."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from samespace.base.photos import read_pixels
from samespace.library.library import FOLDER, Library
from samespace.search.look import look_for_copies
from samespace.web.library.scan_process import scan as scan_as_a_page
from samespace.web.state import LiveLibrary
from samespace.words.encoder import load_encoder
from samespace.words.remembered_encoder import remembered_encoder
from samespace.words.scan import scan_folders
from samespace.words.stored_captions import LibraryCaptions
from tests.conftest import Run, draw
from tests.encoders import write_model

SENTENCE = "a photo of a green kitchen"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-clip"
    write_model(folder)
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-siglip"
    write_model(folder, "siglip")
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(8):
        draw(folder / f"{seed}.png", seed)
    return folder


@pytest.fixture
def library(photos: Path, model: Path, run: Run) -> Path:
    """The folder of the library of the photos, scanned with the encoder."""
    assert run("scan", photos, "--encoder", model)[0] == 0
    return photos / FOLDER


def expected(model: Path, photos: Path, *terms: tuple[int, str]) -> list[tuple[str, float]]:
    """The names of photos and their cosines to a sum, best first, by the encoder alone."""
    encoder, total = load_encoder(str(model)), np.zeros((1, 12), np.float32)
    for sign, term in terms:
        path = photos / term
        is_photo = path.is_file()
        pixels = read_pixels(path, 256)[None] if is_photo else None
        total += sign * (encoder.embed_photos(pixels) if is_photo else encoder.embed_sentences([term]))
    total /= np.linalg.norm(total)
    paths = sorted(path for path in photos.glob("*.png") if path.name not in {term for _, term in terms})
    vectors = encoder.embed_photos(np.stack([read_pixels(path, 256) for path in paths])).astype(np.float16)
    cosines = (vectors.astype(np.float32) @ total.T)[:, 0]
    return sorted(
        ((path.name, float(score)) for path, score in zip(paths, cosines, strict=True)), key=lambda one: -one[1]
    )


def agree(found: str, wanted: list[tuple[str, float]]) -> None:
    hits = json.loads(found)["hits"]
    assert [Path(hit["path"]).name for hit in hits] == [name for name, _ in wanted]
    assert [hit["score"] for hit in hits] == pytest.approx([score for _, score in wanted], abs=1e-4)


# In the terminal


def test_a_sentence_finds_photos_by_the_encoder(photos: Path, model: Path, run: Run) -> None:
    status, out, err = run("scan", photos, "--encoder", model)
    assert (status, err) == (0, "")
    assert "search WORDS --library" in out
    status, out, err = run("search", SENTENCE, "--library", photos / FOLDER, "--json", "--all")
    assert (status, err) == (0, "")
    agree(out, expected(model, photos, (1, SENTENCE)))
    out = run("search", "xylophone", "--library", photos / FOLDER)[1]
    assert (
        out.splitlines()[-1] == "scores: cosine of sentence and photo by tiny-clip; higher if the caption says it, too"
    )
    assert run("search", SENTENCE, "--encoder", model, "--library", photos / FOLDER, "--all", "--top", "3")[0] == 0


def test_a_caption_that_says_it_all_comes_first(library: Path, photos: Path, model: Path, run: Run) -> None:
    last = expected(model, photos, (1, SENTENCE))[-1][0]
    opened = Library(library)
    with LibraryCaptions(opened) as captions:
        captions.edit(next(photo.content for photo in opened.photos() if photo.path.name == last), SENTENCE)
    hits = json.loads(run("search", SENTENCE, "--library", library, "--json", "--all")[1])["hits"]
    assert (Path(hits[0]["path"]).name, hits[0]["score"]) == (last, 1.0)
    assert len(hits) == 8


def test_a_sum_of_sentences_and_photos_is_a_sum_of_vectors(library: Path, photos: Path, model: Path, run: Run) -> None:
    words = ("green", "kitchen", "+", photos / "3.png", "-", "people")
    status, out, err = run("search", *words, "--library", library, "--json", "--all")
    assert (status, err) == (0, "")
    agree(out, expected(model, photos, (1, "green kitchen"), (1, "3.png"), (-1, "people")))
    assert json.loads(out)["sentence"].startswith("green kitchen + ")
    agree(
        run("search", "-", "people", "+", photos / "3.png", "--library", library, "--json", "--all")[1],
        expected(model, photos, (1, "3.png"), (-1, "people")),
    )
    quoted = f"green kitchen + {photos / '3.png'} - people"
    agree(
        run("search", quoted, "--library", library, "--json", "--all")[1],
        expected(model, photos, (1, "green kitchen"), (1, "3.png"), (-1, "people")),
    )
    printed = run("search", "green", "+", "bed", "--library", library)[1]
    assert printed.splitlines()[0] == "green + bed"
    assert printed.splitlines()[-1] == "scores: cosine to the sum; captions do not count"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("kitchen", "+"), "kitchen +: a sign lacks a sentence or a photo after it"),
        (("kitchen", "+", "-", "bed"), "kitchen + - bed: a sign lacks a sentence or a photo after it"),
        (("-", "people"), "everything is subtracted: add a sentence or a photo, as in kitchen - people"),
        (("bed", "x.jpg", "+", "kitchen"), "bed x.jpg is a photo and more: put + or - between them"),
        (("bed", "-", "bed"), "the terms cancel each other out: leave out one of them"),
        (("bed", "+", "nowhere.jpg"), "nowhere.jpg"),
    ],
)
def test_a_sum_that_is_none_is_one_sentence(library: Path, run: Run, words: tuple[str, ...], told: str) -> None:
    status, out, err = run("search", *words, "--library", library)
    assert (status, out) == (1, "")
    assert err.startswith("error: ")
    assert told in err
    assert err.count("\n") == 1


def test_without_an_encoder_a_sum_is_refused(photos: Path, run: Run) -> None:
    run("scan", photos)
    _, _, err = run("search", "bed", "+", "kitchen", "--library", photos / FOLDER)
    assert "cannot add sentences and photos yet: scan with --encoder NAME, or with a matcher of" in err
    _, _, err = run("search", "bed", "--library", photos / FOLDER)
    assert "understands no sentences yet: scan with --encoder NAME, or with --matcher FILE" in err


# What a library remembers


def test_new_photos_are_seen_by_the_next_scan_and_counted_until_then(
    library: Path, photos: Path, model: Path, run: Run
) -> None:
    draw(photos / "8.png", 8)
    run("scan", photos)
    status, out, err = run("search", SENTENCE, "--library", library, "--all", "-f")
    assert (status, err, len(out.splitlines())) == (
        0,
        f"left out: 1 photo not yet scanned for sentences: samespace scan {photos} --encoder {model}\n",
        8,
    )
    run("scan", photos, "--encoder", model)
    assert len(run("search", SENTENCE, "--library", library, "--all", "-f")[1].splitlines()) == 9


def test_vectors_lie_beside_those_of_a_look_and_no_photo_is_read_twice(
    library: Path, photos: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, opened = load_encoder(str(model)), Library(library)
    assert {encoder.fingerprint, look_for_copies().extractor.fingerprint} <= {
        path.name for path in (library / "features").iterdir()
    }
    monkeypatch.setattr(type(encoder), "extract", lambda *_: pytest.fail("they are there"))
    scan_folders(opened, [photos], look_for_copies(), encoder=encoder)


def test_an_encoder_that_the_library_was_not_scanned_with_is_one_sentence(
    library: Path, photos: Path, model: Path, other: Path, run: Run
) -> None:
    _, _, err = run("search", "bed", "--encoder", other, "--library", library)
    assert f"was scanned with {model}, not with {other}: scan with --encoder {other} first, or leave out" in err
    assert err.count("\n") == 1
    run("scan", photos, "--encoder", other)
    assert json.loads(run("search", "bed", "--library", library, "--json")[1])["hits"]
    noted = remembered_encoder(Library(library))
    assert noted is not None
    assert noted.source == str(other)


def test_an_encoder_that_has_gone_or_changed_is_one_sentence(
    photos: Path, model: Path, other: Path, run: Run, tmp_path: Path
) -> None:
    moved = shutil.copytree(model, tmp_path / "moved")
    run("scan", photos, "--encoder", moved)
    shutil.copytree(other, moved, dirs_exist_ok=True)
    _, _, err = run("search", "bed", "--library", photos / FOLDER)
    assert f"was scanned with another version of {moved}: scan with --encoder {moved} again" in err
    shutil.rmtree(moved)
    _, _, err = run("search", "bed", "--library", photos / FOLDER)
    assert f"understands sentences by {moved}, which has gone: scan with another --encoder" in err


def test_one_of_an_encoder_and_a_matcher_is_enough(photos: Path, run: Run) -> None:
    for words in (("scan", photos), ("search", "bed")):
        _, _, err = run(*words, "--encoder", "x", "--matcher", "y")
        assert "--encoder and --matcher both say how sentences are understood: give one" in err


# On the pages


def test_the_pages_box_understands_sentences_by_the_encoder(client: TestClient, live: LiveLibrary, model: Path) -> None:
    with live.library() as library:
        scan_folders(library, live.roots, look_for_copies(), encoder=load_encoder(str(model)))
    live.catch_up(moved=False)
    answer: dict[str, Any] = client.post("/api/search", json={"sentence": SENTENCE, "all": True}).json()
    scores = [hit["score"] for hit in answer["hits"]]
    assert answer["unknown"] == []
    assert scores == sorted(scores, reverse=True)
    assert len(scores) > 10
    folder = client.post("/api/search", json={"sentence": SENTENCE, "all": True, "folder": "2023"}).json()
    assert {hit["name"].split("/")[0] for hit in folder["hits"]} == {"2023"}


def test_a_pages_scan_keeps_the_encoder_up_to_date(
    library: Path, photos: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(photos / "8.png", 8)
    scan_as_a_page((), library, [photos])
    assert '"done"' in capsys.readouterr().out
    assert len(run("search", SENTENCE, "--library", library, "--all", "-f")[1].splitlines()) == 9
