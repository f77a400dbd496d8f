"""Errors of the project as gRPC statuses with google.rpc details; the one place where that is decided.

    InvalidInput, InvalidTerritory   INVALID_ARGUMENT    BadRequest where the field is known
    UnknownName                      NOT_FOUND
    NotReady                         UNAVAILABLE         RetryInfo
    AdapterError                     UNAVAILABLE
    StorageFull                      RESOURCE_EXHAUSTED  RetryInfo
    StorageError                     UNAVAILABLE         RetryInfo
    TimeoutError                     DEADLINE_EXCEEDED
    NotImplementedError              UNIMPLEMENTED
    ModelFailure, NotConverged       INTERNAL
    anything else                    INTERNAL            a general text; the log has the traceback

Every status carries an ErrorInfo: domain "uem", reason = name of the class in UPPER_SNAKE.
"""

import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeAlias

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from uem.twin_core.errors import (
    AdapterError,
    InvalidInput,
    InvalidTerritory,
    NotReady,
    StorageError,
    StorageFull,
    TwinError,
    UnknownName,
)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
DOMAIN = "uem"
LONGEST_TEXT = 500
_LOG = logging.getLogger(__name__)


class InvalidField(InvalidInput):
    """A field of a request is out of its allowed range; the client is told which field."""

    def __init__(self, field: str, text: str) -> None:
        """`field` is the path of the field in the request, as in "samples.value"."""
        self.field = field
        self.text = text
        super().__init__(f"{field}: {text}")


class Draining(NotReady):
    """The server is going down; another one, or this one after its restart, will answer."""


# The first class that matches decides: subclasses stand before their bases.
_CODES: tuple[tuple[type[BaseException], grpc.StatusCode], ...] = (
    (UnknownName, grpc.StatusCode.NOT_FOUND),
    (InvalidInput, grpc.StatusCode.INVALID_ARGUMENT),
    (InvalidTerritory, grpc.StatusCode.INVALID_ARGUMENT),
    (NotReady, grpc.StatusCode.UNAVAILABLE),
    (AdapterError, grpc.StatusCode.UNAVAILABLE),
    (StorageFull, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (StorageError, grpc.StatusCode.UNAVAILABLE),
    (TimeoutError, grpc.StatusCode.DEADLINE_EXCEEDED),
    (NotImplementedError, grpc.StatusCode.UNIMPLEMENTED),  # a method that only its .proto file has
)
_RETRY_AFTER: tuple[tuple[type[BaseException], timedelta], ...] = (
    (NotReady, timedelta(seconds=1)),
    (StorageError, timedelta(seconds=2)),
)


def status_of(error: BaseException) -> status_pb2.Status:
    """The google.rpc.Status that a client gets for `error`."""
    code = next((code for kind, code in _CODES if isinstance(error, kind)), grpc.StatusCode.INTERNAL)
    told = code is not grpc.StatusCode.INTERNAL or isinstance(error, TwinError)
    text = _cut(str(error)) if told else "internal error; the log of the server has the cause"
    status = status_pb2.Status(code=code.value[0], message=text or "the time for this call is over")
    for detail in _details(error if told else None):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _details(error: BaseException | None) -> Iterator[Message]:
    reason = "Internal" if error is None else type(error).__name__
    yield error_details_pb2.ErrorInfo(reason=_upper_snake(reason), domain=DOMAIN)
    violations = list(_violations(error))
    if violations:
        yield error_details_pb2.BadRequest(field_violations=violations)
    for kind, delay in _RETRY_AFTER:
        if isinstance(error, kind):
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromTimedelta(delay)
            yield retry


def _violations(error: BaseException | None) -> Iterator[Message]:
    if isinstance(error, InvalidField):
        yield error_details_pb2.BadRequest.FieldViolation(field=error.field, description=_cut(error.text))
    if isinstance(error, InvalidTerritory):
        for problem in error.problems:
            key, _, text = problem.partition(": ")
            yield error_details_pb2.BadRequest.FieldViolation(field=key, description=_cut(text or problem))


def _cut(text: str) -> str:
    """At most LONGEST_TEXT characters: a text may echo what a client sent, and statuses travel in headers."""
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} ... ({len(text)} characters)"


def _upper_snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()


async def abort(context: Context, error: BaseException) -> None:
    """End the call with the status of `error`; always raises."""
    await context.abort_with_status(rpc_status.to_status(status_of(error)))


@asynccontextmanager
async def errors_as_status(context: Context) -> AsyncIterator[None]:
    """Turn errors of the body into the status of the call; the server wraps every call of every service in it."""
    try:
        yield
    except grpc.aio.AbortError:  # already decided
        raise
    except Exception as error:
        if not isinstance(error, (TwinError, TimeoutError, NotImplementedError)):
            _LOG.exception("unexpected error in a call")
        await abort(context, error)
