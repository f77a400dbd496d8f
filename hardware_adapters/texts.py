"""Texts of plants: what is not UTF-8 comes with a surrogate for each byte, and can neither be sent nor be shown so."""

_LATIN_1 = {0xDC00 + byte: byte for byte in range(0x80, 0x100)}


def readable(text: str) -> str:
    """The text with such bytes taken for Latin-1, which plants mean by them, and "?" for what is no character."""
    return text.translate(_LATIN_1).encode("utf-8", "replace").decode()
