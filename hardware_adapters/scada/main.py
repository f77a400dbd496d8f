"""`uem opcua`: the states and forecasts of the twins for control systems, by OPC UA.

It asks a uem server as any client does. While the server is away the last values stay, with the quality
UncertainLastUsableValue. When assets or their signals change, the server is opened anew with the new nodes.
"""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Iterable
from contextlib import aclosing, suppress
from functools import partial
from getpass import getpass
from pathlib import Path

import numpy as np
from prometheus_client.core import Metric

from uem.clients.errors import ClientError
from uem.clients.python import DEFAULT_ADDRESS, Client
from uem.clients.records import Asset, Forecast, State
from uem.hardware_adapters import process
from uem.hardware_adapters.metrics import counter, gauge, info, served
from uem.hardware_adapters.opcua.certificates import CertificateStore
from uem.hardware_adapters.opcua.policies import OPEN, SECURE, check
from uem.hardware_adapters.opcua.server.server import PointServer
from uem.hardware_adapters.opcua.server.users import UserFile
from uem.hardware_adapters.scada.nodes import TwinNodes
from uem.twin_core.errors import InvalidInput
from uem.twin_core.measurements import UNCERTAIN_LAST_USABLE_VALUE, is_bad

_log = logging.getLogger(__name__)

PROG = "uem opcua"
HISTORY_ROWS = 200_000
WAIT_S, FORECAST_EVERY_S, SILENCE_S = 1.0, 10.0, 15.0


class SignalsChanged(Exception):
    """An asset is new, gone or has other signals: the nodes have to be made anew."""


class Outlet:
    """What the twins say, written into an OPC UA server."""

    def __init__(self, client: Client) -> None:
        self.states_written = 0
        self.is_connected = False
        self._client = client
        self._newest: dict[str, State] = {}

    async def assets(self) -> list[Asset]:
        """The assets of the server, once it answers."""
        said = ""
        while True:
            try:
                found = await self._client.assets()
                if found:
                    return found
                reason = "it has no assets yet"
            except ClientError as error:
                reason = str(error).splitlines()[0]
            if reason != said:
                _log.warning("waiting for the server: %s", reason)
            said = reason
            await asyncio.sleep(WAIT_S)

    async def follow(self, server: PointServer, nodes: TwinNodes) -> None:
        """Write each state as it comes; SignalsChanged when it does not fit the nodes."""
        said = ""
        self._newest = {}  # of nodes that are no more
        while True:
            reason = "the stream has ended"
            try:
                async with aclosing(self._client.watch(reconnect_s=0.0)) as states:
                    while True:
                        async with asyncio.timeout(SILENCE_S):
                            state = await anext(states)
                        self.is_connected, said = True, ""
                        self.write(server, nodes, state)
            except TimeoutError:  # a line that stands proves nothing: to watch anew has to be answered in time
                continue
            except StopAsyncIteration:
                pass
            except ClientError as error:
                reason = str(error).splitlines()[0]
            if reason != said:
                _log.warning("the values stay as they are: %s", reason)
                self.hold(server, nodes)
            self.is_connected, said = False, reason
            await asyncio.sleep(WAIT_S)

    def write(self, server: PointServer, nodes: TwinNodes, state: State) -> None:
        """Write one state."""
        its = nodes.by_name.get(state.asset.name)
        if its is None or its.asset.signals != state.asset.signals:
            raise SignalsChanged
        point, value, quality, time_ns = its.rows(state)
        server.write(value, quality, time_ns, point)
        self._newest[state.asset.name] = state
        self.states_written += 1

    def hold(self, server: PointServer, nodes: TwinNodes) -> None:
        """The values are old: what is not bad becomes uncertain, of the time it has."""
        for name, state in self._newest.items():
            point, value, quality, time_ns = nodes.by_name[name].rows(state)
            bad = np.array([is_bad(int(q)) for q in quality])
            server.write(value, np.where(bad, quality, UNCERTAIN_LAST_USABLE_VALUE).astype(np.uint32), time_ns, point)

    async def forecast(self, server: PointServer, nodes: TwinNodes) -> None:
        """Show the forecasts, over and over again."""
        shown: dict[str, Forecast] = {}
        while True:
            for asset in nodes.assets:
                is_old = False
                try:
                    shown[asset.name] = await self._client.forecast(asset.name)
                except ClientError:  # not yet, an asset without one, or the server is away
                    is_old = True
                if asset.name in shown:
                    now = self._newest.get(asset.name)
                    now_ns = now.plant_time_ns if now else 0
                    await nodes.write_forecast(server.space, shown[asset.name], now_ns, is_old=is_old)
            await asyncio.sleep(FORECAST_EVERY_S)


def families(outlet: Outlet, certificates: CertificateStore, users: UserFile) -> Iterable[Metric]:
    """Everything that is exported."""
    name = "uem_opcua_"
    yield info(name + "info")
    written = [((), float(outlet.states_written))]
    yield counter(name + "states_written_total", "States of twins that were written.", (), written)
    connected = [((), float(outlet.is_connected))]
    yield gauge(name + "server_connected", "Whether states come from the uem server.", (), connected)
    expiry = [((), certificates.seconds_to_expiry())]
    text = "Time until the certificate of the OPC UA server expires."
    yield gauge(name + "certificate_expiry_seconds", text, (), expiry)
    refused = [((), float(users.refused))]
    yield counter(
        name + "refused_logins_total", "Logins with a wrong user or password, or too many of them.", (), refused
    )


def _add_user(name: str, certificate: Path | None, users: UserFile) -> None:
    """By a certificate, or a password from the terminal, where it is not shown, or from the first line of the input."""
    if certificate is not None:
        try:
            users.add_certificate(name, certificate.read_bytes())
        except OSError as error:
            raise InvalidInput(f"{certificate} cannot be read: {error.strerror}") from None
        print(f"{name} may log in by the certificate; a server that runs without users so far has to be started anew")
        return
    password = getpass(f"Password of {name}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    users.add(name, password)
    print(f"{name} may log in; a server that runs without users so far has to be started anew")


async def _run(options: argparse.Namespace, stop: asyncio.Event) -> None:
    policies = [OPEN] if options.insecure else options.policy or list(SECURE)
    check(policies, options.host, allow_open=options.insecure, who=PROG)
    pki = options.pki or options.state / "pki"
    certificates = CertificateStore(pki, "twin", allow_insecure_loopback=options.insecure)
    users = UserFile(certificates.folder / "users")
    if options.add_user is not None:
        _add_user(options.add_user, options.certificate, users)
        return
    if certificates.ensure():
        _log.info("made a certificate in %s; trusted/ beside it takes those of clients", certificates.folder / "own")
    async with Client(options.server) as client:
        outlet = Outlet(client)
        exported = served(partial(families, outlet, certificates, users), options.host, options.metrics_port)
        with exported as metrics:
            serving = asyncio.create_task(_serve(outlet, certificates, users, policies, options, metrics))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            serving.cancel()
            await asyncio.gather(stopping, return_exceptions=True)
            with suppress(asyncio.CancelledError):
                await serving


async def _serve(
    outlet: Outlet,
    certificates: CertificateStore,
    users: UserFile,
    policies: list[str],
    options: argparse.Namespace,
    metrics: str,
) -> None:
    """One OPC UA server after the other, for the assets as they are."""
    port = options.port
    while True:
        nodes = TwinNodes(await outlet.assets())
        server = PointServer(
            "twins",
            nodes.describe,
            certificates,
            host=options.host,
            port=port,
            path="/uem/twins",
            policies=policies,
            users=users,
            history_rows=HISTORY_ROWS,
        )
        async with server:
            process.announce("opcua", endpoint=server.endpoint, metrics=metrics)
            port = int(server.endpoint.rpartition(":")[2].partition("/")[0])
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(outlet.follow(server, nodes))
                    group.create_task(outlet.forecast(server, nodes))
            except* SignalsChanged:
                _log.warning("the signals of the twins have changed: the OPC UA server starts anew")


def main(argv: list[str] | None = None) -> int:
    """The command; the exit code."""
    parser = argparse.ArgumentParser(prog=PROG, description="Show the twins to control systems: an OPC UA server.")
    parser.add_argument(
        "--server",
        default=os.environ.get("UEM_SERVER") or DEFAULT_ADDRESS,
        metavar="HOST:PORT",
        help="the uem server (default: UEM_SERVER or %(default)s)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=4855, help="0 takes a free port (default: %(default)s)")
    parser.add_argument(
        "--policy", action="append", choices=SECURE, help="offer this one only; may be given again (default: all)"
    )
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="neither sign nor encrypt, let anyone in: on a loopback address only",
    )
    parser.add_argument("--state", type=Path, default=Path(".uem/opcua"), metavar="DIR", help="(default: %(default)s)")
    parser.add_argument("--pki", type=Path, metavar="DIR", help="certificates (default: pki in the state folder)")
    parser.add_argument(
        "--add-user",
        metavar="NAME",
        help="add a user, or change the password, which is asked for or read from the input, and end; "
        "once there are users, only they are let in",
    )
    parser.add_argument(
        "--certificate",
        type=Path,
        metavar="FILE",
        help="with --add-user: who holds its key logs in, without a password",
    )
    parser.add_argument(
        "--metrics-port",
        type=int,
        default=7655,
        metavar="PORT",
        help="Prometheus endpoint; 0 takes a free port, -1 switches it off (default: %(default)s)",
    )
    return process.run_alone(PROG, partial(_run, parser.parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
