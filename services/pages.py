"""Pages of lists after AIP-158: a size, an opaque token, the token of the next page."""

import base64
import binascii
from collections.abc import Sequence

from uem.services.status import InvalidField


def page_of(names: Sequence[str], size: int, token: str, *, usual: int, most: int) -> tuple[list[str], str]:
    """The names of one page and the token of the next, which is empty on the last page.

    Raises InvalidField when `size` is out of range (0 means `usual`), or `token` was not given out for `names`.
    """
    start, size = _start(names, token), page_size(size, usual=usual, most=most)
    page = list(names[start : start + size])
    more = start + len(page) < len(names)
    return page, base64.urlsafe_b64encode(page[-1].encode()).decode() if more else ""


def page_size(size: int, *, usual: int, most: int) -> int:
    """The size that is asked for, `usual` for 0; InvalidField when it is out of range."""
    if not 0 <= size <= most:
        raise InvalidField("page_size", f"{size}; 1 to {most}, or 0 for {usual}")
    return size or usual


def _start(names: Sequence[str], token: str) -> int:
    if not token:
        return 0
    try:
        return names.index(base64.b64decode(token, altchars=b"-_", validate=True).decode()) + 1
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise InvalidField("page_token", f"{token!r} was not given out by this server; start without a token") from None
