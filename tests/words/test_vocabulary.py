"""Sentences are cut the same way wherever they come from, and words keep their ids."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samespace.base.errors import SameSpaceError
from samespace.words.caption_set import Captioned, CaptionSet
from samespace.words.tokens import split_words
from samespace.words.vocabulary import PAD, SPECIALS, START, STOP, UNKNOWN, Vocabulary

# Whatever people type, and what is cut most often.
PIECES = [
    "a",
    "Bed",
    "n't",
    "'s",
    "'n't",
    "'",
    "’",
    "t-shirt",
    "-",
    ".",
    "U",
    "U.S",
    "3",
    ",",
    " ",
    "İ",
    "Σ",
    "e\u0301",
]
texts = st.text() | st.lists(st.sampled_from(PIECES)).map("".join)


def said(train: list[str], test: list[str] | None = None) -> CaptionSet:
    images = [Captioned(f"{row}.jpg", "train", (caption,), row) for row, caption in enumerate(train)]
    images += [Captioned(f"t{row}.jpg", "test", (caption,), len(train) + row) for row, caption in enumerate(test or [])]
    return CaptionSet(Path("made-up.json"), "made up", tuple(images), len(images))


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("Two dogs run .", "two dogs run"),
        ("A kitchen, bright; (with) an “island”!", "a kitchen bright with an island"),
        ("The man's T-shirt isn't the dogs'.", "the man 's t-shirt is n't the dogs"),
        ("I can't, they shouldn't've, y'all'll see o'clock", "i ca n't they should n't 've y'all 'll see o'clock"),
        ("don’t ‘quote’ me", "do n't quote me"),
        ("rock'n't 'n' roll in 'Frisco", "rock'n't n roll in frisco"),
        ("$2,000.50 at 10:30, half of 3.", "2,000.50 at 10:30 half of 3"),
        ("In the U.S. on T.V.", "in the u.s on t.v"),
        ("the end.Start again--now...or/and never", "the end start again now or and never"),
        ("snake_case #tag", "snake case tag"),
        ("CAFÉ cafe\u0301 \uff43\uff41\uff46\uff45\u0301", "café café café"),
        ("soft\u00adware co\u200bop cafe\u200b\u0301", "software coop café"),
        ("हिन्दी में किताब", "हिन्दी में किताब"),
        ("Straße \N{PILE OF POO} 5\u00a0m²", "straße 5 m2"),
        ("", ""),
        (" .!? -- ' '' \N{PILE OF POO}", ""),
    ],
)
def test_a_sentence_is_cut_into_words(sentence: str, words: str) -> None:
    assert split_words(sentence) == words.split()


@given(texts)
@settings(deadline=None)
def test_words_are_cut_no_further(sentence: str) -> None:
    words = split_words(sentence)
    assert split_words(" ".join(words)) == words
    assert all(split_words(word) == [word] for word in words)


@given(texts)
@settings(deadline=None)
def test_words_are_small_and_without_space(sentence: str) -> None:
    for word in split_words(sentence):
        assert word == word.lower()
        assert word.split() == [word]
        assert any(character.isalnum() or ord(character) > 127 for character in word)


def test_sentences_are_cut_as_the_treebank_cuts_them() -> None:
    """By pycocoevalcap, which lets Stanford's tokeniser do it; needs Java."""
    tokenizer = pytest.importorskip("pycocoevalcap.tokenizer.ptbtokenizer")
    if shutil.which("java") is None:
        pytest.skip("no Java on this machine")
    sentences = [
        "A man's T-shirt, and the dogs' bowls: they don't cost $2,000.50!",
        'Two young , "White" males are outside near many bushes .',
        "She'd said it's five-year-old; he'll see what they've got at 10:30...",
    ]
    cut = tokenizer.PTBTokenizer().tokenize({row: [{"caption": one}] for row, one in enumerate(sentences)})
    assert [split_words(one) for one in sentences] == [
        cut[row][0].replace("$ ", "").split() for row in range(len(sentences))
    ]


# ---- which words, and which ids


def test_frequent_words_come_first_and_equally_frequent_ones_by_alphabet() -> None:
    vocabulary = Vocabulary.build(said(["a red bed", "a blue bed", "A sofa."]), threshold=1)
    assert vocabulary.words == (*SPECIALS, "a", "bed", "blue", "red", "sofa")


def test_a_word_is_learnt_from_the_threshold_on() -> None:
    captions = said(["bed bed bed", "bed sofa sofa sofa"])
    assert Vocabulary.build(captions, threshold=4).words == (*SPECIALS, "bed")
    assert Vocabulary.build(captions).words == (*SPECIALS, "bed")
    assert len(Vocabulary.build(captions, threshold=3)) == 6


def test_only_training_captions_are_read() -> None:
    vocabulary = Vocabulary.build(said(["a bed"], test=["a loft", "bed bed a"]), threshold=1)
    assert vocabulary.words == (*SPECIALS, "a", "bed")
    with pytest.raises(SameSpaceError, match="has no train photos"):
        Vocabulary.build(said([], test=["a loft"]), threshold=1)


def test_no_words_at_all_is_a_sentence() -> None:
    with pytest.raises(SameSpaceError, match=r"no word is met 5 times in made-up\.json's training captions"):
        Vocabulary.build(said(["a bed", "a sofa"]), threshold=5)


@given(
    st.lists(st.text("ab c", min_size=1), min_size=1).filter(lambda lines: any(map(split_words, lines))), st.randoms()
)
@settings(deadline=None)
def test_the_order_of_captions_does_not_matter(lines: list[str], random: object) -> None:
    shuffled = random.sample(lines, len(lines))  # type: ignore[attr-defined]
    vocabulary = Vocabulary.build(said(lines), threshold=1)
    assert vocabulary.words == Vocabulary.build(said(shuffled), threshold=1).words
    counts = Counter(word for line in lines for word in split_words(line))
    assert [counts[word] for word in vocabulary.words[4:]] == sorted(counts.values(), reverse=True)


# ---- there and back


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.build(said(["the man's dog isn't on a bed", "a kitchen with an island", "a beige bench"]), 1)


def test_a_sentence_is_ids_between_start_and_stop(vocabulary: Vocabulary) -> None:
    ids = vocabulary.encode("A bed, a LOFT")
    assert (PAD, START, STOP, UNKNOWN) == (0, 1, 2, 3)
    assert ids == [START, vocabulary.words.index("a"), vocabulary.words.index("bed"), ids[1], UNKNOWN, STOP]
    assert vocabulary.encode("") == [START, STOP]


def test_special_words_cannot_be_typed(vocabulary: Vocabulary) -> None:
    assert vocabulary.encode("<stop> <pad> <unk>") == [START, UNKNOWN, UNKNOWN, UNKNOWN, STOP]
    assert "<stop>" not in vocabulary
    assert "bed" in vocabulary


def test_sentences_of_many_lengths_are_rows(vocabulary: Vocabulary) -> None:
    rows, lengths = vocabulary.encode_all(["a bed", "", "a kitchen with a bed"])
    assert rows.shape == (3, 7)
    assert rows.dtype == lengths.dtype == np.int64
    assert lengths.tolist() == [4, 2, 7]
    assert rows[0].tolist() == [*vocabulary.encode("a bed"), PAD, PAD, PAD]
    assert rows[2].tolist() == vocabulary.encode("a kitchen with a bed")
    assert [array.shape for array in vocabulary.encode_all([])] == [(0, 0), (0,)]


def test_ids_read_as_a_sentence(vocabulary: Vocabulary) -> None:
    sentence = "the man's dog isn't on a bed"
    assert vocabulary.decode(vocabulary.encode(sentence)) == sentence
    assert vocabulary.decode(vocabulary.encode_all([sentence, "a"])[0][1]) == "a"
    assert vocabulary.decode([*vocabulary.encode("a bed"), 5, 6, 7]) == "a bed"
    assert vocabulary.decode(vocabulary.encode("a loft")) == "a <unk>"
    assert vocabulary.decode([PAD, *vocabulary.encode("a bed")[:-1], PAD, PAD]) == "a bed"
    assert vocabulary.decode(vocabulary.encode("'s n't dog")) == "'s n't dog"


@given(texts)
@settings(deadline=None)
def test_decoded_sentences_have_the_words_of_what_was_encoded(sentence: str) -> None:
    words = split_words(sentence)
    vocabulary = Vocabulary(sorted(set(words)))
    ids = vocabulary.encode(sentence)
    assert vocabulary.encode(vocabulary.decode(ids)) == ids
    assert UNKNOWN not in ids
    assert [vocabulary.words[number] for number in ids[1:-1]] == words


def test_unknown_words_are_told_once_each_in_order(vocabulary: Vocabulary) -> None:
    assert vocabulary.unknown("Loft with an atrium, a loft") == ["loft", "atrium"]
    assert vocabulary.unknown("a bed!") == []


def test_known_words_that_are_spelt_alike_are_offered(vocabulary: Vocabulary) -> None:
    assert vocabulary.nearest("kitchens") == ["kitchen"]
    assert vocabulary.nearest("bechn", count=1) == ["bench"]
    assert vocabulary.nearest("pad") == []
    assert vocabulary.nearest("zebra") == []


# ---- kept inside a model


@given(st.lists(texts, max_size=5))
@settings(deadline=None)
def test_a_vocabulary_comes_back_from_its_json(sentences: list[str]) -> None:
    words = dict.fromkeys(word for sentence in sentences for word in split_words(sentence))
    vocabulary = Vocabulary(list(words))
    again = Vocabulary.from_json(vocabulary.to_json())
    assert again.words == vocabulary.words
    assert again.fingerprint == vocabulary.fingerprint
    assert vocabulary.to_json().isascii()
    assert all(again.encode(sentence) == vocabulary.encode(sentence) for sentence in sentences)


def test_damaged_json_is_one_sentence(vocabulary: Vocabulary) -> None:
    good = json.loads(vocabulary.to_json())
    swapped = [good["words"][1], good["words"][0], *good["words"][2:]]
    damaged = [
        "",
        "null",
        "[]",
        vocabulary.to_json()[:-9],
        "[" * 100_000,
        json.dumps({**good, "format": 2}),
        json.dumps({**good, "words": good["words"][:-1]}),
        json.dumps({**good, "words": swapped}),
        json.dumps({**good, "words": [*good["words"], "a"]}),
        json.dumps({**good, "words": ["<pad>", *good["words"]]}),
        json.dumps({**good, "words": [1, 2]}),
        json.dumps({**good, "words": ["\ud800"]}),
        json.dumps({**good, "words": None}),
        json.dumps({"format": 1, "words": good["words"]}),
    ]
    for text in damaged:
        with pytest.raises(SameSpaceError, match="the vocabulary is damaged or of another version"):
            Vocabulary.from_json(text)


def test_words_need_no_torch() -> None:
    modules = ", ".join(f"samespace.words.{name}" for name in ("caption_set", "metrics", "feature_files", "vocabulary"))
    code = f"import sys; import {modules}; sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
