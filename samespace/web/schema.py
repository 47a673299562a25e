"""Types of what is sent and answered: a wrong request is refused in a sentence, and the rest is described."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.exceptions import HTTPException

from samespace.base.text import readable

KINDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "text",
}
WORD = r"^\w+$"
PATTERNS = {WORD: "text of letters, digits and _"}  # each that a field has, in words


class Sent(BaseModel):
    """The fields that a request brings, of an address, a form or JSON; other fields are ignored."""

    model_config = ConfigDict(frozen=True)
    refused_with: ClassVar[int] = 422


class Answer(BaseModel):
    """A JSON object that is answered: all of its fields, and no others."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_serialization_defaults_required=True)


def without_blanks(given: dict[str, Any]) -> dict[str, Any]:
    """Drop fields that a form or an address leaves empty."""
    return {name: value for name, value in given.items() if value not in ("", None)}


S = TypeVar("S", bound=Sent)


def read(model: type[S], given: Mapping[str, Any]) -> S:
    """Return the fields as `model` has them, or refuse the first that is wrong in a sentence."""
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        raise HTTPException(model.refused_with, _refusal(model, error)) from error


def _refusal(model: type[Sent], error: ValidationError) -> str:
    """Say what the first wrong field must be, as the schema has it, and what it was."""
    first = error.errors(include_url=False)[0]
    whole = field = model.model_json_schema()
    # There each field has the first name that it may be sent by. It may be sent by its own, too.
    whole["properties"] |= model.model_json_schema(by_alias=False)["properties"]
    name = ""
    for step in first["loc"]:
        field = _resolved(field, whole)
        if isinstance(step, int):
            name, field = f"each of {name}", field["items"]
        else:
            name, field = f"`{step}`", field["properties"][step]
    must = f"must be {_described(_resolved(field, whole))}"
    if first["type"] == "missing":
        return f"{name} is missing: it {must}"
    given = first["input"]
    if isinstance(given, str | int | float):
        must += f", not {readable(repr(given[:40]) if isinstance(given, str) else repr(given)[:40])}"
    return f"{name} {must}"


def _resolved(schema: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """Return the schema that a reference leads to; of a field that may be null, the schema of the rest."""
    if "anyOf" in schema:
        schema = schema["anyOf"][0]
    return whole["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _described(schema: dict[str, Any]) -> str:
    """Return a schema in words: a whole number from 1 to 480."""
    if "enum" in schema:
        *others, last = schema["enum"]
        return f"{', '.join(others)} or {last}"
    if "pattern" in schema:
        return PATTERNS[schema["pattern"]]
    kind, low, high = KINDS[schema["type"]], schema.get("minimum"), schema.get("maximum")
    if schema.get("minItems"):
        return f"{kind} of one or more"
    if low is None:
        return kind
    return f"{kind} of {low:,} or more" if high is None else f"{kind} from {low:,} to {high:,}"
