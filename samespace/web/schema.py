"""The words that rooms describe their addresses with: pieces of the OpenAPI document that `openapi` puts together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Piece = dict[str, Any]  # of the document

TEXT, WHOLE, NUMBER, FLAG = ({"type": kind} for kind in ("string", "integer", "number", "boolean"))
PHOTO = {"$ref": "#/components/schemas/Photo"}  # see `pages.PHOTO`
IMAGE = {"type": "string", "contentMediaType": "image/*"}  # a file, as a field of a form


def explained(schema: Piece, description: str, **limits: Any) -> Piece:
    """A schema and what it means: `explained(WHOLE, "in bytes", minimum=0)`."""
    return {**schema, "description": description, **limits}


def or_null(schema: Piece, description: str) -> Piece:
    return {"type": [schema["type"], "null"], "description": description}


def listed(items: Piece, description: str = "") -> Piece:
    return _with({"type": "array", "items": items}, description=description)


def record(**properties: Piece) -> Piece:
    """An object that is answered: what it names is all there, and nothing else is."""
    return {**fields(properties, tuple(properties)), "additionalProperties": False}


def fields(properties: Piece, required: Sequence[str] = (), description: str = "") -> Piece:
    """An object that is sent, of which the rest may be left out."""
    return _with({"type": "object", "properties": properties}, required=list(required), description=description)


def photo_and(**properties: Piece) -> Piece:
    """A photo as every answer has it, and more that is told of it."""
    return {"allOf": [PHOTO, fields(properties, tuple(properties))]}


def parameter(name: str, description: str, schema: Piece) -> Piece:
    """What the address says after its question mark."""
    return {"name": name, "in": "query", "description": description, "schema": schema}


def in_path(name: str, description: str) -> Piece:
    """What the address says in its midst."""
    return {"name": name, "in": "path", "required": True, "description": description, "schema": TEXT}


def takes(required: bool = True, **schemas: Piece) -> Piece:
    """What is to be sent, or may be: as `json`, as a `form` with files, or as either."""
    kinds = {"json": "application/json", "form": "multipart/form-data"}
    content = {kinds[kind]: {"schema": schema} for kind, schema in schemas.items()}
    return _with({"content": content}, required=required)


def answer(description: str, schema: Piece) -> Piece:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _with(piece: Piece, **more: Any) -> Piece:
    """With what is not empty."""
    return piece | {name: value for name, value in more.items() if value}
