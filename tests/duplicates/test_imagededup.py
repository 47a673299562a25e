"""Code written for imagededup finds its names, its arguments and its dictionaries."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import samespace
from samespace.base.errors import SameSpaceError
from samespace.base.photos import open_photo
from samespace.duplicates.imagededup import encode_images, find_duplicates, find_duplicates_to_remove, plot_duplicates
from samespace.model.pairs import TEST, find_photos
from samespace.search import same_shot


@pytest.fixture
def folder(tmp_path: Path, rooms: Path) -> Path:
    """Two rooms: a.png with two copies, one of them in a subfolder, and b.png."""
    table = find_photos(rooms, TEST)
    _, first = np.unique(table.spaces(), return_index=True)
    here = tmp_path / "photos"
    (here / "sub").mkdir(parents=True)
    one, other = (open_photo(table.paths[row]) for row in first[:2])
    one.save(here / "a.png")
    one.save(here / "small a.jpg", quality=40)
    one.resize((one.width // 2, one.height // 2)).save(here / "sub" / "a.png")
    other.save(here / "b.png")
    (here / "broken.jpg").write_bytes(b"no photo")
    return here


def test_encodings_by_name_and_what_cannot_be_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(encode_images(folder)) == ["a.png", "b.png", "small a.jpg"]
    assert capsys.readouterr().err.startswith(f"left out {folder}/broken.jpg: ")
    encodings = encode_images(folder, recursive=True)
    assert list(encodings) == ["a.png", "b.png", "small a.jpg", "sub/a.png"]
    assert {(each.shape, each.dtype) for each in encodings.values()} == {((64, 64), np.dtype(np.uint8))}


def test_the_dictionary_of_duplicates(folder: Path) -> None:
    assert find_duplicates(image_dir=folder) == {"a.png": ["small a.jpg"], "b.png": [], "small a.jpg": ["a.png"]}
    found = find_duplicates(folder, recursive=True, scores=True)
    assert {name: {other for other, _ in others} for name, others in found.items()} == {
        "a.png": {"small a.jpg", "sub/a.png"},
        "b.png": set(),
        "small a.jpg": {"a.png", "sub/a.png"},
        "sub/a.png": {"a.png", "small a.jpg"},
    }
    for name, others in found.items():
        assert [score for _, score in others] == sorted((score for _, score in others), reverse=True)
        for other, score in others:
            assert same_shot.THRESHOLD <= score <= 1 and dict(found[other])[name] == pytest.approx(score, abs=1e-5)


def test_encodings_give_the_same_as_their_folder(folder: Path) -> None:
    encodings = encode_images(folder, recursive=True)
    assert find_duplicates(encoding_map=encodings, scores=True) == find_duplicates(folder, scores=True, recursive=True)


def test_a_threshold_above_all_scores_finds_nothing(folder: Path) -> None:
    assert find_duplicates(folder, min_similarity_threshold=1.0) == {"a.png": [], "b.png": [], "small a.jpg": []}


def test_what_to_remove_is_all_but_the_best(folder: Path) -> None:
    assert find_duplicates_to_remove(folder, recursive=True) == ["small a.jpg", "sub/a.png"]
    encodings = encode_images(folder, recursive=True)
    backwards = dict(reversed(encodings.items()))
    assert find_duplicates_to_remove(encoding_map=backwards) == ["a.png", "small a.jpg"]  # the first stays
    assert (folder / "sub" / "a.png").exists()


def test_results_can_be_written(folder: Path, tmp_path: Path) -> None:
    found = find_duplicates(folder, scores=True, outfile=tmp_path / "found.json")
    written = json.loads((tmp_path / "found.json").read_text())
    assert {name: [tuple(pair) for pair in pairs] for name, pairs in written.items()} == found
    removed = find_duplicates_to_remove(folder, outfile=tmp_path / "removed.json")
    assert json.loads((tmp_path / "removed.json").read_text()) == removed == ["small a.jpg"]


def test_a_plot_shows_the_photo_and_its_duplicates(folder: Path, tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    plot_duplicates(folder, find_duplicates(folder, recursive=True, scores=True), "a.png", tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as plot:
        assert plot.width > 2 * plot.height
    with pytest.raises(SameSpaceError, match=r"other.png is not in the dictionary"):
        plot_duplicates(folder, find_duplicates(folder), "other.png")


@pytest.mark.parametrize("given", [{}, {"image_dir": ".", "encoding_map": {}}])
def test_a_folder_or_encodings(given: dict[str, object]) -> None:
    with pytest.raises(SameSpaceError, match="give either image_dir"):
        find_duplicates(**given)  # type: ignore[arg-type]


def test_nothing_in_nothing_out(tmp_path: Path) -> None:
    assert find_duplicates(tmp_path) == {} and find_duplicates_to_remove(tmp_path) == []


def test_arguments_have_imagededups_names_and_order() -> None:
    first = ["image_dir", "encoding_map", "min_similarity_threshold"]
    assert list(inspect.signature(find_duplicates).parameters) == [*first, "scores", "outfile", "recursive"]
    assert list(inspect.signature(find_duplicates_to_remove).parameters) == [*first, "outfile", "recursive"]
    expected = ["image_dir", "duplicate_map", "filename", "outfile"]
    assert list(inspect.signature(plot_duplicates).parameters) == expected


def test_they_are_found_in_the_package_itself(folder: Path) -> None:
    assert samespace.find_duplicates(folder) == find_duplicates(folder)
    assert samespace.encode_images is encode_images
    with pytest.raises(AttributeError, match="find_nothing"):
        samespace.find_nothing  # noqa: B018
