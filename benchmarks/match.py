"""Find photos by sentences: on drawn rooms that were not trained on, on Flickr8k; and time an epoch.

    python benchmarks/match.py [--weights FILE] [--photos N] [--test-photos N] [--flickr8k FOLDER] [--json]

Each row is a matcher trained until validation photos gain no more, measured on test photos: the mean rank of a
sentence's photo, also as a share of all photos, and how often it is among the first ten. `shuffled` was trained on the
same photos with their captions shuffled, and must not beat chance; it is the mean of several shuffles, because one may
happen to give kitchens more captions of bathrooms than of bedrooms. `nearest captions` is not trained: a photo's score
for a sentence is that of the captions of the ten most similar training photos, by tf-idf. Flickr8k is a folder with a
dataset.json, and photos somewhere below.

An epoch is timed beside a loop over captions like published code: each word is a one-hot row through a linear layer, a
GRU is called for each caption, and the loss copies all others of the batch for each pair. The loop runs one batch,
which stands for all, and takes turns with ours.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from samespace.base.errors import exit_status  # noqa: E402
from samespace.base.once import default_cache  # noqa: E402
from samespace.model.bare import for_backbone  # noqa: E402
from samespace.rooms.dataset import write_dataset  # noqa: E402
from samespace.words.caption_set import locate, read_captions  # noqa: E402
from samespace.words.metrics import ranks_of, text_to_photo  # noqa: E402
from samespace.words.photo_features import Featured, from_photos  # noqa: E402
from samespace.words.tokens import split_words  # noqa: E402
from samespace.words.train_matcher import QUICK, Recipe, begin, course_of, evaluate, shuffled, train  # noqa: E402
from samespace.words.training_loop import Lesson  # noqa: E402
from samespace.words.vocabulary import Vocabulary  # noqa: E402

BACKBONE = "mobilenet_v2"
NEAREST = 10
TURNS = 3
SHUFFLES = 5

Row = dict[str, Any]


# ---- ranks


def rank_all(featured: Featured, epochs: int) -> list[Row]:
    """Return a row for each measure, for the control and for the nearest captions."""
    test = featured.only("test")
    rows = []
    for name, recipe in QUICK.items():
        rows.append(trained(name, featured, test, recipe._replace(epochs=epochs)))
    controls = []
    for seed in range(SHUFFLES):
        dealt = featured._replace(captions=shuffled(featured.captions, seed))
        controls.append(trained("shuffled", dealt, test, QUICK["order"]._replace(epochs=min(epochs, 15), seed=seed)))
    means = {key: float(np.mean([one[key] for one in controls])) for key in controls[0] if key != "name"}
    rows.append({**means, "name": "shuffled"})
    rows.append(row("nearest captions", text_to_photo(ranks_of(by_nearest_captions(featured), test.captions.image_of))))
    return rows


def trained(name: str, featured: Featured, test: Featured, recipe: Recipe) -> Row:
    print(f"training {name}", file=sys.stderr)
    start = time.perf_counter()
    matcher = train(featured, recipe)
    seconds = time.perf_counter() - start
    return {**row(name, evaluate(matcher, test).text_to_photo), "seconds": seconds, "epoch": matcher.about["epoch"]}


def row(name: str, found: Any) -> Row:
    return {
        "name": name,
        "recall_at_10": found.recall_at_10,
        "mean_rank": found.mean,
        "mean_rank_share": found.mean / found.candidates,
        "chance": found.chance,
        "photos": found.candidates,
    }


def by_nearest_captions(featured: Featured) -> np.ndarray:
    """Return how similar each sentence is to the captions of the training photos most like a photo, (N, C)."""
    learnt, test = featured.only("train"), featured.only("test")
    cosines = test.features @ learnt.features.T
    nearest = np.argsort(-cosines, axis=1)[:, :NEAREST]
    weights = np.zeros_like(cosines)
    np.put_along_axis(weights, nearest, np.take_along_axis(cosines, nearest, 1), 1)
    known = {word for caption in learnt.captions.captions for word in split_words(caption)}
    ids = {word: number for number, word in enumerate(sorted(known))}
    photos_with = Counter(
        word for image in learnt.captions.images for word in {w for c in image.captions for w in split_words(c)}
    )
    rarity = np.array([math.log(len(learnt.features) / photos_with[word]) for word in ids])
    said = _tf_idf([" ".join(image.captions) for image in learnt.captions.images], ids, rarity)
    asked = _tf_idf(test.captions.captions, ids, rarity)
    return np.asarray(weights @ (said @ asked.T))


def _tf_idf(texts: Sequence[str], ids: dict[str, int], rarity: np.ndarray) -> np.ndarray:
    """Return tf-idf vectors, (T, V), each of length 1."""
    rows = np.zeros((len(texts), len(ids)), np.float32)
    for at, text in enumerate(texts):
        for word in split_words(text):
            if word in ids:
                rows[at, ids[word]] += 1
    rows *= rarity
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9))


# ---- the loop over captions


class LoopedMatcher(nn.Module):
    """A matcher like published code: one-hot words, one caption at a time."""

    def __init__(self, words: int, photo_dim: int, dim: int, word_dim: int) -> None:
        super().__init__()
        self.words = words
        self.photo, self.word = nn.Linear(photo_dim, dim), nn.Linear(words, word_dim)
        self.gru = nn.GRU(word_dim, dim, batch_first=True)

    def forward(self, features: Tensor, captions: list[Tensor]) -> tuple[Tensor, Tensor]:
        said = [self.gru(self.word(F.one_hot(ids, self.words).float())[None])[1][-1] for ids in captions]
        return self.photo(features).abs(), torch.cat(said).abs()


def looped_loss(photos: Tensor, sentences: Tensor, margin: float) -> Tensor:
    total = photos.new_zeros(())
    for one, others in ((photos, sentences), (sentences, photos)):
        for at in range(len(one)):
            alone = one[at].repeat(len(others) - 1, 1)
            rest = torch.cat([others[:at], others[at + 1 :]])
            first, second = (alone, rest) if one is photos else (rest, alone)
            own = (sentences[at] - photos[at]).clamp_min(0).square().sum()
            total = total + (margin + own - (second - first).clamp_min(0).square().sum(1)).clamp_min(0).sum()
    return total


def step(looped: LoopedMatcher, features: Tensor, captions: list[Tensor], margin: float) -> None:
    photos, sentences = looped(features, captions)
    looped_loss(photos, sentences, margin).backward()  # type: ignore[no-untyped-call]


def time_epochs(featured: Featured, recipe: Recipe) -> Row:
    """Return the seconds of an epoch, ours and the loop's (one batch times their number): the best of several turns."""
    learnt = featured.only("train")
    matcher = begin(learnt, recipe)
    lesson = Lesson(learnt, matcher.vocabulary)
    course = course_of(matcher, lesson, recipe)
    batch = next(lesson.batches(0, 0, recipe.batch))
    words = Vocabulary.build(learnt.captions, threshold=1)  # all that were met
    spoken = [learnt.captions.captions[caption] for caption in lesson.choose(0, 0)[batch]]
    ids = [torch.tensor(words.encode(caption)[1:-1]) for caption in spoken]
    looped = LoopedMatcher(len(words), matcher.photo_dim, recipe.dim, recipe.word_dim)
    optimizer = torch.optim.Adam(looped.parameters(), recipe.learning_rate)

    def loop() -> None:
        optimizer.zero_grad()
        step(looped, lesson.features[batch], ids, recipe.margin)
        optimizer.step()

    step(looped, lesson.features[batch[:4]], ids[:4], recipe.margin)  # warms up, as the first of our epochs does
    turns = [(seconds(course.learn), seconds(loop), seconds(course.learn)) for _ in range(TURNS)]
    ours = min(min(first, last) for first, _, last in turns)
    theirs = min(one for _, one, _ in turns) * len(lesson) / len(batch)
    return {
        "photos": len(lesson),
        "words": len(words),
        "dim": recipe.dim,
        "batch": recipe.batch,
        "seconds": ours,
        "looped_seconds": theirs,
        "speedup": theirs / ours,
    }


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


# ---- the table


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    extractor = for_backbone(BACKBONE, arguments.weights)
    root = arguments.rooms or folder / "rooms"
    if not arguments.rooms:
        write_dataset(root, arguments.photos, arguments.test_photos, seed=5)
    sets = {"rooms": root, **({"flickr8k": arguments.flickr8k} if arguments.flickr8k else {})}
    found: dict[str, Any] = {}
    for name, where in sets.items():
        located = locate(read_captions(where / "dataset.json"), where)
        featured = from_photos(located, extractor, BACKBONE, default_cache())
        found[name] = rank_all(featured, arguments.epochs)
    found["epochs"] = [time_epochs(featured, Recipe(dim=dim)) for dim in (256, 1024)]
    return found


def print_tables(found: dict[str, Any]) -> None:
    for name, rows in found.items():
        if name == "epochs":
            continue
        print(f"{name}: {rows[0]['photos']:,} photos, chance {rows[0]['chance']:,.1f}\n")
        print("| | R@10 | mean rank | share of all |\n|---|---|---|---|")
        for one in rows:
            share = f"{100 * one['mean_rank_share']:.1f} %"
            print(f"| {one['name']} | {one['recall_at_10']:.3f} | {one['mean_rank']:.1f} | {share} |")
        print()
    print("| photos | dim | batch | seconds an epoch | looping over captions | |\n|---|---|---|---|---|---|")
    for one in found["epochs"]:
        times = f"{one['seconds']:.2f} | {one['looped_seconds']:.1f} | {one['speedup']:.0f}×"
        print(f"| {one['photos']:,} | {one['dim']} | {one['batch']} | {times} |")


def main() -> int:
    parser = argparse.ArgumentParser(description="Find photos by sentences.")
    parser.add_argument("--weights", default="imagenet", help=f"weights of {BACKBONE}: imagenet, none or a state dict")
    parser.add_argument("--photos", type=int, default=2000, help="photos to train on (default: %(default)s)")
    parser.add_argument("--test-photos", type=int, default=500, help="photos of other rooms (default: %(default)s)")
    parser.add_argument("--rooms", type=Path, metavar="FOLDER", help="use rooms that were drawn before")
    parser.add_argument("--flickr8k", type=Path, metavar="FOLDER")
    parser.add_argument("--epochs", type=int, default=40, help="how long to train at most (default: %(default)s)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    return exit_status(lambda: _measure(arguments))


def _measure(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = measure(arguments, Path(folder))
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        print_tables(found)


if __name__ == "__main__":
    sys.exit(main())
