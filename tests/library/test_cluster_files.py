"""Batches as files: the same bytes from anybody, taken in as a scan would, and refused when damaged."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from samespace.base.errors import SameSpaceError
from samespace.library import cluster_files
from samespace.library.cluster_files import import_folder, to_bytes
from samespace.library.library import FOLDER, Library
from samespace.library.read_photos import Batch, Extractor, Rows, former, read_batch
from samespace.library.scan import scan
from samespace.model.backbone import make_backbone
from samespace.model.torch_engine import of_backbone
from samespace.search.same_shot import Sketches
from tests.bit_rot import harmed_copy
from tests.library.conftest import Mean, draw, draw_mixture, paths_in

BACKBONE = of_backbone(make_backbone("mobilenet_v3_small", "none"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_mixture(tmp_path_factory.mktemp("cluster") / "photos")


@pytest.fixture(scope="module")
def embedded(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every three photos in a file, as one worker of a cluster leaves them in its storage."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "rank_0").mkdir()
    for number, paths in enumerate(paths_in(photos, 3)):
        batch = read_batch(photos, paths, [Sketches(), BACKBONE])
        (folder / "rank_0" / cluster_files.name(number)).write_bytes(to_bytes(batch))
    return folder


def test_a_file_does_not_tell_in_what_order_photos_were_read(photos: Path) -> None:
    batch = read_batch(photos, [b"a/0.png", b"c/2.png", b"a/0 again.png", b"b/bad.jpg", b"b/4.png"], [Mean()])
    chance = random.Random(5)
    for _ in range(5):
        files, contents = (chance.sample(rows, len(rows)) for rows in (batch.files, batch.contents))
        order = np.random.default_rng(chance.randrange(9)).permutation(3)
        (names, fields) = batch.features["mean-1"]
        rows = Rows([names[row] for row in order], {name: values[order] for name, values in fields.items()})
        assert to_bytes(Batch(files, contents, {"mean-1": rows}, batch.decoders)) == to_bytes(batch)


def everything(library: Library) -> list[object]:
    """Everything that a library knows."""
    photos = library.photos()
    told: list[object] = [
        [photo._replace(library="") for photo in photos],
        [(photo.path, photo.reason) for photo in library.unreadable()],
    ]
    for extractor in (Sketches(), BACKBONE):
        features = library.features(extractor, photos)
        told += [features.take(name).tobytes() for name in extractor.fields]
    return told


def test_an_import_is_as_good_as_a_scan(photos: Path, embedded: Path, tmp_path: Path, decoded: list[str]) -> None:
    library, scanned = (Library(tmp_path / name, create=True) for name in ("imported", "scanned"))
    assert import_folder(library, photos, embedded, [BACKBONE]) == 21
    result = scan(library, [photos], [Sketches(), BACKBONE])
    assert (result.photos, result.new, result.changed, decoded) == (19, 0, 0, [])
    assert [photo.path.name for photo in result.unreadable] == ["bad.jpg", "empty.jpg"]
    scan(scanned, [photos], [Sketches(), BACKBONE])
    assert len(decoded) == 17
    assert everything(library) == everything(scanned)


def test_an_import_may_come_late_and_twice(photos: Path, embedded: Path, tmp_path: Path, decoded: list[str]) -> None:
    """Into a library that knows some photos, of a folder where some have come and gone; DIR may be a copy."""
    copy = tmp_path / "copy"
    shutil.copytree(photos, copy, copy_function=shutil.copyfile)
    library = Library(copy / FOLDER, create=True)
    draw(copy / "a/own.png", 70)
    scan(library, [copy / "a"], [Mean()])
    (copy / "b/1.png").unlink()
    draw(copy / "c/new.png", 71)
    decoded.clear()
    import_folder(library, copy, embedded)
    import_folder(library, copy, embedded)
    scan(library, [copy], [Sketches(), BACKBONE])
    assert sorted(decoded) == ["new.png", "own.png"]
    assert len(library.photos()) == 20


def test_a_part_of_the_files_may_be_missing(photos: Path, embedded: Path, tmp_path: Path, decoded: list[str]) -> None:
    part = tmp_path / "part"
    shutil.copytree(embedded, part)
    next(part.rglob("batch_00000003*")).unlink()
    (next(part.rglob("rank_0")) / ".batch_00000003.safetensors.partial").write_bytes(b"cut short")
    library = Library(tmp_path / "library", create=True)
    assert import_folder(library, photos, part) == 18
    result = scan(library, [photos], [Sketches(), BACKBONE])
    assert (result.photos, result.new, len(decoded)) == (19, 3, 3)


@pytest.fixture
def from_two_agents(photos: Path, tmp_path: Path) -> Path:
    """Files as the version before wrote them, one by an agent that rounds to float32, one to bfloat16."""
    paths = sorted(os.fsencode(path.relative_to(photos)) for path in photos.rglob("[!.]*.[pj]*"))
    (tmp_path / "files").mkdir()
    for number, fingerprint in enumerate(former(BACKBONE)):
        batch = read_batch(photos, paths[number::2], [Sketches(), BACKBONE])
        batch.features[fingerprint] = batch.features.pop(BACKBONE.fingerprint)
        (tmp_path / "files" / cluster_files.name(number)).write_bytes(to_bytes(batch))
    return tmp_path / "files"


@pytest.mark.parametrize("named", [True, False], ids=["with --backbone", "without"])
def test_what_agents_of_two_kinds_wrote_fits_together(
    photos: Path, from_two_agents: Path, tmp_path: Path, decoded: list[str], named: bool
) -> None:
    library, scanned = (Library(tmp_path / name, create=True) for name in ("imported", "scanned"))
    decoded.clear()
    assert import_folder(library, photos, from_two_agents, [BACKBONE] if named else []) == 21
    assert scan(library, [photos], [Sketches(), BACKBONE]).photos == 19
    assert decoded == []
    scan(scanned, [photos], [Sketches(), BACKBONE])
    assert everything(library) == everything(scanned)
    names = {path.name for path in (library.folder / "features").iterdir()}
    assert names == {Sketches.fingerprint, BACKBONE.fingerprint}


# What is not taken in


@pytest.fixture
def spoil(embedded: Path, tmp_path: Path) -> Callable[[Callable[[bytes], bytes]], Path]:
    """A copy of what was embedded, with something done to its last file."""

    def spoilt(harm: Callable[[bytes], bytes]) -> Path:
        shutil.copytree(embedded, tmp_path / "spoilt")
        last = max((tmp_path / "spoilt").rglob(cluster_files.FILES))
        last.write_bytes(harm(last.read_bytes()))
        return tmp_path / "spoilt"

    return spoilt


def refused(photos: Path, folder: Path, *extractors: Extractor) -> str:
    """The one sentence; nothing was imported."""
    library = Library(folder.parent / "library", create=True)
    with pytest.raises(SameSpaceError) as error:
        import_folder(library, photos, folder, extractors)
    scan(library, [photos], extensions=["none"])
    assert not [*library.folder.rglob("features"), *library.photos(), *library.unreadable()]
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("harm", [lambda file: file[:-1], lambda file: b"", lambda file: file[:-9] + bytes(9)])
def test_one_damaged_file_stops_an_import(
    photos: Path, spoil: Callable[..., Path], harm: Callable[[bytes], bytes]
) -> None:
    told = refused(photos, spoil(harm))
    assert "rank_0/batch_00000006.safetensors is damaged: fetch it again, or delete it and its photos" in told


@pytest.mark.parametrize(
    ("version", "expected"), [(3, "a newer samespace (its format is 3, 2 is known here)"), (1, "an older samespace")]
)
def test_a_file_of_another_version_stops_an_import(
    photos: Path, spoil: Callable[..., Path], version: int, expected: str
) -> None:
    def other(file: bytes) -> bytes:
        arrays = load(file)
        about = {**json.loads(arrays["about"].tobytes()), "format": version}
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        return bytes(save(arrays))

    assert f"was written by {expected}" in refused(photos, spoil(other))


def test_another_model_stops_an_import(photos: Path, embedded: Path, tmp_path: Path) -> None:
    told = refused(photos, shutil.copytree(embedded, tmp_path / "files"), Mean())
    assert f"another model (it holds {BACKBONE.fingerprint}" in told
    assert "not mean-1): name the model it was made with, or leave --model and --backbone out" in told


def test_one_file_of_another_model_stops_an_import(photos: Path, spoil: Callable[..., Path]) -> None:
    other = to_bytes(read_batch(photos, [b"z.png"], [Sketches(), Mean()]))
    assert "batch_00000006.safetensors was made with another model" in refused(photos, spoil(lambda _: other), BACKBONE)


def test_other_numbers_by_the_same_name_stop_an_import(photos: Path, spoil: Callable[..., Path]) -> None:
    other = Mean(BACKBONE.fingerprint)
    spoilt = spoil(lambda _: to_bytes(read_batch(photos, [b"z.png"], [other])))
    assert "batch_00000006.safetensors was made with another model" in refused(photos, spoilt, BACKBONE)


def test_other_folders_are_told_apart(photos: Path, embedded: Path, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    assert "files holds no embedded photos: give the folder that" in refused(photos, tmp_path / "files")
    shutil.copytree(embedded, tmp_path / "files", dirs_exist_ok=True)
    told = refused(photos / "a", tmp_path / "files")
    assert told.endswith("photos/a: scan the folder that was embedded")


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("whole") / cluster_files.name(0)
    path.write_bytes(to_bytes(read_batch(photos, [b"a/0.png", b"b/bad.jpg"], [Mean()])))
    return path


@settings(max_examples=150)
@given(st.data())
def test_a_changed_bit_is_noticed_or_changes_nothing(whole: Path, data: st.DataObject) -> None:
    harmed = harmed_copy(whole, data)
    try:
        read = cluster_files.read(harmed)
    except SameSpaceError as error:
        assert str(error).startswith(f"{harmed} ")
    else:
        assert to_bytes(read) == whole.read_bytes()


@settings(max_examples=50)
@given(st.integers(0, 10**6))
def test_a_file_cut_short_is_noticed(whole: Path, length: int) -> None:
    before = whole.read_bytes()
    cut = whole.with_name("cut")
    cut.write_bytes(before[: length % len(before)])
    with pytest.raises(SameSpaceError, match="is damaged"):
        cluster_files.read(cut)


@pytest.mark.parametrize("about", [b"7", b"[]", b"{}", b'{"format": "a"}', b'{"format": [1]}', b'{"format": 1}', b"{"])
def test_other_peoples_files_are_refused(tmp_path: Path, about: bytes) -> None:
    path = tmp_path / cluster_files.name(0)
    path.write_bytes(save({"about": np.frombuffer(about, np.uint8)}))
    with pytest.raises(SameSpaceError, match="is damaged"):
        cluster_files.read(path)


def test_a_batch_without_any_photo_is_a_file(photos: Path, tmp_path: Path) -> None:
    batch = read_batch(photos, [b"b/bad.jpg", b"b/gone.jpg"], [Mean()])
    (tmp_path / "batch").write_bytes(to_bytes(batch))
    found = cluster_files.read(tmp_path / "batch")
    assert (found.files, found.contents) == (batch.files, batch.contents)
    assert found.features["mean-1"].fields["mean"].shape == (0, 3)
