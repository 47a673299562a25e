"""What is found does not depend on how it was kept: on the order of scans, on blocks and pages, on who asks when."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from samespace.base import arrays
from samespace.base.errors import SameSpaceError
from samespace.base.files import content_hash
from samespace.base.find import find
from samespace.base.photos import UnreadablePhoto, read_pixels
from samespace.library.library import FOLDER, Library, Photo
from samespace.library.read_photos import Batch, read_batch
from samespace.library.scan import import_batch, scan
from samespace.search import same_shot, vectors
from samespace.search import space as search
from samespace.search.answers import Answer, answers_of, answers_to
from samespace.search.compression import fit_pca
from samespace.search.look import THRESHOLD, choose_look, extracted
from samespace.search.look import look_for_copies as shots
from samespace.search.same_shot import Sketches
from samespace.search.space import Hit, Query, Space
from tests.conftest import COLOUR_LOOK, Colours


@pytest.fixture(scope="module")
def photos(scanned_album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rooms in one shot each, most with copies; some of the same bytes, and a room in two formats with equal pixels."""
    folder = Path(shutil.copytree(scanned_album, tmp_path_factory.mktemp("search") / "photos"))
    shutil.rmtree(folder / FOLDER)
    first, second, third, *_ = sorted((folder / "2023").glob("[01]*.jpg"))
    shutil.copy(first, folder / "2023" / "again.jpg")
    shutil.copy(first, folder / "phone" / "again.jpg")
    for suffix in ("bmp", "png"):
        Image.open(second).save(folder / "phone" / f"same pixels.{suffix}")
    shutil.copy(third, folder / "2023 b.jpg")  # its name begins as that of a folder
    scanned(folder)
    return folder


def scanned(folder: Path) -> Library:
    library = Library(folder / FOLDER, create=True)
    scan(library, [folder], [Sketches(), Colours()])
    return library


@pytest.fixture(scope="module")
def space(photos: Path) -> Space:
    return Space(Library(photos / FOLDER), COLOUR_LOOK)


@pytest.fixture
def own(photos: Path, tmp_path: Path) -> Path:
    """The photos in a folder that a test may change."""
    return Path(shutil.copytree(photos, tmp_path / "own"))


def named(space: Space, name: str) -> Photo:
    (photo,) = [photo for photo in space.photos if str(photo.path).endswith(name)]
    return photo


def in_library(hit: Hit, space: Space) -> Hit:
    """The hit as that space's library has its photos."""
    ids = {"library": space.photos[0].library, "root": space.photos[0].root}
    return hit._replace(photo=hit.photo._replace(**ids), also=tuple(photo._replace(**ids) for photo in hit.also))


def flat(hits: Sequence[Hit]) -> list[Path]:
    return [photo.path for hit in hits for photo in (hit.photo, *hit.also)]


# Which are found, and in which order


def test_cosines_are_those_of_all_photos(space: Space) -> None:
    """Brute force: every photo's product with every other's."""
    vectors = arrays.unit(extracted(COLOUR_LOOK, pixels_of(space.photos))["vectors"].astype(np.float32))
    for at in range(0, len(space.photos), 5):
        (hits,) = space.search(space.query_of([space.photos[at]]), top=1000, collapse=False)
        cosines = vectors @ vectors[at]
        assert len(hits) == len(space.photos) - 1
        assert hits == sorted(hits, key=lambda hit: (-hit.score, os.fsencode(hit.photo.path)))
        for hit in hits:
            assert hit.score == pytest.approx(cosines[space.photos.index(hit.photo)], abs=1e-3)


def pixels_of(photos: Sequence[Photo]) -> np.ndarray:
    return np.stack([read_pixels(photo.path, 256) for photo in photos])


def test_a_photo_from_outside_is_found_as_one_of_the_library(space: Space) -> None:
    some = space.photos[3:7]
    inside, outside = space.query_of(some), space.query(pixels_of(some), [photo.path for photo in some])
    assert space.search(inside) == space.search(outside)
    assert space.search(Query({}, (), ())) == space.search(space.query(np.empty((0, 256, 256, 3), np.uint8))) == []


def test_a_photo_is_not_its_own_like_but_its_copies_are(space: Space) -> None:
    first = named(space, "2023/again.jpg")
    (hits,) = space.search(space.query_of([first]))
    copies = {photo.path for photo in space.photos if photo.content == first.content} - {first.path}
    assert len(copies) == 2
    assert hits[0].score == pytest.approx(1, abs=1e-3)
    assert copies <= {hits[0].photo.path, *(photo.path for photo in hits[0].also)}
    assert first.path not in flat(hits)
    (unknown,) = space.search(space.query(pixels_of([first])))  # nobody said where it lies
    assert first.path in flat(unknown)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(31)), parts=st.integers(1, 4))
def test_the_order_of_scans_does_not_matter(
    order: list[int], parts: int, photos: Path, space: Space, tmp_path_factory: pytest.TempPathFactory
) -> None:
    everything = batch(photos)
    assert len(everything.files) == 31
    place = tmp_path_factory.mktemp("order") / FOLDER
    library = Library(place, create=True)
    for part in np.array_split(np.array(order), parts):
        files = [everything.files[at] for at in part]
        contents = list(dict.fromkeys(str(file.content) for file in files))
        known = [row for row in everything.contents if row.content in contents]
        rows = {name: rows_of(everything, name, contents) for name in everything.features}
        import_batch(library, photos, everything._replace(files=files, contents=known, features=rows))
        vectors.vectors_of(library, COLOUR_LOOK)
    other = Space(library, COLOUR_LOOK)
    assert [photo.path for photo in other.photos] == [photo.path for photo in space.photos]
    for asked in space.photos[::9]:
        found = [one.search(one.query_of([asked]), 7) for one in (space, other)]
        assert found[0] == [[in_library(hit, space) for hit in found[1][0]]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "BLOCK", 1)  # equal ones come in the order of paths, across blocks too
        asked = [photo for photo in space.photos if photo.path.name.startswith(("02", "same"))]
        found = [one.search(space.query_of(asked), 40, collapse=False) for one in (space, other)]
    assert found[0] == [[in_library(hit, space) for hit in hits] for hits in found[1]]
    library.close()


_batches: dict[Path, Batch] = {}


def batch(photos: Path) -> Batch:
    if photos not in _batches:
        paths = [os.fsencode(path.relative_to(photos)) for path in find(photos)]
        read = read_batch(photos, paths, [Sketches(), Colours()])
        _batches[photos] = read._replace(files=[file for file in read.files if b"damaged" not in file.path])
    return _batches[photos]


def rows_of(everything: Batch, name: str, contents: list[str]) -> search.Array:
    rows = everything.features[name]
    kept = [rows.contents.index(content) for content in contents if content in rows.contents]
    fields = {field: values[kept] for field, values in rows.fields.items()}
    return rows._replace(contents=[rows.contents[at] for at in kept], fields=fields)


# What shows the same is put together


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), block=st.sampled_from([1, 2, 5, 128]), collapse=st.booleans())
def test_pages_are_pieces_of_one_long_page(data: st.DataObject, block: int, collapse: bool, space: Space) -> None:
    asked = space.query_of([data.draw(st.sampled_from(space.photos))])
    threshold = data.draw(st.none() | st.floats(-1, 1))
    folder = data.draw(st.none() | st.sampled_from(["2023", "phone", "edited"]))
    below = folder and space.photos[0].root / folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "BLOCK", block)
        (whole,) = space.search(asked, 1000, threshold, below, collapse)
        (plain,) = space.search(asked, 1000, threshold, below, collapse=False)
        size = data.draw(st.integers(1, 9))
        pages = [space.search(asked, size, threshold, below, collapse, (), start)[0] for start in range(0, 40, size)]
    assert [hit for page in pages for hit in page] == whole
    assert sorted(flat(whole)) == sorted(flat(plain))
    assert all(hit.also == () for hit in plain)
    assert [hit.score for hit in plain] == sorted((hit.score for hit in plain), reverse=True)


@pytest.mark.parametrize("collapse", [True, False])
@pytest.mark.parametrize("name", ["2023", "phone", "edited", "."])
def test_a_folder_is_as_if_all_else_were_left_out(name: str, collapse: bool, space: Space) -> None:
    root = space.photos[0].root
    for photo in space.photos[::4]:
        asked = space.query_of([photo])
        (found,) = space.search(asked, 1000, None, root / name, collapse)
        inside = [photo for photo in space.photos if photo.path.is_relative_to(root / name)]
        assert inside == space.below(root / name)
        (alone,) = space.search(asked, 1000, None, None, collapse, [p.path for p in space.photos if p not in inside])
        assert found == alone
        (everything,) = space.search(asked, 1000, None, None, collapse=False)
        if not collapse:
            assert found == [hit for hit in everything if hit.photo in inside]


def test_copies_are_put_together_and_other_rooms_are_not(space: Space) -> None:
    (hits,) = space.search(space.query_of([space.photos[8]]), 1000)
    for hit in hits:
        shots = {photo.path.name[:2] for photo in (hit.photo, *hit.also)} - {"ag", "sa", "20"}
        assert len(shots) <= 1
    rooms = [hit.photo.path.name[:2] for hit in hits if hit.photo.path.parent.name == "2023"]
    assert len(rooms) == len(set(rooms))
    assert max(len(hit.also) for hit in hits) >= 3  # the first room: six copies in all


def test_a_verdict_parts_and_joins(own: Path) -> None:
    library = scanned(own)
    space = Space(library, COLOUR_LOOK)
    asked = space.query_of([named(space, "2023 b.jpg")])

    def with_first() -> set[str]:
        (hits,) = Space(library, COLOUR_LOOK).search(asked, 1000)
        (hit,) = [hit for hit in hits if named(space, "2023/again.jpg").path in flat([hit])]
        return {path.name for path in flat([hit])}

    together = with_first()
    phone, edited = _copy(space, "phone"), _copy(space, "edited")
    other = named(space, "phone/same pixels.png")
    assert {"again.jpg", phone.path.name} <= together and "same pixels.png" not in together
    first = named(space, "2023/again.jpg")
    library.add_verdict(first.content, other.content, True)
    assert "same pixels.png" in with_first()
    library.add_verdict(first.content, other.content, False)
    assert with_first() == together
    library.add_verdict(phone.content, edited.content, False)
    (hits,) = Space(library, COLOUR_LOOK).search(asked, 1000)
    assert not any({phone.path, edited.path} <= set(flat([hit])) for hit in hits)


def _copy(space: Space, folder: str) -> Photo:
    """A copy of the first room."""
    return min((p for p in space.photos if p.path.parent.name == folder and p.path.name.startswith("01")), key=str)


def test_equal_scores_are_in_the_order_of_paths(space: Space) -> None:
    """Equal pixels in two formats are two contents with one vector."""
    bmp, png = named(space, "same pixels.bmp"), named(space, "same pixels.png")
    for asked in space.photos[::6]:
        (hits,) = space.search(space.query_of([asked]), 1000, collapse=False)
        order = [hit.photo for hit in hits if hit.photo in (bmp, png)]
        assert order == [photo for photo in (bmp, png) if photo != asked]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "BLOCK", 1)
        (hits,) = space.search(space.query_of([bmp]), 2, collapse=False)
    assert png in [hit.photo for hit in hits]


# What is not there


def test_what_has_gone_is_not_shown_and_heads_no_group(own: Path) -> None:
    library = scanned(own)
    space = Space(library, COLOUR_LOOK)
    asked = space.query_of([named(space, "2023/again.jpg")])
    (before,) = space.search(asked, 1000)
    head = before[0]
    assert head.also
    head.photo.path.unlink()
    (after,) = space.search(asked, 1000)
    assert sorted(flat(after)) == sorted(set(flat(before)) - {head.photo.path})
    assert after[0].photo in head.also
    head.also[-1].path.unlink()
    assert head.also[-1].path not in flat(space.search(asked, 1000)[0])
    assert all(path.exists() for path in flat(space.search(asked, 1000, collapse=False)[0]))
    skipped = [hit.photo.path for hit in after[:3]]
    (left,) = space.search(asked, 1000, skip=[*skipped, Path("/nowhere.jpg")])
    assert not set(skipped) & set(flat(left))


def test_rows_that_nobody_owns_are_not_found(own: Path) -> None:
    library = scanned(own)
    for name in ("2023/again.jpg", "phone/again.jpg", "phone/same pixels.bmp", "2023 b.jpg"):
        (own / name).unlink()
    shutil.rmtree(own / "edited")
    scan(library, [own], [Sketches(), Colours()])
    space = Space(library, COLOUR_LOOK)
    assert len(space.photos) == 23
    (hits,) = space.search(space.query_of(space.photos[:1]), 1000, collapse=False)
    assert len(hits) == 22


def test_photos_not_shown_to_the_look_are_counted(own: Path) -> None:
    library = scanned(own)
    shutil.copy(own / "2023 b.jpg", own / "one more.jpg")
    Image.open(own / "2023 b.jpg").resize((50, 50)).save(own / "and another.png")
    scan(library, [own], [Sketches()])
    space = Space(library, COLOUR_LOOK)
    assert (space.lacking, len(space.photos)) == (1, 32)


def test_a_search_does_not_wait_for_a_scan(own: Path) -> None:
    """What was scanned since the last search is found once the scan is over."""
    library = scanned(own)
    assert Space(library, COLOUR_LOOK).lacking == 0
    for at, seed in enumerate((1, 2)):
        blocks = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
        Image.fromarray(blocks).resize((60, 40)).save(own / f"new {at}.png")
    scan(library, [own], [Sketches(), Colours()])
    other = Library(own / FOLDER)
    with library.hold():
        assert Space(other, COLOUR_LOOK).lacking == 2
        assert Space(other, COLOUR_LOOK, "hnsw").index is None
    assert Space(other, COLOUR_LOOK).lacking == 0


def test_what_cannot_be_searched_is_one_sentence(own: Path, tmp_path: Path) -> None:
    library = scanned(own)
    with pytest.raises(
        SameSpaceError, match=r"none of the 31 photos has been scanned for other: samespace scan .*--back"
    ):
        Space(library, COLOUR_LOOK._replace(name="other", extractor=_other()))
    (tmp_path / "empty").mkdir()
    empty = Library(tmp_path / "empty" / FOLDER, create=True)
    with pytest.raises(SameSpaceError, match=r"has no photos: scan the folder that holds them"):
        Space(empty, COLOUR_LOOK)
    space = Space(library, COLOUR_LOOK)
    asked = space.query_of(space.photos[:1])
    for options, said in (
        ({"top": 0}, "cannot show 0 results"),
        ({"start": -1}, "cannot show results from number -1 on"),
        ({"threshold": 1.5}, "a threshold of 1.5 is out of range"),
        ({"threshold": float("nan")}, "a threshold of nan is out of range"),
        ({"folder": tmp_path / "empty"}, "empty holds no photo of the library"),
    ):
        with pytest.raises(SameSpaceError, match=said):
            space.search(asked, **options)  # type: ignore[arg-type]
    with pytest.raises(SameSpaceError, match="unknown index 'tree': choose one of exact, hnsw"):
        Space(library, COLOUR_LOOK, "tree")
    with pytest.raises(SameSpaceError, match="is not among the photos that are searched"):
        space.query_of([space.photos[0]._replace(path=Path("/nowhere.jpg"))])


def _other() -> Colours:
    other = Colours()
    other.fingerprint = "colours-2"
    return other


# Looks


def test_a_bare_backbones_vectors_are_searched_at_length_1(photos: Path, space: Space) -> None:
    library = Library(photos / FOLDER)
    kept = library.features(vectors.vectors_of(library, COLOUR_LOOK), space.photos).take("vectors").astype(np.float32)
    assert np.allclose(np.linalg.norm(kept, axis=1), 1, atol=1e-3)
    raw = library.features(Colours(), space.photos).take("vectors").astype(np.float32)
    assert np.linalg.norm(raw, axis=1).min() > 2
    assert np.allclose(kept, arrays.unit(raw), atol=1e-3)


def test_shots_find_copies_and_nothing_else(photos: Path) -> None:
    space = Space(Library(photos / FOLDER), shots())
    for photo in space.photos:
        if photo.path.name[:2] in ("03", "05", "11"):
            (hits,) = space.search(space.query_of([photo]), 1000, space.threshold, collapse=False)
            copies = {p.path for p in space.photos if p.path.name == photo.path.name or p.content == photo.content}
            assert {path.name[:2] for path in flat(hits)} <= {photo.path.name[:2], "20"}
            assert copies - {photo.path} <= set(flat(hits))
            assert all(space.threshold <= hit.score <= 1 for hit in hits)


def test_shots_are_scored_as_pairs_of_sketches(photos: Path) -> None:
    space = Space(Library(photos / FOLDER), shots())
    asked = space.photos[0]
    (hits,) = space.search(space.query_of([asked]), 1000, collapse=False)
    greys = Sketches().extract(pixels_of([asked, *(hit.photo for hit in hits)]))["grey"]
    expected = same_shot.same_shot(np.repeat(greys[:1], len(hits), 0), greys[1:])
    sure = expected >= same_shot.THRESHOLD
    assert sure.any()
    assert np.allclose(np.array([hit.score for hit in hits])[sure], expected[sure], atol=1e-4)
    assert all(hit.score < same_shot.THRESHOLD for hit, is_sure in zip(hits, sure, strict=True) if not is_sure)


@pytest.mark.parametrize("head", ["compare", "concat"])
def test_a_model_decides_on_what_its_vectors_shortlist(
    head: str, rooms: Path, model_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = choose_look(model_folders[head])
    library = Library(tmp_path / FOLDER, create=True)
    scan(library, [rooms], [Sketches(), chosen.extractor])
    space = Space(library, chosen)
    asked = space.photos[0]
    assert chosen.model is not None
    for collapse in (False, True):
        (hits,) = space.search(space.query_of([asked]), 1000, collapse=collapse)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        for hit in hits[::7]:
            assert hit.score == pytest.approx(chosen.model.compare(asked.path, hit.photo.path), abs=5e-3)
        for hit in (hit for hit in hits if hit.also):
            for other in hit.also:
                sure = chosen.model.compare(hit.photo.path, other.path) >= THRESHOLD - 5e-3
                assert sure or one_shot(hit.photo, other)
        assert len(flat(hits)) == len(space.photos) - 1
    monkeypatch.setattr(search, "BLOCK", 5)
    (short,) = space.search(space.query_of([asked]), 4, collapse=False)
    vectors = arrays.unit(space.query_of(space.photos).fields["vectors"].astype(np.float32))
    nearest = np.argsort(-(vectors @ vectors[0]), kind="stable")[:5]
    assert {hit.photo.path for hit in short} == {space.photos[at].path for at in nearest} - {asked.path}


def one_shot(photo0: Photo, photo1: Photo) -> bool:
    first, second = Sketches().extract(pixels_of([photo0, photo1]))["grey"]
    return bool(same_shot.same_shot(first[None], second[None])[0] >= same_shot.THRESHOLD)


# Compression


def test_a_compression_is_kept_with_the_library(own: Path) -> None:
    library = scanned(own)
    plain = Space(library, COLOUR_LOOK)
    pca = fit_pca(vectors.vectors_to_compress(library, COLOUR_LOOK), 8)
    vectors.keep_compression(library, COLOUR_LOOK, pca)
    assert sorted(path.name for path in (own / FOLDER / "features").iterdir()) == [
        *("colours-1", f"colours-1-{pca.fingerprint}", "sketch-1")
    ]
    space = Space(library, COLOUR_LOOK)
    assert (space.vectors.fields, space.vectors.compression) == ({"vectors": ((8,), "float16")}, "pca")
    assert (plain.threshold, space.threshold) == (search.COPY["none"], search.COPY["pca"])
    short = pca(extracted(COLOUR_LOOK, pixels_of(space.photos))["vectors"])
    for at in range(0, len(space.photos), 7):
        for asked in (space.query_of([space.photos[at]]), space.query(pixels_of([space.photos[at]]))):
            (hits,) = space.search(asked, 1000, collapse=False)
            for hit in hits[1:]:
                assert hit.score == pytest.approx(short[at] @ short[space.photos.index(hit.photo)], abs=2e-3)
    vectors.keep_compression(library, COLOUR_LOOK, None)
    again = Space(library, COLOUR_LOOK)
    assert not (own / FOLDER / "features" / f"colours-1-{pca.fingerprint}").exists()
    assert again.search(again.query_of(again.photos)) == plain.search(plain.query_of(plain.photos))


def test_an_index_of_other_vectors_is_built_anew(own: Path) -> None:
    library = scanned(own)
    Space(library, COLOUR_LOOK, "hnsw")
    vectors.keep_compression(library, COLOUR_LOOK, fit_pca(vectors.vectors_to_compress(library, COLOUR_LOOK), 8))
    exact, hnsw = Space(library, COLOUR_LOOK), Space(library, COLOUR_LOOK, "hnsw")
    assert hnsw.added == len({photo.content for photo in hnsw.photos})
    assert exact.search(exact.query_of(exact.photos)) == hnsw.search(hnsw.query_of(hnsw.photos))


def test_what_a_compression_is_learnt_from_does_not_depend_on_paths(own: Path, photos: Path) -> None:
    library, before = scanned(own), vectors.vectors_to_compress(Library(photos / FOLDER), COLOUR_LOOK)
    (own / "2023").rename(own / "zzz")
    scan(library, [own], [Sketches(), Colours()])
    assert (vectors.vectors_to_compress(library, COLOUR_LOOK) == before).all()
    with pytest.raises(SameSpaceError, match="vectors that find copies are short already"):
        vectors.vectors_to_compress(library, shots())
    with pytest.raises(SameSpaceError, match="none of the 31 photos has been scanned for"):
        vectors.vectors_to_compress(library, COLOUR_LOOK._replace(extractor=_other()))


def test_a_compression_of_other_vectors_is_refused(space: Space, tmp_path: Path) -> None:
    fit_pca(np.random.default_rng(0).random((20, 30)), 8).save(tmp_path / "30.safetensors")
    with pytest.raises(
        SameSpaceError, match=r"30.safetensors was trained on vectors of 30 numbers, and colours has 48"
    ):
        vectors.imported_compression(tmp_path / "30.safetensors", COLOUR_LOOK)


# The index


def test_an_index_answers_as_exactly_and_keeps_up(own: Path) -> None:
    library = scanned(own)

    def both() -> tuple[Space, Space]:
        exact, hnsw = Space(library, COLOUR_LOOK, "exact"), Space(library, COLOUR_LOOK, "hnsw")
        asked = exact.query_of(exact.photos)
        assert exact.index is None and hnsw.index is not None
        assert exact.search(asked, 5) == hnsw.search(asked, 5)
        assert exact.search(asked, 3, folder=own / "phone") == hnsw.search(asked, 3, folder=own / "phone")
        assert search.recall_of_index(hnsw) == 1
        return exact, hnsw

    _, hnsw = both()
    kept = len({photo.content for photo in hnsw.photos})
    assert (hnsw.added, hnsw.removed) == (kept, 0)
    (own / "2023 b.jpg").unlink()
    (own / "phone" / "same pixels.bmp").unlink()
    Image.open(own / "2023" / "again.jpg").rotate(90).save(own / "turned.png")
    scan(library, [own], [Sketches(), Colours()])
    _, hnsw = both()
    assert (hnsw.added, hnsw.removed) == (1, 1)
    assert (Space(library, COLOUR_LOOK, "hnsw").added, Space(library, COLOUR_LOOK, "hnsw").removed) == (0, 0)


def test_an_index_that_changed_is_tuned_and_remembers_it(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = scanned(own)
    monkeypatch.setattr("samespace.search.approximate.EXPANSIONS", (50, 60))  # of so few photos the first find all
    first, again = Space(library, COLOUR_LOOK, "hnsw").index, Space(library, COLOUR_LOOK, "hnsw").index
    assert first is not None and again is not None
    assert first.expansion == again.expansion == 50
    monkeypatch.setattr("samespace.search.approximate.Indexed.tune", lambda *given: pytest.fail("nothing has changed"))
    Space(library, COLOUR_LOOK, "hnsw")


def test_many_photos_get_an_index_unasked(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = scanned(own)
    assert Space(library, COLOUR_LOOK).index is None
    monkeypatch.setattr(search, "LARGE", 20)
    assert Space(library, COLOUR_LOOK, "exact").index is None
    assert Space(library, COLOUR_LOOK).index is not None
    library.is_writable = False
    assert Space(library, COLOUR_LOOK).index is None


# Vectors that had another name


class Renamed(Colours):
    """`Colours`, which an earlier version kept under another name."""

    fingerprint, former = "colours", ("before",)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("writable", [True, False])
def test_a_library_of_an_earlier_version_is_searched_as_before(own: Path, compressed: bool, writable: bool) -> None:
    old, new = (COLOUR_LOOK._replace(extractor=extractor) for extractor in (Colours(), Renamed()))
    old.extractor.fingerprint = "before"  # type: ignore[misc]
    library = Library(own / FOLDER)
    scan(library, [own], [Sketches(), old.extractor])
    if compressed:
        vectors.keep_compression(library, old, fit_pca(vectors.vectors_to_compress(library, old), 8))
    before = Space(library, old, "hnsw")
    expected = before.search(before.query_of(before.photos), 5)
    library = Library(own / FOLDER)
    library.is_writable = writable
    space = Space(library, new, "hnsw" if writable else None)
    assert space.vectors.compression == ("pca" if compressed else "none")
    assert space.search(space.query_of(space.photos), 5) == expected
    folders = {path.name.split("-")[0] for path in (library.folder / "features").iterdir()}
    assert folders == {"sketch", "colours", *(() if writable else ("before",))}


# Who asks


def test_any_thread_may_search(space: Space) -> None:
    expected = [space.search(space.query_of([photo])) for photo in space.photos]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda photo: space.search(space.query_of([photo])), space.photos))
    assert found == expected


def test_an_extractor_is_asked_by_one_thread_at_a_time(space: Space) -> None:
    class Alone(Colours):
        entered, most = 0, 0

        def extract(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
            assert len(pixels) <= self.batch
            self.entered += 1
            self.most = max(self.most, self.entered)
            threading.Event().wait(0.01)
            self.entered -= 1
            return super().extract(pixels)

    alone = COLOUR_LOOK._replace(extractor=Alone())
    pixels = pixels_of(space.photos[:12])
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: extracted(alone, pixels)["vectors"], range(4)))
    assert alone.extractor.most == 1  # type: ignore[attr-defined]
    assert all((each == Colours().extract(pixels)["vectors"]).all() for each in found)


def test_photos_that_cannot_be_read_do_not_stop_the_rest(
    photos: Path, space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samespace.search.answers.AT_ONCE", 3)
    asked = [photos / "2023 b.jpg", photos / "2023" / "damaged.jpg", tmp_path / "none.jpg", *find(photos / "phone")[:3]]
    found = list(answers_to(asked, space, 2, None, None, True))
    assert [answer.path for answer in found] == asked
    assert [isinstance(answer, UnreadablePhoto) for answer in found] == [False, True, True, False, False, False]
    for answer in found:
        if isinstance(answer, Answer):
            assert answer.hits == space.search(space.query_of([named(space, str(answer.path))]), 2)[0]


def test_photos_of_one_space_are_found_in_another(photos: Path, space: Space, own: Path) -> None:
    shutil.rmtree(own / "2023")
    library = scanned(own)
    smaller = Space(library, COLOUR_LOOK)
    asked = space.below(photos / "2023")
    found = list(answers_of(asked, space, smaller, 1, smaller.threshold, own, False))
    assert [answer.path for answer in found] == [photo.path for photo in asked]
    copied = {photo.content for photo in smaller.photos}
    for answer in found:
        if content_hash(answer.path) in copied:
            assert answer.hits[0].score == pytest.approx(1, abs=1e-3)
        assert all(hit.score >= smaller.threshold for hit in answer.hits)
