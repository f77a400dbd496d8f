"""Metrics of a process: counted in plain integers, handed to Prometheus only when it asks.

A metric is made once at the start; `add` and `observe` cost a dictionary look-up and an addition. Not one series per
tag: process values go through gRPC. Names are `uem_<subsystem>_<what>_<unit>`, counters end in `_total`.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from uem.twin_core.errors import InvalidInput

LATENCY_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_NAME = re.compile(r"uem(_[a-z0-9]+){2,}")
_BASE_UNITS = ("seconds", "bytes", "ratio", "kelvin", "watts", "joules", "info")
Labels = tuple[str, ...]


class Counter:
    """Counts up; one integer per combination of label values."""

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        _check(name, text)
        if not name.endswith("_total"):
            raise InvalidInput(f"counter {name} must end in _total")
        self.name, self.text, self.labels = name, text, tuple(labels)
        self.values: dict[Labels, int] = {} if labels else {(): 0}

    def add(self, amount: int = 1, *values: str) -> None:
        """Count `amount` more for these label values."""
        self.values[values] = self.values.get(values, 0) + amount

    def get(self, *values: str) -> int:
        """The count for these label values."""
        return self.values.get(values, 0)

    def collect(self) -> Metric:
        """The family as Prometheus wants it."""
        family = CounterMetricFamily(self.name, self.text, labels=self.labels)
        for values, count in list(self.values.items()):
            family.add_metric(values, count)
        return family


class Gauge:
    """A value read at the moment of the scrape: one number, or one per combination of label values."""

    def __init__(
        self, name: str, text: str, read: Callable[[], float | Mapping[Labels, float]], labels: Sequence[str] = ()
    ) -> None:
        _check(name, text)
        if name.endswith(("_total", "_count", "_sum", "_bucket")):
            raise InvalidInput(f"gauge {name} ends like a counter or a histogram")
        self.name, self.text, self.labels = name, text, tuple(labels)
        self._read = read

    def collect(self) -> Metric:
        """The family as Prometheus wants it."""
        family = GaugeMetricFamily(self.name, self.text, labels=self.labels)
        found = self._read()
        for values, value in found.items() if isinstance(found, Mapping) else [((), found)]:
            family.add_metric(values, value)
        return family


class Histogram:
    """Counts observations by upper bound; one row of integers per combination of label values."""

    def __init__(
        self, name: str, text: str, bounds: Sequence[float] = LATENCY_BOUNDS_S, labels: Sequence[str] = ()
    ) -> None:
        _check(name, text)
        if not name.endswith(_BASE_UNITS):
            raise InvalidInput(f"histogram {name} must end in a base unit: {', '.join(_BASE_UNITS)}")
        self.name, self.text, self.labels = name, text, tuple(labels)
        self._bounds = tuple(bounds)
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, value: float, *values: str) -> None:
        """Count one observation for these label values."""
        counts = self._counts.get(values)
        if counts is None:
            counts = self._counts[values] = [0] * (len(self._bounds) + 1)
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[values] = self._sums.get(values, 0.0) + value

    def count(self, *values: str) -> int:
        """Observations so far for these label values."""
        return sum(self._counts.get(values, ()))

    def collect(self) -> Metric:
        """The family as Prometheus wants it: cumulative counts."""
        family = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        names = [*(str(bound) for bound in self._bounds), "+Inf"]
        for values, counts in list(self._counts.items()):
            total, buckets = 0, []
            for name, count in zip(names, counts, strict=True):
                total += count
                buckets.append((name, total))
            family.add_metric(values, buckets, self._sums[values])
        return family


M = TypeVar("M", Counter, Gauge, Histogram)


class Metrics(Collector):
    """All metrics of one process, as one collector on a registry of its own."""

    def __init__(self) -> None:
        self._metrics: dict[str, Counter | Gauge | Histogram] = {}
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        """A new counter; `name` ends in `_total`."""
        return self._add(Counter(name, text, labels))

    def gauge(
        self, name: str, text: str, read: Callable[[], float | Mapping[Labels, float]], labels: Sequence[str] = ()
    ) -> Gauge:
        """A new gauge; `read` is called at each scrape, in the thread of the endpoint."""
        return self._add(Gauge(name, text, read, labels))

    def histogram(
        self, name: str, text: str, bounds: Sequence[float] = LATENCY_BOUNDS_S, labels: Sequence[str] = ()
    ) -> Histogram:
        """A new histogram with these upper bounds; one more for all above is added."""
        return self._add(Histogram(name, text, bounds, labels))

    def collect(self) -> Iterator[Metric]:
        """Every family; called by Prometheus' client library at a scrape."""
        for metric in list(self._metrics.values()):
            yield metric.collect()

    def _add(self, metric: M) -> M:
        if metric.name in self._metrics:
            raise InvalidInput(f"metric {metric.name} is defined twice")
        self._metrics[metric.name] = metric
        return metric


class MetricsEndpoint:
    """The HTTP endpoint that Prometheus scrapes."""

    def __init__(self, metrics: Metrics, port: int, host: str) -> None:
        try:
            self._server, self._thread = start_http_server(port, host, metrics.registry)
        except (OSError, OverflowError) as error:
            raise InvalidInput(
                f"metrics: cannot listen on port {port} of {host}: {error}; "
                "choose another with --metrics-port (0: any free port, -1: off)"
            ) from None
        self.address = f"{host}:{self._server.server_port}"

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def serve_metrics(metrics: Metrics, port: int, host: str = "127.0.0.1") -> MetricsEndpoint:
    """Answer scrapes on `port` (0: any free one) until closed.

    Raises:
        InvalidInput: the port is in use or not allowed.
    """
    return MetricsEndpoint(metrics, port, host)


def _check(name: str, text: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"metric {name}: a name is uem_<subsystem>_<what>_<unit> in lower case")
    if not text:
        raise InvalidInput(f"metric {name} needs a help text")
