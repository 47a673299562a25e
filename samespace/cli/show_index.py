"""Show in a terminal what was learnt to compress features, and what is in an index."""

from __future__ import annotations

from pathlib import Path

from samespace.base.text import count, score_words, size_words
from samespace.search.choose_compression import Compared
from samespace.search.space import Space


def show_compressions(compared: Compared) -> None:
    """Show the methods side by side, and the chosen one's size if all photos gave it another."""
    rows, chosen = compared
    print(f"{'':<12}{'numbers':>9}{'bytes a photo':>15}{'recall@10':>11}")
    for row in rows:
        print(f"{row.method:<12}{row.dim:>9,}{row.bytes:>15,}{score_words(row.recall):>11}")
    print()
    if (chosen.method, chosen.dim) not in [row[:2] for row in rows]:
        size = f"{chosen.dim:,} numbers, {2 * chosen.dim:,} bytes a photo"
        print(f"compared on half of the photos; {chosen.method} learnt from all: {size}")


def show_index(space: Space, path: Path, recall: float | None) -> None:
    """Show what `samespace index` did."""
    kept = len(space.index or ())  # copies count once
    photos = count(kept, "photo" if kept == len(space.photos) else "different photo")
    print(f"index of {photos}, {size_words(path.stat().st_size)}")
    print(f"{space.added:,} added, {space.removed:,} removed")
    if recall is not None:
        print(f"recall@10 {recall:.3f}: the share of the 10 nearest photos that it finds")
