"""Train a matcher, say how good it is, and rank sentences for a photo."""

from __future__ import annotations

import argparse
import json
from functools import partial

import numpy as np

from samespace.base.text import count
from samespace.cli import show
from samespace.cli.captioned import chosen, data, look_of_words, seen, show_splits
from samespace.words import train_matcher as matching
from samespace.words.caption_set import read_captions
from samespace.words.matcher import Matcher
from samespace.words.photo_features import captions_in, feature_source_of
from samespace.words.training_loop import into_file
from samespace.words.vocabulary import SPECIALS


def match_train(arguments: argparse.Namespace) -> None:
    """Stopped, it goes on where it was."""
    recipe = matching.QUICK[arguments.measure]._replace(**chosen(arguments, "negatives", "epochs", "seed"))
    featured = data(arguments)
    matcher = into_file(arguments.output, partial(matching.train, featured, recipe))
    show_splits(featured, partial(matching.evaluate, matcher))
    print(f"\n{show.from_here(arguments.output)}: {count(len(matcher.vocabulary) - len(SPECIALS), 'word')}")


def match_evaluate(arguments: argparse.Namespace) -> None:
    matcher = Matcher.load(arguments.matcher)
    evaluation = matching.evaluate(matcher, data(arguments, matcher.feature_source).only(arguments.split))
    if arguments.json:
        print(json.dumps({name: ranks._asdict() for name, ranks in evaluation._asdict().items()}))
    else:
        print(evaluation)


def match_rank(arguments: argparse.Namespace) -> None:
    matcher = Matcher.load(arguments.matcher)
    look = look_of_words(arguments, matcher.feature_source)
    matcher.check(feature_source_of(look))
    said = list(dict.fromkeys(read_captions(captions_in(arguments.captions)).captions))
    photo = matcher.embed_photos(seen(look, arguments.photo))
    scores = matcher.score(photo, matcher.embed_sentences(said))[0]
    best = np.argsort(-scores, kind="stable")[: arguments.top]
    ranked = [(said[at], matcher.fit(float(scores[at]))) for at in best]
    if arguments.json:
        print(json.dumps([{"sentence": sentence, "score": score} for sentence, score in ranked]))
    else:
        show.show_sentences(arguments.photo, ranked, len(said))
