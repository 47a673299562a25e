"""Let a library remember the encoder that it was scanned with, and find its photos by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from samespace.base.errors import SameSpaceError
from samespace.library.library import Library
from samespace.search.vectors import naming_the_scan
from samespace.words.encoder import Encoder, load_encoder
from samespace.words.sentences import Sentences

_NOTE = "encoder"  # its name in the library's notes


class Noted(NamedTuple):
    """Hold what a library remembers of its encoder."""

    source: str  # its folder, or its name on the Hub
    fingerprint: str


def remember_encoder(library: Library, encoder: Encoder) -> None:
    """Understand sentences by this encoder from now on."""
    library.write_note(_NOTE, json.dumps(Noted(encoder.source, encoder.fingerprint)._asdict()))


def forget_encoder(library: Library) -> None:
    """Understand sentences by a matcher again."""
    if remembered_encoder(library):
        library.write_note(_NOTE, "null")


def remembered_encoder(library: Library) -> Noted | None:
    """Return the encoder that sentences are understood by, or None if there is none."""
    noted = json.loads(library.note(_NOTE) or "null")
    return Noted(noted["source"], noted["fingerprint"]) if noted else None


def load_remembered(library: Library) -> Encoder | None:
    """Return the encoder that the library remembers; refuse one that has gone or changed."""
    noted = remembered_encoder(library)
    if noted is None:
        return None
    if Path(noted.source).is_absolute() and not Path(noted.source).is_dir():
        raise SameSpaceError(
            f"{library.folder} understands sentences by {noted.source}, which has gone: scan with another --encoder"
        )
    encoder = load_encoder(noted.source)
    if encoder.fingerprint != noted.fingerprint:
        raise SameSpaceError(
            f"{library.folder} was scanned with another version of {noted.source}: scan with --encoder "
            f"{noted.source} again"
        )
    return encoder


def by_encoder(library: Library, source: str | None = None) -> Sentences:
    """Return the photos as an encoder has seen them: this one, else the one that is remembered."""
    encoder = load_encoder(source) if source else load_remembered(library)
    assert encoder, "one or the other"
    if not library.rows(encoder):
        noted = remembered_encoder(library)
        before = f"was scanned with {noted.source}" if noted else "was not scanned with an encoder"
        other = ", or leave out --encoder" if noted else ""
        raise SameSpaceError(
            f"{library.folder} {before}, not with {encoder.source}: scan with --encoder {encoder.source} first{other}"
        )
    with naming_the_scan(library, ("--encoder", encoder.source)):
        return Sentences(library, encoder, encoder)
