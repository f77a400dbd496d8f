"""The way to a complete subscription against a server that exists in a few lines only, and fails in every way."""

import random

import pytest

from uem.hardware_adapters.opcua.desired import Ask, Desired, Limits, Refusal, Stuck, What

TAGS, LIMIT = 23, 5


class Server:
    """Sessions with subscriptions with monitored tags; it says a limit of calls or only refuses larger ones."""

    def __init__(self, says_limit=True, can_transfer=True):
        self.says_limit, self.can_transfer = says_limit, can_transfer
        self.serial = 0
        self.sessions = {}  # number: whether it is active on the line
        self.subscriptions = {}  # number: [session or None, tags]
        self.mine = None
        self.asked = []

    def answer(self, ask):
        """("done", answer) or ("refused", why)."""
        self.asked.append(ask.what)
        if ask.what is What.CREATE_SESSION:
            self.mine = self.new(self.sessions, False)
            return "done", None
        if self.mine not in self.sessions:
            return "refused", Refusal.SESSION_GONE
        if ask.what is What.ACTIVATE_SESSION:
            self.sessions[self.mine] = True
            return "done", None
        assert self.sessions[self.mine], f"{ask.what} before the session is active"
        if len(ask.tags) > LIMIT:
            return "refused", Refusal.TOO_MANY
        return getattr(self, ask.what.name.lower())(ask)

    def new(self, where, what):
        self.serial += 1
        where[self.serial] = what
        return self.serial

    def close_session(self, _):
        self.subscriptions = {n: s for n, s in self.subscriptions.items() if s[0] != self.mine}
        del self.sessions[self.mine]
        return "done", None

    def transfer(self, _):
        number = self.known
        if not self.can_transfer or number not in self.subscriptions:
            return "refused", Refusal.SUBSCRIPTION_GONE
        self.subscriptions[number][0] = self.mine
        return "done", None

    def read_server(self, _):
        return "done", Limits(LIMIT, LIMIT) if self.says_limit else Limits()

    def resolve(self, ask):
        return "done", ["no such node" if tag == 7 else ("node", tag) for tag in ask.tags]

    def create_subscription(self, _):
        return "done", self.new(self.subscriptions, [self.mine, []])

    def monitor(self, ask):
        if self.known not in self.subscriptions:
            return "refused", Refusal.SUBSCRIPTION_GONE
        answers = []
        for tag in ask.tags:
            refused = Refusal.FILTER if tag % 5 == 0 and ask.with_filter else "no" if tag == 9 else None
            if refused is None:
                self.subscriptions[self.known][1].append(tag)
            answers.append(refused)
        return "done", answers

    # what happens to it

    def line_lost(self):
        self.sessions = dict.fromkeys(self.sessions, False)

    def session_expires(self):
        for subscription in self.subscriptions.values():
            subscription[0] = None
        self.sessions.clear()

    def subscription_expires(self):
        self.subscriptions.clear()

    def restart(self):
        self.session_expires()
        self.subscription_expires()


def tell(desired, ask, answer):
    what, content = answer
    if what == "done":
        desired.done(ask, content)
    else:
        desired.refused(ask, content)


def settle(desired, server, most=500):
    """Ask and answer until nothing is left to do."""
    for _ in range(most):
        server.known = desired.subscription
        ask = desired.next()
        if ask is None:
            break
        tell(desired, ask, server.answer(ask))
    assert desired.is_live


def check(desired, server):
    """One subscription of ours holds every tag that can be had, once; no other of our session holds any."""
    mine = {n: s for n, s in server.subscriptions.items() if s[0] == server.mine}
    assert list(mine) == [desired.subscription]
    assert sorted(mine[desired.subscription][1]) == [tag for tag in range(TAGS) if tag not in (7, 9)]
    assert desired.missing == {7: "no such node", 9: "the server refuses to monitor it: no"}
    assert server.sessions[server.mine]


@pytest.mark.parametrize("says_limit", [True, False])
def test_all_tags_are_monitored_in_chunks_that_the_server_takes(says_limit):
    desired, server = Desired(TAGS), Server(says_limit)
    desired.line_opened()
    settle(desired, server)
    check(desired, server)
    assert desired.generation == 1


def live(**options):
    desired, server = Desired(TAGS), Server(**options)
    desired.line_opened()
    settle(desired, server)
    server.asked.clear()
    return desired, server


def test_a_lost_line_costs_one_request():
    desired, server = live()
    server.line_lost()
    desired.line_opened()
    settle(desired, server)
    assert server.asked == [What.ACTIVATE_SESSION]
    assert desired.generation == 1


def test_a_subscription_outlives_its_session():
    desired, server = live()
    server.line_lost()
    server.session_expires()
    desired.line_opened()
    settle(desired, server)
    check(desired, server)
    assert server.asked == [What.ACTIVATE_SESSION, What.CREATE_SESSION, What.ACTIVATE_SESSION, What.TRANSFER]
    assert desired.generation == 1


@pytest.mark.parametrize("event", ["restart", "no transfer", "subscription gone"])
def test_what_is_gone_is_made_anew_and_counts_as_a_break(event):
    desired, server = live(can_transfer=event != "no transfer")
    if event == "subscription gone":
        desired.subscription_gone()
    else:
        server.restart() if event == "restart" else server.session_expires()
        desired.line_opened()
    settle(desired, server)
    check(desired, server)
    assert desired.generation == 2


def test_a_session_that_is_refused_although_it_is_new_is_no_endless_loop():
    desired = Desired(1)
    desired.line_opened()
    desired.done(desired.next())
    activate = desired.next()
    with pytest.raises(Stuck, match="activate session: BadUserAccessDenied"):
        desired.refused(activate, Refusal.OTHER, "BadUserAccessDenied")


def test_an_answer_from_before_the_line_was_lost_is_let_go():
    desired = Desired(1)
    desired.line_opened()
    late = desired.next()
    desired.line_opened()
    desired.done(late)
    desired.refused(late, Refusal.OTHER)
    assert desired.next().what is What.CREATE_SESSION
    assert desired.next() is None


def test_one_tag_that_is_too_many_for_a_call_is_missing():
    desired = Desired(1)
    desired.line_opened()
    for answer in (None, None, Limits()):
        desired.done(desired.next(), answer)
    desired.refused(desired.next(), Refusal.TOO_MANY, "BadTooManyOperations")
    assert desired.missing == {0: "BadTooManyOperations"}


@pytest.mark.parametrize("seed", range(300))
def test_whatever_fails_and_when_it_ends_complete_and_with_each_tag_once(seed):
    """Answers out of order, lost before or after the server did what it was asked, outages within outages."""
    chance = random.Random(seed)
    desired, server = Desired(TAGS), Server(chance.random() < 0.5, chance.random() < 0.7)
    desired.line_opened()
    flying = []
    for _ in range(chance.randrange(20, 200)):
        server.known = desired.subscription
        ask = desired.next()
        if ask is not None:
            assert isinstance(ask, Ask)
            flying.append((ask, server.answer(ask) if chance.random() < 0.97 else None))
        while flying and (ask is None or chance.random() < 0.5):
            done, answer = flying.pop(chance.randrange(len(flying)))
            if answer is not None:
                tell(desired, done, answer)
                ask = done
            else:
                ask = None
            if answer is None or chance.random() < 0.05:  # lost: the line is given up, sometimes with what is on it
                flying.clear() if chance.random() < 0.8 else None
                server.line_lost()
                event = chance.randrange(6)
                if event == 0:
                    server.restart()
                elif event == 1:
                    server.session_expires()
                elif event == 2:
                    server.subscription_expires()
                    if desired.is_live:
                        desired.subscription_gone()
                desired.line_opened()
        if desired.is_live and not flying and chance.random() < 0.2:
            desired.subscription_gone() if chance.random() < 0.3 else (server.line_lost(), desired.line_opened())
    server.line_lost()
    desired.line_opened()
    settle(desired, server)
    if desired.subscription not in server.subscriptions:  # the publish loop finds out
        desired.subscription_gone()
        settle(desired, server)
    check(desired, server)
