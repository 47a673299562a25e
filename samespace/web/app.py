"""The web app: its pages and its JSON, put together."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from samespace.base.errors import SameSpaceError
from samespace.web import login, openapi, pictures, uploads
from samespace.web.guard import Guard
from samespace.web.library import page as library
from samespace.web.library import photo_map, scan_job
from samespace.web.render import on_crash, on_hang_up, on_mistake
from samespace.web.review import decisions
from samespace.web.review import page as review
from samespace.web.search import captions
from samespace.web.search import page as search
from samespace.web.state import Desk

STATIC = Path(__file__).parent / "static"
ROOMS = (review, decisions, search, captions, library, photo_map, scan_job, pictures, uploads, login, openapi)


def make_app(desk: Desk, guard: Guard, ahead: bool = False) -> Guard:
    """All of it, behind `guard`. With `ahead` photos are compared before somebody looks at Review."""
    routes = [route for room in ROOMS for route in room.ROUTES]
    app = Starlette(
        routes=[Route("/", _home), *routes, Mount("/static", _Static(directory=STATIC))],
        exception_handlers={
            SameSpaceError: on_mistake,
            HTTPException: on_mistake,
            ClientDisconnect: on_hang_up,
            Exception: on_crash,
        },
    )
    app.router.redirect_slashes = False  # an address has one spelling
    app.state.desk, app.state.guard = desk, guard
    app.state.described = {path: item for room in ROOMS for path, item in getattr(room, "DESCRIBED", {}).items()}
    app.state.search = search.Room()
    app.state.review = review.Review(desk)
    app.state.scans, app.state.maps = scan_job.Scans(desk), photo_map.Maps(desk)
    if ahead and desk.snapshot.photos:
        app.state.review.comparings.of("near")
    return guard.around(app)


class _Static(StaticFiles):
    """Kept by browsers, who ask each time whether it is still so: another version may be served tomorrow."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        answer.headers["cache-control"] = "no-cache"
        return answer


def _home(request: Request) -> Response:
    """What there is to do first: nothing can be reviewed before something was scanned."""
    return RedirectResponse("/review" if request.app.state.desk.snapshot.photos else "/library", 303)
