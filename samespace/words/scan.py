"""Scan folders: read what is new, and make it ready for every way to compare and search. Terminal and page call it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samespace.base.photos import EXTENSIONS
from samespace.library.library import Library
from samespace.library.scan import Scan, scan
from samespace.search.look import Look, remember_look
from samespace.search.same_shot import Sketches
from samespace.search.vectors import vectors_of

if TYPE_CHECKING:
    from samespace.words.encoder import Encoder


def scan_folders(
    library: Library,
    folders: Sequence[Path],
    look: Look,
    matcher: Path | None = None,
    extensions: Sequence[str] = EXTENSIONS,
    follow_links: bool = False,
    remember: bool = True,
    tell: Callable[[int, int], None] | None = None,
    encoder: Encoder | None = None,
) -> Scan:
    """Bring a library up to date with these folders, and return what has changed in them.

    Sketches, which find copies, are always made; the look's vectors, and those of a matcher's file or of an encoder, as
    well. With `remember` searches use this look from now on; with a matcher or an encoder they understand sentences.
    `tell` is called with the number of files read and of files to read.
    """
    with library.hold():
        extractors = [Sketches(), *look.extractors, *([encoder] if encoder else [])]
        scanned = scan(library, folders, extractors, extensions, follow_links, tell)
        vectors_of(library, look)
        if remember:
            remember_look(library, look)
        # Loaded only for those who search by words.
        if matcher:
            from samespace.words import search as sentences

            sentences.remember(library, look, matcher)
        if encoder:
            from samespace.words.remembered_encoder import remember_encoder

            remember_encoder(library, encoder)
    return scanned
