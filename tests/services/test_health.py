import pytest

from uem.services.health import Checks
from uem.services.metrics import Metrics
from uem.twin_core.errors import InvalidInput


@pytest.fixture
def checks():
    return Checks(Metrics())


def test_a_check_concerns_its_services_and_the_whole_server(checks):
    checks.register("disk", lambda: "full", ["uem.v1.HistoryService"])
    checks.ask()
    assert not checks.is_well("uem.v1.HistoryService")
    assert checks.is_well("uem.v1.TwinService")
    assert not checks.is_well("")


def test_a_check_that_raises_is_not_content(checks, caplog):
    checks.register("disk", lambda: 1 / 0)
    checks.ask()
    assert "division" in checks.reasons["disk"]
    assert "Traceback" in caplog.text


def test_changes_are_logged_once(checks, caplog):
    problem = ["full"]
    checks.register("disk", lambda: problem[0])
    with caplog.at_level("INFO"):
        checks.ask()
        checks.ask()
        problem[0] = None
        checks.ask()
    assert [record.message for record in caplog.records] == ["health check disk: full", "health check disk: well again"]


def test_two_checks_of_one_name_are_refused(checks):
    checks.register("disk", lambda: None)
    with pytest.raises(InvalidInput, match="twice"):
        checks.register("disk", lambda: None)
