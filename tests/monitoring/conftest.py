"""The shipped files for Prometheus and Grafana, and the tools that read them."""

import json
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]


def tool(name):
    """A program of Debian's package prometheus."""
    found = shutil.which(name)
    if found is None:
        assert os.environ.get("CI") != "true", f"{name} is missing; on Debian: apt-get install prometheus"
        pytest.skip(f"{name} is not installed; on Debian: apt-get install prometheus")
    return found


def expressions_of_rules(text):
    """Alert and expression of every rule; folded ones are joined again."""
    for block in re.split(r"\n +- alert: ", text)[1:]:
        one_line = re.search(r"^ +expr: (?!>)(.+)$", block, re.MULTILINE)
        folded = re.search(r"^( +)expr: >-\n((?:\1  .*\n)+)", block, re.MULTILINE)
        expression = one_line[1].strip("'") if one_line else " ".join(folded[2].split())
        yield block.split("\n", 1)[0], expression


def expressions_of_dashboard(board):
    """Panel and expression of every target."""
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for annotation in board["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


@pytest.fixture(scope="session")
def shipped():
    """Rules, dashboard and every expression in them, with where it stands."""
    folder = ROOT / "monitoring"
    rules = (folder / "alerts.yml").read_text("utf-8")
    dashboard = json.loads((folder / "dashboard.json").read_text("utf-8"))
    found = [*expressions_of_rules(rules), *expressions_of_dashboard(dashboard)]
    return SimpleNamespace(
        folder=folder,
        alerts=[alert for alert, _ in expressions_of_rules(rules)],
        dashboard=dashboard,
        expressions=found,
        # `__name__` stands before patterns of names, whose quotes are taken away with all others
        metrics={name for _, text in found for name in re.findall(r"\buem_\w+", re.sub(r'"[^"]*"', "", text))},
    )


@pytest.fixture(scope="session")
def promtool():
    return tool("promtool")


@pytest.fixture(scope="session")
def prometheus():
    return tool("prometheus")
