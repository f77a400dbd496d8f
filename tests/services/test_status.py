import logging

import grpc
import pytest
from google.rpc import error_details_pb2

from uem.services.status import Draining, InvalidField, errors_as_status, status_of
from uem.twin_core import errors


def details(error):
    found = {}
    for packed in status_of(error).details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            if packed.Is(kind.DESCRIPTOR):
                found[kind.__name__] = kind.FromString(packed.value)
    return found


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (errors.UnknownName("asset", "x", ["a"]), grpc.StatusCode.NOT_FOUND, "UNKNOWN_NAME"),
        (errors.InvalidInput("no"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT"),
        (InvalidField("f", "no"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        (errors.InvalidTerritory("t", ["k: no"]), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_TERRITORY"),
        (errors.NotReady("soon"), grpc.StatusCode.UNAVAILABLE, "NOT_READY"),
        (Draining("soon"), grpc.StatusCode.UNAVAILABLE, "DRAINING"),
        (errors.NotTrusted("no"), grpc.StatusCode.UNAVAILABLE, "NOT_TRUSTED"),
        (errors.StorageFull("full"), grpc.StatusCode.RESOURCE_EXHAUSTED, "STORAGE_FULL"),
        (errors.StorageError("io"), grpc.StatusCode.UNAVAILABLE, "STORAGE_ERROR"),
        (errors.TwinError("other"), grpc.StatusCode.INTERNAL, "TWIN_ERROR"),
        (TimeoutError(), grpc.StatusCode.DEADLINE_EXCEEDED, "TIMEOUT_ERROR"),
        (ZeroDivisionError("secret"), grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
)
def test_each_error_has_its_status_code_and_reason(error, code, reason):
    status = status_of(error)
    assert status.code == code.value[0]
    info = details(error)["ErrorInfo"]
    assert (info.domain, info.reason) == ("uem", reason)


def test_the_text_of_an_unforeseen_error_stays_in_the_log():
    assert "secret" not in status_of(ZeroDivisionError("secret")).message
    assert "asset 'x'" in status_of(errors.UnknownName("asset", "x")).message


def test_a_known_field_and_each_problem_of_a_territory_become_field_violations():
    violations = details(InvalidField("samples.value", "too long"))["BadRequest"].field_violations
    assert [(v.field, v.description) for v in violations] == [("samples.value", "too long")]
    territory = errors.InvalidTerritory("t.toml", ["networks[0].name: empty", "no network"])
    violations = details(territory)["BadRequest"].field_violations
    assert [(v.field, v.description) for v in violations] == [
        ("networks[0].name", "empty"),
        ("no network", "no network"),
    ]
    assert "BadRequest" not in details(errors.InvalidInput("no"))


@pytest.mark.parametrize("error", [errors.NotReady("soon"), errors.StorageFull("full"), errors.StorageError("io")])
def test_what_may_pass_tells_when_to_try_again(error):
    assert details(error)["RetryInfo"].retry_delay.ToTimedelta().total_seconds() >= 1


class Context:
    """As much of a context as abort needs."""

    async def abort_with_status(self, status):
        self.status = status
        raise grpc.aio.AbortError


async def test_an_unforeseen_error_is_logged_with_its_traceback(caplog):
    context = Context()
    with caplog.at_level(logging.ERROR), pytest.raises(grpc.aio.AbortError):
        async with errors_as_status(context):
            raise ZeroDivisionError("secret")
    assert "ZeroDivisionError: secret" in caplog.text
    assert context.status.code is grpc.StatusCode.INTERNAL


async def test_a_status_that_is_decided_already_stays(caplog):
    context = Context()
    with pytest.raises(grpc.aio.AbortError):
        async with errors_as_status(context), errors_as_status(context):
            raise errors.UnknownName("asset", "x")
    assert context.status.code is grpc.StatusCode.NOT_FOUND
    assert caplog.text == ""
