"""Every method of every service, as reflection lists them, gets requests that nobody should send."""

import asyncio
import random

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from uem.services.metrics import Metrics
from uem.services.standalone import serving
from uem.territories.load import load
from uem.twin_core.measurements import NS_PER_S

LONGEST_S = 60.0  # without an answer by then a call hangs
TYPED = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"}
# Followed until the client leaves.
FOLLOWED = {
    "/uem.v1.HistoryService/WatchSamples",
    "/uem.v1.TwinService/WatchState",
    "/uem.v1.PredictionService/WatchForecast",
    "/grpc.health.v1.Health/Watch",
}
INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
}
NUMBERS = (float("nan"), float("inf"), -float("inf"), 1.8e308, -1.8e308, 5e-324)
TEXTS = ("nobody", "x" * 1_000_000, "\0", "../../etc/passwd", "'; DROP TABLE chunk; --", "\u202e\U0001f525", "9" * 19)


async def methods(channel):
    """(path, request class, is the request streamed, is the response streamed) of all that reflection tells."""
    ask = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
    listing = [reflection_pb2.ServerReflectionRequest(list_services="")]
    names = [s.name async for answer in ask(iter(listing), timeout=60) for s in answer.list_services_response.service]
    pool = descriptor_pool.DescriptorPool()
    symbols = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in names]
    async for answer in ask(iter(symbols), timeout=60):
        contents = answer.file_descriptor_response.file_descriptor_proto  # with all that it imports
        files = {file.name: file for file in map(descriptor_pb2.FileDescriptorProto.FromString, contents)}
        for file in list(files):
            add(pool, files, file)
    found = []
    for name in names:
        for method in pool.FindServiceByName(name).methods:
            request = message_factory.GetMessageClass(method.input_type)
            found.append((f"/{name}/{method.name}", request, method.client_streaming, method.server_streaming))
    return found


def add(pool, files, name):
    """Add a file behind those that it imports."""
    if name in files:
        file = files.pop(name)
        for imported in file.dependency:
            add(pool, files, imported)
        pool.Add(file)


def extremes(field):
    """Values that a field may carry and should not."""
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        yield from extreme_requests(field.message_type)
    elif field.cpp_type in INTEGERS:
        low, high = INTEGERS[field.cpp_type]
        yield from (low, high, *((-1,) if low else ()), 1, 2)
    elif field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        yield from NUMBERS
    elif field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        yield True
    elif field.type == FieldDescriptor.TYPE_BYTES:
        yield b"\xff" * 1000
    else:
        yield from TEXTS


def put(message, field, value):
    target = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        target[value.key] = value.value
    elif field.is_repeated:
        target.extend([value] * 3)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        target.CopyFrom(value)
    else:
        setattr(message, field.name, value)


def extreme_requests(descriptor, valid=None):
    """Messages with one field that is out of the ordinary, beside nothing or beside what makes sense."""
    make = message_factory.GetMessageClass(descriptor)
    for field in descriptor.fields:
        for value in extremes(field):
            for begin in (make(), valid) if valid is not None else (make(),):
                message = make()
                message.CopyFrom(begin)
                message.ClearField(field.name)
                put(message, field, value)
                yield message
        if field.is_repeated and field.type != FieldDescriptor.TYPE_MESSAGE:
            message = make()
            put(message, field, next(extremes(field)))
            getattr(message, field.name).extend(list(getattr(message, field.name)) * 30_000)
            if message.ByteSize() < 15_000_000:
                yield message


def sensible(request, tag):
    """A request that is in order as far as its fields are known here."""
    message = request()
    names = {field.name: field for field in request.DESCRIPTOR.fields}
    for name, value in {"asset": "branch", "producer": "p", "sequence": 1}.items():
        if name in names:
            setattr(message, name, value)
    if "assets" in names:
        message.assets.append("branch")
    if "tag_name" in names:
        put(message, names["tag_name"], tag)
    if "samples" in names:
        message.samples.tag_name.append(tag)
        message.samples.tag.append(0)
        message.samples.source_time_ns.append(1_700_000_000 * NS_PER_S)
        message.samples.value.append(340.0)
        message.samples.quality.append(0)
    return message


def requests(request, tag):
    """Bytes to send."""
    rng = random.Random(request.DESCRIPTOR.full_name)
    valid = sensible(request, tag)
    yield b""
    yield valid.SerializeToString()
    yield from (rng.randbytes(length) for length in (1, 2, 7, 30, 200, 5000) for _ in range(3))
    for message in extreme_requests(request.DESCRIPTOR, valid):
        yield message.SerializeToString()
    whole = valid.SerializeToString()
    for _ in range(20):  # torn and bent ones
        bent = bytearray(whole[: rng.randrange(len(whole) + 1)])
        for _ in range(min(3, len(bent))):
            bent[rng.randrange(len(bent))] ^= 1 << rng.randrange(8)
        yield bytes(bent)


async def answer(channel, path, data, streams_in, streams_out):
    """The name of the status of a call, and its details; a stream is read to its end or until it waits."""
    kind = f"{'stream' if streams_in else 'unary'}_{'stream' if streams_out else 'unary'}"
    call = getattr(channel, kind)(path)(iter([data]) if streams_in else data, timeout=2 * LONGEST_S)
    try:
        async with asyncio.timeout(0.5 if path in FOLLOWED else LONGEST_S):
            if streams_out:
                async for _ in call:
                    if path in FOLLOWED:
                        break
            else:
                await call
    except grpc.aio.AioRpcError as error:
        return error.code().name, rpc_status.from_call(error)
    except TimeoutError:
        return ("OK" if path in FOLLOWED else "hangs"), None
    finally:
        call.cancel()
    return "OK", None


@pytest.fixture(scope="module")
def territory():
    return load("pongau")


async def test_every_method_answers_every_request_with_a_typed_status_in_time(territory, tmp_path):
    tag = next(binding.tag.name for binding in territory.tags if "temperature" in binding.tag.name)
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with (
        serving(territory, tmp_path, Metrics()) as server,
        grpc.aio.insecure_channel(server.address, options=options) as channel,
    ):
        found = await methods(channel)
        assert {"/uem.v1.HistoryService/GetOverview", "/uem.v1.PredictionService/ListForecasts"} <= {
            m[0] for m in found
        }
        wrong, seen = set(), {}
        for path, request, streams_in, streams_out in found:
            for data in requests(request, tag):
                code, status = await answer(channel, path, data, streams_in, streams_out)
                seen.setdefault(path, {}).setdefault(code, 0)
                seen[path][code] += 1
                ours = path.startswith("/uem.")
                if code not in TYPED and (ours or code in ("INTERNAL", "UNKNOWN", "hangs")):
                    wrong.add((path, code, data[:40]))
                elif ours and code != "OK" and not has_reason(status):
                    wrong.add((path, f"{code} without an ErrorInfo", data[:40]))
        assert not wrong, sorted(wrong)[:20]
        assert all("INVALID_ARGUMENT" in codes for path, codes in seen.items() if path.startswith("/uem.")), seen
        assert server.checks  # and is still there


def has_reason(status):
    info = error_details_pb2.ErrorInfo()
    return status is not None and any(
        d.Is(info.DESCRIPTOR) and d.Unpack(info) and info.domain == "uem" for d in status.details
    )
