"""Make pair data as columns of integers, beside the all-pairs table that published code builds; then of 20,000 photos.

    python benchmarks/pairs.py [--json]

Each side runs in its own interpreter, so that its peak memory is its own. Times leave out imports and the input.
`memory_ratio` compares whole peaks, with interpreter, imports and input: the strictest way.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

# The parent imports nothing heavy: Linux lets a child begin with its parent's peak.
if TYPE_CHECKING:
    from samespace.model.pairs import Photos

ROOT = Path(__file__).resolve().parent.parent
PHOTOS, SPACES = 631, 246
MANY_PHOTOS, MANY_SPACES = 20_000, 7_500


def made_up_photos(count: int, spaces: int) -> Photos:
    """Return a table of photos that do not exist: random hashes, and at least one photo of each space."""
    import numpy as np

    from samespace.model.pairs import Photos

    random = np.random.default_rng(0)
    numbers = np.concatenate([np.arange(spaces), random.integers(0, spaces, count - spaces)])
    ids = tuple(str(number) for number in numbers)
    paths = tuple(Path("Airbnb Data/Training Data/kitchen", f"boston_{i}_{row}.jpg") for row, i in enumerate(ids))
    hashes = random.integers(0, 2**64, count, dtype=np.uint64)
    return Photos(Path(), paths, ("boston",) * count, ids, ("kitchen",) * count, hashes)


def rows_of(photos: Photos) -> list[dict[str, Any]]:
    """Return the same photos as rows of a table, with ImageHash's own objects."""
    import imagehash

    hashes = [imagehash.hex_to_hash(f"{int(value):016x}") for value in photos.hashes]
    columns = zip(photos.paths, photos.cities, photos.room_ids, photos.space_types, hashes, strict=True)
    return [dict(zip(("path", "city", "room_id", "space_type", "hash"), row, strict=True)) for row in columns]


def all_pairs_table(photos: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Build the naive form: photos joined with photos, a row for every ordered pair; then filter, multiply and draw."""
    import numpy as np

    first = [{f"{name}0": value for name, value in photo.items()} for photo in photos]
    second = [{f"{name}1": value for name, value in photo.items()} for photo in photos]
    table = [{**row0, **row1} for row0, row1 in itertools.product(first, second)]
    for row in table:
        row["duplicate"] = row["city0"] == row["city1"] and row["room_id0"] == row["room_id1"]
        row["distance"] = row["hash0"] - row["hash1"]
    duplicates = [row for row in table if row["duplicate"]]
    others = [row for row in table if not row["duplicate"]]
    variants = list(itertools.product(range(4), repeat=2))
    augmented = [{**row, "variant0": v0, "variant1": v1} for row in duplicates for v0, v1 in variants]
    weights = np.exp([-float(row["distance"]) for row in others])
    random = np.random.default_rng(0)
    drawn = random.choice(len(others), size=len(augmented), replace=False, p=weights / weights.sum())
    return augmented + [{**others[row], "variant0": 0, "variant1": 0} for row in drawn]


def run_side(side: str) -> dict[str, float]:
    """Measure one side in this interpreter: seconds, peak before and after in MB, pairs made."""
    sys.path.insert(0, str(ROOT))
    from data import peak_mb
    from samespace.model.pairs import make_pairs

    photos = made_up_photos(MANY_PHOTOS, MANY_SPACES) if side == "large" else made_up_photos(PHOTOS, SPACES)
    rows = rows_of(photos) if side == "table" else []
    before, start = peak_mb(), time.perf_counter()
    made = len(all_pairs_table(rows)) if side == "table" else len(make_pairs(photos).label)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "before_mb": before, "peak_mb": peak_mb(), "made": made}


def measure(side: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--side", side]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return result


def compare(pairs: dict[str, float], table: dict[str, float], large: dict[str, float]) -> dict[str, float]:
    """Return the figures for programs."""
    assert pairs["made"] == table["made"], "the two sides must make the same number of pairs"
    return {
        "speedup": round(table["seconds"] / pairs["seconds"], 1),
        "memory_ratio": round(table["peak_mb"] / pairs["peak_mb"], 1),
        "pairs_seconds": round(pairs["seconds"], 4),
        "pairs_peak_mb": round(pairs["peak_mb"], 1),
        "table_seconds": round(table["seconds"], 3),
        "table_peak_mb": round(table["peak_mb"], 1),
        "large_seconds": round(large["seconds"], 2),
        "large_peak_mb": round(large["peak_mb"], 1),
        "large_ordered_pairs": MANY_PHOTOS**2,
    }


def print_table(pairs: dict[str, float], table: dict[str, float], large: dict[str, float]) -> None:
    figures = compare(pairs, table, large)
    print("| pair data | photos | ordered pairs | seconds | peak MB | MB before the start |")
    print("|---|---|---|---|---|---|")
    for name, count, side in (
        ("`make_pairs`", PHOTOS, pairs),
        ("all-pairs table", PHOTOS, table),
        ("`make_pairs`", MANY_PHOTOS, large),
    ):
        figure = f"{side['seconds']:.3g} | {side['peak_mb']:.0f} | {side['before_mb']:.0f}"
        print(f"| {name} | {count:,} | {count**2:,} | {figure} |")
    print(f"\n{figures['speedup']:.0f} times as fast, with 1/{figures['memory_ratio']:.1f} of the memory.")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make pair data, beside the all-pairs table and of 20,000 photos.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--side", choices=("pairs", "table", "large"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(run_side(arguments.side)))
        return
    sides = measure("pairs"), measure("table"), measure("large")
    if arguments.json:
        print(json.dumps(compare(*sides)))
    else:
        print_table(*sides)


if __name__ == "__main__":
    main()
