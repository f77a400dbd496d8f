import asyncio
import os
import shutil
import subprocess
from urllib.request import urlopen

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from uem.services.metrics import Metrics, serve_metrics
from uem.twin_core.errors import InvalidInput


def exposed(metrics):
    return generate_latest(metrics.registry).decode()


def test_counters_gauges_and_histograms_are_exposed_as_counted():
    metrics = Metrics()
    refused = metrics.counter("uem_test_refused_samples_total", "Refused.", ["reason"])
    plain = metrics.counter("uem_test_batches_total", "Batches.")
    metrics.gauge("uem_test_queue_batches", "Waiting.", lambda: 3)
    metrics.gauge("uem_test_check_ok", "Ok.", lambda: {("disk",): 1.0, ("twin",): 0.0}, ["check"])
    seconds = metrics.histogram("uem_test_step_seconds", "Step.", [0.1, 1.0], ["asset"])
    refused.add(2, "late")
    refused.add(1, "late")
    for value in (0.1, 0.5, 7.0):
        seconds.observe(value, "network")
    text = exposed(metrics)
    for line in (
        'uem_test_refused_samples_total{reason="late"} 3.0',
        "uem_test_batches_total 0.0",
        "uem_test_queue_batches 3.0",
        'uem_test_check_ok{check="twin"} 0.0',
        'uem_test_step_seconds_bucket{asset="network",le="0.1"} 1.0',
        'uem_test_step_seconds_bucket{asset="network",le="1.0"} 2.0',
        'uem_test_step_seconds_bucket{asset="network",le="+Inf"} 3.0',
        'uem_test_step_seconds_sum{asset="network"} 7.6',
    ):
        assert line in text.splitlines()
    assert (refused.get("late"), refused.get("never"), plain.get(), seconds.count("network")) == (3, 0, 0, 3)


def test_names_that_prometheus_would_complain_about_are_refused():
    metrics = Metrics()
    with pytest.raises(InvalidInput, match="_total"):
        metrics.counter("uem_test_batches", "Text.")
    with pytest.raises(InvalidInput, match="uem_<subsystem>"):
        metrics.counter("batches_total", "Text.")
    with pytest.raises(InvalidInput, match="help"):
        metrics.counter("uem_test_batches_total", "")
    with pytest.raises(InvalidInput, match="ends like"):
        metrics.gauge("uem_test_batches_count", "Text.", lambda: 0)
    with pytest.raises(InvalidInput, match="base unit"):
        metrics.histogram("uem_test_step_ms", "Text.")
    metrics.counter("uem_test_batches_total", "Text.")
    with pytest.raises(InvalidInput, match="twice"):
        metrics.counter("uem_test_batches_total", "Text.")


def test_the_endpoint_answers_scrapes_until_closed():
    metrics = Metrics()
    counter = metrics.counter("uem_test_batches_total", "Batches.")
    with serve_metrics(metrics, 0) as endpoint:
        counter.add(5)
        with urlopen(f"http://{endpoint.address}/metrics", timeout=60) as answer:
            assert b"uem_test_batches_total 5.0" in answer.read()
    with pytest.raises(OSError, match="refused"):
        urlopen(f"http://{endpoint.address}/metrics", timeout=60)


def test_a_port_in_use_is_named_with_the_option_that_helps():
    with serve_metrics(Metrics(), 0) as endpoint:
        port = int(endpoint.address.rpartition(":")[2])
        with pytest.raises(InvalidInput, match=f"port {port} .*--metrics-port"):
            serve_metrics(Metrics(), port)


async def test_every_metric_of_the_services_has_help_and_the_right_suffix(site, batch, samples):
    await site.ingest(batch("p", 1, samples(("branch/flow", 0, 1.0), ("branch/flow", 1, 1e9))))
    families = list(text_string_to_metric_families(exposed(site.metrics)))
    assert {"uem_rpc_started", "uem_ingestion_stored_samples", "uem_history_commit_duration_seconds"} <= {
        family.name for family in families
    }
    for family in families:
        assert family.documentation.endswith("."), family.name
        assert family.name.startswith("uem_")
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)


async def test_promtool_has_nothing_to_say(site, batch, samples):
    promtool = shutil.which("promtool")
    if promtool is None:
        assert os.environ.get("CI") != "true", "promtool is missing; on Debian: apt-get install prometheus"
        pytest.skip("promtool is not installed; on Debian: apt-get install prometheus")
    site.checks.register("disk", lambda: None)
    await site.ingest(batch("p", 1, samples(("branch/flow", 0, 1.0), ("branch/flow", 1, 1e9))))
    text = exposed(site.metrics)
    found = await asyncio.to_thread(
        subprocess.run, [promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60
    )
    assert (found.returncode, found.stdout + found.stderr) == (0, "")
