"""Read and write XMP, the metadata that cameras, Lightroom, darktable and digiKam understand; strangers write it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple
from xml.parsers import expat

from samespace.base.metadata import NOTHING, Metadata, as_date, as_place, clean, only_in

if TYPE_CHECKING:
    from xml.etree import ElementTree

MOST = 4 << 20  # bytes: a packet in a photo has 64 kB, the sidecar of a much edited one a few hundred

_RDF, _LANG = "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "{http://www.w3.org/XML/1998/namespace}lang"
_PREFIXES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
}
_HIERARCHICAL = "{http://ns.adobe.com/lightroom/1.0/}hierarchicalSubject"
_CONTAINERS = [f"{{{_RDF}}}{name}" for name in ("Bag", "Seq", "Alt")]
_ANGLE = re.compile(r"(\d{1,3}),(\d{1,2}(?:\.\d+)?)(?:,(\d{1,2}(?:\.\d+)?))?([NSEW])")
_NUMBER = re.compile(r"-?\d(\.\d*)?")


_WIDE = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}  # by the mark at the start


class CannotComplete(ValueError):
    """This XMP cannot be added to without a loss."""


# --- reading ----------------------------------------------------------------------------------------------------------


def read_xmp(content: bytes) -> Metadata:
    """Return what a packet or a sidecar says; nothing if it is damaged, too large or declares entities."""
    root = _parsed(content)
    if root is None:
        return NOTHING
    said: dict[str, list[str]] = {}
    for name, values in _properties(root):
        said.setdefault(name, values)

    def first(*names: str) -> str | None:
        return next((said[name][0] if said[name] else "" for name in map(_full, names) if name in said), None)

    words = [word for word in said.get(_full("dc:subject"), []) if word]
    flat = {word.casefold() for word in words}
    leaves = dict.fromkeys(path.split("|")[-1].strip() for path in said.get(_HIERARCHICAL, []))
    words += [leaf for leaf in leaves if leaf and leaf.casefold() not in flat]
    dates = (as_date(first(name) or "") for name in ("exif:DateTimeOriginal", "photoshop:DateCreated"))
    return Metadata(
        date=next(filter(None, dates), None),
        gps=_place(first("exif:GPSLatitude") or "", first("exif:GPSLongitude") or ""),
        rating=_rating(first("xmp:Rating") or ""),
        keywords=tuple(words),
        caption=first("dc:description"),
        title=first("dc:title"),
    )


def _parsed(content: bytes) -> ElementTree.Element | None:
    from xml.etree import ElementTree  # most photos have no XMP

    if len(content) > MOST:
        return None
    try:
        text = content.decode("utf-16" if content[:2] in _WIDE else "utf-8-sig")
        # Entities can grow without end or fetch files, and XMP has none. What is text is not decoded another time.
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            return None
        return ElementTree.fromstring(text.strip("\0 \n\r\t"))
    except (ValueError, ElementTree.ParseError):
        return None


def _properties(root: ElementTree.Element) -> Iterator[tuple[str, list[str]]]:
    """Yield each property's name and its values; the one for any language comes first."""
    for rdf in root.iter(f"{{{_RDF}}}RDF"):
        for described in rdf:
            yield from ((name, [clean(value)]) for name, value in described.attrib.items())
            for each in described:
                container = next((part for part in each if part.tag in _CONTAINERS), None)
                items = [each] if container is None else list(container)
                items.sort(key=lambda item: item.get(_LANG) != "x-default")
                yield each.tag, [clean(item.text or "") for item in items]


def _full(name: str) -> str:
    prefix, _, rest = name.partition(":")
    return f"{{{_PREFIXES[prefix]}}}{rest}"


def _rating(text: str) -> int | None:
    stars = int(float(text)) if _NUMBER.fullmatch(text) else 9
    return stars if -1 <= stars <= 5 else None


def _place(latitude: str, longitude: str) -> tuple[float, float] | None:
    north, east = _degrees(latitude, "N", "S"), _degrees(longitude, "E", "W")
    return None if north is None or east is None else as_place(north, east)


def _degrees(text: str, plus: str, minus: str) -> float | None:
    parts = _ANGLE.fullmatch(text)
    if not parts or parts[4] not in (plus, minus):
        return None
    degrees = int(parts[1]) + float(parts[2]) / 60 + float(parts[3] or 0) / 3600
    return degrees if parts[4] == plus else -degrees


# --- writing ----------------------------------------------------------------------------------------------------------


def new_sidecar(known: Metadata) -> bytes:
    """Return a sidecar that says this."""
    text = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="SameSpace">\n'
        f' <rdf:RDF xmlns:rdf="{_RDF}">\n{_description(known, "")} </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>\n'
    )
    return text.encode()


def completed(sidecar: bytes, more: Metadata) -> bytes:
    """Return a sidecar with more in it: every byte of it stays, and what it says already is not said again.

    Raise CannotComplete if that is not possible, for instance because the sidecar is damaged.
    """
    if _parsed(sidecar) is None:
        raise CannotComplete("it is not XMP, or damaged")
    old = read_xmp(sidecar)
    missing = only_in(more, old)
    places = _places(sidecar)
    whole = sidecar
    keywords = missing.keywords if places.keywords is not None else ()
    rest = missing._replace(keywords=()) if keywords else missing
    inserted = []
    if rest != NOTHING:
        inserted.append((places.rdf, _description(rest, places.about)))
    if keywords:
        inserted.append((places.keywords or 0, _items(keywords, f' xmlns:rdf="{_RDF}"')))
    encoding = _WIDE.get(sidecar[:2], "ascii")
    for place, text in sorted(inserted, reverse=True):
        if not whole[place:].startswith("</".encode(encoding)):
            raise CannotComplete("it is written in a way that cannot be added to")
        more_text = text.encode("ascii", "xmlcharrefreplace").decode("ascii")
        whole = whole[:place] + more_text.encode(encoding) + whole[place:]
    new = read_xmp(whole)
    if only_in(more, new) != NOTHING or not _says_the_same(old, new):
        raise CannotComplete("it says some of this in a way that cannot be read")
    return whole


def _says_the_same(old: Metadata, new: Metadata) -> bool:
    kept = all(mine in (None, theirs) for mine, theirs in zip(old, new, strict=True) if not isinstance(mine, tuple))
    return kept and old.gps in (None, new.gps) and {*old.keywords} <= {*new.keywords}


class _Places(NamedTuple):
    """Hold where a sidecar can be added to, in bytes from its start."""

    rdf: int  # the end tag of all descriptions
    keywords: int | None  # that of the keywords, if there are any
    about: str  # what the descriptions say that they describe


def _places(sidecar: bytes) -> _Places:
    rdf, keywords, about = -1, None, ""
    path: list[str] = []
    parser = expat.ParserCreate(namespace_separator=" ")

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal about
        if path and path[-1] == f"{_RDF} RDF":
            about = about or attributes.get(f"{_RDF} about", "")
        path.append(name)

    def end(name: str) -> None:
        nonlocal rdf, keywords
        path.pop()
        if name == f"{_RDF} RDF":
            rdf = parser.CurrentByteIndex
        elif path[-1:] == [f"{_PREFIXES['dc']} subject"] and path[-3:-2] == [f"{_RDF} RDF"]:
            keywords = parser.CurrentByteIndex

    parser.StartElementHandler, parser.EndElementHandler = start, end
    try:
        parser.Parse(_without_padding(sidecar), True)
    except expat.ExpatError as error:
        raise CannotComplete("it is not XMP, or damaged") from error
    if rdf < 0:
        raise CannotComplete("it is not XMP, or damaged")
    return _Places(rdf, keywords, about)


def _without_padding(sidecar: bytes) -> bytes:
    """Return a sidecar without zeros at its end, which belong to a letter if letters have two bytes."""
    whole = sidecar.rstrip(b"\0")
    return sidecar[: len(whole) + len(whole) % 2] if sidecar[:2] in _WIDE else whole


def _description(known: Metadata, about: str) -> str:
    names = "".join(f' xmlns:{prefix}="{address}"' for prefix, address in {"rdf": _RDF, **_PREFIXES}.items())
    lines = "".join(f"   <{name}>{value}</{name}>\n" for name, value in _written(known))
    return f"  <rdf:Description rdf:about={_quoted(about)}{names}>\n{lines}  </rdf:Description>\n"


def _written(known: Metadata) -> Iterator[tuple[str, str]]:
    """Yield names and values in XML."""
    if known.date:
        yield "exif:DateTimeOriginal", known.date
        yield "photoshop:DateCreated", known.date
    if known.gps:
        yield "exif:GPSLatitude", _angle(known.gps[0], "N", "S")
        yield "exif:GPSLongitude", _angle(known.gps[1], "E", "W")
    if known.rating:
        yield "xmp:Rating", str(known.rating)
    if known.keywords:
        yield "dc:subject", f"<rdf:Bag>{_items(known.keywords)}</rdf:Bag>"
    for name, text in (("dc:description", known.caption), ("dc:title", known.title)):
        if text:
            yield name, f'<rdf:Alt><rdf:li xml:lang="x-default">{_escaped(text)}</rdf:li></rdf:Alt>'


def _items(words: tuple[str, ...], declared: str = "") -> str:
    return "".join(f"<rdf:li{declared}>{_escaped(word)}</rdf:li>" for word in words)


# As in xml.sax.saxutils, which brings the modules for HTTP with it and takes as long to load as all of this package.
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_QUOTES = _ESCAPES | str.maketrans({'"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)


def _quoted(text: str) -> str:
    return f'"{text.translate(_QUOTES)}"'


def _angle(degrees: float, plus: str, minus: str) -> str:
    """Return degrees and minutes to a fifth of a centimetre: 48,8.274000N."""
    whole, millionths = divmod(round(abs(degrees) * 60_000_000), 60_000_000)
    minutes, rest = divmod(millionths, 1_000_000)
    return f"{whole},{minutes}.{rest:06d}{plus if degrees >= 0 else minus}"
