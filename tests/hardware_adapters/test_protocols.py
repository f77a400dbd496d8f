"""One table leads from the protocol in a territory file to the adapter."""

import re
import sys
import time
import tomllib
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

import pytest

from uem.hardware_adapters import protocols as protocols_module
from uem.hardware_adapters.gateway import Gateway
from uem.hardware_adapters.protocols import PROTOCOLS, FieldProtocol, endpoints_of
from uem.hardware_adapters.replay import ReplayAdapter
from uem.hardware_adapters.spool import Spool
from uem.territories import schema, schema_tags
from uem.twin_core.errors import InvalidInput, UnknownName
from uem.twin_core.plant.territory import Plant, Territory

ROOT = Path(__file__).resolve().parents[2]


def test_every_protocol_that_a_territory_file_may_name_has_an_adapter_and_the_same_scheme():
    assert set(get_args(schema.Plant.model_fields["protocol"].annotation)) == set(PROTOCOLS)
    schemes = {name: (urlsplit(protocol.endpoint).scheme, protocol.secure) for name, protocol in PROTOCOLS.items()}
    assert {name: tuple(filter(None, its)) for name, its in schemes.items()} == schema.SCHEMES
    assert set(PROTOCOLS) == set(schema_tags.ROWS)


def test_a_missing_package_is_told_before_anything_is_opened_with_the_extra_that_brings_it(monkeypatch):
    for name, protocol in PROTOCOLS.items():
        if protocol.package:
            monkeypatch.setitem(sys.modules, protocol.package, None)
            territory = Territory(name="t", plants=(Plant(name="a", protocol=name),))
            with pytest.raises(InvalidInput, match=re.escape(f"pip install 'uem[{protocol.extra}]'")):
                endpoints_of(territory, {})


def test_what_protocols_need_is_in_their_extras_and_the_tests_need_them_all():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for protocol in PROTOCOLS.values():
        if protocol.extra:
            assert set(extras[protocol.extra]) <= set(extras["test"])


def test_one_extra_brings_what_all_protocols_need_and_the_main_job_installs_it():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = ",".join(protocol.extra for protocol in PROTOCOLS.values() if protocol.extra)
    assert extras["protocols"] == [f"uem[{names}]"]
    assert "--editable '.[protocols]'" in (ROOT / "Makefile").read_text()


def test_a_further_protocol_is_one_more_line(monkeypatch, tmp_path, shared_pki):
    made = []

    def adapter(plant, endpoint, bindings, certificates, clock):
        made.append((plant.name, endpoint))
        return ReplayAdapter([], bindings)

    monkeypatch.setitem(protocols_module.PROTOCOLS, "fake", FieldProtocol("fake://host", adapter))
    territory = Territory(name="t", plants=(Plant(name="a", protocol="fake", endpoint="fake://one"), Plant(name="b")))
    endpoints = endpoints_of(territory, {"b": "opc.tcp://two:2"})
    assert endpoints == {"a": "fake://one", "b": "opc.tcp://two:2"}
    with Spool(tmp_path / "spool.db") as spool:
        gateway = Gateway(territory, endpoints, shared_pki.gateway, spool, "127.0.0.1:1")
        for link in gateway.links:
            link._make()
    assert made == [("a", "fake://one")]


def test_endpoints_come_from_the_command_line_before_the_territory():
    territory = Territory(name="t", plants=(Plant(name="a", endpoint="opc.tcp://one:1"), Plant(name="b")))
    given_ = {"b": "opc.tcp://two:2/x"}
    assert endpoints_of(territory, given_) == {"a": "opc.tcp://one:1", "b": "opc.tcp://two:2/x"}
    with pytest.raises(InvalidInput, match="give --endpoint b="):
        endpoints_of(territory, {})
    with pytest.raises(UnknownName, match="unknown plant 'c'; known: a, b"):
        endpoints_of(territory, {"c": "opc.tcp://x:1"})
    with pytest.raises(InvalidInput, match=r"is not like opc\.tcp://host:port/path"):
        endpoints_of(territory, {"b": "http://x:1"})


def test_a_plant_with_several_endpoints_has_an_adapter_of_the_set_and_each_is_checked(shared_pki):
    plant = Plant(name="a", endpoint="opc.tcp://one:1", redundant_endpoints=("opc.tcp://two:2",))
    territory = Territory(name="t", plants=(plant,))
    endpoints = endpoints_of(territory, {})
    assert endpoints == {"a": "opc.tcp://one:1,opc.tcp://two:2"}
    made = PROTOCOLS["opcua"].make(plant, endpoints["a"], (), shared_pki.gateway, time.time_ns)
    assert list(made.service_levels) == ["opc.tcp://one:1", "opc.tcp://two:2"]
    with pytest.raises(InvalidInput, match="'http://two:2' is not like"):
        endpoints_of(territory, {"a": "opc.tcp://one:1,http://two:2"})
