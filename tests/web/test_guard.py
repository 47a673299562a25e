"""Who may ask for what: tried as a page of another site, as another machine, and as somebody who sends nonsense."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

import samespace.web
from samespace.web.app import PARTS, make_app
from samespace.web.guard import ASKING, HEADERS, Guard
from samespace.web.state import LiveLibrary

TOKEN = "sixteen letters or more"
CHANGES = [
    (route.path, method)
    for part in PARTS
    for route in part.ROUTES
    for method in sorted(route.methods - {"GET", "HEAD"})
    if route.path not in (*ASKING, "/login")
]


@pytest.fixture
def locked(live: LiveLibrary) -> Iterator[TestClient]:
    """A server with a token, as another machine sees it."""
    with TestClient(make_app(live, Guard(TOKEN)), base_url="http://photos.example", follow_redirects=False) as client:
        yield client


def ask(guard: Guard, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    """Status and body of a request spelt exactly so: clients tidy addresses up."""
    answer: list[Any] = []
    given = {"host": "127.0.0.1", "accept": "text/html", **headers}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        answer.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "client": ("10.0.0.1", 5),
        "headers": [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in given.items()],
    }
    anyio.run(guard, scope, receive, send)
    return answer[0]["status"], b"".join(message.get("body", b"") for message in answer)


# Other names for this machine


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:8000", "LOCALHOST", "[::1]:8000"])
def test_this_machine_is_answered_by_its_own_names(client: TestClient, host: str) -> None:
    assert client.get("/api/token", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("photos.example", "photos.example:8000", "127.0.0.1.photos.example", "not-localhost"),
        *(
            "",
            "127.0.0.1@photos.example",
            "photos.example@127.0.0.1",
            "127.0.0.1/static/?",
            "127.0.0.1:x",
            "[::1",
            "::1",
        ),
        *("127.0.0.1 ", "127.0.0.1, photos.example", "127.0.0.1:8000:8000", "127.0.0.2", "0.0.0.0", "\xff"),
    ],
)
@pytest.mark.parametrize("path", ["/api/token", "/review", "/static/app.js", "/login"])
def test_a_site_whose_name_points_here_learns_nothing(live: LiveLibrary, host: str, path: str) -> None:
    guard = make_app(live, Guard())
    status, body = ask(guard, path, host=host)
    assert status == 421
    assert guard.csrf.encode() not in body


# Pages of other sites

ELSEWHERE = [
    {"origin": "http://photos.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:9000"},
    {"origin": "http://127.0.0.1.photos.example"},
    {"origin": ""},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
    {"origin": "http://127.0.0.1", "sec-fetch-site": "cross-site"},
    {"origin": "http://photos.example", "sec-fetch-site": "same-origin"},
]


@pytest.mark.parametrize("headers", ELSEWHERE)
@pytest.mark.parametrize("path", ["/api/undo", "/api/compare", "/api/search", "/search", "/login"])
def test_a_page_of_another_site_sends_nothing(
    client: TestClient, token: dict[str, str], path: str, headers: dict[str, str]
) -> None:
    answer = client.post(path, headers=token | headers, json={})
    assert (answer.status_code, answer.json()) == (403, {"error": "This was sent by a page of another site."})


def test_a_page_of_another_site_may_link_here_and_no_more(client: TestClient) -> None:
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.get("/login", headers=link).status_code == 303
    for embedded in ({"sec-fetch-dest": "iframe"}, {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}):
        assert client.get("/login", headers=link | embedded).status_code == 403
    assert client.get("/login", headers={"sec-fetch-site": "none"}).status_code == 303


def test_a_preflight_is_told_nothing(client: TestClient) -> None:
    asked = {"origin": "http://photos.example", "access-control-request-method": "POST"}
    answer = client.options("/api/undo", headers=asked)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


# The token of a page


@pytest.mark.parametrize(("path", "method"), CHANGES)
def test_whatever_changes_something_needs_the_token(client: TestClient, path: str, method: str) -> None:
    for headers in ({}, {"x-samespace-token": "wrong"}, {"authorization": "Bearer wrong"}, {"cookie": "samespace=x"}):
        assert client.request(method, path, headers=headers).status_code == 403
    body = "samespace-token=x&x-samespace-token=" + client.app.csrf
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json"):
        assert client.request(method, path, headers={"content-type": kind}, content=body).status_code == 403


def test_a_page_from_before_a_restart_is_told_what_helps(live: LiveLibrary, token: dict[str, str]) -> None:
    with TestClient(make_app(live, Guard()), "http://127.0.0.1") as again:
        answer = again.post("/api/undo", json={}, headers=token)
        assert answer.status_code == 403
        assert answer.json()["error"].startswith("SameSpace was started again: load this page again")
        program = again.post("/api/undo", json={})
        assert program.json() == {"error": "Send the token of GET /api/token as X-SameSpace-Token."}


def test_there_is_something_that_needs_the_token() -> None:
    assert {"/api/verdicts", "/api/apply", "/api/undo", "/photos/{id}/caption"} <= {path for path, _ in CHANGES}


def test_no_get_pretends_to_be_another_method(client: TestClient) -> None:
    tricks = {"x-http-method-override": "POST", "x-method-override": "POST"}
    assert client.get("/api/undo?_method=POST", headers=tricks).status_code == 405


def test_the_token_is_told_to_this_machine_alone(client: TestClient, token: dict[str, str]) -> None:
    told = client.get("/api/token")
    assert told.json() == {"token": token["X-SameSpace-Token"]}
    assert not [name for name in told.headers if name.startswith("access-control")]
    assert client.post("/api/undo", headers={"x-samespace-token": told.json()["token"]}).status_code != 403


def test_each_server_has_a_token_of_its_own() -> None:
    assert Guard().csrf != Guard().csrf
    assert Guard(TOKEN).csrf == Guard(TOKEN).csrf


# Another machine


@pytest.mark.parametrize(
    "path", ["/", "/review", "/search", "/library", "/api/groups", "/api/token", "/photos/x", "/x"]
)
def test_a_locked_server_shows_nothing_without_the_token(locked: TestClient, path: str) -> None:
    answer = locked.get(path, headers={"accept": "text/html"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    answer = locked.get(path, headers={"accept": "image/*"})
    assert (answer.status_code, answer.json()) == (401, {"error": "This needs the token."})


@pytest.mark.parametrize("path", sorted(ASKING))
def test_a_locked_server_takes_nothing_without_the_token(locked: TestClient, path: str) -> None:
    assert locked.post(path, files={"photo": b"x"}).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/static/../review",
            "/static/..%2freview",
            "//review",
            "/login/../review",
            "/login/",
            "/LOGIN",
            "/login/review",
        ),
        *(
            "/review/static/",
            "/review?/static/",
            "/review#/login",
            "/static",
            "/./login",
            "/api/../login/../review",
            "",
        ),
        *("/review;/static/", "\\static\\", "/static\\..\\review", "/photos/../login", "http://x/static/", "*"),
    ],
)
def test_no_spelling_of_an_address_gets_in(live: LiveLibrary, path: str) -> None:
    status, body = ask(make_app(live, Guard(TOKEN)), path)
    assert status == (404 if path.startswith("/static/") else 303)
    assert b"2023" not in body


@pytest.mark.parametrize("host", ["x/static/?", "x/login?", "/static/", "x#", "[x", "x/../login", "a b"])
def test_no_name_of_the_host_gets_in(live: LiveLibrary, host: str) -> None:
    assert ask(make_app(live, Guard(TOKEN)), "/review", host=host)[0] == 421


def test_a_browser_logs_in_by_a_form(locked: TestClient) -> None:
    assert locked.get("/static/style.css").status_code == 200
    form = locked.get("/login")
    assert '<form method="post" action="/login">' in form.text
    wrong = locked.post("/login", data={"token": "a guess"})
    assert (wrong.status_code, wrong.cookies) == (403, {})
    answer = locked.post("/login", data={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "samesite=strict", "path=/"))
    assert TOKEN not in cookie
    assert locked.get("/review").status_code == 200
    assert locked.get("/login").headers["location"] == "/"


def test_servers_on_one_host_do_not_log_each_other_out(live: LiveLibrary, locked: TestClient) -> None:
    """A browser keeps one cookie of a name for all ports of a host."""
    locked.post("/login", data={"token": TOKEN})
    with TestClient(make_app(live, Guard(f"another of {TOKEN}")), "http://photos.example:8001") as other:
        other.cookies = locked.cookies
        assert other.get("/api/library").status_code == 401
        other.post("/login", data={"token": f"another of {TOKEN}"})
        for client in (other, locked):
            client.cookies = other.cookies
            assert client.get("/api/library").status_code == 200


def test_a_cookie_alone_changes_nothing(locked: TestClient) -> None:
    locked.post("/login", data={"token": TOKEN})
    assert locked.post("/api/undo").status_code == 403
    assert locked.post("/api/undo", headers={"x-samespace-token": locked.app.csrf}).status_code != 403


def test_what_a_stranger_sees_tells_nothing(locked: TestClient) -> None:
    for answer in (locked.get("/login"), locked.post("/login", data={"token": "wrong"}), locked.get("/nothing")):
        assert locked.app.csrf not in answer.text


def test_programs_elsewhere_bear_the_token(locked: TestClient) -> None:
    bearer = {"authorization": f"Bearer {TOKEN}"}
    assert locked.get("/api/openapi.json", headers=bearer).status_code == 200
    assert locked.post("/api/undo", headers=bearer).status_code != 403
    assert locked.get("/api/token", headers=bearer).status_code == 404
    for wrong in (f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", TOKEN, "Bearer", "Bearer "):
        assert locked.get("/api/openapi.json", headers={"authorization": wrong}).status_code == 401


def test_what_pages_print_lets_nobody_in(live: LiveLibrary, locked: TestClient) -> None:
    ((name, cookie),) = locked.post("/login", data={"token": TOKEN}).cookies.items()
    page = locked.get("/library", headers={"accept": "text/html"}).text
    printed = re.findall(r'<meta name="csrf" content="([^"]+)">|name="token" value="([^"]+)"', page)
    assert printed and cookie not in page
    with TestClient(make_app(live, Guard(TOKEN)), base_url="http://photos.example") as stranger:
        for value in {value for values in printed for value in values if value}:
            assert stranger.get("/api/library", headers={"cookie": f"{name}={value}"}).status_code == 401
        assert stranger.get("/api/library", headers={"cookie": f"{name}={cookie}"}).status_code == 200
        sent = {"cookie": f"{name}={cookie}", "x-samespace-token": cookie}
        assert stranger.post("/api/undo", json={}, headers=sent).status_code == 403


def test_a_login_over_tls_keeps_its_cookie_there(live: LiveLibrary) -> None:
    with TestClient(make_app(live, Guard(TOKEN)), base_url="https://x.example", follow_redirects=False) as client:
        assert "secure" in client.post("/login", data={"token": TOKEN}).headers["set-cookie"].lower()


def test_there_is_no_login_where_no_token_was_given(client: TestClient) -> None:
    assert client.get("/login").headers["location"] == "/"
    assert client.post("/login", data={"token": ""}).status_code == 403


# Large bodies


@pytest.mark.parametrize(
    ("path", "most"),
    [("/login", 1), ("/api/undo", 1), ("/api/apply", 20), ("/search", 26), ("/api/compare", 51)],
)
def test_no_more_is_read_than_an_address_needs(client: TestClient, token: dict[str, str], path: str, most: int) -> None:
    too_long = {"content-length": str(most * 1_000_000 + 1)}
    answer = client.post(path, headers=token | too_long | {"accept": "application/json"})
    assert (answer.status_code, answer.json()) == (413, {"error": f"This is too large: at most {most}.0 MB are read."})


def test_a_body_is_given_up_as_soon_as_it_is_too_large(live: LiveLibrary) -> None:
    """Whatever it said of its length."""
    read: list[int] = []

    async def receive() -> dict[str, Any]:
        read.append(400_000)
        return {"type": "http.request", "body": b"x" * 400_000, "more_body": True}

    status = []

    async def send(message: Any) -> None:
        status.append(message.get("status"))

    headers = {"host": "127.0.0.1", "content-length": "10"}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/login",
        "query_string": b"",
        "scheme": "http",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    anyio.run(make_app(live, Guard()), scope, receive, send)
    assert status[0] == 413
    assert sum(read) == 1_200_000


# What every answer says


def crash(request: Request) -> Response:
    raise RuntimeError("as it may happen")


def test_every_answer_has_every_header(live: LiveLibrary, capsys: pytest.CaptureFixture[str]) -> None:
    guard = Guard()
    app = Starlette(routes=[Route("/crash", crash)])
    make_app(live, guard).app.routes.append(*app.routes)
    page = {"accept": "text/html"}
    with TestClient(guard, "http://127.0.0.1", raise_server_exceptions=False, follow_redirects=False) as client:
        answers = [
            *(
                client.get(path, headers=page)
                for path in ("/", "/review", "/search", "/library", "/login", "/x", "/crash")
            ),
            *(
                client.get(path)
                for path in ("/static/app.js", "/static/x", "/static/", "/photos/x", "/photos/x/thumbnail")
            ),
            *(client.get(path) for path in ("/api/groups", "/api/openapi.json", "/api/token", "/api/x", "/api/undo")),
            client.head("/review"),
            client.options("/review"),
            client.request("TRACE", "/review"),
            client.post("/api/undo"),
            client.post("/api/compare", content=b"x" * 1000, headers={"content-type": "image/jpeg"}),
            client.post("/api/compare", headers={"content-length": "1000000000"}),
            client.get("/", headers={"host": "photos.example"}),
            client.get("/static/app.js", headers={"if-none-match": client.get("/static/app.js").headers["etag"]}),
        ]
    assert {200, 303, 304, 403, 404, 405, 413, 415, 421, 500} <= {answer.status_code for answer in answers}
    for answer in answers:
        missing = HEADERS.keys() - answer.headers.keys()
        assert not missing, (answer.request.url, answer.status_code)
        for name in HEADERS.keys() - {"cache-control", "content-security-policy"}:
            assert answer.headers.get_list(name) == [HEADERS[name]]
    assert "as it may happen" in capsys.readouterr().err


def test_a_crash_is_one_sentence_without_its_inside(live: LiveLibrary) -> None:
    guard = make_app(live, Guard())
    guard.app.routes.append(Route("/api/crash", crash))
    with TestClient(guard, "http://127.0.0.1", raise_server_exceptions=False) as client:
        answer = client.get("/api/crash")
    assert answer.status_code == 500
    assert "as it may happen" not in answer.text
    assert answer.json().keys() == {"error"}


def test_pages_hold_no_script_and_no_style_of_their_own() -> None:
    """They would not run: the headers forbid it."""
    folder = Path(samespace.web.__file__).parent / "templates"
    for template in sorted(folder.iterdir()):
        text = template.read_text()
        assert not re.search(r"<script(?![^>]*\bsrc=)", text), template.name
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|hx-on|javascript:|\|\s*safe\b", text), template.name
        assert not re.search(r"(src|href)=\"(https?:)?//", text), template.name
