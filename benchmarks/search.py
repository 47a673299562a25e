"""Search 10,000, 100,000 and a million vectors of 256 numbers, exactly and by HNSW, beside faiss if it is installed.

    python benchmarks/search.py [--sizes N …] [--json]

The vectors are made up, but like those of photos. 1,641 photos of rooms and of people outdoors, embedded by MobileNetV2
and reduced to 256 numbers by PCA, have their nearest neighbour at a cosine of 0.62 and their tenth at 0.44 (medians);
their local dimension is about 15, and graphs too small for them (4 links, 8 or 16 candidates) find 0.59 and 0.84 of the
ten nearest. For as many made-up vectors these are 0.64, 0.50, about 15, 0.61 and 0.85. They crowd around topics of all
sizes, one for 30 photos, and vary around them along axes whose spread falls as 1/√i. Queries are 1,000 more vectors.

Each row runs in its own interpreter, and both sides use all cores. `p50` and `p99` are for queries one at a time,
`queries/s` for 1,000 at once, each the best of three rounds. SameSpace reads vectors in half precision from a memory-
mapped file, as a library keeps them, or in single precision from memory; faiss holds them in single precision. `held`
is the memory that a process holds for the index while it answers, `file` the size of the memory-mapped files. HNSW
finds candidates, as many as `tune` chooses, by 96 numbers of eight bits, and ranks them by exact cosines from the
vectors' own file, so some of that file is read, too. faiss HNSW is built with the same links and candidates; the first
of its searches that finds as much as SameSpace is shown.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

# The parent imports nothing heavy: Linux lets a child begin with its parent's peak.
if TYPE_CHECKING:
    import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SIZES = (10_000, 100_000, 1_000_000)
DIM, QUERIES, TOP = 256, 1000, 10
ROUNDS, PATIENCE = 3, 10.0  # seconds at most for the single queries of a round
METHODS = {
    "exact, float16 file": "ours",
    "exact, float32": "ours",
    "faiss Flat": "faiss",
    "HNSW": "ours",
    "faiss HNSW": "faiss",
}

Rows = dict[str, Any]


def made_up_vectors(folder: Path, count: int) -> None:
    """Write `vectors.npy` in half precision, `queries.npy`, and the exact neighbours of the queries."""
    import numpy as np

    from samespace.search.exact import Exact

    random = np.random.default_rng(0)
    spread = np.arange(1, DIM + 1, dtype=np.float32) ** -0.5

    def directions(number: int) -> np.ndarray:
        drawn = random.standard_normal((number, DIM), dtype=np.float32) * spread
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        return np.asarray(drawn)

    topics = directions(max(count // 30, 2))
    sizes = random.pareto(1.5, len(topics)) + 1

    def photos(number: int) -> np.ndarray:
        shares = np.sqrt(random.normal(0.4, 0.15, number).clip(0, 0.9)).astype(np.float32)[:, None]
        topic = random.choice(len(topics), number, p=sizes / sizes.sum())
        drawn = shares * topics[topic] + np.sqrt(1 - shares**2) * directions(number)
        return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))

    vectors = np.lib.format.open_memmap(folder / "vectors.npy", mode="w+", dtype=np.float16, shape=(count, DIM))
    for start in range(0, count, 10_000):
        vectors[start : start + 10_000] = photos(min(10_000, count - start))
    vectors.flush()
    queries = photos(QUERIES)
    np.save(folder / "queries.npy", queries)
    np.save(folder / "cosines.npy", Exact(vectors).nearest(queries, TOP).cosines)


def held_mb() -> float:
    """Return the memory that this process holds besides files, in MB, if the system tells."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024 / 1e6


def run_row(method: str, folder: Path, needed: float) -> Rows:
    """Measure one row in this interpreter."""
    import numpy as np

    from samespace.search.approximate import EXPANSIONS
    from samespace.search.exact import Exact

    vectors, queries = np.load(folder / "vectors.npy", mmap_mode="r"), np.load(folder / "queries.npy")
    Exact(queries).nearest(queries, TOP)  # what is imported is not counted
    before, start = held_mb(), time.perf_counter()
    searcher, file = prepare(method, vectors.astype(np.float32) if method.endswith("float32") else vectors, folder)
    built = time.perf_counter() - start
    figures = {"build_seconds": built, "added_per_second": len(vectors) / built, "file_mb": file / 1e6}
    if method == "HNSW":
        figures["expansion"] = searcher.index.expansion
    for expansion in EXPANSIONS if method == "faiss HNSW" else EXPANSIONS[:1]:
        if method == "faiss HNSW":
            searcher.hnsw.efSearch = figures["expansion"] = expansion
        search = searcher.search if METHODS[method] == "faiss" else lambda asked, k: searcher.nearest(asked, k).rows
        found = share_found(search, vectors, queries, np.load(folder / "cosines.npy"))
        if found >= needed:
            break
    return {**figures, "recall": found, **times(search, queries), "held_mb": held_mb() - before}


def prepare(method: str, vectors: np.ndarray, folder: Path) -> tuple[Any, int]:
    """Return the index to search, and the size of the files that it reads."""
    import numpy as np

    from samespace.search import approximate as index
    from samespace.search.exact import Exact

    if method.startswith("exact"):
        return Exact(vectors), vectors.nbytes if vectors.dtype == np.float16 else 0
    if method == "HNSW":
        return hnsw(vectors, folder / "index")
    faiss = importlib.import_module("faiss")
    peer: Any = faiss.IndexFlatIP(DIM)
    if method == "faiss HNSW":
        peer = faiss.IndexHNSWFlat(DIM, index.CONNECTIVITY, faiss.METRIC_INNER_PRODUCT)
        peer.hnsw.efConstruction = index.EXPANSION_ADD
    for at in range(0, len(vectors), 20_000):
        peer.add(vectors[at : at + 20_000].astype(np.float32))
        tell(f"{method}: {at:,} of {len(vectors):,}")
    peer.search(vectors[:1].astype(np.float32), 1)
    return Faiss(peer), 0


class Faiss:
    """A faiss index that answers with row numbers, as the others here do."""

    def __init__(self, index: Any) -> None:
        self.index = index

    @property
    def hnsw(self) -> Any:
        return self.index.hnsw

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        rows: np.ndarray = self.index.search(queries, k)[1]
        return rows


def hnsw(vectors: np.ndarray, path: Path) -> tuple[Any, int]:
    """Build an index, write it, and open it as a command would."""
    import numpy as np

    from samespace.search.approximate import Approximate, Indexed
    from samespace.search.exact import Exact

    keys = np.random.default_rng(0).permutation(len(vectors)).astype(np.uint64)

    def vectors_of(rows: np.ndarray) -> np.ndarray:
        vectors_of.done += len(rows)  # type: ignore[attr-defined]
        tell(f"HNSW: {vectors_of.done:,} of {len(vectors):,}")  # type: ignore[attr-defined]
        some: np.ndarray = vectors[rows]
        return some

    vectors_of.done = 0  # type: ignore[attr-defined]
    approximate = Approximate.open(path, "benchmark", DIM)
    approximate.keep(keys, vectors_of)
    Indexed(Exact(vectors), keys, approximate).tune()
    approximate.save()
    return Indexed(Exact(vectors), keys, Approximate.open(path, "benchmark", DIM)), path.stat().st_size


def share_found(search: Callable[[Any, int], Any], vectors: np.ndarray, queries: np.ndarray, best: np.ndarray) -> float:
    """Return the share of each query's ten nearest that a search finds; equally near ones are as good."""
    import numpy as np

    rows = search(queries, TOP)
    cosines = np.stack([vectors[row].astype(np.float32) @ query for row, query in zip(rows, queries, strict=True)])
    return float((cosines >= best[:, -1:] - 1e-5).mean())


def times(search: Callable[[Any, int], Any], queries: np.ndarray) -> Rows:
    """Time a few rounds and return the best."""
    import numpy as np

    rounds = []
    for _ in range(ROUNDS):
        singles, begin = [], time.perf_counter()
        for row in range(len(queries)):
            start = time.perf_counter()
            search(queries[row : row + 1], TOP)
            singles.append(time.perf_counter() - start)
            if row > 20 and time.perf_counter() - begin > PATIENCE:
                break
        start = time.perf_counter()
        search(queries, TOP)
        together = len(queries) / (time.perf_counter() - start)
        rounds.append((1000 * float(np.quantile(singles, 0.5)), 1000 * float(np.quantile(singles, 0.99)), together))
    return {
        "p50_ms": min(figures[0] for figures in rounds),
        "p99_ms": min(figures[1] for figures in rounds),
        "queries_per_second": max(figures[2] for figures in rounds),
    }


def tell(words: str) -> None:
    print(f"\r\033[K{words}", end="", file=sys.stderr, flush=True)


def measure(count: int) -> list[Rows]:
    """Measure all methods on this many vectors."""
    with tempfile.TemporaryDirectory() as place:
        child("vectors", place, count)
        rows: list[Rows] = []
        for method in METHODS:
            needed = next((row["recall"] for row in rows if row["method"] == "HNSW"), 1.0)
            figures = child(method, place, min(needed, 0.999))
            rows.append({"vectors": count, "method": method, **(figures or {})})
            tell("")
    return rows


def child(method: str, folder: str, number: float) -> Rows | None:
    """Run a row in its own interpreter; return None if the peer is not installed."""
    if METHODS.get(method) == "faiss" and not importlib.util.find_spec("faiss"):
        return None
    command = [sys.executable, __file__, "--row", method, folder, str(number)]
    figures: Rows = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return figures


def print_table(rows: list[Rows]) -> None:
    print("| vectors | | queries/s | p50 ms | p99 ms | recall@10 | held MB | file MB | build s | added/s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        name = f"{row['method']}, {row['expansion']} candidates" if "expansion" in row else row["method"]
        print(f"| {row['vectors']:,} | {name} | {cells(row)} |")
    for count in dict.fromkeys(row["vectors"] for row in rows):
        by_name = {row["method"]: row for row in rows if row["vectors"] == count}
        if "p50_ms" in by_name["faiss HNSW"]:
            print(f"\n{count:,}: {against_faiss(by_name)}")


def cells(row: Rows) -> str:
    if "p50_ms" not in row:
        return "not installed | | | | | | |"
    speed = f"{row['queries_per_second']:,.0f} | {row['p50_ms']:.3g} | {row['p99_ms']:.3g} | {row['recall']:.3f}"
    memory = f"{row['held_mb']:.0f} | {row['file_mb']:.0f}"
    built = f"{row['build_seconds']:.0f} | {row['added_per_second']:,.0f}" if "HNSW" in row["method"] else " | "
    return f"{speed} | {memory} | {built}"


def against_faiss(rows: dict[str, Rows]) -> str:
    exact, flat, ours, peer = (rows[name] for name in ("exact, float32", "faiss Flat", "HNSW", "faiss HNSW"))
    return (
        f"exact (float32) takes {exact['p50_ms'] / flat['p50_ms']:.2f} of faiss Flat's time for one query and "
        f"{flat['queries_per_second'] / exact['queries_per_second']:.2f} for many; HNSW "
        f"{ours['p50_ms'] / peer['p50_ms']:.2f} of faiss HNSW's and "
        f"{(ours['held_mb'] + ours['file_mb']) / peer['held_mb']:.2f} of its memory."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Search made-up vectors exactly and by HNSW, beside faiss.")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="how many vectors (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        sys.path.insert(0, str(ROOT))
        method, folder, number = arguments.row
        if method == "vectors":
            made_up_vectors(Path(folder), int(float(number)))
        print(json.dumps({} if method == "vectors" else run_row(method, Path(folder), float(number))))
        return
    rows = [row for count in arguments.sizes for row in measure(count)]
    if arguments.json:
        print(json.dumps(rows))
    else:
        print_table(rows)


if __name__ == "__main__":
    main()
