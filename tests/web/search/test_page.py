"""The search page: what it finds, what it says where it finds nothing, and how a person gets about in it."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from samespace.base.photos import read_pixels
from samespace.library.library import FOLDER, Library
from samespace.library.scan import scan
from samespace.model.colours import DIM, colours
from samespace.rooms.dataset import SPACE_TYPES, describe, make_room, viewpoints
from samespace.search.compression import fit_pca
from samespace.search.look import look_for_copies
from samespace.search.same_shot import Sketches
from samespace.search.vectors import keep_compression, vectors_to_compress
from samespace.web.search import find
from samespace.web.search.kept_photos import KeptPhotos
from samespace.web.state import LiveLibrary, photo_id
from samespace.words import search as sentences
from samespace.words.caption_files import KARPATHY
from samespace.words.caption_set import Captioned, CaptionSet
from samespace.words.matcher import Matcher
from samespace.words.photo_features import Featured, FeatureSource, combine_fields, feature_source_of
from samespace.words.stored_captions import LibraryCaptions
from samespace.words.sums import Term, search_by_sum
from samespace.words.train_matcher import Recipe, train
from tests.conftest import COLOUR_LOOK, ROOT, Colours, draw

BEST = "2023/01 bedroom.jpg"  # it has a smaller copy in phone and a brighter one in edited
COPIES = {"phone/01 bedroom.jpg", "edited/01 bedroom.jpg"}


def names(hits: list[dict]) -> list[str]:
    return [hit["name"] for hit in hits]


def ask(client, status=200, **asked):
    answer = client.post("/api/search", json=asked)
    assert answer.status_code == status, answer.text
    return answer.json()


def like(live: LiveLibrary, name: str = BEST) -> str:
    return photo_id(live.roots[0] / name)


# What understands sentences


class Seen(Colours):
    """With what models of words are told besides."""

    fingerprint = "seen-1"
    fields = {**Colours.fields, "colours": ((DIM,), "uint8")}  # noqa: RUF012

    def extract(self, pixels):
        return {**super().extract(pixels), "colours": colours(pixels)}


SEEN = COLOUR_LOOK._replace(extractor=Seen())


@pytest.fixture(scope="module")
def matcher_file(scanned_album, tmp_path_factory) -> Path:
    """A matcher that has learnt the album's twelve rooms by heart, as well as colours tell them apart."""
    photos = sorted((scanned_album / "2023").glob("[01]*.jpg"))
    vectors = combine_fields(SEEN.extractor.extract(np.stack([read_pixels(photo, 256) for photo in photos])))
    images = [
        Captioned(photo.name, split, tuple(describe(room, viewpoints(room, 1)[0])), number)
        for split in ("train", "val")
        for number, photo in enumerate(photos)
        for room in [make_room(SPACE_TYPES[number % len(SPACE_TYPES)], number)]
    ]
    captions = CaptionSet(Path("album"), KARPATHY, tuple(images), len(images))
    featured = Featured(captions, np.concatenate([vectors, vectors]), feature_source_of(SEEN))
    recipe = Recipe(dim=32, word_dim=16, threshold=1, batch=12, learning_rate=0.01, epochs=20)
    file = tmp_path_factory.mktemp("matcher") / "match.safetensors"
    train(featured, recipe).save(file)
    return file


@pytest.fixture
def matcher(live, matcher_file, tmp_path) -> Path:
    """The library has been scanned with this matcher, and captions none of its photos."""
    file = Path(shutil.copy(matcher_file, tmp_path))
    with live.library() as library:
        scan(library, live.roots, [SEEN.extractor])
        sentences.remember(library, SEEN, file)
    live.look = SEEN
    live.refresh()
    return file


BRICK = "a bedroom with a brick wall and a teal bed"  # 2023/05 bedroom.jpg


def captioned(live: LiveLibrary, **texts: str) -> None:
    """By a person: `_05="a bed"` of 2023/05 …"""
    for photo in live.snapshot.photos.values():
        if photo.path.parent.name == "2023" and f"_{photo.path.name[:2]}" in texts:
            live.caption(photo.content, texts[f"_{photo.path.name[:2]}"])


# For programs


def test_a_photo_of_the_library_finds_its_copies_first(client, live):
    answer = ask(client, like=like(live))
    first = answer["hits"][0]
    assert {first["name"], *names(first["also"])} == COPIES
    assert first["score"] > 0.8
    assert first["thumbnail"].startswith(f"/photos/{first['id']}/")
    assert (answer["look"], answer["meaning"], answer["next"]) == ("the same shot", "same shot", None)


def test_a_photo_is_named_by_its_id_its_name_or_its_path(client, live):
    answers = [ask(client, like=given) for given in (like(live), BEST, str(live.roots[0] / BEST))]
    assert answers[0] == answers[1] == answers[2]


def test_every_copy_by_itself(client, live):
    together, apart = ask(client, like=BEST), ask(client, like=BEST, all=True)
    assert (len(together["hits"]), len(apart["hits"])) == (12, 25)
    assert set(names(apart["hits"][:2])) == COPIES
    assert not any(hit["also"] for hit in apart["hits"])


def test_only_a_folder(client):
    found = names(ask(client, like=BEST, folder="phone")["hits"])
    assert found[0] == "phone/01 bedroom.jpg"
    assert len(found) == 10
    assert all(name.startswith("phone/") for name in found)


def test_only_from_a_score_on(client):
    hits = ask(client, like=BEST, threshold=0.8)["hits"]
    assert names(hits) == names(ask(client, like=BEST)["hits"][:1])


@pytest.mark.parametrize("top", [1, 5, 12])
def test_pages_joined_are_one_long_page(client, top):
    whole, joined, start = ask(client, like=BEST)["hits"], [], 0
    while start is not None:
        answer = ask(client, like=BEST, top=top, start=start)
        joined, start = joined + answer["hits"], answer["next"]
    assert joined == whole


def test_a_photo_from_outside(client, album, tmp_path):
    photo = tmp_path / "outside.png"
    Image.open(album / BEST).crop((10, 5, 310, 235)).save(photo)
    answer = client.post("/api/search", files={"photo": photo.open("rb")}, data={"folder": "2023", "top": "3"}).json()
    assert names(answer["hits"])[0] == BEST
    assert (len(answer["hits"]), answer["next"]) == (3, 3)
    more = ask(client, photo=answer["photo"], folder="2023", start=3)
    assert names(more["hits"]) == [
        name
        for name in names(ask(client, photo=answer["photo"], folder="2023")["hits"])
        if name not in names(answer["hits"])
    ]


def test_a_sentence_finds_what_the_matcher_sees(client, live, matcher):
    """As on the command line: the pages add and take away nothing."""
    answer = ask(client, sentence=f"{BRICK}, zorgel")
    assert (answer["look"], answer["meaning"], answer["photo"]) == ("colours", "fit", None)
    assert answer["unknown"] == ["zorgel"]
    scores = [hit["score"] for hit in answer["hits"]]
    assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
    with live.library() as library, LibraryCaptions(library) as captions:
        asked = sentences.ask(f"{BRICK}, zorgel", None, live.snapshot.sentences, captions)
        expected = live.snapshot.space.show(asked.ranking, 48)
    assert [hit["id"] for hit in answer["hits"]] == [photo_id(hit.photo.path) for hit in expected]
    assert sum(1 + len(hit["also"]) for hit in answer["hits"]) == 26


def test_a_sentence_finds_what_captions_say(client, live):
    captioned(live, _05="A green parrot on a bed", _06="The parrot")
    answer = ask(client, sentence="green parrots and an island")
    assert names(answer["hits"]) == ["2023/05 bedroom.jpg", "2023/06 kitchen.jpg"]
    assert answer["hits"][0]["score"] == 1 > answer["hits"][1]["score"] > 0
    assert answer["unknown"] == ["and", "an", "island"]
    assert ask(client, sentence="an island") == answer | {"hits": [], "unknown": ["an", "island"]}


def test_a_sentence_finds_what_either_says(client, live, matcher):
    captioned(live, _05="A green parrot")
    first, *others = ask(client, sentence="a parrot in a kitchen")["hits"]
    assert first["name"] == "2023/05 bedroom.jpg"
    assert len(others) > 10


@pytest.mark.parametrize("top", [1, 5])
def test_pages_of_a_sentence_joined_are_one_long_page(client, live, matcher, top):
    captioned(live, _05="A teal parrot", _07="brick")
    asked = {"sentence": BRICK, "all": True, "folder": "2023"}
    whole, joined, start = ask(client, **asked)["hits"], [], 0
    while start is not None:
        answer = ask(client, **asked, top=top, start=start)
        joined, start = joined + answer["hits"], answer["next"]
    assert joined == whole
    assert len(whole) == 12
    assert all(hit["name"].startswith("2023/") for hit in whole)
    score = whole[3]["score"]
    assert ask(client, **asked, threshold=score)["hits"] == whole[:4]


@pytest.mark.parametrize(
    ("sentence", "error"),
    [
        ("?!", "There is no word in '?!': describe a photo."),
        ("zorgel", "No word of 'zorgel' is among the"),
        ("bed " * 251, "A sentence of 1,003 characters is too long: 1,000 at most."),
    ],
)
def test_what_is_no_sentence_is_refused_in_one(client, matcher, sentence, error):
    assert error in ask(client, 400, sentence=sentence)["error"]
    assert client.get("/search", params={"q": sentence}).status_code == 200


@pytest.fixture
def adding(matcher, monkeypatch) -> None:
    """The matcher can add and subtract, as one of cosines does."""
    monkeypatch.setattr(Matcher, "does_arithmetic", True)


def test_a_sum_finds_what_the_terminal_finds(client, live, adding):
    added = live.snapshot.photos[like(live, "2023/05 bedroom.jpg")].path
    answer = ask(client, sentence="a kitchen + 2023/05 bedroom.jpg - a teal bed", top=5)
    terms = [Term(1, "a kitchen", False), Term(1, str(added), True), Term(-1, "a teal bed", False)]
    with live.library() as library:
        expected = search_by_sum(library, live.snapshot.space, live.snapshot.sentences, terms, 5).hits
    assert [hit["id"] for hit in answer["hits"]] == [photo_id(hit.photo.path) for hit in expected]
    assert answer["meaning"] == "sum" and "2023/05 bedroom.jpg" not in names(answer["hits"])
    page = client.get("/search", params={"q": "a kitchen + 2023/05 bedroom.jpg"}).text
    assert "cosine similarity to the sum" in page and "kitchen + photo.jpg - people" in page
    completed = client.get("/search/names", params={"q": "a kitchen + 05 bed"}).text
    assert 'data-name="2023/05 bedroom.jpg"' in completed


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ("a kitchen +", "A kitchen +: a sign lacks a sentence or a photo after it."),
        ("a kitchen + 05 bedroom.jpg", "2 photos are called 05 bedroom.jpg: add the folder of the one you mean."),
        ("- a kitchen", "Everything is subtracted: add a sentence or a photo, as in kitchen - people."),
        ("a kitchen + none.jpg", "No photo of this library is called none.jpg: type a name that the box offers."),
    ],
)
def test_what_is_no_sum_is_refused_in_a_sentence(client, adding, asked, error):
    assert ask(client, 400, sentence=asked)["error"] == error


def test_who_cannot_add_says_so_and_finds_by_sentences(client, matcher):
    assert ask(client, sentence="a bed - a kitchen")["meaning"] == "fit"
    assert "--measure order cannot add" in ask(client, 400, sentence="a bed + 2023/05 bedroom.jpg")["error"]


def test_a_sign_between_words_is_a_sentence_to_captions(client, live):
    captioned(live, _05="a bed - and a parrot")
    assert names(ask(client, sentence="bed - parrot")["hits"]) == ["2023/05 bedroom.jpg"]
    assert "Text search is not set up" in ask(client, 400, sentence="bed + 2023/05 bedroom.jpg")["error"]


def test_half_a_character_is_no_word(client, matcher):
    answer = client.post(
        "/api/search", content=rb'{"sentence": "\ud800"}', headers={"content-type": "application/json"}
    )
    assert (answer.status_code, "There is no word in" in answer.json()["error"]) == (400, True)


def test_sentences_wait_for_their_turn(client, live, matcher, monkeypatch):
    monkeypatch.setattr(find, "turns", threading.Semaphore(1))
    waiting, show = [], live.snapshot.space.show

    def shown(*given):
        waiting.append(find.turns.acquire(blocking=False))
        return show(*given)

    monkeypatch.setattr(live.snapshot.space, "show", shown)
    assert ask(client, sentence=BRICK)["hits"]
    assert waiting == [False]


def spoil(file: Path, how: str) -> None:
    if how == "gone":
        file.unlink()
    elif how == "damaged":
        file.write_bytes(file.read_bytes()[:-9])
    else:
        found = Matcher.load(file)
        Matcher(found.network, found.vocabulary, FeatureSource("vgg16", "elsewhere")).save(file)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("gone", "match.safetensors, which has gone: give another --matcher FILE"),
        ("damaged", "match.safetensors is not a matcher, or damaged: train it again, or copy it again"),
        ("other", "The matcher was trained on features of vgg16, and these are of colours: take those, or train one"),
    ],
)
def test_without_its_matcher_the_page_says_why_and_finds_by_captions_and_names(client, live, matcher, how, why):
    spoil(matcher, how)
    live.refresh()
    assert why in ask(client, 400, sentence="a parrot")["error"]
    assert why in client.get("/search?q=a+parrot").text
    assert "with “bedroom” in the name" in client.get("/search?q=bedroom").text
    assert ask(client, like=BEST)["hits"]
    for address in ("/review", "/library", "/search", f"/search?like={like(live)}"):
        answer = client.get(address)
        assert (answer.status_code, why in answer.text) == (200, False)
    captioned(live, _05="A green parrot")
    page = client.get("/search?q=a+parrot").text
    assert why in page and "Only captions are searched." in page
    assert shown(page) == ["2023/05 bedroom.jpg"]


def test_pages_are_ready_without_torch():
    code = "import sys, samespace.web.app; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_searches_wait_for_their_turn(client, live, album, monkeypatch):
    waiting = []

    def in_turn(work):
        def checked(*given, **named):
            waiting.append(find.turns.acquire(blocking=False))
            if waiting[-1]:
                find.turns.release()
            return work(*given, **named)

        return checked

    monkeypatch.setattr(find, "turns", threading.Semaphore(1))
    for work in ("query", "search"):
        monkeypatch.setattr(live.snapshot.space, work, in_turn(getattr(live.snapshot.space, work)))
    assert client.post("/api/search", files={"photo": (album / BEST).open("rb")}).status_code == 200
    assert waiting == [False, False]
    assert find.turns.acquire(blocking=False)  # the last one has made way


def test_photos_that_have_been_removed_are_left_out(client, live):
    live.remove([live.roots[0] / name for name in COPIES])
    assert not COPIES & set(names(ask(client, like=BEST, all=True)["hits"]))
    assert not any(name in client.get("/search/names?q=01").text for name in COPIES)
    assert client.get("/search?q=01").headers["location"] == f"/search?like={like(live)}"
    ask(client, 404, like=like(live, "phone/01 bedroom.jpg"))


@pytest.mark.parametrize(
    ("asked", "status", "error"),
    [
        ({"like": "0" * 16}, 404, "not in the library"),
        ({"photo": "unknown"}, 404, "drop it again"),
        ({}, 400, "Name one photo"),
        ({"like": BEST, "photo": "key"}, 400, "Name one photo"),
        ({"like": BEST, "sentence": "a bed"}, 400, "Name one photo"),
        ({"like": 7}, 400, "`like` must be text"),
        ({"sentence": ["a", "bed"]}, 400, "`sentence` must be text"),
        ({"like": BEST, "top": 0}, 400, "`top` must be a whole number from 1 to 480"),
        ({"like": BEST, "top": 481}, 400, "`top` must be"),
        ({"like": BEST, "top": "many"}, 400, "`top` must be"),
        ({"like": BEST, "start": -1}, 400, "`start` must be"),
        ({"like": BEST, "threshold": "high"}, 400, "`threshold` must be a number from 0 to 1"),
        ({"like": BEST, "threshold": 1.5}, 400, "`threshold` must be"),
        ({"like": BEST, "threshold": "nan"}, 400, "`threshold` must be"),
        ({"like": BEST, "folder": "../.."}, 400, "No photo of this library is in a folder called ../.."),
        ({"like": BEST, "folder": "/etc"}, 400, "/etc"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(client, asked, status, error):
    assert error in ask(client, status, **asked)["error"]


def test_a_number_without_end_is_refused(client):
    body = f'{{"like": "{BEST}", "start": 1e999}}'
    answer = client.post("/api/search", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, "`start` must be" in answer.json()["error"]) == (400, True)


def test_what_is_no_photo_is_refused(client, album):
    whole = (album / BEST).read_bytes()
    for file in (b"no photo", whole[: len(whole) // 2]):
        answer = client.post("/api/search", files={"photo": ("photo.jpg", file)})
        assert answer.status_code == 415
        assert "cannot be used as a photo" in answer.json()["error"]


# What is kept


def test_what_was_used_last_is_kept_longest():
    kept = KeptPhotos(most=2)
    first, second = kept.add("one", look_for_copies()), kept.add("two", look_for_copies())
    assert kept.find(first, look_for_copies()) == "one"
    kept.add("three", look_for_copies())
    assert (kept.find(first, look_for_copies()), kept.find(second, look_for_copies())) == ("one", None)


def test_what_is_not_used_is_forgotten():
    now = 0.0
    kept = KeptPhotos(seconds=60, clock=lambda: now)
    key = kept.add("one", look_for_copies())
    now = 59.0
    assert kept.find(key, look_for_copies()) == "one"
    now = 118.0
    assert kept.find(key, look_for_copies()) == "one"
    now = 179.0
    assert kept.find(key, look_for_copies()) is None


def test_another_look_needs_the_photo_again():
    kept, other = KeptPhotos(), look_for_copies()._replace(extractor=SimpleNamespace(fingerprint="other"))
    assert kept.find(kept.add("one", look_for_copies()), other) is None


# The page


def shown(page: str) -> list[str]:
    """Names on the cards of a page."""
    return re.findall(r'<p class="name" title="([^"]*)"', page)


def test_the_page_is_whole_without_scripts(client, live):
    page = client.get(f"/search?like={like(live)}").text
    assert shown(page) == names(ask(client, like=BEST)["hits"])
    assert re.search(r"<b>1\.000</b> same photo|<b>0\.9\d\d</b> same photo", page)
    assert "+1 copy" in page
    assert "Not copies, in no useful order: no network has looked" in page and "similar first" not in page


def test_no_path_of_this_machine_is_an_address(client, live):
    page = client.get(f"/search?like={like(live)}").text
    assert not [
        link for link in re.findall(r'(?:href|src|action|hx-get)="([^"]*)"', page) if str(live.roots[0]) in link
    ]


def test_the_page_says_of_every_photo_where_it_goes_on(client, live):
    page = client.get(f"/search?like={like(live)}&folder=2023&all=1&threshold=0.5").text
    other = photo_id(live.roots[0] / "2023/02 kitchen.jpg")
    address = f"/search?like={other}&amp;folder=2023&amp;threshold=0.5&amp;all=1"
    assert address not in page  # it scores too low
    page = client.get(f"/search?like={like(live)}&folder=2023&all=1").text
    assert address.replace("&amp;threshold=0.5", "") in page


def test_pieces_for_scrolling_and_for_filters(client, live):
    address, htmx = f"/search?like={like(live)}", {"HX-Request": "true"}
    further = client.get(f"{address}&start=5&top=4", headers=htmx).text
    assert shown(further) == names(ask(client, like=BEST)["hits"])[5:9]
    assert further.strip().startswith("<li")
    assert "start=9" in further
    filtered = client.get(f"{address}&folder=phone&threshold=0", headers=htmx)
    assert "<html" not in filtered.text
    assert filtered.headers["HX-Replace-Url"] == f"{address}&folder=phone"


def test_the_rest_is_announced_once_wherever_a_page_ends(client, live):
    address = f"/search?like={like(live)}"
    assert client.get(f"{address}&top=1").text.count("Not copies") == 0
    assert client.get(f"{address}&start=1&top=4", headers={"HX-Request": "true"}).text.count("Not copies") == 1
    assert client.get(f"{address}&start=5&top=4", headers={"HX-Request": "true"}).text.count("Not copies") == 0


def test_folders_are_offered_with_their_counts(client, live):
    page = client.get(f"/search?like={like(live)}&folder=phone").text
    assert re.findall(r'<option value="(\w*)"( selected)?>([^<]*)', page) == [
        ("", "", "all · 26"),
        ("2023", "", "2023 · 12"),
        ("edited", "", "edited · 4"),
        ("phone", " selected", "phone · 10"),
    ]


@pytest.mark.parametrize("typed", [BEST, "2023 01", "23/01 BED", "{root}/2023/01 bedroom.jpg"])
def test_what_names_one_photo_leads_to_what_is_like_it(client, live, typed):
    answer = client.get("/search", params={"q": typed.format(root=live.roots[0]), "folder": "2023"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/search?like={like(live)}&folder=2023")


def test_what_names_several_lets_a_person_choose(client):
    page = client.get("/search?q=bedroom").text
    assert "with “bedroom” in the name" in page
    assert set(shown(page)) == {name for name in shown(page) if "bedroom" in name} >= {BEST, *COPIES}


def test_what_names_none_says_what_can_be_typed(client, live):
    answer = client.get("/search", params={"q": "<b>white kitchen"})
    assert answer.status_code == 200
    assert "No photo is called “&lt;b&gt;white kitchen”" in answer.text
    command = f"samespace scan {live.roots[0]}"
    how = f"Text search is not set up. Caption photos, or name an encoder: {command} --encoder NAME, "
    how += f"or a matcher: {command} --matcher FILE"
    assert f"<p>{how}</p>" in answer.text
    assert ask(client, 400, sentence="white kitchen") == {"error": how}


def test_what_names_no_photo_is_a_sentence_where_sentences_are_understood(client, live, matcher):
    for typed in (BEST, like(live), str(live.roots[0] / BEST)):
        answer = client.get("/search", params={"q": typed, "folder": "2023"})
        assert answer.headers["location"] == f"/search?like={like(live)}&folder=2023"
    page = client.get("/search?q=bedroom&folder=2023&threshold=0.1").text
    assert "“bedroom”</h2>" in page
    assert "how much of the sentence the photo or its caption matches, 1 for all" in page
    assert re.search(
        r'href="/search\?q=bedroom&amp;names=1&amp;folder=2023">(\d+) photos have “bedroom” in their name', page
    )
    assert re.search(r"match <b>0\.\d\d\d</b>", page)
    assert not re.search('class="hit same"|class="rest"', page)
    assert shown(page) == names(ask(client, sentence="bedroom", folder="2023", threshold=0.1)["hits"])
    assert f"/search?like={like(live)}&amp;folder=2023" in page  # a threshold for fits is none for cosines
    named = client.get("/search?q=bedroom&names=1&folder=2023").text
    assert "with “bedroom” in the name" in named
    assert 'href="/search?q=bedroom&amp;folder=2023">Search for “bedroom” as a description' in named
    assert client.get("/search?q=2023+01&names=1").headers["location"] == f"/search?like={like(live)}"


def test_one_photo_of_that_name_is_offered_as_one(client, matcher):
    assert "1 photo has “23/01” in its name" in client.get("/search?q=23/01").text  # no word that anybody knows
    assert "in their name" not in client.get("/search", params={"q": BRICK}).text


def test_unknown_words_are_told_on_the_page(client, matcher):
    assert "ignored" not in client.get("/search?q=white+bed").text
    page = client.get("/search?q=white+bed,+islnd+and+chandelier").text
    assert "Unknown words, ignored: <b>islnd, chandelier</b>" in page.replace("and, ", "")


def test_a_sentence_that_nothing_fits(client, live, matcher):
    page = client.get("/search", params={"q": BRICK, "threshold": "1"}).text
    assert "Nothing scores 1.000 or more" in page
    live.snapshot = live.snapshot._replace(sentences=None)
    captioned(live, _05="Green parrot")
    assert "No matching photos" in client.get("/search", params={"q": BRICK}).text


def test_pieces_of_a_sentence_for_scrolling_and_for_filters(client, matcher):
    htmx, asked = {"HX-Request": "true"}, {"q": BRICK, "all": "1"}
    further = client.get("/search", params={**asked, "start": 5, "top": 4}, headers=htmx).text
    assert shown(further) == names(ask(client, sentence=BRICK, all=True)["hits"])[5:9]
    filtered = client.get("/search", params={**asked, "folder": "phone", "threshold": "0"}, headers=htmx)
    assert "<html" not in filtered.text
    assert filtered.headers["HX-Replace-Url"] == f"/search?q={BRICK.replace(' ', '+')}&folder=phone&all=1"


def test_names_are_completed(client):
    def completed(**asked):
        return re.findall(r"</span>([^<]*)</span></li>", client.get("/search/names", params=asked).text)

    assert completed(q="02 2023")[0].endswith("02 kitchen.jpg")
    assert len(completed(q="0")) == 12
    assert completed(q="") == completed(q="no such photo") == []


def test_begin_with_some_photos_from_all_over_the_library(client):
    page = client.get("/search").text
    assert "Or start with one of these" in page
    assert len(shown(page)) <= 12
    assert {name.partition("/")[0] for name in shown(page)} == {"2023", "edited", "phone"}


def test_a_form_without_scripts_leads_to_the_results(client, album):
    with (album / BEST).open("rb") as photo:
        answer = client.post("/search", files={"photo": photo}, headers={"accept": "text/html"})
    assert answer.status_code == 303
    page = client.get(answer.headers["location"]).text
    assert 'Similar to <span id="of-name">your photo' in page
    assert len(shown(page)) == 12
    assert client.post("/search", data={"photo": "none"}).status_code == 400


def test_an_address_that_leads_nowhere_says_so_on_the_page(client):
    for address, sentence in (
        ("like=" + "0" * 16, "This photo is not in the library"),
        ("photo=gone", "is remembered for 30 minutes only: drop it again"),
    ):
        answer = client.get(f"/search?{address}")
        assert answer.status_code == 404
        assert sentence in answer.text
        assert 'id="box"' in answer.text
    assert client.get("/search?like=x&threshold=7").status_code == 400
    piece = client.get("/search?photo=gone&start=48", headers={"HX-Request": "true", "accept": "text/html"})
    assert (piece.status_code, "drop it again" in piece.json()["error"]) == (404, True)


def test_nothing_scores_that_high(client, live):
    page = client.get(
        f"/search?like={photo_id(live.roots[0] / '2023/11 bathroom.jpg')}&threshold=0.9&folder=phone"
    ).text
    assert "Nothing scores 0.900 or more in phone" in page
    assert "Show all scores" in page


def test_nothing_has_been_scanned(client, live):
    live.snapshot = live.snapshot._replace(photos={}, space=None, why_not="Nothing has been scanned yet.")
    assert "Nothing has been scanned yet" in client.get("/search").text
    assert ask(client, 400, like=BEST)["error"] == "Nothing has been scanned yet."


def test_no_features_of_this_look(client, live):
    live.look = COLOUR_LOOK
    live.refresh()
    said = f"None of the 26 photos has been scanned for colours: samespace scan {live.roots[0]} --backbone colours"
    for page in ("/search", "/library"):
        assert f"{said}</p>" in client.get(page).text
    assert ask(client, 400, like=BEST) == {"error": said}


@pytest.mark.parametrize("meaning", ["cosine", "probability"])
def test_the_scores_of_compressed_features_are_told_to_be_others(client, live, meaning):
    features = "Scores are the cosine similarity of colours features, 1 for photos that look the same."
    plain = {"cosine": features, "probability": "Scores are the probability of the same space, by colours."}[meaning]
    compressed = " The features are compressed by pca, which changes the scale of the scores."
    with live.library() as library:
        scan(library, live.roots, [COLOUR_LOOK.extractor])
        pca = fit_pca(vectors_to_compress(library, COLOUR_LOOK), 8)
        for compression, more in ((None, ""), (pca, compressed if meaning == "cosine" else ""), (None, "")):
            keep_compression(library, COLOUR_LOOK, compression)
            live.look = COLOUR_LOOK
            live.refresh()
            live.look = COLOUR_LOOK._replace(meaning=meaning)
            assert f'<p class="soft">{plain}{more}</p>' in client.get(f"/search?like={like(live)}").text


def test_names_are_shown_as_they_are_and_do_nothing(tmp_path):
    album = tmp_path / "album"
    for number, name in enumerate(('"><img src=x onerror=1>.png', "two\nlines.png", "a{{ 7*7 }}&amp;.png")):
        draw(album / name, number)
    client = _client_on(album)
    page = client.get("/search").text
    assert "<img src=x" not in page
    assert "two\\nlines.png" in page
    assert "a{{ 7*7 }}&amp;amp;.png" in page
    assert ask(client, like="two\\nlines.png")["hits"]


def _client_on(album: Path):
    from starlette.testclient import TestClient

    from samespace.web.app import make_app
    from samespace.web.guard import Guard

    library = Library(album / FOLDER, create=True)
    scan(library, [album], [Sketches()])
    library.close()
    live = LiveLibrary(album / FOLDER, [album], look_for_copies())
    live.refresh()
    return TestClient(make_app(live, Guard()), base_url="http://127.0.0.1")


# In a browser


def by_hand(page, kind: str, path: Path, name: str = "outside.jpg") -> None:
    """A file from elsewhere on this machine is dropped on the page or pasted into it; `kind` may be a part of that."""
    page.evaluate(
        """([kind, name, bytes]) => {
          const dataTransfer = new DataTransfer();
          const file = Uint8Array.from(atob(bytes), (one) => one.charCodeAt(0));
          dataTransfer.items.add(new File([file], name, {type: "image/jpeg"}));
          const told = {bubbles: true, cancelable: true, dataTransfer, clipboardData: dataTransfer};
          if (kind === "paste") document.body.dispatchEvent(new ClipboardEvent("paste", told));
          else for (const part of kind.split(" ")) document.body.dispatchEvent(new DragEvent(part, told));
        }""",
        [kind, name, base64.b64encode(path.read_bytes()).decode()],
    )


def results(page):
    return page.locator("#found .hit > .name")


@pytest.fixture
def outside(scanned_album, tmp_path) -> Path:
    photo = tmp_path / "outside.jpg"
    Image.open(scanned_album / BEST).crop((10, 5, 310, 235)).save(photo)
    return photo


def test_a_photo_is_dropped_and_what_is_none_said_in_place(browser, complaints, outside, tmp_path):
    from playwright.sync_api import expect

    browser.goto("/search")
    (tmp_path / "text").write_text("no photo")
    browser.locator("#file").set_input_files(tmp_path / "text")
    expect(browser.get_by_role("alert")).to_contain_text("cannot be used as a photo")
    expect(results(browser)).to_have_count(9)
    expect(browser.locator("#busy")).to_be_hidden()
    complaints.clear()  # the browser's own, of a refused request
    by_hand(browser, "dragenter dragover", outside)
    expect(browser.locator("#drop")).to_be_visible()
    by_hand(browser, "drop", outside)
    browser.wait_for_url("**/search?photo=*")
    expect(browser.locator("#drop")).to_be_hidden()
    for again in (False, True):
        if again:
            browser.reload()
        expect(results(browser).first).to_have_attribute("title", re.compile("01 bedroom"))
        expect(browser.locator("#of-name")).to_have_text("outside.jpg")
        expect(browser.locator("#of .outside")).to_have_css("background-image", re.compile("data:image/jpeg"))


def test_a_photo_is_pasted_with_the_folder_that_was_chosen(browser, outside):
    from playwright.sync_api import expect

    browser.goto("/search?q=&folder=phone")
    browser.locator("#box").focus()
    by_hand(browser, "paste", outside)
    browser.wait_for_url("**/search?photo=*folder=phone")
    expect(results(browser).first).to_have_attribute("title", "phone/01 bedroom.jpg")


def test_a_name_is_completed_by_keyboard(browser):
    from playwright.sync_api import expect

    browser.goto("/search")
    browser.keyboard.press("/")
    browser.keyboard.type("BED phone")
    options = browser.locator("#names [role=option]")
    expect(options).to_have_count(3)
    browser.keyboard.press("ArrowDown")
    browser.keyboard.press("ArrowDown")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    expect(browser.locator("#box")).to_have_attribute("aria-activedescendant", options.nth(1).get_attribute("id"))
    browser.keyboard.press("Escape")
    expect(browser.locator("#names")).to_be_hidden()
    browser.keyboard.press("ArrowDown")
    browser.keyboard.press("Enter")
    expect(browser.locator("#of-name")).to_have_text("01 bedroom.jpg")


def test_a_sentence_is_typed_and_stays_through_filters_reload_and_back(browser, live, matcher):
    from playwright.sync_api import expect

    browser.goto("/search?like=" + like(live) + "&folder=2023&threshold=0.5")
    browser.keyboard.press("/")
    browser.keyboard.type(BRICK)
    browser.keyboard.press("Enter")
    browser.wait_for_url("**/search?q=a+bedroom+with+*&folder=2023")
    expect(browser.get_by_role("heading", name=f"“{BRICK}”")).to_be_visible()
    expect(results(browser)).to_have_count(12)
    browser.get_by_label("Folder").select_option("")
    browser.get_by_label("Show copies separately").check()
    expect(results(browser)).to_have_count(26)
    browser.reload()
    expect(results(browser)).to_have_count(26)
    best = results(browser).first.get_attribute("title")
    browser.keyboard.press("ArrowRight")
    browser.keyboard.press("Enter")
    expect(browser.locator("h2[title]")).to_have_attribute("title", best)
    browser.go_back()
    expect(browser.locator("h2[title]")).to_have_attribute("title", BRICK)
    expect(results(browser)).to_have_count(26)


def test_going_on_by_keyboard_and_back(browser, live):
    from playwright.sync_api import expect

    browser.goto(f"/search?like={like(live)}&folder=2023")
    browser.keyboard.press("ArrowRight")
    browser.keyboard.press("ArrowRight")
    name = results(browser).nth(1).get_attribute("title")
    browser.keyboard.press("Enter")
    expect(browser.locator("h2[title]")).to_have_attribute("title", name)
    assert browser.url.endswith("&folder=2023")
    browser.go_back()
    expect(browser.locator("h2[title]")).to_have_attribute("title", BEST)


def test_arrows_move_by_rows(browser, live):
    from playwright.sync_api import expect

    def focused():
        return browser.evaluate("[...document.querySelectorAll('#found .hit .like')].indexOf(document.activeElement)")

    browser.goto(f"/search?like={like(live)}&all=1")
    expect(results(browser)).to_have_count(25)
    for key, place in (("Right", 0), ("Right", 1), ("Down", 3), ("Down", 8), ("Up", 3), ("Left", 2), ("Up", 0)):
        browser.keyboard.press(f"Arrow{key}")
        assert focused() == place
    browser.keyboard.press("ArrowUp")
    expect(browser.locator("#box")).to_be_focused()


def test_scrolling_loads_more_and_a_reload_shows_them(browser, live):
    from playwright.sync_api import expect

    browser.set_viewport_size({"width": 420, "height": 500})
    browser.goto(f"/search?like={like(live)}&top=6")
    expect(results(browser)).to_have_count(6)
    browser.locator(".further").scroll_into_view_if_needed()
    expect(results(browser)).to_have_count(12)
    browser.wait_for_url("**top=54")
    browser.reload()
    expect(results(browser)).to_have_count(12)


def test_filters_change_the_results_and_the_address(browser, live):
    from playwright.sync_api import expect

    browser.goto(f"/search?like={like(live)}")
    browser.get_by_label("Folder").select_option("phone")
    expect(results(browser)).to_have_count(10)
    browser.get_by_label("Threshold").focus()
    browser.keyboard.press("End")
    expect(browser.locator("#found")).to_contain_text("Nothing scores 1.000 or more in phone")
    with browser.expect_navigation():  # the filters of the next page work once it is loaded
        browser.get_by_text("Show all scores").click()
    expect(results(browser)).to_have_count(10)
    browser.get_by_label("Folder").select_option("")
    browser.get_by_label("Show copies separately").check()
    expect(results(browser)).to_have_count(25)
    assert browser.url.endswith(f"/search?like={like(live)}&all=1")


def test_one_photo_large(browser, live):
    from playwright.sync_api import expect

    browser.goto(f"/search?like={like(live)}")
    viewer, first = browser.locator("#viewer"), results(browser).first.get_attribute("title")
    browser.keyboard.press("ArrowRight")
    browser.keyboard.press("o")
    expect(viewer.get_by_role("heading")).to_have_text(first)
    expect(viewer.locator("#viewed-path")).to_have_text(f"{live.roots[0]}/{first}")
    expect(viewer.locator("#viewed-facts")).to_contain_text(" × ")
    browser.keyboard.press("ArrowRight")
    expect(viewer.get_by_role("heading")).to_have_text(results(browser).nth(1).get_attribute("title"))
    browser.keyboard.press("ArrowLeft")
    browser.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    browser.keyboard.press("+")  # unfold: what is in there is opened large as well
    browser.keyboard.press("Space")
    browser.keyboard.press("ArrowRight")
    (copy,) = COPIES - {first}
    expect(viewer.get_by_role("heading")).to_have_text(copy)
    browser.keyboard.press("Enter")
    expect(browser.locator("#of-name")).to_have_text("01 bedroom.jpg")


def test_keys_act_at_once_when_the_large_view_is_left(browser, live):
    from playwright.sync_api import expect

    browser.goto(f"/search?like={like(live)}")
    for key in ("ArrowRight", "o", "ArrowRight"):
        browser.keyboard.press(key)
    # In one go, so that the browser has had no time to tell that the view was closed.
    browser.evaluate(
        """() => {
          for (const key of ["Escape", "+", "o"])
            document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
        }"""
    )
    opened = browser.locator("#viewer").get_by_role("heading")
    expect(opened).to_have_text(results(browser).nth(1).get_attribute("title"))
    browser.keyboard.press("ArrowLeft")
    expect(opened).to_have_text(results(browser).first.get_attribute("title"))


def test_the_keys_are_told_and_the_dark_is_dark(browser):
    from playwright.sync_api import expect

    def brightness() -> int:
        return sum(
            map(int, re.findall(r"\d+", browser.evaluate("getComputedStyle(document.documentElement).backgroundColor")))
        )

    browser.goto("/search")
    browser.emulate_media(color_scheme="light")
    light = brightness()
    browser.emulate_media(color_scheme="dark")
    assert brightness() < 200 < 600 < light
    browser.keyboard.press("?")
    expect(browser.locator("#help")).to_contain_text("more like this")
    expect(browser.locator("#help")).to_contain_text("open large")


def test_nothing_is_wider_than_the_window(browser, live):
    long = "bed" * 60
    captioned(live, _05=f"A green parrot {long}")
    addresses = (f"like={like(live)}", "q=bedroom&names=1", "q=none", f"q={long}", f"q=parrot+{long[3:]}")
    for address in ("/search", *(f"/search?{asked}" for asked in addresses)):
        browser.goto(address)
        for width in (1600, 400):
            browser.set_viewport_size({"width": width, "height": 800})
            assert browser.evaluate("document.documentElement.scrollWidth") <= width


def test_without_scripts(scriptless, served, outside):
    from playwright.sync_api import expect

    page = scriptless
    page.goto(f"{served.url}/search")
    page.get_by_label("Or choose a photo file").set_input_files(outside)
    page.get_by_role("button", name="Search with this photo").click()
    expect(results(page).first).to_have_attribute("title", re.compile("01 bedroom"))
    page.get_by_label("Folder").select_option("phone")
    page.get_by_role("button", name="Apply").click()
    expect(results(page)).to_have_count(10)
