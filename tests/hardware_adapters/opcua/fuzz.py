"""Valid and mutated messages through the kernel and the plain decoder: same columns, or both refuse.

    python tests/hardware_adapters/opcua/fuzz.py --mutations 20000
    python tests/hardware_adapters/opcua/fuzz.py --mutations 1000000 --sanitize    # as `make fuzz`

`--sanitize` compiles the kernel with the address and undefined-behaviour sanitizers of gcc and starts over with it;
every message lies in memory of exactly its size. Prints how many messages were alike; ends with 1 at the first that
is not.
"""

import argparse
import importlib.machinery
import importlib.util
import os
import random
import struct
import subprocess
import sys
import sysconfig
import tempfile
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import plain_decoder
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary

ROOT = Path(__file__).resolve().parents[3]
KERNEL = "uem.hardware_adapters.opcua.binary"
NOTIFICATIONS = "uem.hardware_adapters.opcua.notifications"
SOURCE = ROOT / "hardware_adapters" / "opcua" / "binary.pyx"
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-O1", "-g"]
# As in setup.py: what is tested is what is shipped.
DIRECTIVES = "boundscheck=False,wraparound=False,initializedcheck=False,cdivision=True"
LENGTHS = (-(2**31), -2, -1, 0, 1, 2, 0x7F, 0xFFFF, 2**20, 2**29, 2**31 - 1)


# --- messages ---


def diagnostics():
    """All fields but the inner one, which asyncua encodes as something else."""
    return ua.DiagnosticInfo(1, 2, 3, 4, "more", ua.StatusCode(0x80010000))


def values(rng):
    """A value of each built-in type."""
    kinds = ua.VariantType
    extension = ua.Range(rng.random(), 2.0)
    return {
        kinds.Null: None,
        kinds.Boolean: rng.random() < 0.5,
        kinds.SByte: rng.randint(-128, 127),
        kinds.Byte: rng.randint(0, 255),
        kinds.Int16: rng.randint(-(2**15), 2**15 - 1),
        kinds.UInt16: rng.randint(0, 2**16 - 1),
        kinds.Int32: rng.randint(-(2**31), 2**31 - 1),
        kinds.UInt32: rng.randint(0, 2**32 - 1),
        kinds.Int64: rng.randint(-(2**63), 2**63 - 1),
        kinds.UInt64: rng.randint(0, 2**64 - 1),
        kinds.Float: struct.unpack("<f", struct.pack("<f", rng.gauss(0, 1e3)))[0],
        kinds.Double: rng.choice([rng.gauss(0, 1e3), float("nan"), float("inf")]),
        kinds.String: rng.choice(["", "Wärme", "x" * rng.randint(1, 300)]),
        kinds.DateTime: datetime.fromtimestamp(rng.randint(0, 2**32), UTC),
        kinds.Guid: uuid.UUID(int=rng.getrandbits(128)),
        kinds.ByteString: rng.randbytes(rng.randint(0, 40)),
        kinds.XmlElement: ua.XmlElement("<a/>"),
        kinds.NodeId: rng.choice(
            [ua.NodeId(3, 0), ua.NodeId("text", 2), ua.NodeId(uuid.UUID(int=7), 1), ua.NodeId(b"b", 7)]
        ),
        kinds.ExpandedNodeId: ua.ExpandedNodeId(70_000, 0, ua.NodeIdType.Numeric, "urn:x", 4),
        kinds.StatusCode: ua.StatusCode(rng.getrandbits(32)),
        kinds.QualifiedName: ua.QualifiedName("name", 2),
        kinds.LocalizedText: rng.choice(
            [ua.LocalizedText("Halle", "de"), ua.LocalizedText("hall"), ua.LocalizedText()]
        ),
        kinds.ExtensionObject: extension,
        kinds.DataValue: ua.DataValue(
            ua.Variant(1.5), SourceTimestamp=datetime.fromtimestamp(7, UTC), SourcePicoseconds=5
        ),
        kinds.Variant: ua.Variant([1, 2], kinds.Int32),
        kinds.DiagnosticInfo: diagnostics(),
    }


def variant(rng):
    """A scalar, an array or a matrix of any built-in type; numbers are as usual as in plants."""
    made = values(rng)
    kind = rng.choice(list(made)[: 12 if rng.random() < 0.5 else 26])
    shape = rng.random()
    if shape < 0.75 or kind in (ua.VariantType.Null, ua.VariantType.Variant):
        return ua.Variant(made[kind], kind)
    if shape < 0.9:
        return ua.Variant([made[kind]] * rng.randint(0, 3), kind, is_array=True)
    return ua.Variant([[made[kind]] * 2] * 2, kind)


def data_value(rng):
    time = datetime.fromtimestamp(rng.randint(-(2**30), 2**32), UTC)
    return ua.DataValue(
        rng.choice([None, variant(rng)]) if rng.random() < 0.2 else variant(rng),
        ua.StatusCode(rng.choice([0, 0x480, 0x40900000, 0x808C0000])) if rng.random() < 0.7 else None,
        time if rng.random() < 0.8 else None,
        time if rng.random() < 0.8 else None,
        rng.randint(0, 65535) if rng.random() < 0.2 else None,
        rng.randint(0, 65535) if rng.random() < 0.2 else None,
    )


def response_header(rng, message):
    message.ResponseHeader.StringTable = ["one", "two"][: rng.randint(0, 2)]
    if rng.random() < 0.2:
        message.ResponseHeader.ServiceDiagnostics = diagnostics()
    if rng.random() < 0.05:
        message.ResponseHeader.ServiceResult = ua.StatusCode(ua.StatusCodes.BadNoSubscription)


def notification_message(rng, message):
    message.SequenceNumber = rng.getrandbits(32)
    for _ in range(rng.randint(0, 2)):
        items = [ua.MonitoredItemNotification(rng.getrandbits(32), data_value(rng)) for _ in range(rng.randint(0, 6))]
        message.NotificationData.append(ua.DataChangeNotification(items, [diagnostics()] * rng.randint(0, 1)))
    if rng.random() < 0.1:
        message.NotificationData.append(ua.StatusChangeNotification(ua.StatusCode(0x800A0000)))
    if rng.random() < 0.1:
        message.NotificationData.append(ua.EventNotificationList())


def publish(rng):
    """The bytes of a PublishResponse."""
    message = ua.PublishResponse()
    response_header(rng, message)
    result = message.Parameters
    result.SubscriptionId = rng.getrandbits(32)
    result.AvailableSequenceNumbers = [rng.getrandbits(32) for _ in range(rng.randint(0, 3))]
    notification_message(rng, result.NotificationMessage)
    result.Results = [ua.StatusCode(rng.choice([0, 0x807A0000])) for _ in range(rng.randint(0, 2))]
    return struct_to_binary(message)


def republish(rng):
    """The bytes of a RepublishResponse."""
    message = ua.RepublishResponse()
    response_header(rng, message)
    notification_message(rng, message.NotificationMessage)
    return struct_to_binary(message)


def read(rng):
    """The bytes of a ReadResponse."""
    message = ua.ReadResponse()
    response_header(rng, message)
    message.Results = [data_value(rng) for _ in range(rng.randint(0, 6))]
    message.DiagnosticInfos = [diagnostics()] * rng.randint(0, 1)
    return struct_to_binary(message)


def mutated(rng, body, other):
    """The body with one to three changes of the kinds that break decoders."""
    body = bytearray(body)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if not body:
            break
        at = rng.randrange(len(body))
        kind = rng.choice([0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 5, 6])
        if kind == 0:
            body[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            body[at] = rng.randrange(256)
        elif kind == 2:
            body[at : at + 4] = struct.pack("<i", rng.choice(LENGTHS))
        elif kind == 3:
            del body[at:]
        elif kind == 4:
            del body[at : at + rng.randint(1, 9)]
        elif kind == 5:
            body[at:at] = rng.randbytes(rng.randint(1, 9))
        else:
            begin = rng.randrange(len(other))
            body[at:] = other[begin:]
    return bytes(body)


# --- comparison ---

MESSAGE = ("sequence", "parts", "status_changes")
FIELDS = {
    "publish": ("result", "subscription", "available", "more", "acknowledged", *MESSAGE),
    "republish": ("result", *MESSAGE),
    "read": ("result",),
}
ENCODERS = {"publish": publish, "republish": republish, "read": read}
COLUMNS = ("handle", "value", "quality", "source_time_ns", "server_time_ns")


def from_kernel(kernel, kind, body, columns):
    """A dictionary of what the kernel reads, None if it refuses."""
    try:
        rows = (len(body),) if kind == "read" else ()  # as many as were asked for: no bound to a mutated message
        read = getattr(kernel, f"{kind}_response")(body, columns, *rows)
    except kernel.AdapterError:
        return None
    values = read if isinstance(read, tuple) else (read,)
    found = dict(zip(FIELDS[kind], values, strict=True))
    if found["result"] & 0x80000000:
        found = {"result": found["result"]}
    return found | {name: getattr(columns, name).copy() for name in COLUMNS} | {"others": columns.others}


def from_plain(kind, body):
    """The same by the plain decoder."""
    try:
        return vars(getattr(plain_decoder, f"{kind}_response")(body))
    except ValueError:
        return None


def alike(ours, plain):
    """Whether both refuse or say the same; bit for bit, any NaN is a NaN."""
    if ours is None or plain is None:
        return ours is plain
    if ours.keys() != plain.keys():
        return False
    for name, found in ours.items():
        if name not in COLUMNS:
            same = found == plain[name]
        else:
            expected = np.array(plain[name], found.dtype)
            same = len(expected) == len(found) and np.array_equal(found, expected, equal_nan=found.dtype.kind == "f")
        if not same:
            return False
    return True


def fuzz(mutations, seed):
    """Run; the number of messages that both refuse, or None at the first difference."""
    kernel = importlib.import_module(KERNEL)
    notifications = importlib.import_module(NOTIFICATIONS)  # only now: it takes the kernel that is there
    columns, refused, rng = kernel.Columns(), 0, random.Random(seed)
    corpus = {kind: [] for kind in ENCODERS}
    for i in range(mutations):
        kind = rng.choice(list(ENCODERS))
        if i % 50 == 0 or not corpus[kind]:  # a fresh message, valid as it is
            corpus[kind] = [*corpus[kind][-199:], ENCODERS[kind](rng)]
            body = corpus[kind][-1]
        else:
            body = mutated(rng, rng.choice(corpus[kind]), rng.choice(corpus[kind]))
        if rng.random() < 0.5:  # new columns have room for exactly what comes first
            columns = kernel.Columns()
        # A copy by NumPy lies in memory of exactly its size, bytes have one more.
        ours = from_kernel(kernel, kind, np.frombuffer(body, np.uint8).copy(), columns)
        plain = from_plain(kind, body)
        if not alike(ours, plain):
            print(f"seed {seed}, message {i}, {kind}: {body.hex()}\nkernel {ours}\nplain  {plain}")
            return None
        if ours is None and (i % 50 == 0):
            print(f"seed {seed}, message {i}, {kind} is valid and refused: {body.hex()}")
            return None
        for encoded in ours["others"].values() if ours else ():
            with suppress(kernel.AdapterError):  # any other error, a flood or standing still would show
                notifications.variant(encoded)
        refused += ours is None
    return refused


# --- sanitizers ---


def instrumented(folder):
    """Compile the kernel with sanitizers; the path of the module."""
    c, module = folder / "binary.c", folder / f"binary{sysconfig.get_config_var('EXT_SUFFIX')}"
    cython = [
        sys.executable,
        "-m",
        "cython",
        "-3",
        "-X",
        DIRECTIVES,
        "--module-name",
        KERNEL,
        str(SOURCE),
        "-o",
        str(c),
    ]
    subprocess.run(cython, check=True, cwd=folder)
    include = f"-I{sysconfig.get_path('include')}"
    subprocess.run(["gcc", "-shared", "-fPIC", "-w", *SANITIZERS, include, str(c), "-o", str(module)], check=True)
    return module


def sanitized(arguments):
    """This program again, with the instrumented kernel; its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        module = instrumented(Path(folder))
        library = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
        environment = os.environ | {
            "LD_PRELOAD": library.stdout.strip(),
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
            "UBSAN_OPTIONS": "print_stacktrace=1",
            "PYTHONMALLOC": "malloc",
        }
        return subprocess.run(
            [sys.executable, __file__, *arguments, "--module", str(module)], env=environment
        ).returncode


def load(path):
    """Put the kernel of a file in the place of the usual one."""
    loader = importlib.machinery.ExtensionFileLoader(KERNEL, path)
    spec = importlib.util.spec_from_file_location(KERNEL, path, loader=loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[KERNEL] = module
    loader.exec_module(module)


def main():
    """The command; its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sanitize", action="store_true", help="compile with sanitizers first")
    parser.add_argument("--module", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sanitize:
        return sanitized(["--mutations", str(options.mutations), "--seed", str(options.seed)])
    if options.module:
        load(options.module)
    refused = fuzz(options.mutations, options.seed)
    if refused is None:
        return 1
    print(f"{options.mutations} messages alike, {refused} of them refused by both")
    return 0


if __name__ == "__main__":
    sys.exit(main())
