"""Evidence on labelled pairs: what is compared knows nothing of its own rooms, and the short list loses hardly any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from samespace.base.errors import SameSpaceError
from samespace.model import metrics
from samespace.model.backbone import make_backbone
from samespace.model.known import Known, choose_known
from samespace.model.pairs import RANKED, TEST, TRAINING, Photos, find_photos, hold_out, known_pairs
from samespace.model.projection import fit
from samespace.model.torch_engine import of_backbone
from samespace.search import labelled
from samespace.search.labelled import FEWEST, FOLDS, Pieces, Seen, gather, gather_in_folds, joined, learn_from, see
from tests.conftest import BACKBONE


@pytest.fixture(scope="module")
def extractor() -> object:
    return of_backbone(make_backbone(BACKBONE, "none")).materials


@pytest.fixture(scope="module")
def photos(rooms: Path) -> dict[str, Photos]:
    return {split: find_photos(rooms, split) for split in (TRAINING, TEST)}


@pytest.fixture(scope="module")
def seen(photos: dict[str, Photos], extractor: labelled.Extractor) -> dict[str, Seen]:
    return {split: see(photos[split].paths, extractor) for split in photos}


@pytest.fixture(scope="module")
def known(photos: dict[str, Photos], seen: dict[str, Seen]) -> Known:
    return choose_known(seen[TRAINING].materials, photos[TRAINING].spaces())


def test_pairs_are_compared_within_their_library_and_alone(
    photos: dict[str, Photos], seen: dict[str, Seen], known: Known
) -> None:
    pairs = known_pairs(photos[TEST])
    found = gather(seen[TEST], known, pairs)
    assert found.evidence.shape == (len(pairs), 4) and found.same.tolist() == pairs[:, 2].astype(bool).tolist()
    alone = fit(known.rows, known.rooms)(seen[TEST].materials)
    by_hand = [alone[first] @ alone[second] for first, second, _ in pairs]
    assert found.evidence[:, 2] == pytest.approx(by_hand, abs=1e-5)
    turned = gather(seen[TEST], known, pairs[:, [1, 0, 2]])
    assert turned.evidence == pytest.approx(found.evidence, abs=1e-5)
    assert (found.evidence[:, 1] >= found.evidence[:, 3] - 1e-6).all()  # a chain is as strong as its own link at least


def test_the_short_list_costs_hardly_any_average_precision(
    photos: dict[str, Photos], seen: dict[str, Seen], known: Known
) -> None:
    pairs = known_pairs(photos[TEST])
    found = gather(seen[TEST], known, pairs)
    assert not found.listed.all()
    likeness = found.evidence[:, 0]
    of_all = metrics.average_precision(likeness, pairs[:, 2])
    of_listed = metrics.average_precision(metrics.as_found(likeness, found.listed), pairs[:, 2])
    assert abs(of_all - of_listed) < 0.005 and of_all > 0.5


def test_each_library_is_compared_as_others_know_it(
    photos: dict[str, Photos], seen: dict[str, Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    training, spaces = photos[TRAINING], photos[TRAINING].spaces()
    asked: list[tuple[set[int], int]] = []

    def noted(library: Seen, known: Known, pairs: np.ndarray) -> Pieces:
        at = np.array([np.flatnonzero((seen[TRAINING].points == row).all(1))[0] for row in library.points])
        assert not set(spaces[at].tolist()) & set(known.rooms.tolist())
        asked.append((set(at.tolist()), len(pairs)))
        return gather(library, known, pairs)

    monkeypatch.setattr(labelled, "gather", noted)
    found = gather_in_folds(seen[TRAINING], training, same_space_type=False)
    assert len(asked) == FOLDS and len(found.same) == sum(count for _, count in asked)
    assert sorted(photo for at, _ in asked for photo in at) == list(range(len(training)))


def test_too_few_spaces_are_refused(photos: dict[str, Photos], seen: dict[str, Seen]) -> None:
    few = np.flatnonzero(photos[TRAINING].spaces() < FEWEST - 1)
    with pytest.raises(SameSpaceError, match=f"shows {FEWEST - 1} spaces, and compare learns from {FEWEST} or more"):
        gather_in_folds(seen[TRAINING].take(few), photos[TRAINING].take(few), same_space_type=False)
    rest = replace(photos[TRAINING].take(few), part="not held out")
    with pytest.raises(SameSpaceError, match=f"shows {FEWEST - 1} spaces beside those held out, and"):
        gather_in_folds(seen[TRAINING].take(few), rest, same_space_type=False)


def test_what_is_learnt_from_is_found_once_and_kept(
    photos: dict[str, Photos], extractor: labelled.Extractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    training, held_out = hold_out(photos[TRAINING], 0.3)
    given = training, held_out, False, extractor, tmp_path / "cache", told.append
    known, learnt, validation = learn_from(*given)
    assert [line.split(":")[1].split()[0] for line in told] == ["computed"] * 3
    for name in ("gather", "_see"):
        monkeypatch.delattr(labelled, name)
    again = learn_from(*given)
    assert [line.split(":")[1].split()[0] for line in told[3:]] == ["found"] * 3
    assert np.array_equal(again[0].rows, known.rows) and np.array_equal(again[2].evidence, validation.evidence)
    assert np.array_equal(again[1].evidence, learnt.evidence)
    assert len(validation.same) == len(known_pairs(held_out, most=RANKED))
    both = joined([learnt, validation])
    assert len(both.same) == len(learnt.same) + len(validation.same) == len(both.rows())


def test_a_space_shown_once_cannot_be_validated_on(
    photos: dict[str, Photos], extractor: labelled.Extractor, tmp_path: Path
) -> None:
    _, first = np.unique(photos[TEST].spaces(), return_index=True)
    with pytest.raises(SameSpaceError, match="shows no space twice"):
        learn_from(photos[TRAINING], photos[TEST].take(first), False, extractor, tmp_path, lambda line: None)
