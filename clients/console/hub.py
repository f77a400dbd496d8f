"""One stream of states from the server, for all browsers: the newest of each asset, the past thinned, the watch."""

import asyncio
import logging
from collections.abc import Sequence

from uem.clients.console.past import Past, Trend
from uem.clients.console.watch import Watch, look
from uem.clients.errors import ClientError
from uem.clients.python import Client
from uem.clients.records import Asset, State

_log = logging.getLogger(__name__)

AGAIN_S = 1.0  # until a server that was lost is tried again
LOST_S = 1.0  # without a connection, until the page says so
WATCH_EVERY_S = 3.0


class Hub:
    """What the server said last; lives in one event loop."""

    def __init__(self, client: Client) -> None:
        self.assets: tuple[Asset, ...] = ()
        self.states: dict[str, State] = {}
        self.problem = "not connected yet"  # empty: the server is heard
        self.edition = 0  # counts up whenever the assets or the problem change
        self.watch: Watch | None = None  # alarms and health, as long as a browser looks on
        self._client = client
        self._past: dict[str, Past] = {}
        self._waiting: set[asyncio.Event] = set()

    async def run(self) -> None:
        """Follow the server until cancelled, however often it is lost."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._follow())
            both.create_task(self._look_after())

    async def _follow(self) -> None:
        while True:
            try:
                self._describe(await self._client.assets())
                async for state in self._client.watch(reconnect_s=LOST_S):
                    self._take(state)
            except ClientError as error:
                if str(error) != self.problem:
                    _log.warning("%s", error)
                    self._say(str(error))
            except Exception as error:  # a page that stands still must not look well
                _log.exception("unexpected fault")
                self._say(f"unexpected fault of the console: {error}")
            await asyncio.sleep(AGAIN_S)

    async def _look_after(self) -> None:
        """Ask for alarms and health now and then; nobody is asked for what nobody sees."""
        while True:
            if self._waiting and not self.problem:
                await self._look()
            await asyncio.sleep(WATCH_EVERY_S if self._waiting and self.watch else AGAIN_S)

    async def _look(self) -> None:
        try:
            found = await look(self._client)
        except ClientError as error:
            _log.debug("%s", error)  # the stream of states tells of a server that is lost
        except Exception:
            _log.exception("alarms and health are not looked after")
        else:
            if found != self.watch:
                self.watch = found
                self._wake()

    def subscribe(self) -> asyncio.Event:
        """An event that is set whenever something is new; to be given back to `unsubscribe`."""
        changed = asyncio.Event()
        changed.set()
        self._waiting.add(changed)
        return changed

    def unsubscribe(self, changed: asyncio.Event) -> None:
        """No longer."""
        self._waiting.discard(changed)

    def trend(self, asset: str, signals: Sequence[str], *, is_long: bool = False) -> Trend | None:
        """The sum of signals over the last half hour, or the last day; None when there is one that is not known."""
        past = self._past.get(asset)
        return None if past is None else past.trend(signals, is_long=is_long)

    def _describe(self, assets: Sequence[Asset]) -> None:
        self.assets = tuple(assets)
        for asset in self.assets:
            past = self._past.get(asset.name)
            if past is None or past.asset.signals_revision != asset.signals_revision:
                self._past[asset.name] = Past(asset)
        self._say("")

    def _say(self, problem: str) -> None:
        self.problem = problem
        self.edition += 1
        self._wake()

    def _take(self, state: State) -> None:
        name = state.asset.name
        known = self.states.get(name)
        if known is None or known.asset.signals_revision != state.asset.signals_revision:
            listed = {asset.name: asset for asset in self.assets} | {name: state.asset}
            self._describe(tuple(listed.values()))
        elif self.problem:
            self._say("")
        self.states[name] = state
        self._past[name].add(state)
        self._wake()

    def _wake(self) -> None:
        for changed in self._waiting:
            changed.set()
