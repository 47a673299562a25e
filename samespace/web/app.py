"""The web app: its pages and its JSON, put together."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from samespace.base.errors import SameSpaceError
from samespace.web import changes, compare, login, openapi, pictures
from samespace.web.address import Address
from samespace.web.guard import Guard
from samespace.web.library import page as library
from samespace.web.library import photo_map, scan_job
from samespace.web.render import on_crash, on_hang_up, on_mistake
from samespace.web.review import decisions, evidence
from samespace.web.review import page as review
from samespace.web.search import answer, captions
from samespace.web.search import page as search
from samespace.web.search.find import SearchMemory
from samespace.web.state import LiveLibrary

STATIC = Path(__file__).parent / "static"
PARTS = (
    *(review, decisions, evidence, search, answer, captions, library, photo_map, scan_job, pictures),
    *(compare, changes, login, openapi),
)


def make_app(live: LiveLibrary, guard: Guard, ahead: bool = False) -> Guard:
    """Return the app behind `guard`. With `ahead`, photos are compared before anybody opens the review page."""
    routes = [route for part in PARTS for route in part.ROUTES]
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
    app.state.live, app.state.guard = live, guard
    addresses = [route for route in routes if isinstance(route, Address)]
    app.state.openapi = cache(partial(openapi.document, addresses))  # made when it is first asked for
    app.state.search = SearchMemory()
    app.state.review = review.Review(live)
    app.state.changes = changes.Changes(live)
    app.state.scans, app.state.maps = scan_job.Scans(live), photo_map.Maps(live)
    if ahead and live.snapshot.photos:
        app.state.review.comparings.of("near")
    return guard.around(app)


class _Static(StaticFiles):
    """Files that browsers keep but check each time: another version may be served tomorrow."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        answer.headers["cache-control"] = "no-cache"
        return answer


def _home(request: Request) -> Response:
    """Go to the first page of use: nothing can be reviewed before something was scanned."""
    return RedirectResponse("/review" if request.app.state.live.snapshot.photos else "/library", 303)
