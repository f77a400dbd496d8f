"""What a session on a server should hold, and what to ask next so that it does: a state machine without I/O.

The way back after an outage is the shortest that the server allows (OPC 10000-4, 6.7): the session is activated on the
new channel; if it is gone, a new session takes the subscription over; if that is gone too, everything is made anew,
in chunks that the server says it takes. A set-up that was broken off is not trusted: its session is closed, and with
it whatever the server made of requests whose answers were lost.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

WINDOW = 4  # requests on their way at a time: the server works while we write the next; more helps little
MOST_PER_CALL = 1000  # for a server that knows no limit


class What(Enum):
    """What can be asked."""

    CREATE_SESSION = auto()
    ACTIVATE_SESSION = auto()
    CLOSE_SESSION = auto()  # with all its subscriptions
    TRANSFER = auto()
    READ_SERVER = auto()  # namespaces and limits
    RESOLVE = auto()
    CREATE_SUBSCRIPTION = auto()
    MONITOR = auto()


class Refusal(Enum):
    """Why a request as a whole was refused, or one of its tags."""

    TOO_MANY = auto()  # operations, or bytes
    SESSION_GONE = auto()
    SUBSCRIPTION_GONE = auto()
    FILTER = auto()  # of a tag: it can be monitored without one
    OTHER = auto()


class Stuck(Exception):
    """The server refuses what there is no other way for."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to be made; `serial` tells it from an equal one."""

    what: What
    serial: int
    tags: tuple[int, ...] = ()
    with_filter: bool = True


@dataclass(frozen=True, slots=True)
class Limits:
    """How many tags a call may have."""

    resolve: int = MOST_PER_CALL
    monitor: int = MOST_PER_CALL


class Desired:
    """One session, one subscription, all tags of a plant monitored in it once."""

    def __init__(self, tag_count: int) -> None:
        """Nothing is there yet; tags are numbers up to `tag_count`."""
        self.subscription = 0
        self.generation = 0  # how many subscriptions were made: each but the first stands after a break
        self.nodes: dict[int, object] = {}
        self.missing: dict[int, str] = {}
        self.unfiltered: set[int] = set()
        self._tag_count = tag_count
        self._limits = Limits()
        self._serial = 0
        self._flying: dict[int, Ask] = {}
        self._has_session = self._is_created = self._is_active = False
        self._is_known = self._is_complete = False
        self._is_untold = False  # a subscription may be there of which no answer told
        self._to_transfer = False
        self._to_resolve: deque[int] = deque()
        self._to_monitor: deque[int] = deque()
        self._start_anew()

    @property
    def is_live(self) -> bool:
        """Whether everything is as it should be, as far as the server has told."""
        return self._is_active and self._is_complete and not self._to_transfer

    # --- events ---

    def line_opened(self) -> None:
        """A new secure channel stands; what was asked on the old one gets no answer any more."""
        self._flying.clear()
        self._is_active = self._is_created = False
        if not self._is_complete:
            self._is_untold = self._is_untold or self.subscription != 0
            self._start_anew()

    def session_gone(self) -> None:
        """The server does not know the session."""
        self._flying.clear()
        self._has_session = self._is_created = self._is_active = self._is_untold = False
        if not self._is_complete:
            self._start_anew()

    def subscription_gone(self) -> None:
        """The server does not know the subscription, or has lost a notification of it."""
        self._is_untold = True
        self._start_anew()

    def next(self) -> Ask | None:
        """The next request; None when answers have to come first, or nothing is left to do."""
        if not self._is_active:
            return self._alone(What.ACTIVATE_SESSION if self._has_session else What.CREATE_SESSION)
        if self._is_untold and not self.subscription and not self._flying:
            return self._alone(What.CLOSE_SESSION)
        if self._to_transfer:
            return self._alone(What.TRANSFER)
        if not self._is_known:
            return self._alone(What.READ_SERVER)
        if self._to_resolve:
            return self._some(What.RESOLVE, self._to_resolve, self._limits.resolve)
        if not self.subscription:
            ask = self._alone(What.CREATE_SUBSCRIPTION)
            self._is_untold = ask is not None or self._is_untold
            return ask
        if self._to_monitor:
            return self._some(What.MONITOR, self._to_monitor, self._limits.monitor)
        return None

    def done(self, ask: Ask, answer: object = None) -> None:
        """The answer to a request.

        Args:
            ask: what `next` gave; an answer that nobody waits for any more is let go.
            answer: Limits for READ_SERVER; the number for CREATE_SUBSCRIPTION; for RESOLVE a node or the text of
                what is wrong per tag; for MONITOR None, FILTER or the text per tag.
        """
        if self._flying.pop(ask.serial, None) is None:
            return
        match ask.what:
            case What.CREATE_SESSION:
                self._has_session = self._is_created = True
                self._to_transfer = self._is_complete
            case What.ACTIVATE_SESSION:
                self._is_active = True
            case What.CLOSE_SESSION:
                self.session_gone()
            case What.TRANSFER:
                self._to_transfer = False
            case What.READ_SERVER:
                assert isinstance(answer, Limits)
                self._limits, self._is_known = answer, True
            case What.RESOLVE:
                assert isinstance(answer, Sequence)
                self._resolved(ask, answer)
            case What.CREATE_SUBSCRIPTION:
                assert isinstance(answer, int)
                self.subscription = answer
                self.generation += 1
                self._to_monitor.extend(sorted(self.nodes))
            case What.MONITOR:
                assert isinstance(answer, Sequence)
                self._monitored(ask, answer)
        self._check_complete()

    def refused(self, ask: Ask, why: Refusal, text: str = "") -> None:
        """A request was refused as a whole.

        Raises:
            Stuck: and there is no other way.
        """
        if self._flying.pop(ask.serial, None) is None:
            return
        is_gone = why is Refusal.SESSION_GONE and self._is_active
        if is_gone or ask.what is What.CLOSE_SESSION or (ask.what is What.ACTIVATE_SESSION and not self._is_created):
            self.session_gone()
        elif ask.what is What.TRANSFER or (ask.what is What.MONITOR and why is Refusal.SUBSCRIPTION_GONE):
            self._start_anew()
        elif why is Refusal.TOO_MANY and ask.what in (What.RESOLVE, What.MONITOR):
            self._halve(ask, text)
        else:
            raise Stuck(f"{ask.what.name.lower().replace('_', ' ')}: {text or why.name}")

    # --- what follows from them ---

    def _start_anew(self) -> None:
        """Forget subscription and nodes, of which the server may have others now."""
        self._flying.clear()
        self.subscription = 0
        self.nodes, self.missing, self.unfiltered = {}, {}, set()
        self._is_known = self._is_complete = self._to_transfer = False
        self._to_resolve = deque(range(self._tag_count))
        self._to_monitor = deque()

    def _alone(self, what: What) -> Ask | None:
        """A request that waits for all before it, and that all others wait for."""
        return None if self._flying else self._ask(what)

    def _some(self, what: What, tags: deque[int], most: int) -> Ask | None:
        """A request for as many tags as a call may have, all with a filter or all without."""
        if len(self._flying) >= WINDOW:
            return None
        with_filter = tags[0] not in self.unfiltered
        chosen: list[int] = []
        while tags and len(chosen) < most and (tags[0] not in self.unfiltered) == with_filter:
            chosen.append(tags.popleft())
        return self._ask(what, tuple(chosen), with_filter=with_filter)

    def _ask(self, what: What, tags: tuple[int, ...] = (), *, with_filter: bool = True) -> Ask:
        self._serial += 1
        ask = Ask(what, self._serial, tags, with_filter)
        self._flying[ask.serial] = ask
        return ask

    def _resolved(self, ask: Ask, answer: Sequence[object]) -> None:
        for tag, node in zip(ask.tags, answer, strict=True):
            if isinstance(node, str):
                self.missing[tag] = node
            else:
                self.nodes[tag] = node

    def _monitored(self, ask: Ask, answer: Sequence[object]) -> None:
        for tag, problem in zip(ask.tags, answer, strict=True):
            if problem is Refusal.FILTER and ask.with_filter:
                self.unfiltered.add(tag)
                self._to_monitor.append(tag)
            elif problem is not None:
                self.missing[tag] = f"the server refuses to monitor it: {problem}"

    def _halve(self, ask: Ask, text: str) -> None:
        """Half as many tags per call from now on, or one tag less."""
        queue = self._to_resolve if ask.what is What.RESOLVE else self._to_monitor
        if len(ask.tags) == 1:
            self.missing[ask.tags[0]] = text
            return
        queue.extendleft(reversed(ask.tags))
        half = len(ask.tags) // 2
        resolve, monitor = self._limits.resolve, self._limits.monitor
        self._limits = (
            Limits(min(half, resolve), monitor) if ask.what is What.RESOLVE else Limits(resolve, min(half, monitor))
        )

    def _check_complete(self) -> None:
        if self.subscription and self._is_known and not (self._to_resolve or self._to_monitor or self._flying):
            self._is_complete = True
            self._is_untold = False
