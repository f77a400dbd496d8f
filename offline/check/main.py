"""`uem check`: look networks and factories through before they are believed."""

import argparse
import sys
from typing import Any

from uem.offline.check import design, factory, sizes, survey, topology
from uem.offline.check.finding import Finding, Severity
from uem.offline.output import Tell, one_message, print_json, progress_bar
from uem.territories.load import load
from uem.twin_core.plant.factory import FactorySite
from uem.twin_core.plant.network import Network
from uem.twin_core.plant.territory import Territory

_ORDER = (Severity.ERROR, Severity.WARNING, Severity.NOTE)
_MOST_ALIKE = 8
_BREAKING = ("islands", "feeds", "crossed", "unreachable")


def check(
    territory: Territory, network: Network, *, with_design: bool = True, tell: Tell = lambda done, of: None
) -> tuple[list[Finding], dict[str, Any]]:
    """All findings of a network, the worst first, and the figures of its design day. `tell`: steps done, steps in all.

    The design day is left out where the graph has errors: its figures would mislead.
    """
    found = [*topology.findings(network), *survey.findings(network), *sizes.findings(network)]
    figures: dict[str, Any] = {}
    broken = any(f.severity is Severity.ERROR and f.check in _BREAKING for f in found)
    if with_design and not broken and not network.flows_are_imposed:
        more, figures = design.findings(territory, network, tell)
        found += more
    return sorted(found, key=lambda f: _ORDER.index(f.severity)), figures


def main(argv: list[str] | None = None) -> int:
    """Run `uem check`; the exit code is 1 when there are errors."""
    parser = argparse.ArgumentParser(
        prog="uem check",
        description="Look for mistakes in the networks of a territory: islands, dead ends, crossed supply and return,\n"
        "customers that no heat reaches, odd lengths, levels and diameters, plants too small; then run the design day\n"
        "and a mild one: velocities, pressures, pumps the wrong way, what each customer gets. Of factories: buffers\n"
        "that nobody fills or empties, utilities and furnaces too small, and a week of production. Exit code 1 when\n"
        "there are errors.",
        epilog="examples:\n  uem check quartier\n  uem check district.toml --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("territory", help="shipped name, folder or file")
    parser.add_argument("--no-design", action="store_true", help="leave the design day out")
    parser.add_argument("--json", action="store_true", help="findings and figures as JSON on stdout")
    options = parser.parse_args(argv)
    with one_message("uem check") as done:
        territory = load(options.territory)
        with progress_bar("checking") as tell:
            checked = [
                (n, *check(territory, n, with_design=not options.no_design, tell=tell)) for n in territory.networks
            ]
        made = [(site, *factory.findings(site)) for site in territory.factories]
        if options.json:
            shops = {"factories": [_factory_document(*item) for item in made]} if made else {}
            print_json({"networks": [_document(*item) for item in checked]} | shops)
        else:
            for item in checked:
                _show(*item)
            for its in made:
                _show_factory(*its)
        found = [f for _, some, _ in (*checked, *made) for f in some]
        done.code = int(any(f.severity is Severity.ERROR for f in found))
    return done.code


def _document(network: Network, found: list[Finding], figures: dict[str, Any]) -> dict[str, Any]:
    return {"network": network.name, **_told(found), "design": figures or None}


def _factory_document(site: FactorySite, found: list[Finding], figures: dict[str, Any]) -> dict[str, Any]:
    return {"factory": site.name, **_told(found), "week": figures or None}


def _told(found: list[Finding]) -> dict[str, Any]:
    return {
        "counts": {str(s): sum(f.severity is s for f in found) for s in _ORDER},
        "findings": [f._asdict() | {"severity": str(f.severity)} for f in found],
    }


def _show_factory(site: FactorySite, found: list[Finding], figures: dict[str, Any]) -> None:
    _show_findings(f"factory {site.name}", found)
    if figures:
        print(
            f"a week: {figures['parts_per_week']} parts, {figures['power_kw']:.0f} kW, busiest machine "
            f"{figures['busiest_machine']}"
        )
    for stream, heat in figures.get("heat_kw", {}).items():
        print(f"heat {stream}: {heat['mean']:.0f} kW, at most {heat['most']:.0f} kW in 15 min")


def _show_findings(title: str, found: list[Finding]) -> None:
    counts = ", ".join(f"{sum(f.severity is s for f in found)} {s}s" for s in _ORDER)
    print(f"{title}: {counts}")
    alike: dict[tuple[Severity, str], int] = {}
    for f in found:
        alike[f.severity, f.check] = alike.get((f.severity, f.check), 0) + 1
        if alike[f.severity, f.check] <= _MOST_ALIKE:
            print(f"  {f.severity}: {f.element}: {f.text}; {f.remedy}")
    for (severity, name), count in alike.items():
        if count > _MOST_ALIKE:
            print(f"  {severity}: {name}: {count - _MOST_ALIKE} more like these; --json lists all")


def _show(network: Network, found: list[Finding], figures: dict[str, Any]) -> None:
    _show_findings(f"network {network.name}", found)
    if figures:
        print(
            f"design day: {figures['heat_to_customers_kw']:.0f} kW to customers, {figures['loss_kw']:.0f} kW lost; "
            f"{figures['lowest_pressure_bar']:.2f} to {figures['highest_pressure_bar']:.2f} bar; "
            f"fastest {figures['fastest_m_s']:.2f} m/s in pipe {figures['fastest_pipe']}"
        )
        if figures["critical_customer"]:
            over = figures["critical_pressure_drop_bar"]
            print(f"critical customer {figures['critical_customer']}: {over:.2f} bar across it")


if __name__ == "__main__":
    sys.exit(main())
