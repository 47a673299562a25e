"""The commands of words, from captioned photos to what they are good for, as a person types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from samespace.cli import captioners
from samespace.cli.main import main
from samespace.library.library import Library
from samespace.words import train_matcher
from samespace.words.nearest_captions import Borrower
from samespace.words.stored_captions import Caption, LibraryCaptions

RANDOM = ["--backbone", "mobilenet_v3_small", "--weights", "none"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> Run:
    """Runs a command in a folder of the test's own: exit status, stdout, stderr."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.chdir(tmp_path)

    def run_command(*words: object) -> tuple[int, str, str]:
        status = main([str(word) for word in words])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run_command


def photo_in(root: Path) -> Path:
    return min(root.rglob("*_1.jpg"))


def test_a_matcher_is_trained_evaluated_and_used(run: Run, rooms: Path, tmp_path: Path) -> None:
    status, trained, _ = run("match", "train", rooms, *RANDOM, "--epochs", "2", "--measure", "cosine")
    assert status == 0
    lines = trained.splitlines()
    assert [line for line in lines if line in ("val", "test")] == ["val", "test"]
    assert lines[-1].startswith("match.safetensors: ")
    assert [path.name for path in tmp_path.iterdir()] == ["match.safetensors"]
    status, evaluated, _ = run("match", "evaluate", "match.safetensors", rooms)
    assert status == 0
    assert evaluated.splitlines() == lines[lines.index("test") + 1 :][:2]
    assert "of 14 (chance 7.5)" in evaluated
    figures = json.loads(run("match", "evaluate", "match.safetensors", rooms, "--split", "val", "--json")[1])
    assert figures["text_to_photo"]["searches"] == 5 * figures["text_to_photo"]["candidates"]

    status, ranked, _ = run("match", photo_in(rooms), "--captions", rooms, "--top", "3")
    assert status == 0
    assert ranked.splitlines()[0] == str(photo_in(rooms))
    scores = [float(line.split()[0]) for line in ranked.splitlines()[1:4]]
    assert scores == sorted(scores, reverse=True)
    in_json = json.loads(run("match", "rank", photo_in(rooms), "--captions", rooms, "--top", "3", "--json")[1])
    assert [one["sentence"] for one in in_json] == [line.split(maxsplit=1)[1] for line in ranked.splitlines()[1:4]]


def test_training_that_was_stopped_goes_on(
    run: Run,
    rooms: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several add up in any order
    request.addfinalizer(lambda: torch.set_num_threads(threads))
    command = ("match", "train", rooms, *RANDOM, "--epochs", "3", "-o", "whole.safetensors")
    run(*command)
    evaluate, evaluations = train_matcher.evaluate, []

    def interrupted(*given: object) -> object:
        evaluations.append(given)
        if len(evaluations) == 3:
            raise KeyboardInterrupt
        return evaluate(*given)

    with monkeypatch.context() as patch:
        patch.setattr(train_matcher, "evaluate", interrupted)
        assert run(*command[:-1], "stopped.safetensors")[0] != 0
    assert not (tmp_path / "stopped.safetensors").exists()
    assert (tmp_path / "stopped.safetensors.unfinished").exists()
    run(*command[:-1], "stopped.safetensors")
    assert (tmp_path / "stopped.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["match", "train", "nowhere", *RANDOM], "nowhere is not a folder"),
        (["match", "train", "{photos}", *RANDOM], "has no photo with a .txt of its name beside it"),
        (["match", "evaluate", "none.safetensors", "{photos}"], "none.safetensors: no such file"),
        (["match", "evaluate", "{photo}", "{photos}"], "is not a matcher, or damaged"),
        (["match", "x.jpg", "--captions", "{photos}"], "match.safetensors: no such file: name a matcher, or train one"),
        (["match", "x.jpg", "--captions", "{photos}", "--top", "-1"], "cannot show -1 results: ask for 1 or more"),
        (["caption", "{photos}"], "caption.safetensors: no such file: name a captioner, or train one"),
    ],
)
def test_mistakes_are_one_sentence(run: Run, rooms: Path, words: list[str], told: str) -> None:
    places = {"photos": rooms / "Airbnb Data", "photo": photo_in(rooms)}
    status, out, err = run(*(word.format(**places) for word in words))
    assert (status, out) == (1, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert told in err


def test_a_matcher_of_other_features_is_refused(run: Run, rooms: Path) -> None:
    run("match", "train", rooms, *RANDOM, "--epochs", "1")
    other = ["--backbone", "mobilenet_v2", "--weights", "none"]
    for words in (
        ("match", "evaluate", "match.safetensors", rooms, *other),
        ("match", photo_in(rooms), "--captions", rooms, *other),
    ):
        status, _, err = run(*words)
        assert status == 1
        assert "was trained on features of mobilenet_v3_small, and these are of mobilenet_v2" in err


# Captions


@pytest.fixture(scope="module")
def captioner(rooms: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that borrows, which takes no time to train."""
    file = tmp_path_factory.mktemp("captioner") / "near.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        assert main(["caption", "train", str(rooms), *RANDOM, "--method", "nearest", "-o", str(file)]) == 0
    return file


@pytest.fixture
def album(rooms: Path, tmp_path: Path) -> Path:
    """Four photos, one of them twice."""
    folder = tmp_path / "album"
    folder.mkdir()
    for number, photo in enumerate(sorted(rooms.rglob("*.jpg"))[:4]):
        (folder / f"{number}.jpg").write_bytes(photo.read_bytes())
    (folder / "copy.jpg").write_bytes((folder / "0.jpg").read_bytes())
    return folder


def captions_of(folder: Path) -> dict[str, Caption]:
    library = Library(folder / ".samespace")
    with LibraryCaptions(library) as captions:
        written = captions.all()
    return {photo.path.stem: written[photo.content] for photo in library.photos() if photo.content in written}


def test_a_captioner_is_trained_and_evaluated(run: Run, rooms: Path, tmp_path: Path) -> None:
    status, out, _ = run("caption", "train", rooms, *RANDOM, "--epochs", "1")
    assert status == 0
    lines = out.splitlines()
    assert [line for line in lines if line in ("val", "test")] == ["val", "test"]
    assert lines[-1] == "written to caption.safetensors"
    assert [path.name for path in tmp_path.iterdir()] == ["caption.safetensors"]
    status, evaluated, _ = run("caption", "evaluate", "caption.safetensors", rooms)
    assert evaluated.strip() == lines[lines.index("test") + 1]
    figures = json.loads(run("caption", "evaluate", "caption.safetensors", rooms, "--json")[1])
    assert figures["photos"] == 14 and len(figures["bleu"]) == 4


def test_a_folder_is_captioned_and_found_by_its_captions(run: Run, album: Path, captioner: Path) -> None:
    status, out, err = run("caption", album, "--captioner", captioner)
    assert (status, err) == (0, "")
    written = captions_of(album)
    assert len(written) == 5 and written["copy"] == written["0"]
    assert out.startswith(f"5 photos captioned\n  album/0.jpg: {written['0'].text}\n")
    status, found, _ = run("search", *written["0"].text.split(), "--library", album / ".samespace", "--all")
    assert status == 0
    assert found.splitlines()[1].startswith("  1.000  album/0.jpg")


@pytest.mark.parametrize("how", ["gone", "other"])
def test_captions_are_searched_if_the_remembered_matcher_cannot_be_used(
    run: Run, rooms: Path, album: Path, tmp_path: Path, how: str
) -> None:
    run("match", "train", rooms, *RANDOM, "--epochs", "1", "--measure", "cosine")
    matcher, library = tmp_path / "match.safetensors", album / ".samespace"
    run("scan", album, "--matcher", matcher)
    if how == "gone":
        matcher.rename(tmp_path / "moved.safetensors")
        why = f"understands sentences by {matcher}, which has gone: give another --matcher FILE"
    else:
        run("scan", album, "--backbone", "mobilenet_v2", "--weights", "none")
        why = "these are of mobilenet_v2: give --backbone mobilenet_v3_small --weights none, or train one on these"
    ask = ("search", "our kitchen", "--library", library)
    status, out, err = run(*ask)
    assert (status, out, err[:7]) == (1, "", "error: ") and why in err
    opened = Library(library)
    with LibraryCaptions(opened) as captions:
        captions.edit(next(photo.content for photo in opened.photos() if photo.path.stem == "2"), "our kitchen")
    status, out, err = run(*ask)
    assert (status, out.splitlines()[1]) == (0, "  1.000  album/2.jpg")
    assert err.startswith("only captions are searched: ") and why in err and err.count("\n") == 1
    for asked in (["our kitchen", "--matcher", matcher], ["kitchen", "-", "our"]):
        status, out, err = run("search", *asked, "--library", library)
        assert (status, out, err[:7]) == (1, "", "error: ")


def test_hand_edited_captions_stay_and_nothing_is_written_twice(
    run: Run, album: Path, captioner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("caption", album, "--captioner", captioner)
    library = Library(album / ".samespace")
    with LibraryCaptions(library) as captions:
        captions.edit(next(photo.content for photo in library.photos() if photo.path.stem == "2"), "our kitchen")
    written = captions_of(album)
    monkeypatch.setattr(Borrower, "captions", lambda *_: pytest.fail("all have a caption"))
    assert run("caption", album, "--captioner", captioner)[1].startswith("5 photos captioned, 1 of them by hand\n")
    monkeypatch.undo()
    monkeypatch.chdir(album.parent)
    assert captions_of(album) == written
    assert run("caption", album / "2.jpg", "--captioner", captioner)[1] == "album/2.jpg: our kitchen\n"
    assert captions_of(album) == written


def test_captioning_that_was_stopped_goes_on(
    run: Run, album: Path, captioner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captioners, "BLOCK", 1)
    write, blocks = Borrower.captions, []

    def stopped(borrower: Borrower, features: np.ndarray) -> list[str]:
        blocks.append(len(features))
        if len(blocks) == 3:
            raise KeyboardInterrupt
        return write(borrower, features)

    monkeypatch.setattr(Borrower, "captions", stopped)
    assert run("caption", album, "--captioner", captioner)[0] != 0
    half = captions_of(album)
    assert len(set(half)) in (2, 3)  # of two contents, one of which may be there twice
    assert run("caption", album, "--captioner", captioner)[0] == 0
    assert blocks == [1] * 5
    assert len(captions_of(album)) == 5
    assert all(captions_of(album)[name] == caption for name, caption in half.items())


def test_a_photo_of_no_library_is_described_and_not_kept(run: Run, rooms: Path, captioner: Path) -> None:
    status, out, err = run("caption", photo_in(rooms), "--captioner", captioner)
    assert (status, err) == (0, "")
    assert out.startswith(f"{photo_in(rooms)}: ")
    assert not list(rooms.rglob(".samespace"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["caption", "{album}"], "caption.safetensors: no such file"),
        (["caption", "{album}", "--captioner", "{album}/0.jpg"], "is not a captioner, or damaged"),
        (["caption", "none.jpg", "--captioner", "{captioner}"], "none.jpg: no such file"),
        (
            ["caption", "{album}", "--captioner", "{captioner}", "--backbone", "mobilenet_v2", "--weights", "none"],
            "trained on features of mobilenet_v3_small, and these are of mobilenet_v2",
        ),
    ],
)
def test_nothing_is_written_where_captions_cannot_be(
    run: Run, album: Path, captioner: Path, words: list[str], told: str
) -> None:
    status, out, err = run(*(word.format(album=album, captioner=captioner) for word in words))
    assert (status, out) == (1, "")
    assert told in err and err.count("\n") == 1
    assert not (album / ".samespace").exists()


@pytest.mark.parametrize("command", ["match", "caption"])
def test_a_folder_to_write_to_is_refused_before_training(
    run: Run, rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    with pytest.raises(SystemExit):
        run(command, "train", rooms, *RANDOM, "-o", tmp_path)
    assert f"{tmp_path} is a folder: name a file" in capsys.readouterr().err
