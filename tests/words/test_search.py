"""A library's photos by a sentence: what a matcher sees and what captions say, in one order that misses nothing."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from samespace.base.errors import SameSpaceError
from samespace.base.files import content_hash
from samespace.library.library import FOLDER, Library
from samespace.library.read_photos import former
from samespace.library.scan import scan
from samespace.rooms.dataset import SPACE_TYPES, describe, draw, make_room, viewpoints
from samespace.search.look import Look, choose_look, look_for_copies, remembered_look
from samespace.search.same_shot import Sketches
from samespace.search.space import Space
from samespace.words.caption_files import KARPATHY
from samespace.words.caption_set import Captioned, CaptionSet, locate
from samespace.words.match_in_numpy import MEASURES
from samespace.words.matcher import Matcher
from samespace.words.photo_features import FeatureSource, combine_features, combine_fields, from_photos
from samespace.words.search import TRUST, Asked, ask, by_matcher, look_for, remember, remembered
from samespace.words.sentences import Embedded, Sentences
from samespace.words.stored_captions import LibraryCaptions
from samespace.words.train_matcher import Recipe, begin

PHOTOS = 24


@pytest.fixture(scope="module")
def look() -> Look:
    return choose_look(None, "mobilenet_v3_small", "none")


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> CaptionSet:
    """Rooms in a folder, and what is said of them."""
    folder = tmp_path_factory.mktemp("described")
    images = []
    for seed in range(PHOTOS):
        room = make_room(SPACE_TYPES[seed % len(SPACE_TYPES)], seed)
        (camera,) = viewpoints(room, 1)
        draw(room, camera, (64, 48)).save(folder / f"{seed:02d}.png")
        images.append(Captioned(f"{seed:02d}.png", "train", tuple(describe(room, camera)), seed))
    return CaptionSet(folder, KARPATHY, tuple(images), PHOTOS)


@pytest.fixture(scope="module", params=MEASURES)
def matcher(
    request: pytest.FixtureRequest, described: CaptionSet, look: Look, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A matcher's file. It has learnt nothing, which shows in no test of how it is asked."""
    featured = from_photos(locate(described, described.source), look.extractor, look.name)
    made = begin(featured, Recipe(measure=request.param, dim=16, word_dim=8, threshold=1))
    made.feature_source = made.feature_source._replace(options=look.options)
    file = tmp_path_factory.mktemp("matcher") / "match.safetensors"
    made.save(file)
    return file


@pytest.fixture(scope="module")
def scanned(described: CaptionSet, look: Look, tmp_path_factory: pytest.TempPathFactory) -> Library:
    library = Library(tmp_path_factory.mktemp("library") / FOLDER, create=True)
    scan(library, [described.source], [Sketches(), look.extractor])
    return library


@pytest.fixture
def library(scanned: Library) -> Library:
    """Without captions."""
    for file in scanned.folder.glob("captions.sqlite*"):
        file.unlink()
    return scanned


def contents(library: Library) -> dict[str, str]:
    """By name."""
    return {photo.path.stem: photo.content for photo in library.photos()}


def asked(library: Library, sentence: str, known: Sentences | None, among: Sequence[str] | None = None) -> Asked:
    with LibraryCaptions(library) as captions:
        found = ask(sentence, among, known, captions)
        return Asked(iter(list(found.ranking)), found.unknown)


def by_hand(library: Library, **captions: str) -> None:
    known = contents(library)
    with LibraryCaptions(library) as written:
        for name, caption in captions.items():
            written.edit(known[name.lstrip("n")], caption)


def test_all_photos_are_ranked_as_the_matcher_would(library: Library, look: Look, matcher: Path) -> None:
    known = by_matcher(library, look, matcher)
    ranking = list(asked(library, "a bed in a bedroom", known).ranking)
    loaded, photos = Matcher.load(matcher), library.photos()
    seen = combine_fields({name: library.features(look.extractor, photos).take(name) for name in look.extractor.fields})
    embedded = loaded.embed_photos(seen).astype(np.float16).astype(np.float32)
    scores = loaded.score(embedded, loaded.embed_sentences(["a bed in a bedroom"]))[:, 0]
    expected = {photo.content: loaded.fit(float(score)) for photo, score in zip(photos, scores, strict=True)}
    assert dict(ranking) == pytest.approx(expected, abs=1e-5)
    assert [score for _, score in ranking] == sorted((score for _, score in ranking), reverse=True)
    assert len(ranking) == PHOTOS


def test_a_caption_that_says_it_all_comes_first(library: Library, look: Look, matcher: Path) -> None:
    known = by_matcher(library, look, matcher)
    last = list(asked(library, "a bed", known).ranking)[-1][0]
    name = next(name for name, content in contents(library).items() if content == last)
    by_hand(library, **{f"n{name}": "a bed of roses"})
    ranking = list(asked(library, "a bed", known).ranking)
    assert ranking[0] == (last, 1)
    assert sorted(content for content, _ in ranking) == sorted(contents(library).values())


def test_fits_by_eye_and_by_caption_add_up(library: Library, look: Look, matcher: Path) -> None:
    known = by_matcher(library, look, matcher)
    alone = dict(asked(library, "a lamp and a bed", known).ranking)
    by_hand(library, n03="a lamp", n05="a sofa", n07="a lamp and a bed")
    both = dict(asked(library, "a lamp and a bed", known).ranking)
    with LibraryCaptions(library) as captions:
        shares = captions.matching("a lamp and a bed")
    for content in contents(library).values():
        share = shares.get(content, 0.0)
        assert both[content] == pytest.approx(1 - (1 - alone[content]) * (1 - share), abs=1e-5)


def test_what_a_captioner_wrote_counts_less_than_what_a_person_did(library: Library, look: Look, matcher: Path) -> None:
    known, names = by_matcher(library, look, matcher), contents(library)
    alone = dict(asked(library, "a bed", known).ranking)
    with LibraryCaptions(library) as captions:
        captions.write({names["03"]: "a bed", names["05"]: "a bed"}, "one")
        captions.edit(names["05"], "a bed")
    both = dict(asked(library, "a bed", known).ranking)
    assert both[names["05"]] == 1
    assert both[names["03"]] == pytest.approx(1 - (1 - alone[names["03"]]) * (1 - TRUST), abs=1e-5)


def test_without_a_matcher_captions_alone_are_found(library: Library) -> None:
    by_hand(library, n03="a lamp", n05="a sofa", n07="a lamp and a bed")
    known = contents(library)
    found = asked(library, "lamp bed chandelier", None)
    assert [content for content, _ in found.ranking] == [known["07"], known["03"]]
    assert found.unknown == ["chandelier"]


def test_only_some_of_the_photos(library: Library, look: Look, matcher: Path) -> None:
    known = by_matcher(library, look, matcher)
    by_hand(library, n03="a bed", n05="a bed")
    some = [contents(library)[name] for name in ("01", "05", "20")]
    assert {content for content, _ in asked(library, "a bed", known, some).ranking} == set(some)
    assert list(asked(library, "a bed", known, []).ranking) == []


def test_unknown_words_are_told_unless_a_caption_has_them(library: Library, look: Look, matcher: Path) -> None:
    known = by_matcher(library, look, matcher)
    assert asked(library, "a bed, a xylophone and a xylophone", known).unknown == ["xylophone"]
    by_hand(library, n03="a xylophone")
    assert asked(library, "a bed and a xylophone", known).unknown == []
    assert [content for content, _ in asked(library, "xylophones", known).ranking] == [contents(library)["03"]]


@pytest.mark.parametrize(
    ("sentence", "told"),
    [("xylophone", r"no word of 'xylophone' is among the \d+ that the matcher knows"), ("?!", "there is no word in")],
)
def test_a_sentence_of_nothing_known_is_one_sentence(
    library: Library, look: Look, matcher: Path, sentence: str, told: str
) -> None:
    with pytest.raises(SameSpaceError, match=told):
        asked(library, sentence, by_matcher(library, look, matcher))


def test_photos_come_as_hits_of_the_space(library: Library, look: Look, matcher: Path) -> None:
    space, known = Space(library, look), by_matcher(library, look, matcher)
    by_hand(library, n03="a bed", n05="a bed", n07="a bed")
    pages = [
        hit.photo.path.stem
        for start in range(0, PHOTOS, 5)
        for hit in space.show(asked(library, "a bed", known).ranking, top=5, start=start, collapse=False)
    ]
    assert sorted(pages) == sorted(contents(library))
    assert set(pages[:3]) == {"03", "05", "07"}
    sure = space.show(asked(library, "a bed", known).ranking, top=99, threshold=1.0, collapse=False)
    assert [hit.photo.path.stem for hit in sure] == ["03", "05", "07"]


def test_new_photos_are_made_ready_and_only_they(
    library: Library, look: Look, matcher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_matcher(library, look, matcher)
    monkeypatch.setattr(Matcher, "embed_photos", lambda *_: pytest.fail("they are ready"))
    known = by_matcher(library, look, matcher)
    assert len(list(asked(library, "a bed", known).ranking)) == PHOTOS


def test_no_more_is_ranked_than_is_asked_for(library: Library, look: Look, matcher: Path) -> None:
    known = by_matcher(library, look, matcher)
    with LibraryCaptions(library) as captions:
        found = ask("a bed", None, known, captions)
        assert len(list(islice(found.ranking, 3))) == 3


# What a library remembers


def test_the_matcher_is_remembered_with_its_look(library: Library, matcher: Path) -> None:
    chosen = look_for(matcher, look_for_copies())
    assert chosen.name == "mobilenet_v3_small"
    remember(library, chosen, matcher)
    assert remembered(library) == matcher.resolve()
    assert remembered_look(library).options == chosen.options


def test_a_matcher_that_has_gone_is_one_sentence(library: Library, look: Look, matcher: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(matcher.read_bytes())
    remember(library, look, moved)
    moved.unlink()
    with pytest.raises(SameSpaceError, match=r"understands sentences by .*moved\.safetensors, which has gone: give"):
        remembered(library)


def test_a_matcher_of_another_backbone_is_refused(library: Library, matcher: Path) -> None:
    other = choose_look(None, "mobilenet_v2", "none")
    for refused in (lambda: look_for(matcher, other), lambda: by_matcher(library, other, matcher)):
        with pytest.raises(
            SameSpaceError, match="trained on features of mobilenet_v3_small, and these are of mobilenet_v2"
        ):
            refused()
    with pytest.raises(
        SameSpaceError, match="trained on features of mobilenet_v3_small, and these are of the same shot"
    ):
        by_matcher(library, look_for_copies(), matcher)


def test_a_matcher_of_features_from_a_file_needs_to_be_told_of_a_look(matcher: Path, tmp_path: Path) -> None:
    silent = Matcher.load(matcher)
    silent.feature_source = FeatureSource("vgg_feats.mat", "")
    silent.save(tmp_path / "silent.safetensors")
    with pytest.raises(SameSpaceError, match=r"trained on features of vgg_feats\.mat: give the --backbone or the"):
        look_for(tmp_path / "silent.safetensors", look_for_copies())


@pytest.mark.parametrize("writable", [True, False])
def test_a_matcher_understands_a_library_of_an_earlier_version(
    described: CaptionSet, scanned: Library, look: Look, matcher: Path, tmp_path: Path, writable: bool
) -> None:
    library, (before, *_) = Library(tmp_path / FOLDER, create=True), former(look.extractor)
    earlier = copy(look.extractor)
    earlier.fingerprint = before
    scan(library, [described.source], [Sketches(), earlier])
    expected = list(by_matcher(scanned, look, matcher).ranking("a kitchen", None, ()))
    loaded = Matcher.load(matcher)
    kept = Embedded(f"{before}-{content_hash(matcher)[:16]}", {"photos": ((loaded.dim,), "float16")})
    library.derive(
        earlier, kept, lambda found: {"photos": loaded.embed_photos(combine_features(found)).astype(np.float16)}
    )
    library = Library(tmp_path / FOLDER)
    library.is_writable = writable
    library.take_over(look.extractor)
    assert len(expected) == PHOTOS
    assert list(by_matcher(library, look, matcher).ranking("a kitchen", None, ())) == expected
