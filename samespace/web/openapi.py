"""What programs may ask for, as an OpenAPI document: put together from what each room says of its own addresses."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import samespace
from samespace.web.guard import ASKING
from samespace.web.render import PHOTO
from samespace.web.schema import TEXT, answer, explained, record

DESCRIBED = {
    "/api/openapi.json": {
        "get": {"summary": "This document", "responses": {"200": answer("OpenAPI 3.1", {"type": "object"})}}
    }
}

_COMPONENTS = {
    "schemas": {"Photo": PHOTO},
    "responses": {"Problem": answer("Nothing was done; this is why.", record(error=explained(TEXT, "a sentence")))},
    "securitySchemes": {
        "page": {
            "type": "apiKey",
            "in": "header",
            "name": "X-SameSpace-Token",
            "description": "What GET /api/token tells, where samespace serve was given no --token.",
        },
        "token": {"type": "http", "scheme": "bearer", "description": "The --token that samespace serve was given."},
    },
}


def document(described: dict[str, Any]) -> dict[str, Any]:
    """Of these paths."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "SameSpace", "version": samespace.__version__, "license": {"name": "Apache-2.0"}},
        "paths": {
            path: {verb: _operation(path, verb, rest) for verb, rest in item.items()}
            for path, item in described.items()
        },
        "components": _COMPONENTS,
    }


def _operation(path: str, verb: str, told: dict[str, Any]) -> dict[str, Any]:
    """With what goes for all of them: who may, and how a problem is told."""
    problem = {"$ref": "#/components/responses/Problem"}
    changes = verb != "get" and path not in ASKING
    return {
        **told,
        "security": [{"page": []}, {"token": []}] if changes else [{}, {"token": []}],
        "responses": {**told["responses"], "4XX": problem, "503": problem},
    }


def _document(request: Request) -> Response:
    return JSONResponse(document(request.app.state.described))


ROUTES = [Route("/api/openapi.json", _document)]
