"""Frames of the link layer (EN 13757-2): what a master sends, and what it takes out of the bytes that come in."""

ACKNOWLEDGEMENT = b"\xe5"
RESET = 0x40  # SND_NKE: the next request gets the first telegram
REQUEST = 0x5B  # REQ_UD2
FRAME_COUNT = 0x20  # turned over for the next telegram, kept to have the last one again


class Garbled(Exception):
    """Bytes that are no frame."""


def short(control: int, meter: int) -> bytes:
    """A frame without data."""
    return bytes([0x10, control, meter, (control + meter) & 0xFF, 0x16])


def take(received: bytearray) -> bytes | None:
    """The first frame of what has come, which is taken away; None when it is not complete yet.

    Short frames are passed over: some converters send back what was sent.

    Raises:
        Garbled: it cannot become a frame; all that has come is taken away.
    """
    while received[:1] == b"\x10" and len(received) >= 5:
        del received[:5]
    if received[:1] == ACKNOWLEDGEMENT:
        del received[:1]
        return ACKNOWLEDGEMENT
    begin = received[:4]
    if begin and begin[0] not in (0x10, 0x68):
        raise _garbled(received, f"a frame does not begin with {begin[0]:#04x}")
    if len(begin) < 4 or begin[0] == 0x10:
        return None
    if begin[1] != begin[2] or begin[3] != 0x68 or begin[1] < 3:
        raise _garbled(received, f"no beginning of a frame: {begin.hex(' ')}")
    size = begin[1] + 6
    if len(received) < size:
        return None
    frame = bytes(received[:size])
    if sum(frame[4:-2]) & 0xFF != frame[-2] or frame[-1] != 0x16:
        raise _garbled(received, "wrong checksum")
    del received[:size]
    return frame


def _garbled(received: bytearray, why: str) -> Garbled:
    received.clear()
    return Garbled(why)
