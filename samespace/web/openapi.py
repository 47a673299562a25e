"""The OpenAPI document of what programs may ask for, put together from the types of each address."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from inspect import getdoc
from typing import Any, get_args

from pydantic import Field, RootModel, TypeAdapter
from pydantic.json_schema import JsonSchemaMode
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import samespace
from samespace.web.address import Address
from samespace.web.guard import ASKING, SAFE
from samespace.web.schema import Answer

SCHEMAS = "#/components/schemas/"
IMAGE = {"type": "string", "contentMediaType": "image/*"}  # a file, as a field of a form
SECURITY = {
    "page": {
        "type": "apiKey",
        "in": "header",
        "name": "X-SameSpace-Token",
        "description": "What GET /api/token answers, if samespace serve was given no token.",
    },
    "token": {"type": "http", "scheme": "bearer", "description": "The token that samespace serve was given."},
}


class Problem(Answer):
    """Nothing was done; this is why."""

    error: str = Field(description="a sentence")


def document(addresses: Sequence[Address]) -> dict[str, Any]:
    """Return the document of these addresses."""
    sent = {each.takes for each in addresses if each.takes}
    answered = {Problem, *(kind for each in addresses for kind in each.answers.values())}
    kinds: list[tuple[Any, JsonSchemaMode, TypeAdapter[Any]]] = []
    kinds += [(kind, "validation", TypeAdapter(kind)) for kind in sent]
    kinds += [(kind, "serialization", TypeAdapter(kind)) for kind in answered]
    found, shared = TypeAdapter.json_schemas(kinds, ref_template=f"{SCHEMAS}{{model}}")
    schemas = {kind: schema for (kind, _), schema in found.items()}
    paths: dict[str, dict[str, Any]] = {}
    for each in addresses:
        paths.setdefault(each.path, {})[each.method.lower()] = {
            "summary": (getdoc(each.work) or "").partition("\n\n")[0].removesuffix("."),
            "parameters": _parameters(each, shared["$defs"]),
            **_body(each, schemas),
            "security": _security(each),
            "responses": {
                **{str(status): _response(kind, schemas, each.media_type) for status, kind in each.answers.items()},
                "4XX": {"$ref": "#/components/responses/Problem"},
                "503": {"$ref": "#/components/responses/Problem"},
            },
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "SameSpace", "version": samespace.__version__, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": shared["$defs"],
            "responses": {"Problem": _response(Problem, schemas)},
            "securitySchemes": SECURITY,
        },
    }


def _security(address: Address) -> list[dict[str, Any]]:
    changes_something = address.method not in SAFE and address.path not in ASKING
    return [{"page": []}, {"token": []}] if changes_something else [{}, {"token": []}]


def _parameters(address: Address, shared: dict[str, Any]) -> list[dict[str, Any]]:
    """Describe what the address says in its path and after its question mark."""
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", address.path)
    ]
    if address.takes and address.method in SAFE:
        fields = shared[address.takes.__name__]["properties"]
        parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in fields.items()]
    return parameters


def _body(address: Address, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    """Describe what is sent: JSON, or a form that brings photos."""
    takes, photos = address.takes, address.photos
    if address.method in SAFE or not (takes or photos):
        return {}
    form: dict[str, Any] = {"type": "object", "properties": dict.fromkeys(photos, IMAGE)}
    content = {}
    if takes:
        content["application/json"] = {"schema": schemas[takes]}
        form = {"allOf": [schemas[takes], form]}
    else:
        form["required"] = list(photos)
    if photos:
        content["multipart/form-data"] = {"schema": form}
    may_be_left_out = takes and not photos and not any(field.is_required() for field in takes.model_fields.values())
    return {"requestBody": {"content": content, "required": not may_be_left_out}}


def _response(kind: Any, schemas: Mapping[Any, Any], media_type: str = "application/json") -> dict[str, Any]:
    described = " Or: ".join(getdoc(each) or "" for each in get_args(kind) or (kind,))
    return {"description": described, "content": {media_type: {"schema": schemas[kind]}}}


class Document(RootModel[dict[str, Any]]):
    """OpenAPI 3.1."""


def _document(request: Request) -> Response:
    """Describe all of this as OpenAPI."""
    return JSONResponse(request.app.state.openapi())


ROUTES = [Address("GET", "/api/openapi.json", _document, {200: Document})]
