"""Tell programs what proves that two photos of the library show one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from samespace.library.scan import scan
from samespace.model.points import PROOF
from samespace.search import explain
from samespace.search.kept_points import partners_of
from samespace.search.same_shot import Sketches
from samespace.web.review import evidence
from samespace.web.state import LiveLibrary, photo_id
from tests.model.test_points import scene
from tests.web.review.test_page import described

LEFT, TOP = 0.1, 0.05  # shares of the wall that the second view lacks


@pytest.fixture
def walls(live: LiveLibrary, album: Path) -> list[Path]:
    """A wall, most of it seen upright by a camera on its side, and another wall."""
    paths = [album / f"wall {number}.jpg" for number in range(3)]
    wall, on_its_side = scene(1), Image.Exif()
    on_its_side[0x0112] = 6
    part = wall.crop((round(LEFT * wall.width), round(TOP * wall.height), *wall.size))
    wall.save(paths[0], quality=95)
    part.transpose(Image.Transpose.ROTATE_90).save(paths[1], quality=95, exif=on_its_side)
    scene(2).save(paths[2], quality=95)
    with live.library() as library:
        scan(library, [album], [Sketches()])
    live.refresh()
    return paths


def asked(client: TestClient, first: Path, second: Path, status: int = 200) -> dict[str, Any]:
    answer = client.get("/api/evidence", params={"photo0": photo_id(first), "photo1": photo_id(second)})
    described(client, answer)
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_two_views_share_points_where_both_show_them(client: TestClient, walls: list[Path]) -> None:
    told = asked(client, walls[0], walls[1])
    assert told["shared"] == len(told["points"]) >= 3 * PROOF == 3 * told["needed"]
    assert told["words"] == f"proof: {told['shared']} points lie in both where a moved camera would see them"
    x0, y0, x1, y1 = np.array([[point[name] for name in ("x0", "y0", "x1", "y1")] for point in told["points"]]).T
    assert np.median(np.abs((x0 - LEFT) / (1 - LEFT) - x1)) < 0.003
    assert np.median(np.abs((y0 - TOP) / (1 - TOP) - y1)) < 0.003


def test_two_places_share_none_that_prove_anything(client: TestClient, walls: list[Path]) -> None:
    told = asked(client, walls[0], walls[2])
    assert told["shared"] < PROOF
    assert told["words"] == f"no proof: {told['shared']} points fit, and it takes {PROOF}"


def test_points_that_the_library_keeps_are_not_found_again(
    client: TestClient, walls: list[Path], live: LiveLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_files = asked(client, walls[0], walls[1])
    photos = [(0, live.snapshot.photos[photo_id(path)]) for path in walls[:2]]
    with live.library() as library:
        counted = partners_of([library], photos)(np.array([0]), np.array([1]))
    assert counted.tolist() == [from_files["shared"]]

    def not_again(_: Path) -> explain.Seen:
        raise AssertionError

    monkeypatch.setattr(evidence, "see", not_again)
    assert asked(client, walls[0], walls[1]) == from_files


def test_a_photo_that_has_gone_is_named_in_one_sentence(client: TestClient, walls: list[Path]) -> None:
    walls[1].unlink()
    gone = asked(client, walls[0], walls[1], 410)
    assert gone == {"error": "The photo wall 1.jpg has gone or changed since it was scanned: scan again."}
    unknown = asked(client, walls[0], Path("/elsewhere.jpg"), 404)
    assert unknown == {"error": "This photo is not in the library: it may have been removed or renamed."}
    answer = client.get("/api/evidence", params={"photo0": photo_id(walls[0])})
    assert (answer.status_code, answer.json()) == (422, {"error": "`photo1` is missing: it must be text."})
