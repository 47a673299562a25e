"""`samespace match`: train a matcher, evaluate it, and rank sentences for a photo."""

from __future__ import annotations

import argparse
import json
from functools import partial

import numpy as np

from samespace.base.text import count
from samespace.cli import show
from samespace.cli.captioned import choose, chosen, data, seen, show_splits
from samespace.search.space import refuse_nonsense
from samespace.words.caption_set import read_captions
from samespace.words.matcher import Matcher
from samespace.words.photo_features import captions_in, feature_source_of
from samespace.words.vocabulary import SPECIALS


def match_train(arguments: argparse.Namespace) -> None:
    """Train a matcher. If stopped, it goes on where it was."""
    from samespace.words import train_matcher as matching  # which imports torch
    from samespace.words.training_loop import into_file

    recipe = matching.QUICK[arguments.measure]._replace(**chosen(arguments, "negatives", "epochs", "seed"))
    featured = data(arguments)
    into_file(arguments.output, partial(matching.train, featured, recipe))
    matcher = Matcher.load(arguments.output)  # as it will answer, without torch
    show_splits(featured, partial(matching.evaluate, matcher))
    print(f"\n{show.from_here(arguments.output)}: {count(len(matcher.vocabulary) - len(SPECIALS), 'word')}")


def match_evaluate(arguments: argparse.Namespace) -> None:
    """Measure how well a matcher finds photos by their captions, and captions by their photos."""
    from samespace.words import train_matcher as matching

    matcher = Matcher.load(arguments.matcher)
    evaluation = matching.evaluate(matcher, data(arguments, matcher.feature_source).only(arguments.split))
    if arguments.json:
        print(json.dumps({name: ranks._asdict() for name, ranks in evaluation._asdict().items()}))
    else:
        print(evaluation)


def match_rank(arguments: argparse.Namespace) -> None:
    """Rank the sentences of a caption set for a photo."""
    refuse_nonsense(arguments.top, None)
    matcher = Matcher.load(arguments.matcher)
    look = choose(arguments, matcher.feature_source)
    matcher.check(feature_source_of(look))
    sentences = list(dict.fromkeys(read_captions(captions_in(arguments.captions)).captions))
    photo = matcher.embed_photos(seen(look, arguments.photo))
    scores = matcher.score(photo, matcher.embed_sentences(sentences))[0]
    best = np.argsort(-scores, kind="stable")[: arguments.top]
    ranked = [(sentences[at], matcher.fit(float(scores[at]))) for at in best]
    if arguments.json:
        print(json.dumps([{"sentence": sentence, "score": score} for sentence, score in ranked]))
    else:
        show.show_sentences(arguments.photo, ranked, len(sentences))
