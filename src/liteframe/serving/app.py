"""The HTTP side: `/v1/chat/completions`, `/v1/models` and `/health`, as OpenAI's clients expect them."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from liteframe.errors import LiteFrameError, as_one_line
from liteframe.serving.refusal import Refusal, stopping
from liteframe.serving.request import ChatRequest, parse_request
from liteframe.serving.service import AnswerService, Ending, Prompt

log = logging.getLogger(__name__)
T = TypeVar("T")
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_OPEN_PATHS = ("/health",)


def build_app(
    service: AnswerService,
    model_name: str,
    api_key: str | None,
    most_body_bytes: int,
    body_timeout_s: float,
    local: bool,
) -> Any:
    """The ASGI application.

    Args:
        service: answers.
        model_name: that requests name the model by.
        api_key: that requests must bear; None needs none.
        most_body_bytes: of a request.
        body_timeout_s: seconds in which a request has to come.
        local: it listens to this machine alone, so requests must name it as that: a page in a browser here that calls
            it by a domain of its own is turned away.
    """
    routes = _Routes(service, model_name, most_body_bytes, body_timeout_s)
    return Starlette(
        routes=[
            Route("/health", routes.health),
            Route("/v1/models", routes.models),
            Route("/v1/chat/completions", routes.chat_completions, methods=["POST"]),
        ],
        middleware=[Middleware(_Guard, api_key=api_key, local=local)],
        exception_handlers={404: _no_such_path, 405: _no_such_path},
    )


class _Routes:
    def __init__(self, service: AnswerService, model_name: str, most_body_bytes: int, body_timeout_s: float) -> None:
        self._service, self._name = service, model_name
        self._most, self._timeout_s = most_body_bytes, body_timeout_s
        self._since = int(time.time())

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def models(self, _: Request) -> Response:
        model = {"id": self._name, "object": "model", "created": self._since, "owned_by": "liteframe"}
        return JSONResponse({"object": "list", "data": [model]})

    async def chat_completions(self, request: Request) -> Response:
        async with AsyncExitStack() as stack:
            try:
                cancellation = await stack.enter_async_context(self._service.place())
                asked = parse_request(await self._body(request))
                if asked.model not in (None, self._name):
                    raise Refusal(404, f"model is {asked.model!r}; this server has {self._name!r}", "model")
                prompt = await self._unless_over(request, self._service.prompt(asked, cancellation))
                answer = self._service.answer(prompt, cancellation)
                stack.push_async_callback(answer.aclose)
                # Before the status is sent, so that what fails at once has one of its own.
                first = await self._unless_over(request, anext(answer))
                completion = _Completion(self._name, prompt, _wants_usage(asked))
                if asked.stream:
                    events = completion.events(first, answer)
                    return _Stream(events, stack.pop_all())
                return JSONResponse(await self._unless_over(request, completion.whole(first, answer)))
            except Refusal as refusal:
                return _refused(refusal)
            except LiteFrameError as error:
                return _refused(Refusal(400, as_one_line(str(error))))
            except ClientDisconnect:
                return Response(status_code=499)
            except Exception:
                log.exception("a request failed")
                return _refused(Refusal(500, "the server failed; its log says why"))

    async def _unless_over(self, request: Request, work: Awaitable[T]) -> T:
        """The result of `work`, which is given up where the client goes or the server stops.

        Raises:
            ClientDisconnect: it went.
            Refusal: the server stops.
        """
        working = asyncio.ensure_future(work)
        leaving, ending = asyncio.ensure_future(_leaves(request)), asyncio.ensure_future(self._service.stopped.wait())
        tasks = (working, leaving, ending)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise ClientDisconnect if leaving.done() else stopping()
            return working.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _body(self, request: Request) -> bytes:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            # Nor can a page in a browser send another site this type without being allowed to.
            raise Refusal(415, "send the body as application/json")
        try:
            return await asyncio.wait_for(self._sent(request), self._timeout_s)
        except asyncio.TimeoutError:
            raise Refusal(408, f"the body did not come within {self._timeout_s:g} s") from None

    async def _sent(self, request: Request) -> bytes:
        body = bytearray()
        async for block in request.stream():
            body += block
            if len(body) > self._most:
                raise Refusal(413, f"the body has more than the {self._most} bytes that this server takes")
        return bytes(body)


class _Completion:
    """Writes an answer as OpenAI's API has it."""

    def __init__(self, model_name: str, prompt: Prompt, wants_usage: bool) -> None:
        self._head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model_name}
        self._prompt_tokens, self._wants_usage = len(prompt.ids), wants_usage

    async def whole(self, first: str | Ending, rest: AsyncIterator[str | Ending]) -> dict[str, Any]:
        text, ending = "", None
        async for piece in _chained(first, rest):
            if isinstance(piece, Ending):
                ending = piece
            else:
                text += piece
        assert ending is not None, "an answer that does not fail ends"
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "logprobs": None,
            "finish_reason": ending.reason,
        }
        return {**self._head, "object": "chat.completion", "choices": [choice], "usage": self._usage(ending)}

    async def events(self, first: str | Ending, rest: AsyncIterator[str | Ending]) -> AsyncIterator[str]:
        yield self._chunk({"role": "assistant", "content": ""})
        try:
            async for piece in _chained(first, rest):
                if isinstance(piece, str):
                    yield self._chunk({"content": piece})
                    continue
                yield self._chunk({}, piece.reason)
                if self._wants_usage:
                    yield _event({**self._chunk_head, "choices": [], "usage": self._usage(piece)})
        except Exception as error:  # the status has been sent
            if not isinstance(error, LiteFrameError | Refusal):
                log.exception("a request failed")
            said = as_one_line(str(error)) if isinstance(error, LiteFrameError) else "the server failed"
            yield _event((error if isinstance(error, Refusal) else Refusal(500, said)).body())
        yield "data: [DONE]\n\n"

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        # Clients that asked for it find the field in every event.
        usage = {"usage": None} if self._wants_usage else {}
        return _event({**self._chunk_head, "choices": [choice], **usage})

    @property
    def _chunk_head(self) -> dict[str, Any]:
        return {**self._head, "object": "chat.completion.chunk"}

    def _usage(self, ending: Ending) -> dict[str, int]:
        prompt, answer = self._prompt_tokens, ending.tokens
        return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


class _Stream(StreamingResponse):
    """Events as they come; what the request held is given back however they end."""

    def __init__(self, events: AsyncIterator[str], held: AsyncExitStack) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held:
            await super().__call__(scope, receive, send)


class _Guard:
    """Turns away requests without the key, and those to a server of this machine that name it as another."""

    def __init__(self, app: ASGIApp, api_key: str | None, local: bool) -> None:
        self._app, self._local = app, local
        self._key = None if api_key is None else api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (self._app if refusal is None else _refused(refusal))(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if self._local and name not in _LOOPBACK_NAMES:
            return Refusal(403, f"this server is asked as {', '.join(_LOOPBACK_NAMES)} alone")
        if self._key is None or scope["path"] in _OPEN_PATHS:
            return None
        scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer" and hmac.compare_digest(key.strip(), self._key):
            return None
        return Refusal(401, "send the server's key as `Authorization: Bearer KEY`")


async def _leaves(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _chained(first: T, rest: AsyncIterator[T]) -> AsyncIterator[T]:
    yield first
    async for item in rest:
        yield item


def _wants_usage(asked: ChatRequest) -> bool:
    return asked.stream_options is not None and asked.stream_options.include_usage


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"


def _refused(refusal: Refusal) -> Response:
    headers = {} if refusal.retry_after_s is None else {"Retry-After": str(refusal.retry_after_s)}
    return JSONResponse(refusal.body(), refusal.status, headers)


async def _no_such_path(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    return _refused(Refusal(status, f"{request.method} {request.url.path}: there is no such thing here"))
