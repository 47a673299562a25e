"""An address for programs, typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from samespace.web import uploads
from samespace.web.schema import Answer, Sent, read


class Address(Route):
    """A method of an address for programs, and the types of what it takes and answers.

    `work` is called in a thread, so it may block: with the request, the fields that were sent, if it takes any, and the
    photos, if it takes any. It returns one of the answers, or a response that holds one.
    """

    def __init__(
        self,
        method: str,
        path: str,
        work: Callable[..., Answer | Response],
        answers: Mapping[int, Any],  # type by status
        takes: type[Sent] | None = None,
        photos: tuple[str, ...] = (),  # the names of the fields that bring them
        media_type: str = "application/json",  # of the answers
    ) -> None:
        self.method, self.work, self.answers, self.takes = method, work, answers, takes
        self.photos, self.media_type = photos, media_type
        super().__init__(path, self._answer, methods=[method])

    def _worked(self, request: Request, *given: Any) -> Answer | Response:
        request.app.state.changes.look()  # a program does not listen for changes, so it is told of them here
        return self.work(request, *given)

    async def _answer(self, request: Request) -> Response:
        given: list[Any] = []
        if self.takes or self.photos:
            sent = await uploads.receive(request, self.photos)
            given += [read(self.takes, sent.words)] if self.takes else []
            given += [sent.photos] if self.photos else []
        answer = await run_in_threadpool(self._worked, request, *given)
        if isinstance(answer, Response):
            return answer
        status = next(status for status, kind in self.answers.items() if isinstance(answer, kind))
        return Response(answer.model_dump_json(), status, media_type="application/json")
