"""A real Prometheus with the shipped configuration watches a running `uem up`: everything answers, all is well."""

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from types import SimpleNamespace

import pytest

UP = [sys.executable, "-m", "uem.clients.cli", "up", "pongau", "--port", "0", "--metrics-port", "0", "--speed", "4"]
PROCESSES = ("serve", "gateway", "simulator")
SHIPPED_PORTS = {"serve": 7651, "gateway": 7652, "simulator": 7653}
WAIT_S = 300

# What a plant's operator must be able to see, and the metrics that show it.
MUST_HAVE = {
    "values in": ("uem_gateway_samples_received_total", "uem_ingestion_stored_samples_total"),
    "values out": ("uem_gateway_samples_delivered_total",),
    "dropped": ("uem_gateway_samples_dropped_total",),
    "bad quality": ("uem_gateway_bad_quality_samples_total",),
    "decode seconds": ("uem_gateway_decode_seconds_total",),
    "publish lag": ("uem_gateway_publish_lag_seconds",),
    "connection state": ("uem_gateway_connected", "uem_gateway_ingestion_connected"),
    "reconnects": ("uem_gateway_reconnects_total",),
    "certificate expiry": ("uem_gateway_certificate_expiry_seconds", "uem_simulator_certificate_expiry_seconds"),
    "gaps": ("uem_ingestion_gaps_total",),
    "queue depth": ("uem_gateway_spool_batches", "uem_gateway_pending_samples", "uem_history_queued_batches"),
    "calls": ("uem_rpc_started_total", "uem_rpc_handled_total", "uem_rpc_duration_seconds"),
    "twin step": ("uem_twin_step_duration_seconds",),
    "real-time factor": ("uem_twin_real_time_factor_ratio",),
    "age of the newest sample": ("uem_gateway_newest_sample_age_seconds",),
    "version": ("uem_gateway_info", "uem_simulator_info", "uem_server_info"),
}


def until(fact, process, log):
    """What `fact` says once it says something; the log of the process if that takes too long or it ends."""
    deadline = time.monotonic() + WAIT_S
    while not (found := fact()):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    """Where the processes of a running `uem up` export their metrics, once twins have states to show."""
    folder = tmp_path_factory.mktemp("up")
    out = folder / "out"
    with (
        out.open("w") as file,
        subprocess.Popen([*UP, "--state", str(folder / "state")], stdout=file, stderr=subprocess.STDOUT) as process,
    ):
        try:
            until(lambda: "washer (" in out.read_text() and "measured" in out.read_text(), process, out)
            yield {name: url for url, name in re.findall(r"http://(\S+)/metrics \((\w+)\)", out.read_text())}
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="module")
def watching(addresses, prometheus, shipped, tmp_path_factory):
    """A Prometheus that has scraped each process, with a function that asks its API."""
    folder = tmp_path_factory.mktemp("prometheus")
    text = (shipped.folder / "prometheus.yml").read_text("utf-8").replace("interval: 5s", "interval: 1s")
    for process, port in SHIPPED_PORTS.items():
        assert f'"127.0.0.1:{port}"' in text
        text = text.replace(f"127.0.0.1:{port}", addresses[process])
    (folder / "prometheus.yml").write_text(text.replace("interval: 15s", "interval: 1s"))
    (folder / "alerts.yml").write_text((shipped.folder / "alerts.yml").read_text("utf-8"))
    log = folder / "log"
    command = [
        prometheus,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
    ]

    def its_address():
        said = log.read_text()
        return "Server is ready" in said and re.search(r'msg="Listening on" address=(\S+)', said)

    def ask(path, **arguments):
        url = f"http://{address}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{arguments}: {error.read().decode()}") from None

    def has_scraped_everything():
        return len(ask("query", query="count_over_time(up[1m]) > 2")["result"]) == len(PROCESSES)

    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT) as process:
        try:
            address = until(its_address, process, log)[1]
            until(has_scraped_everything, process, log)
            yield SimpleNamespace(ask=ask)
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="module")
def exported(watching):
    """Names of all metrics, also of those without a series yet."""
    told = watching.ask("targets/metadata")  # where OpenMetrics is spoken, counters without their ending
    return {row["metric"].removesuffix("_total") + "_total" * (row["type"] == "counter") for row in told}


def test_every_process_is_a_target_that_is_up(watching):
    targets = watching.ask("targets")["activeTargets"]
    assert {t["labels"]["process"]: (t["health"], t["lastError"]) for t in targets} == dict.fromkeys(
        PROCESSES, ("up", "")
    )


@pytest.mark.parametrize("process", PROCESSES)
def test_promtool_has_nothing_to_say_about_what_a_process_exports(process, addresses, promtool):
    with urllib.request.urlopen(f"http://{addresses[process]}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("what", MUST_HAVE)
def test_what_an_operator_must_see_is_exported(what, exported):
    assert [name for name in MUST_HAVE[what] if name not in exported] == []


def test_no_series_per_tag(watching):
    assert watching.ask("query", query='{tag=~".+"}')["result"] == []
    (count,) = watching.ask("query", query='count({__name__=~"uem_.+"})')["result"]
    assert int(count["value"][1]) < 1000


def test_rules_and_dashboard_name_only_metrics_that_are_exported(exported, shipped):
    of_histograms = {re.sub("_(bucket|sum|count)$", "", name) for name in shipped.metrics - exported}
    assert of_histograms - exported == set()


def test_prometheus_reads_every_expression_of_rules_and_dashboard(watching, shipped):
    assert len(shipped.expressions) > 60
    for where, expression in shipped.expressions:
        assert "result" in watching.ask("query", query=expression), where


def test_the_rules_are_loaded_and_work(watching, shipped):
    def rules():
        return [rule for group in watching.ask("rules")["groups"] for rule in group["rules"]]

    deadline = time.monotonic() + WAIT_S
    while {rule["health"] for rule in rules()} != {"ok"}:
        assert time.monotonic() < deadline, rules()
        time.sleep(0.2)
    assert sorted(rule["name"] for rule in rules()) == sorted(shipped.alerts)


def test_nothing_is_alerted_while_all_is_well(watching, shipped):
    expressions = dict(shipped.expressions)
    found = {alert: watching.ask("query", query=expressions[alert])["result"] for alert in shipped.alerts}
    assert {alert: rows for alert, rows in found.items() if rows} == {}
