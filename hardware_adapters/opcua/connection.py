"""A session on one server that holds what is desired, on one channel after the other."""

import asyncio
import logging
import math
import time
from collections.abc import Coroutine
from typing import Any

from asyncua import ua

from uem.hardware_adapters.opcua.channel import CONNECTION_ERRORS, PACE_S, Channel, Opener, Superseded, text_of
from uem.hardware_adapters.opcua.desired import Ask, Desired, Stuck
from uem.hardware_adapters.opcua.services import Services, why
from uem.hardware_adapters.tasks import end

_log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 2.0
FIRST_PATIENCE_S = 0.5  # with a server that sets up; doubled each time that it was too short


class Connection:
    """What opens, guards, replaces and closes the channels, and asks on them for what is desired."""

    def __init__(self, opener: Opener, desired: Desired, services: Services, most_patience_s: float) -> None:
        """Nothing is opened yet; a server that sets up may be silent for `most_patience_s`."""
        self.opener = opener
        self.desired = desired
        self.services = services
        self.channel: Channel | None = None
        self._most_patience_s = most_patience_s
        self._newest_channel: Channel | None = None  # for its session, also when its line is cut
        self._opened_s = -math.inf  # when that was

    async def open(self) -> None:
        """One try until everything is as desired.

        Raises:
            AdapterError: trying again does not help.
            Stuck and those of CONNECTION_ERRORS: it may.
        """
        self.take_over(await self.opener.open())
        await self._set_up()

    async def recover(self) -> None:
        """Until everything is as desired again, however often that is interrupted; AdapterError when it never will."""
        patience_s = FIRST_PATIENCE_S
        while True:
            if self.channel is None:
                # A server that ends each line at once is not to be stormed.
                await asyncio.sleep(max(0.0, self._opened_s + PACE_S - time.monotonic()))
                self.take_over(await self.opener.race())
            try:
                await self.guard(self._set_up(), patience_s)
            except Superseded as newer:
                patience_s = min(2 * patience_s, self._most_patience_s)
                self.take_over(newer.newer)
            except (*CONNECTION_ERRORS, Stuck) as error:
                _log.debug("%s: set-up broken off: %s", self.opener.endpoint, text_of(error))
                self.drop()
            else:
                return

    async def guard(self, work: Coroutine[Any, Any, None], patience_s: float) -> None:
        """Work on the channel; Superseded when it was silent for longer and a newer one stands."""
        assert self.channel is not None
        await self.opener.guard(work, self.channel, patience_s)

    def take_over(self, channel: Channel) -> None:
        """Go on with another channel, and on it with the session."""
        channel.adopt(self._newest_channel)
        self.drop()
        self.channel = self._newest_channel = channel
        self._opened_s = time.monotonic()
        self.services.use(channel)
        self.desired.line_opened()

    def drop(self) -> None:
        """Cut the line."""
        if self.channel is not None:
            self.channel.drop()
        self.channel = None

    async def close(self) -> None:
        """Leave politely within CLOSE_TIMEOUT_S, then cut the line."""
        channel = self.channel
        if channel is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await channel.client.uaclient.close_session(True)
                await channel.client.close_secure_channel()
        except CONNECTION_ERRORS as error:
            _log.debug("%s: closing: %s", self.opener.endpoint, text_of(error))
        finally:
            self.drop()

    async def _set_up(self) -> None:
        """Ask for what is desired until it is there."""
        desired, services = self.desired, self.services
        asked: dict[asyncio.Task[object], Ask] = {}
        try:
            while not desired.is_live:
                while (ask := desired.next()) is not None:
                    asked[asyncio.create_task(services.make(ask, desired.subscription, desired.nodes))] = ask
                if not asked:
                    raise Stuck("nothing is left to ask")
                done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    self._note(asked.pop(task), task)
        finally:
            await end(asked)

    def _note(self, ask: Ask, task: asyncio.Task[object]) -> None:
        """Tell the state machine what came of a request; CONNECTION_ERRORS when the line is lost."""
        assert self.channel is not None
        try:
            answer = task.result()
        except ua.UaStatusCodeError as error:
            if not self.channel.is_open:
                raise ConnectionError(text_of(error)) from None
            try:
                self.desired.refused(ask, why(error), ua.StatusCode(error.code).name)
            except Stuck as stuck:
                raise self.opener.refused(error) or stuck from None
        else:
            self.desired.done(ask, answer)
