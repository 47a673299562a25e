"""The figures of an evaluation are those that scoring every pair by hand gives."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from samespace.base.errors import SameSpaceError
from samespace.base.once import fingerprint
from samespace.base.photos import read_pixels
from samespace.model import learnt_points
from samespace.model.feature_bank import frozen_maps, to_tensor, vary
from samespace.model.heads import Embeddings
from samespace.model.learnt_points import Partners, Seen
from samespace.model.network import TwinNetwork
from samespace.model.pairs import AIRBNB, TEST, TRAINING, VERDICTS, find_photos, hold_out, make_pairs, splits
from samespace.model.saved import Model, load
from samespace.model.write import rebuild
from samespace.search.evaluate import VALIDATION, Evaluation, evaluate, plot

FIGURES = [
    "average_precision",
    "recall_at_99_precision",
    "roc_auc",
    "validation_loss",
    "balanced_accuracy",
    "balanced_average_precision",
    "balanced_recall_at_99_precision",
    "balanced_roc_auc",
    "photos",
    "pairs",
    "seconds",
]


@pytest.fixture(scope="module")
def models(model_folders: dict[str, Path]) -> dict[str, Model]:
    return {head: load(folder) for head, folder in model_folders.items()}


@pytest.fixture(scope="module")
def evaluations(models: dict[str, Model], rooms: Path) -> dict[str, Evaluation]:
    return {head: evaluate(model, rooms) for head, model in models.items()}


@pytest.fixture(scope="module")
def evaluation(evaluations: dict[str, Evaluation]) -> Evaluation:
    return evaluations["compare"]


def test_the_figures_are_these_and_count_every_unordered_pair(evaluation: Evaluation) -> None:
    figures = evaluation.figures
    assert list(figures) == FIGURES
    assert figures["photos"] == 14
    assert figures["pairs"] == len(evaluation.logits) == len(evaluation.labels) == 14 * 13 // 2
    assert all(isinstance(figure, (int, float)) for figure in figures.values())


@pytest.mark.parametrize("head", ["compare", "concat"])
def test_ranking_is_that_of_all_pairs_scored_by_hand(
    head: str, models: dict[str, Model], evaluations: dict[str, Evaluation], rooms: Path
) -> None:
    model, photos, found = models[head], find_photos(rooms, TEST), evaluations[head]
    embeddings = model.embed(photos.paths)
    pairs = list(combinations(range(len(photos)), 2))
    first, second = (embeddings.take(list(rows)) for rows in zip(*pairs, strict=True))
    scores = model.score(first, second)
    listings = photos.listings()
    labels = [int(listings[row0] == listings[row1]) for row0, row1 in pairs]
    assert found.labels.tolist() == labels
    assert np.allclose(1 / (1 + np.exp(-found.logits)), scores, atol=1e-3)  # kept in half precision, scored in full
    assert found.figures["average_precision"] == pytest.approx(average_precision_score(labels, scores), abs=0.005)
    assert found.figures["roc_auc"] == pytest.approx(roc_auc_score(labels, scores), abs=0.005)


@torch.no_grad()
def test_validation_gives_what_training_saw_of_the_spaces_it_held_out(models: dict[str, Model], rooms: Path) -> None:
    model = models["compare"]
    photos = hold_out(find_photos(rooms, TRAINING), 0.3)[1]
    pairs = make_pairs(photos)
    pixels = to_tensor([read_pixels(path, 256) for path in photos.paths])
    network = rebuild(model.contents)
    assert isinstance(network, TwinNetwork)
    kept = [
        network.tower(network.freeze(*frozen_maps(vary(pixels, variant), network.backbone))) for variant in range(4)
    ]
    vectors, parts = (torch.stack(column, 1).numpy() for column in zip(*kept, strict=True))
    first, second = (
        Embeddings(vectors[rows, variants], parts[rows, variants])
        for rows, variants in ((pairs.first, pairs.first_variant), (pairs.second, pairs.second_variant))
    )
    logits, labels = torch.from_numpy(model.head.logits(first, second, 0)), torch.from_numpy(pairs.label).double()
    figures = evaluate(model, rooms, VALIDATION).figures
    assert figures["photos"] == len(photos)
    assert figures["validation_loss"] == pytest.approx(
        float(F.binary_cross_entropy_with_logits(logits, labels)), abs=1e-3
    )
    assert figures["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, logits > 0), abs=2e-3)


@pytest.mark.parametrize("alone", [False, True])
def test_of_judged_photos_only_pairs_with_a_verdict_are_ranked(
    models: dict[str, Model], rooms: Path, evaluation: Evaluation, tmp_path: Path, alone: bool
) -> None:
    model, named = models["compare"], find_photos(rooms, TEST).paths
    root = tmp_path / "data"
    folder = root / AIRBNB / TEST / VERDICTS
    folder.mkdir(parents=True)
    if not alone:
        shutil.copytree(rooms / AIRBNB / TEST, root / AIRBNB / TEST, dirs_exist_ok=True)
    for name, path in zip("abcde", named, strict=False):
        shutil.copy(path, folder / f"{name}.jpg")
    (folder / "verdicts.csv").write_text("first,second,same\na.jpg,b.jpg,1\nb.jpg,c.jpg,0\nd.jpg,e.jpg,0\n")
    found = evaluate(model, root, TEST)
    said = [model.compare(folder / f"{a}.jpg", folder / f"{b}.jpg") for a, b in ("ab", "bc", "de")]
    assert found.labels[-3:].tolist() == [1, 0, 0]
    assert 1 / (1 + np.exp(-found.logits[-3:])) == pytest.approx(said, abs=1e-3)
    if alone:
        assert len(found.labels) == 3
    else:
        assert np.array_equal(found.labels[:-3], evaluation.labels)
        assert np.allclose(found.logits[:-3], evaluation.logits, atol=1e-4)


@pytest.mark.parametrize("head", ["rooms", "concat"])
@pytest.mark.parametrize(
    ("kept", "says"), [("nobody twice", "no space twice"), ("one", "no space twice"), ("one space", "a single space")]
)
def test_photos_without_pairs_of_either_label_are_refused(
    head: str, kept: str, says: str, models: dict[str, Model], rooms: Path, tmp_path: Path
) -> None:
    photos = find_photos(rooms, TEST)
    spaces, first = np.unique(photos.spaces(), return_index=True)
    rows = {"nobody twice": first, "one": first[:1], "one space": np.flatnonzero(photos.spaces() == spaces[0])}[kept]
    for row in rows:
        copy = tmp_path / photos.paths[row].relative_to(rooms)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos.paths[row], copy)
    with pytest.raises(SameSpaceError, match=f"{tmp_path} shows {says}: add"):
        evaluate(models[head], tmp_path)


def test_splits_hold_out_spaces_or_take_the_test_folder(rooms: Path) -> None:
    training, validation = splits(rooms, 0.3)
    assert len(training) + len(validation) == 22
    assert not set(training.listings()) & set(validation.listings())
    training, validation = splits(rooms, 0)
    assert (len(training), len(validation)) == (22, 14)


def test_validation_on_other_photos_is_refused(model_folders: dict[str, Path], rooms: Path, tmp_path: Path) -> None:
    model = load(model_folders["compare"])
    held_out = splits(rooms, 0.3)[1]
    model.description["data"] = {"held_out": 0.3, "validation_fingerprint": fingerprint(held_out.paths)}
    assert evaluate(model, rooms, VALIDATION).figures["photos"] == len(held_out)
    other = Path(shutil.copytree(rooms, tmp_path / "other"))
    Image.new("RGB", (40, 30), "red").save(other / held_out.paths[0].relative_to(rooms))
    with pytest.raises(SameSpaceError, match="other does not hold the photos that this model was validated on"):
        evaluate(model, other, VALIDATION)


def test_a_model_rebuilt_from_raw_state_knows_no_validation_split(model_folders: dict[str, Path], rooms: Path) -> None:
    model = load(model_folders["compare"])
    model.description["data"] = {}
    with pytest.raises(SameSpaceError, match="does not say what it was validated on"):
        evaluate(model, rooms, VALIDATION)


def test_a_bank_in_the_cache_gives_the_same_figures(
    models: dict[str, Model], rooms: Path, evaluation: Evaluation, tmp_path: Path
) -> None:
    cached = [evaluate(models["compare"], rooms, TEST, tmp_path / "cache") for _ in range(2)]
    assert all(np.array_equal(each.logits, evaluation.logits) for each in cached)
    assert cached[1].figures["validation_loss"] == evaluation.figures["validation_loss"]


def test_a_plot_is_a_picture_in_a_folder_that_exists(evaluation: Evaluation, tmp_path: Path) -> None:
    plot(evaluation, tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.format == "PNG" and picture.size == (1350, 600)
    for path in (tmp_path / "nowhere" / "curve.png", tmp_path / "curve.docx"):
        with pytest.raises(SameSpaceError, match=f"cannot write {path}"):
            plot(evaluation, path)


def test_a_second_look_proves_more_of_the_pairs_that_points_leave_open(
    models: dict[str, Model], evaluations: dict[str, Evaluation], rooms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Learnt:
        """Finds a hundred sure points of any two photos."""

        def see(self, paths: list[Path]) -> list[Seen]:
            return [Seen(torch.empty(0), torch.empty(0), (320, 240)) for _ in paths]

        def partners(self, pairs: Iterable[tuple[Seen, Seen]]) -> list[Partners]:
            return [Partners(np.empty((100, 2)), np.empty((100, 2)), np.ones(100, np.float32)) for _ in pairs]

    monkeypatch.setattr(learnt_points, "LearntPoints", Learnt)
    once, twice = evaluations["rooms"], evaluate(models["rooms"], rooms, thorough=True)
    assert (twice.logits > once.logits + 1)[once.listed].any()
    with pytest.raises(SameSpaceError, match="looks for none: leave it out"):
        evaluate(models["concat"], rooms, thorough=True)


def test_an_unknown_split_is_named(models: dict[str, Model], rooms: Path) -> None:
    with pytest.raises(SameSpaceError, match="has no folder 'Airbnb Data/Holidays'"):
        evaluate(models["compare"], rooms, "Holidays")
