"""Public names exist, say what they are, and are in the documentation."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PUBLIC = {"uem": "uem.{}", "uem.clients.python": "`{}`"}
NAMES = [(module, name) for module in PUBLIC for name in import_module(module).__all__]


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_a_public_name_exists_and_says_what_it_is(module, name):
    found = getattr(import_module(module), name)
    assert isinstance(found, str) or inspect.getdoc(found)


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_a_public_name_is_documented(module, name):
    page = (ROOT / "docs" / "guide" / "python.md").read_text("utf-8")
    assert PUBLIC[module].format(name) in page


def test_a_name_that_does_not_exist_is_an_attribute_error():
    import uem

    with pytest.raises(AttributeError, match="module 'uem' has no attribute 'nothing'"):
        _ = uem.nothing
