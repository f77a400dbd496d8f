import argparse

import pytest

from uem.clients.addresses import addresses
from uem.clients.cli import common
from uem.clients.errors import ClientError

A, B, C = "127.0.0.1:7650", "127.0.0.1:7660", "[::1]:7670"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (A, (A, A, A)),
        (f"{A},twin={B}", (A, B, A)),
        (f"{A},prediction={C},twin={B}", (A, B, C)),
    ],
)
def test_a_text_gives_the_address_of_each_process(text, found):
    assert addresses(text) == found
    assert common.server(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "host", f"{A},", f"{A},{B}", f"{A},twin=", f"{A},twin=host", f"{A},history={B}", f"{A},twin={B},twin={C}"],
)
def test_a_wrong_text_is_refused_with_what_would_be_right(text):
    with pytest.raises(ClientError, match=r"is not an address such as|twin=HOST:PORT"):
        addresses(text)
    with pytest.raises(argparse.ArgumentTypeError):
        common.server(text)
