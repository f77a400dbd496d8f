"""Alert rules: each fires when it should, stops, and stays silent otherwise, by Prometheus' own tool."""

import re
import subprocess
from pathlib import Path

import pytest

from uem.services.standalone import PARTS

CASES = sorted(Path(__file__).parent.glob("alerts*_test.yml"))


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", ["prometheus.yml", "prometheus_apart.yml"])
def test_the_configuration_and_its_rules_are_valid(promtool, shipped, name):
    done = run(promtool, "check", "config", str(shipped.folder / name))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(shipped.alerts)} rules found" in done.stdout


def test_every_alert_fires_when_it_should_and_not_before(promtool):
    done = run(promtool, "test", "rules", *map(str, CASES))
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_a_case_that_fires_and_one_that_does_not_for_every_alert(shipped):
    told = re.findall(r"alertname: (\w+)\n +exp_alerts:( \[\])?", "".join(case.read_text("utf-8") for case in CASES))
    assert {alert for alert, nothing in told if not nothing} == set(shipped.alerts)
    assert {alert for alert, nothing in told if nothing} == set(shipped.alerts)


def test_services_apart_are_scraped_where_they_tell_their_metrics(shipped):
    text = (shipped.folder / "prometheus_apart.yml").read_text("utf-8")
    scraped = dict(
        re.findall(r'^      - targets: \["127.0.0.1:(\d+)"\]\n        labels: {process: (\w+)}', text, re.MULTILINE)
    )
    assert scraped == {str(part.grpc_port + 1): name for name, part in PARTS.items()} | {"7652": "gateway"}


def test_what_must_be_alerted_is(shipped):
    rules = dict(shipped.expressions)
    for metric in (
        "uem_gateway_newest_sample_age_seconds",
        "certificate_expiry_seconds",
        "uem_twin_real_time_factor_ratio",
        "uem_gateway_samples_dropped_total",
        "uem_ingestion_gaps_total",
        "uem_gateway_spool_batches",
        "uem_ingestion_refused_samples_total",
    ):
        assert [alert for alert in shipped.alerts if metric in rules[alert]], metric


def test_every_metric_of_rules_and_dashboard_is_documented(shipped):
    page = (shipped.folder.parent / "docs" / "guide" / "metrics.md").read_text("utf-8")
    known = set(re.findall(r"^\| `(uem_\w+)`", page, re.MULTILINE))
    histograms = set(re.findall(r"^\| `(uem_\w+)` \| histogram", page, re.MULTILINE))
    known |= {f"{name}_{part}" for name in histograms for part in ("bucket", "sum", "count")}
    assert shipped.metrics - known == set()
