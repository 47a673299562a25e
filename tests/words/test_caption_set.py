"""Captions are read from the files that people have, in the forms these really come in; what is left out is told."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samespace.base.errors import SameSpaceError
from samespace.words.caption_set import LISTS, SPLITS, Captioned, CaptionSet, join, locate, read_captions, split_of
from tests.conftest import draw

Said = dict[str, list[str]]

SAID: Said = {
    "1000268201_693b08cb0e.jpg": ["A child in a pink dress .", 'A girl says " hi " , and waves .'],
    "1001773457_577c3a7d70.jpg": ["A black dog and a spotted dog are fighting"],
    "1002674143_1b742ab4b8.jpg": ["A girl", "There is a girl", "A small girl", "A girl paints", "Five", "Six of them"],
}
FILES = list(SAID)
GIVEN = dict(zip(FILES, SPLITS, strict=True))


def karpathy(said: Said, splits: dict[str, str], **more: object) -> str:
    images = [
        {
            "sentids": list(range(5 * number, 5 * number + len(captions))),
            "imgid": number,
            "sentences": [
                {"tokens": raw.lower().split(), "raw": raw, "imgid": number, "sentid": 0} for raw in captions
            ],
            "split": splits[file],
            "filename": file,
            **more,
        }
        for number, (file, captions) in enumerate(said.items())
    ]
    return json.dumps({"images": images, "dataset": "flickr8k"})


def coco(said: Said, **more: list[dict[str, Any]]) -> str:
    numbers = {file: 100 + 7 * row for row, file in enumerate(said)}
    images = [{"license": 5, "file_name": file, "height": 480, "width": 640, "id": numbers[file]} for file in said]
    notes = [(numbers[file], caption) for file, captions in said.items() for caption in captions]
    annotations = [{"image_id": image, "id": row, "caption": f"{text} \n"} for row, (image, text) in enumerate(notes)]
    return json.dumps({"info": {}, "licenses": [], "images": images, "annotations": annotations} | more)


def tokens(said: Said) -> str:
    return "".join(f"{file}#{n}\t{text}\n" for file, captions in said.items() for n, text in enumerate(captions))


def bars(said: Said) -> str:
    lines = [f"{file}| {n}| {text}\n" for file, captions in said.items() for n, text in enumerate(captions)]
    return "".join(["image_name| comment_number| comment\n", *lines])


def table(said: Said, header: str = "image,caption", splits: dict[str, str] | None = None) -> str:
    text = io.StringIO()
    rows = [[file, one, *([splits[file]] if splits else [])] for file, captions in said.items() for one in captions]
    csv.writer(text).writerows([header.split(","), *rows])
    return text.getvalue()


def jsonl(said: Said, splits: dict[str, str] | None = None) -> str:
    rows = [{"file": file, "caption": one} for file, captions in said.items() for one in captions]
    return "".join(json.dumps(row | ({"split": splits[row["file"]]} if splits else {})) + "\n" for row in rows)


def read(tmp_path: Path, text: str | bytes, name: str = "captions", **options: Any) -> CaptionSet:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_captions(path, **options)


def told(captions: CaptionSet) -> Said:
    return {image.file: list(image.captions) for image in captions.images}


def splits_of(captions: CaptionSet) -> dict[str, str]:
    return {image.file: image.split for image in captions.images}


def notes(captions: CaptionSet) -> dict[str, list[str]]:
    return {note.what: list(note.items) for note in captions.notes}


# ---- every format, by what is in it and not by its name

UNSPLIT: dict[str, Callable[[Said], str]] = {
    "COCO's captions": coco,
    "Flickr's tokens": tokens,
    "Kaggle's results.csv": bars,
    "CSV": table,
    "JSONL": jsonl,
}
SPLIT: dict[str, Callable[[Said, dict[str, str]], str]] = {
    "Karpathy's dataset.json": karpathy,
    "CSV": lambda said, splits: table(said, "file,caption,split", splits),
    "JSONL": jsonl,
}


@pytest.mark.parametrize("name", UNSPLIT)
def test_formats_without_splits_are_read_and_split_by_name(tmp_path: Path, name: str) -> None:
    captions = read(tmp_path, UNSPLIT[name](SAID))
    assert captions.format == name
    assert told(captions) == SAID
    assert splits_of(captions) == {file: split_of(file) for file in SAID}
    assert captions.notes == ()


@pytest.mark.parametrize("name", SPLIT)
def test_formats_with_splits_are_read_with_them(tmp_path: Path, name: str) -> None:
    captions = read(tmp_path, SPLIT[name](SAID, GIVEN))
    assert captions.format == name
    assert told(captions) == SAID
    assert splits_of(captions) == GIVEN


@pytest.mark.parametrize("name", UNSPLIT)
def test_line_ends_and_marks_of_windows_change_nothing(tmp_path: Path, name: str) -> None:
    text = UNSPLIT[name](SAID).replace("\r\n", "\n").replace("\n", "\r\n")
    assert told(read(tmp_path, b"\xef\xbb\xbf" + text.encode())) == SAID


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.randoms(), st.sampled_from(["Flickr's tokens", "Kaggle's results.csv"]))
def test_numbered_captions_are_the_same_in_any_order_of_lines(tmp_path: Path, random: object, name: str) -> None:
    lines = UNSPLIT[name](SAID).splitlines(keepends=True)
    head = lines[:1] if "|" in lines[0] else []
    shuffled = random.sample(lines[len(head) :], len(lines) - len(head))  # type: ignore[attr-defined]
    assert told(read(tmp_path, "".join([*head, *shuffled]))) == SAID


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.randoms(), st.sampled_from(["CSV", "JSONL"]))
def test_the_order_of_other_lines_changes_the_order_alone(tmp_path: Path, random: object, name: str) -> None:
    first, *lines = SPLIT[name](SAID, GIVEN).splitlines(keepends=True)
    lines = lines if name == "CSV" else [first, *lines]
    shuffled = random.sample(lines, len(lines))  # type: ignore[attr-defined]
    captions = read(tmp_path, "".join([first, *shuffled] if name == "CSV" else shuffled))
    assert {file: sorted(said) for file, said in told(captions).items()} == {
        file: sorted(said) for file, said in SAID.items()
    }
    assert splits_of(captions) == GIVEN


def test_karpathys_coco_has_folders_and_counts_restval_as_train(tmp_path: Path) -> None:
    text = karpathy(SAID, dict.fromkeys(FILES, "restval"), filepath="val2014", cocoid=391895)
    assert splits_of(read(tmp_path, text)) == {f"val2014/{file}": "train" for file in FILES}


@pytest.mark.parametrize(
    ("name", "split"), [("Dev", "val"), ("validation", "val"), ("TRAINING", "train"), ("test", "test")]
)
def test_splits_go_by_the_names_they_have_elsewhere(tmp_path: Path, name: str, split: str) -> None:
    text = table({"a.jpg": ["a bed"]}, "File,Caption,Split", {"a.jpg": name})
    assert splits_of(read(tmp_path, text)) == {"a.jpg": split}


def test_captions_stay_as_they_were_written_but_for_white_space(tmp_path: Path) -> None:
    said = {"a.jpg": ["  A  Café,\u2028lit \n by “neon” \ud83c"]}
    assert told(read(tmp_path, coco(said))) == {"a.jpg": ["A Café, lit by “neon” ?"]}


def test_a_line_ends_where_lines_end_and_nowhere_else(tmp_path: Path) -> None:
    assert told(read(tmp_path, "a.jpg#0\ta bed\x85of\x1coak\n")) == {"a.jpg": ["a bed of oak"]}


def test_quotes_are_part_of_a_caption_between_bars(tmp_path: Path) -> None:
    text = 'image_name|comment_number|comment\na.jpg|0|"Home" it says\na.jpg|1|"Home\n'
    assert told(read(tmp_path, text)) == {"a.jpg": ['"Home" it says', '"Home']}


def test_arrays_say_which_captions_are_whose(tmp_path: Path) -> None:
    captions = read(tmp_path, karpathy(SAID, dict.fromkeys(FILES, "train")))
    assert captions.captions == tuple(caption for said in SAID.values() for caption in said)
    assert captions.image_of.tolist() == [0, 0, 1, 2, 2, 2, 2, 2, 2]
    assert captions.image_of.dtype == captions.rows.dtype == np.int64
    assert captions.counts() == {"train": 3, "val": 0, "test": 0}


def test_one_split_counts_its_own_photos_and_keeps_their_rows(tmp_path: Path) -> None:
    captions = read(tmp_path, karpathy(SAID, {FILES[0]: "val", FILES[1]: "train", FILES[2]: "val"})).only("val")
    assert [image.file for image in captions.images] == [FILES[0], FILES[2]]
    assert captions.image_of.tolist() == [0, 0, 1, 1, 1, 1, 1, 1]
    assert captions.rows.tolist() == [0, 2]
    assert captions.listed == 3
    with pytest.raises(SameSpaceError, match="has no test photos"):
        captions.only("test")


# ---- Flickr8k as it is


def lists(folder: Path, train: str, val: str, test: str) -> None:
    for split, names in zip(SPLITS, (train, val, test), strict=True):
        (folder / LISTS[split]).write_text("".join(f"{name}.jpg\n" for name in names), "utf-8")


def test_flickr8ks_lists_split_the_captions_they_lie_beside(tmp_path: Path) -> None:
    lists(tmp_path, train="ac", val="b", test="z")
    captions = read(tmp_path, tokens({f"{name}.jpg": ["a dog"] for name in "abcd"}), "Flickr8k.token.txt")
    assert splits_of(captions) == {"a.jpg": "train", "b.jpg": "val", "c.jpg": "train"}
    assert notes(captions) == {"photos in no split": ["d.jpg"], "photos in a split that have no captions": ["z.jpg"]}
    assert captions.listed == 4


def test_lists_of_other_photos_are_passed_over(tmp_path: Path) -> None:
    lists(tmp_path, train="x", val="y", test="z")
    captions = read(tmp_path, tokens(SAID))
    assert splits_of(captions) == {file: split_of(file) for file in SAID}
    assert captions.notes == ()


def test_splits_of_the_file_itself_come_before_lists(tmp_path: Path) -> None:
    lists(tmp_path, train="a", val="", test="")
    assert splits_of(read(tmp_path, karpathy({"a.jpg": ["a bed"]}, {"a.jpg": "test"}))) == {"a.jpg": "test"}


def test_a_photo_in_two_lists_is_refused(tmp_path: Path) -> None:
    lists(tmp_path, train="ab", val="c", test="b")
    with pytest.raises(SameSpaceError, match=r"has b\.jpg in train and in test: a photo may be in one split"):
        read(tmp_path, tokens({"a.jpg": ["a bed"]}))


def test_a_damaged_list_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / LISTS["val"]).write_bytes(b"\xff\xfe")
    with pytest.raises(SameSpaceError, match=r"Flickr_8k\.devImages\.txt is not text in UTF-8"):
        read(tmp_path, tokens(SAID))


def test_flickr8ks_one_bad_name_is_mended_and_told(tmp_path: Path) -> None:
    bad = "2258277193_586949ec62.jpg.1"
    captions = read(tmp_path, tokens({bad: ["people waiting", "a crowd"], "a.jpg": ["a dog"]}))
    assert told(captions) == {"2258277193_586949ec62.jpg": ["people waiting", "a crowd"], "a.jpg": ["a dog"]}
    assert notes(captions) == {"names read without their ending": [bad]}
    assert str(captions.notes[0]) == f"names read without their ending: 1 ({bad})"


def test_a_line_that_does_not_fit_is_told_and_left_out(tmp_path: Path) -> None:
    bad = "2199200615_e609514d6a.jpg| 4   A dog runs across the grass .\n"  # Kaggle's results.csv has one such line
    assert notes(read(tmp_path, bars(SAID) + bad)) == {"lines that do not fit the header": ["line 11"]}
    captions = read(tmp_path, tokens(SAID) + "no number\tof a caption\n\n")
    assert told(captions) == SAID
    assert notes(captions) == {"lines other than NAME#NUMBER, tab, caption": ["line 10"]}
    captions = read(tmp_path, table(SAID) + "a.jpg,one,two\n,no photo\n\n")
    assert told(captions) == SAID
    assert notes(captions) == {"lines that do not fit the header": ["line 11", "line 12"]}


# ---- sidecars


def test_sidecars_are_read_below_a_folder(tmp_path: Path) -> None:
    for seed, name in enumerate(["a.jpg", "rooms/b.PNG", "rooms/c.jpg", "d.jpg"]):
        draw(tmp_path / name, seed)
    (tmp_path / "a.txt").write_bytes("A bed\r\n\r\n  A café  \r\n".encode())
    (tmp_path / "rooms" / "b.TXT").write_bytes(b"\xef\xbb\xbfa sofa")
    (tmp_path / "rooms" / "c.txt").write_bytes(b"caf\xe9")
    (tmp_path / "notes.txt").write_text("of no photo", "utf-8")
    captions = read_captions(tmp_path)
    assert captions.format == "photos with a .txt beside"
    assert told(captions) == {"a.jpg": ["A bed", "A café"], "rooms/b.PNG": ["a sofa"]}
    assert splits_of(captions) == {"a.jpg": split_of("a.jpg"), "rooms/b.PNG": split_of("b.PNG")}
    assert captions.listed == 4
    assert notes(captions) == {
        "texts that are not UTF-8": ["rooms/c.txt"],
        "texts without a photo of their name": ["notes.txt"],
        "photos without captions": ["d.jpg", "rooms/c.jpg"],
    }


def test_a_folder_without_sidecars_is_one_sentence(tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg", 0)
    (tmp_path / "b.txt").write_text("a bed", "utf-8")
    with pytest.raises(
        SameSpaceError, match=r"has no photo with a \.txt of its name beside it: name the file of captions"
    ):
        read_captions(tmp_path)


# ---- splits


def test_a_photo_in_two_splits_is_refused(tmp_path: Path) -> None:
    for text in (
        "file,caption,split\na.jpg,a bed,train\na.jpg,a sofa,test\n",
        '{"file": "a.jpg", "caption": "a", "split": "train"}\n{"file": "a.jpg", "caption": "b", "split": "test"}\n',
    ):
        with pytest.raises(SameSpaceError, match=r"captions has a\.jpg in train and in test: a photo may be in one"):
            read(tmp_path, text)


def test_one_line_of_a_photo_can_say_the_split_for_all(tmp_path: Path) -> None:
    captions = read(tmp_path, "file,caption,split\na.jpg,a bed,\na.jpg,a sofa,val\na.jpg,a lamp,\nb.jpg,a tub,\n")
    assert splits_of(captions) == {"a.jpg": "val"}
    assert told(captions) == {"a.jpg": ["a bed", "a sofa", "a lamp"]}
    assert notes(captions) == {"photos in no split": ["b.jpg"]}


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    for text, where in (
        ("file,caption,split\na.jpg,a bed,later\n", "line 2"),
        ('{"file": "a.jpg", "caption": "a", "split": "later"}', "line 1"),
        (karpathy({"a.jpg": ["a bed"]}, {"a.jpg": "later"}), r"images\[0\]"),
    ):
        with pytest.raises(SameSpaceError, match=rf"{where}, has a split 'later': call it train, val or test"):
            read(tmp_path, text)


def test_all_of_a_file_can_be_one_split(tmp_path: Path) -> None:
    assert splits_of(read(tmp_path, coco(SAID), split="val")) == dict.fromkeys(SAID, "val")
    assert splits_of(read(tmp_path, karpathy(SAID, GIVEN), split="test")) == dict.fromkeys(SAID, "test")


def test_cocos_two_files_join(tmp_path: Path) -> None:
    train = read(tmp_path, coco({"a.jpg": ["a bed"], "empty.jpg": [], "b.jpg": ["a sofa"]}), split="train")
    val = read(tmp_path, coco({"c.jpg": ["a tub", "a bath"]}), split="val")
    both = join([train, val])
    assert told(both) == told(train) | told(val)
    assert splits_of(both) == {"a.jpg": "train", "b.jpg": "train", "c.jpg": "val"}
    assert (both.rows.tolist(), both.listed) == ([0, 2, 3], 4)
    assert notes(both) == {"photos without captions": ["empty.jpg"]}


def test_a_photo_that_joins_from_two_splits_is_refused(tmp_path: Path) -> None:
    train = read(tmp_path, coco({"a.jpg": ["a bed"]}), split="train")
    again = read(tmp_path, coco({"b.jpg": ["a sofa"], "a.jpg": ["a tub"]}), split="train")
    both = join([train, again])
    assert told(both) == {"a.jpg": ["a bed", "a tub"], "b.jpg": ["a sofa"]}
    assert (both.rows.tolist(), both.listed) == ([0, 1], 3)
    with pytest.raises(SameSpaceError, match=r"has a\.jpg in train and in val"):
        join([train, read(tmp_path, coco({"a.jpg": ["a bed"]}), split="val")])


names = st.text(st.characters(exclude_characters="/\\"), min_size=1)


@given(names, st.text())
@settings(deadline=None)
def test_a_photos_split_is_its_names_alone(name: str, folder: str) -> None:
    assert split_of(name) in SPLITS
    assert split_of(f"{folder}/{name}") == split_of(f"{folder}\\{name}") == split_of(name)


def test_shares_of_photos_are_about_those_asked_for() -> None:
    files = [f"{number}.jpg" for number in range(5000)]
    for shares in ((0.8, 0.1, 0.1), (5, 0, 5), (1, 1, 2)):
        found = [split_of(file, shares) for file in files]
        expected = np.array(shares) / sum(shares)
        assert [found.count(split) / len(files) for split in SPLITS] == pytest.approx(expected, abs=0.02)


def test_splits_stay_as_they_have_been(tmp_path: Path) -> None:
    """Models were trained on them: these photos may never move."""
    found = [split_of(f"{number}.jpg") for number in range(20)]
    assert "".join(split[1] for split in found) == "rrrarrrrrrarrererrrr"
    assert all(split_of(f"e\u0301{number}.jpg") == split_of(f"é{number}.jpg") for number in range(20))
    assert {split_of(name) for name in ("\udcff.jpg", "\ud800.jpg")} <= set(SPLITS)  # bytes that are not UTF-8
    more = read(tmp_path, tokens(SAID | {f"{number}.jpg": ["a bed"] for number in range(20)}))
    assert splits_of(more).items() >= splits_of(read(tmp_path, tokens(SAID))).items()


# ---- what is empty or does not belong together


def test_empty_captions_and_photos_left_without_any_are_told(tmp_path: Path) -> None:
    said = {"a.jpg": ["a bed", "", " ."], "b.jpg": ["!"], "c.jpg": ["a sofa"], "d.jpg": []}
    captions = read(tmp_path, karpathy(said, dict.fromkeys(said, "train")))
    assert told(captions) == {"a.jpg": ["a bed"], "c.jpg": ["a sofa"]}
    assert captions.rows.tolist() == [0, 2]
    assert captions.listed == 4
    assert notes(captions) == {
        "empty captions": ["a.jpg", "a.jpg", "b.jpg"],
        "photos without captions": ["b.jpg", "d.jpg"],
    }


def test_captions_of_photos_that_coco_does_not_list_are_told(tmp_path: Path) -> None:
    stray = [{"image_id": 5, "id": 1, "caption": "a bed"}, {"image_id": 1, "id": 2, "caption": "a sofa"}]
    captions = read(tmp_path, coco({}, images=[{"id": 1, "file_name": "a.jpg"}], annotations=stray))
    assert told(captions) == {"a.jpg": ["a sofa"]}
    assert notes(captions) == {"captions of photos that are not listed": ["5"]}


def test_a_long_note_shows_its_first_few(tmp_path: Path) -> None:
    said = {"a.jpg": ["a bed"]} | {f"{number}\n.jpg": [] for number in range(1006)}
    captions = read(tmp_path, coco(said))
    few = ", ".join(rf"{number}\n.jpg" for number in range(5))
    assert str(captions.notes[0]) == f"photos without captions: 1,006 ({few} and 1,001 more)"


def test_photos_are_found_where_they_lie_and_strangers_are_told(tmp_path: Path) -> None:
    for seed, name in enumerate(["val2014/a.jpg", "b.jpg", "x/c.jpg", "y/c.jpg", "extra.jpg"]):
        draw(tmp_path / "photos" / name, seed)
    said = {file: ["a bed"] for file in ("val2014/a.jpg", "val2014/b.jpg", "c.jpg", "d.jpg", "../../etc/passwd")}
    found = locate(read(tmp_path, coco(said)), tmp_path / "photos")
    assert [image.file for image in found.captions.images] == ["val2014/a.jpg", "val2014/b.jpg"]
    assert found.paths == [tmp_path / "photos" / name for name in ("val2014/a.jpg", "b.jpg")]
    assert {note.what: list(note.items) for note in found.notes} == {
        "captioned photos that are not there": ["d.jpg", "../../etc/passwd"],
        "photos whose name several files have": ["c.jpg"],
        "photos without captions": ["extra.jpg", "x/c.jpg", "y/c.jpg"],
    }


def test_one_photo_is_not_taken_for_two(tmp_path: Path) -> None:
    draw(tmp_path / "photos" / "a.jpg", 0)
    draw(tmp_path / "photos" / "b.jpg", 1)
    found = locate(
        read(tmp_path, coco({f"{name}.jpg": ["a bed"] for name in ("x/a", "y/a", "b")})), tmp_path / "photos"
    )
    assert found.paths == [tmp_path / "photos" / "b.jpg"]


def test_a_folder_of_other_photos_is_one_sentence(tmp_path: Path) -> None:
    draw(tmp_path / "photos" / "z.jpg", 0)
    with pytest.raises(
        SameSpaceError, match=r"none of the 3 photos that .*captions describes is in .*photos: give the"
    ):
        locate(read(tmp_path, coco(SAID)), tmp_path / "photos")


# ---- files of another kind

NO_FORMAT = "holds no captions in a known format: give Karpathy's dataset.json, COCO's"
DAMAGED = {
    "": NO_FORMAT,
    "Some text, and more\nof it": NO_FORMAT,
    "image|score\na.jpg|3\n": NO_FORMAT,
    "file,score\na.jpg,3\n": NO_FORMAT,
    "[]": NO_FORMAT,
    '[{"image_id": 1, "caption": "a bed"}]': NO_FORMAT,
    "{}": NO_FORMAT,
    '{"a.jpg": ["a bed"]}': NO_FORMAT,
    '{"images": []}': NO_FORMAT,
    "{'images': []}": "is damaged JSON",
    karpathy(SAID, GIVEN)[:-30]: "is damaged JSON",
    "[" * 100_000: "is damaged JSON .nested too deeply.",
    '{"images": [], "annotations": []}': "has no photo with a caption",
    '{"images": [{"id": 1, "file_name": "a.jpg"}]}': "names photos without captions",
    '{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "bbox": []}]}': (
        r"is not COCO's captions: annotations\[0\] should have an image_id and a caption"
    ),
    '{"images": [{"id": 1}], "annotations": []}': r"images\[0\] should have an id and a file_name",
    '{"images": [7], "annotations": []}': r"images\[0\] should have an id and a file_name",
    '{"images": [{"id": [], "file_name": "a.jpg"}], "annotations": []}': r"images\[0\] should have an id",
    '{"images": [{"filename": 3, "split": "train", "sentences": []}]}': r"images\[0\] should have a filename",
    '{"images": [{"filename": "a.jpg", "sentences": [{"raw": 1}]}]}': r"images\[0\] should have a filename",
    '{"images": [{"filename": "a.jpg", "sentences": [{"raw": "a"}]}, 3]}': r"images\[1\] should have a filename",
    '{"images": [{"filename": " ", "sentences": []}]}': r"images\[0\] should have a filename",
    '{"file": "a.jpg", "caption": "a bed"}\n{"file": "b.jpg"}': "line 2, should be a JSON object with file and caption",
    '{"file": "a.jpg", "caption": "a bed"}\n{"file"': "line 2, should be a JSON object with file and caption",
    '{"file": "a.jpg", "captions": ["a bed"]}\n{"file": "b.jpg"}': "line 1, should be a JSON object with file",
    '{"file": "a.jpg", "caption": "a bed"}\n[1]': "line 2, should be a JSON object with file and caption",
    'file,caption\na.jpg,"a bed\nb.jpg,a sofa\n': r"is damaged at or before line 3 \(unexpected end of data\)",
    'file,caption\na.jpg,"a bed" there\n': "is damaged at or before line 2",
    "file,caption\n": "has no photo with a caption: give Karpathy's",
    "file,caption\na.jpg,.\n": r"a caption \(empty captions: 1 \(a\.jpg\); .*\): mend it$",
    "file,caption\na.jpg,a bed, a sofa\n": r"a caption \(lines that do not fit the header: 1 \(line 2\)\): mend it$",
}


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_file_of_another_kind_is_one_sentence(tmp_path: Path, text: str) -> None:
    with pytest.raises(SameSpaceError, match=rf"^{tmp_path}/captions,? .*{DAMAGED[text]}") as refused:
        read(tmp_path, text)
    assert "\n" not in str(refused.value)


def test_what_is_no_text_is_one_sentence(tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg", 0)
    with pytest.raises(SameSpaceError, match="is not text in UTF-8: save it as that, or give Karpathy's"):
        read_captions(tmp_path / "a.jpg")
    with pytest.raises(SameSpaceError, match="is not text in UTF-8"):
        read(tmp_path, tokens(SAID).encode("utf-16"))
    with pytest.raises(SameSpaceError, match=r"nowhere\.json: no such file$"):
        read_captions(tmp_path / "nowhere.json")


@given(st.binary() | st.text().map(str.encode) | st.from_regex(r'\A[{\["a,|#\t\n:0-9}\]]+\Z').map(str.encode))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_nothing_makes_reading_crash(tmp_path: Path, content: bytes) -> None:
    try:
        assert all(isinstance(image, Captioned) for image in read(tmp_path, content).images)
    except SameSpaceError as error:
        assert str(tmp_path) in str(error)
