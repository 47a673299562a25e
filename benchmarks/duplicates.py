"""Group 1,000, 10,000 and 100,000 made-up embeddings: time, memory and growth.

    python benchmarks/duplicates.py [--json]

Embeddings of 256 numbers and of the model's 512 lie on disk in half precision, as a library keeps them. One photo in
five is a copy of another, at cosines from 0.92 to 0.99; the rest crowd around topics. Neighbours are found first, then
grouped by keeper; the cosine itself is the score, with a threshold of 0.9. `recall` is the share of copies that end up
in the group of their original.

Each row runs in its own interpreter, so that its peak memory, which includes imports and input, is its own. Times leave
both out; CPU seconds count all cores. `growth` compares the time per photo at 100,000 with that at 10,000.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

# The parent imports nothing heavy: Linux lets a child begin with its parent's peak.
if TYPE_CHECKING:
    import numpy as np

ROOT = Path(__file__).resolve().parent.parent
COUNTS, SIZES = (1_000, 10_000, 100_000), (256, 512)
THRESHOLD, FLOOR = 0.9, 0.85


def made_up_vectors(path: Path, count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Write `count` unit vectors to `path`; return which rows are copies, and of which rows."""
    import numpy as np

    random = np.random.default_rng(0)
    spread = np.arange(1, size + 1, dtype=np.float32) ** -0.35

    def directions(number: int) -> np.ndarray:
        drawn = random.standard_normal((number, size), dtype=np.float32) * spread
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        return drawn

    vectors = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(count, size))
    topics = directions(max(count // 150, 2))
    for start in range(0, count, 1000):
        shares = np.sqrt(random.normal(0.4, 0.15, 1000).clip(0, 0.7)).astype(np.float32)[:, None]
        block = shares * topics[random.integers(0, len(topics), 1000)] + np.sqrt(1 - shares**2) * directions(1000)
        vectors[start : start + 1000] = block / np.linalg.norm(block, axis=1, keepdims=True)
    copies, originals = np.split(random.permutation(count)[: count // 5 * 2], 2)
    for rows, sources in zip(np.array_split(copies, 20), np.array_split(originals, 20), strict=True):
        source, change = vectors[sources].astype(np.float32), directions(len(rows))
        change -= (change * source).sum(1, keepdims=True) * source
        change /= np.linalg.norm(change, axis=1, keepdims=True)
        cosines = random.uniform(0.92, 0.99, (len(rows), 1)).astype(np.float32)
        vectors[rows] = cosines * source + np.sqrt(1 - cosines**2) * change
    vectors.flush()
    return copies, originals


def run_row(count: int, size: int) -> dict[str, float]:
    """Measure one row in this interpreter: seconds, peak before and after in MB, copies found."""
    sys.path.insert(0, str(ROOT))
    import numpy as np

    from data import peak_mb
    from samespace.duplicates.grouping import Similar, by_keeper
    from samespace.search.neighbours import find_neighbours

    with tempfile.TemporaryDirectory() as folder:
        copies, originals = made_up_vectors(Path(folder, "vectors.npy"), count, size)
        vectors = np.load(Path(folder, "vectors.npy"), mmap_mode="r")

        def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
            products: np.ndarray = np.einsum("nd,nd->n", vectors[first], vectors[second], dtype=np.float32)
            return products

        before, start, cpu = peak_mb(), time.perf_counter(), time.process_time()
        candidates = find_neighbours(vectors, FLOOR)
        near = time.perf_counter() - start
        order = np.random.default_rng(1).permutation(count)
        groups = by_keeper(order, Similar(candidates, cosines, THRESHOLD))
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    group = np.full(count, -1)
    for number, members in enumerate(groups):
        group[members] = number
    found = float(np.mean((group[copies] >= 0) & (group[copies] == group[originals])))
    times = {"seconds": seconds, "neighbours_seconds": near, "cpu_seconds": cpu}
    memory = {"before_mb": before, "peak_mb": peak_mb()}
    return {"photos": count, "size": size, **times, **memory, "groups": len(groups), "recall": found}


def measure(count: int, size: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--row", str(count), str(size)]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return result


def compare(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Return the figures for programs."""
    per_photo = {(row["photos"], row["size"]): row["seconds"] / row["photos"] for row in rows}
    growth = {str(size): round(per_photo[COUNTS[2], size] / per_photo[COUNTS[1], size], 2) for size in SIZES}
    return {"rows": [{name: round(value, 4) for name, value in row.items()} for row in rows], "growth": growth}


def print_table(rows: list[dict[str, float]]) -> None:
    print("| photos | numbers | seconds | for neighbours | ms a photo | CPU seconds | peak MB | MB before | recall |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        times = f"{row['seconds']:.3g} | {row['neighbours_seconds']:.3g} | {1000 * row['seconds'] / row['photos']:.3f}"
        memory = f"{row['cpu_seconds']:.3g} | {row['peak_mb']:.0f} | {row['before_mb']:.0f}"
        print(f"| {row['photos']:,.0f} | {row['size']:.0f} | {times} | {memory} | {row['recall']:.4f} |")
    growth = compare(rows)["growth"]
    ratios = " and ".join(f"{growth[str(size)]:.2f} times ({size} numbers)" for size in SIZES)
    print(f"\nFrom 10,000 to 100,000 photos, the time a photo takes becomes {ratios} what it was.")


def main() -> None:
    parser = argparse.ArgumentParser(description="Group made-up embeddings: time, memory and growth.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--row", nargs=2, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        print(json.dumps(run_row(*arguments.row)))
        return
    rows = [measure(count, size) for size in SIZES for count in COUNTS]
    if arguments.json:
        print(json.dumps(compare(rows)))
    else:
        print_table(rows)


if __name__ == "__main__":
    main()
