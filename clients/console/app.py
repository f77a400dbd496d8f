"""The pages, the live stream and the questions of a browser; everything is asked of the server by gRPC.

/                      the page; /static/... what it is made of, /health for those who look after processes
/live                  WebSocket: text, `hello` whenever assets or the state of the server change, `watch` whenever
                       alarms or health do; bytes, frames
/api/layout/NETWORK    how a network is laid out
/api/forecast/ASSET    the newest forecast with its band
/api/trend/ASSET?signal=NAME   the last half hour of a signal, of the sum of several, or with &long=1 the last day
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from uem.clients.console.frames import frame
from uem.clients.console.hub import Hub
from uem.clients.errors import ClientError
from uem.clients.python import Client
from uem.clients.records import Asset, State

STATIC = str(files(__package__) / "static")
FRAME_EVERY_S = 0.1  # at most so often to one browser, however fast the twins are
MOST_BROWSERS = 50
MOST_WAIT_S = 20.0  # for a browser that does not take what is sent
TRY_AGAIN_LATER, LEAVE, POLICY = 1013, 1001, 1008
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
_HTTP_STATUS = {"NOT_FOUND": 404, "INVALID_ARGUMENT": 400, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504}

# A browser that has left, or that takes nothing.
_LEFT = (WebSocketDisconnect, TimeoutError)
_log = logging.getLogger(__name__)

Answer = Callable[[Request], Awaitable[Response]]


def make_app(address: str, hosts: list[str]) -> Starlette:
    """The console over the server at `address`, asked for by one of `hosts`."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with Client(address) as client:
            app.state.client, app.state.hub, app.state.browsers = client, Hub(client), 0
            following = asyncio.create_task(app.state.hub.run())
            yield
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    return Starlette(
        routes=[
            Route("/", _page),
            Route("/health", _health),
            Route("/api/layout/{asset}", _told(_layout)),
            Route("/api/forecast/{asset:path}", _told(_forecast)),
            Route("/api/trend/{asset}", _told(_trend)),
            WebSocketRoute("/live", _live),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts), Middleware(_Headers)],
        lifespan=lifespan,
    )


class _Headers:
    """What browsers are told with every answer: nothing from elsewhere, nothing inside other pages."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [(key.lower().encode(), value.encode()) for key, value in HEADERS.items()]
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


def _told(answer: Answer) -> Answer:
    """An error of the server as JSON with the status that fits."""

    async def answered(request: Request) -> Response:
        try:
            return await answer(request)
        except ClientError as error:
            return JSONResponse({"error": str(error)}, _HTTP_STATUS.get(error.code, 502))

    return answered


async def _page(request: Request) -> Response:
    return FileResponse(f"{STATIC}/index.html")


async def _health(request: Request) -> Response:
    problem = request.app.state.hub.problem
    return JSONResponse({"serving": not problem, "problem": problem}, 503 if problem else 200)


async def _layout(request: Request) -> Response:
    layout = await request.app.state.client.layout(request.path_params["asset"])
    return JSONResponse(asdict(layout))


async def _forecast(request: Request) -> Response:
    """That there is none, or none yet, is no error of who asks: then it has no series."""
    try:
        found = await request.app.state.client.forecast(request.path_params["asset"])
    except ClientError as error:
        return JSONResponse({"problem": str(error), "series": []})
    return JSONResponse(
        {
            "issue_time_ms": found.issue_time_ns / 1e6,
            "quantile_level": found.quantile_level.tolist(),
            "method": found.method,
            "series": [
                {
                    "signal": each.signal,
                    "unit": each.unit,
                    "time_ms": [time_ns / 1e6 for time_ns in each.valid_time_ns.tolist()],
                    "value": [_number(v) for v in each.value.tolist()],
                    "quantile": [[_number(v) for v in row] for row in each.quantile.tolist()],
                }
                for each in found.series
            ],
        }
    )


async def _trend(request: Request) -> Response:
    asset, signals = request.path_params["asset"], request.query_params.getlist("signal")
    found = request.app.state.hub.trend(asset, signals, is_long="long" in request.query_params)
    if found is None:
        return JSONResponse({"error": f"{asset} has no signal {', '.join(signals)!r}"}, 404)
    return JSONResponse({name: [_number(v) for v in column] for name, column in found._asdict().items()})


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


# ---- live ----


async def _live(socket: WebSocket) -> None:
    """States to one browser: the newest, never more often than FRAME_EVERY_S, never a queue of them."""
    if not _is_ours(socket):
        await socket.close(POLICY)
        return
    await socket.accept()
    state = socket.app.state
    if state.browsers >= MOST_BROWSERS:
        await socket.close(TRY_AGAIN_LATER, f"{MOST_BROWSERS} browsers are connected already")
        return
    state.browsers += 1
    sending = asyncio.create_task(_send(socket, state.hub))
    leaving = asyncio.create_task(_until_it_leaves(socket))
    try:
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        state.browsers -= 1
        for task in (sending, leaving):
            task.cancel()
        fault, _ = await asyncio.gather(sending, leaving, return_exceptions=True)
        if isinstance(fault, Exception) and not isinstance(fault, _LEFT):
            _log.error("a browser is let go: %s", fault, exc_info=fault)
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # it has left
            await socket.close(LEAVE)


def _is_ours(socket: WebSocket) -> bool:
    """Whether the page that asks came from here: browsers let any page open a WebSocket anywhere."""
    origin = socket.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == socket.headers.get("host")


async def _until_it_leaves(socket: WebSocket) -> None:
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await socket.receive_bytes()  # nothing is expected; whatever comes is let go


async def _send(socket: WebSocket, hub: Hub) -> None:
    changed = hub.subscribe()
    edition, watch, sent = -1, None, dict[str, State]()
    try:
        while True:
            await changed.wait()
            changed.clear()
            if hub.edition != edition:
                edition, sent = hub.edition, {}
                await _within(socket.send_json(hello(hub.assets, hub.problem)))
            if hub.watch is not watch and hub.watch is not None:
                watch = hub.watch
                await _within(socket.send_json({"kind": "watch", **watch._asdict()}))
            for number, asset in enumerate(hub.assets):
                newest = hub.states.get(asset.name)
                if newest is not None and newest is not sent.get(asset.name):
                    await _within(socket.send_bytes(frame(number, newest, sent.get(asset.name))))
                    sent[asset.name] = newest
            await asyncio.sleep(FRAME_EVERY_S)
    finally:
        hub.unsubscribe(changed)


async def _within(sending: Awaitable[None]) -> None:
    async with asyncio.timeout(MOST_WAIT_S):
        await sending


def hello(assets: tuple[Asset, ...], problem: str) -> dict[str, Any]:
    """What a browser needs to read frames."""
    return {
        "kind": "hello",
        "problem": problem,
        "assets": [
            {
                "name": asset.name,
                "kind": asset.kind,
                "title": asset.title,
                "signals": [
                    {
                        "name": signal.name,
                        "unit": signal.unit,
                        "display_unit": signal.display_unit,
                        "source": signal.source,
                        "compared_with": signal.compared_with,
                        "state_names": {str(number): text for number, text in signal.state_names.items()},
                    }
                    for signal in asset.signals
                ],
            }
            for asset in assets
        ],
    }
