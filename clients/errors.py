"""The one error of clients, and how a gRPC failure becomes one with a text that a person can act on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

_DETAILS_KEY = "grpc-status-details-bin"


class ClientError(Exception):
    """A call did not succeed. `code` is the name of the gRPC status, such as NOT_FOUND; the message says what to do."""

    def __init__(self, message: str, code: str = "UNKNOWN", reason: str = "") -> None:
        """`reason` is the machine-readable reason that the server gave, if it gave one."""
        super().__init__(message)
        self.code = code
        self.reason = reason


@asynccontextmanager
async def clear_errors(address: str, what: str, deadline_s: float | None = None) -> AsyncIterator[None]:
    """Turn a gRPC failure of `what` (a phrase like "read the state") into a ClientError."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise client_error(error, address, what, deadline_s) from None
    except ValueError as error:  # an answer that does not fit together
        raise ClientError(f"{address} answered wrongly: {error}", "DATA_LOSS") from error


def client_error(error: grpc.aio.AioRpcError, address: str, what: str, deadline_s: float | None) -> ClientError:
    """The ClientError for a failed call."""
    code = error.code()
    texts, reason = _details(error)
    if code is grpc.StatusCode.UNAVAILABLE and not texts and not reason and _never_connected(error):
        message = f"no uem server at {address}: start one with `uem up`"
    elif code is grpc.StatusCode.DEADLINE_EXCEEDED:
        limit = "" if deadline_s is None else f" within {deadline_s:g} s"
        message = f"{address} did not answer{limit}: could not {what}"
    elif code is grpc.StatusCode.UNIMPLEMENTED:
        message = f"the server at {address} cannot {what}: it is of another version, or not a uem server"
    else:
        message = error.details() or f"could not {what}: {code.name}"
    message += "".join(f"\n  {text}" for text in texts if text not in message)
    return ClientError(message, code.name, reason)


def _never_connected(error: grpc.aio.AioRpcError) -> bool:
    details = (error.details() or "").lower()
    return any(sign in details for sign in ("connect", "resol", "socket"))


def _details(error: grpc.aio.AioRpcError) -> tuple[list[str], str]:
    """Lines for people and the machine-readable reason out of the google.rpc details of a failure."""
    texts: list[str] = []
    reason = ""
    status = next((value for key, value in error.trailing_metadata() or () if key == _DETAILS_KEY), b"")
    for packed in Status.FromString(status).details:
        info, bad, retry = ErrorInfo(), BadRequest(), RetryInfo()
        if packed.Unpack(info):
            reason = info.reason
        elif packed.Unpack(bad):
            texts += [f"{violation.field}: {violation.description}" for violation in bad.field_violations]
        elif packed.Unpack(retry):
            texts.append(f"try again in {retry.retry_delay.ToTimedelta().total_seconds():g} s")
    return texts, reason
