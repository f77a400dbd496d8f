"""Metrics of the processes at the plants: counted in plain integers, exported when Prometheus asks.

A process describes its metrics as a function that yields families; nothing is done for them in the hot path.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from uem import __version__
from uem.twin_core.errors import InvalidInput

Labelled = Iterable[tuple[tuple[str, ...], float]]
LAG_BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)


class Distribution:
    """Observations counted by upper bound, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = LAG_BOUNDS_S) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)  # the last one: above all bounds
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


def counter(name: str, help_text: str, labels: tuple[str, ...], values: Labelled) -> Metric:
    """A counter family; `name` ends in _total, `values` are (label values, count)."""
    family = CounterMetricFamily(name, help_text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def gauge(name: str, help_text: str, labels: tuple[str, ...], values: Labelled) -> Metric:
    """A gauge family; `values` are (label values, value)."""
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def histogram(
    name: str, help_text: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], Distribution]]
) -> Metric:
    """A histogram family; `name` ends in a base unit, `values` are (label values, distribution)."""
    family = HistogramMetricFamily(name, help_text, labels=labels)
    for label_values, found in values:
        names = [*(str(bound) for bound in found.bounds), "+Inf"]
        family.add_metric(label_values, list(zip(names, accumulate(found.counts), strict=True)), found.total)
    return family


def info(name: str) -> Metric:
    """The version of the process as a gauge of value 1."""
    return gauge(name, "Version of the process.", ("version",), [((__version__,), 1.0)])


class _Collector:
    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()


@contextmanager
def served(families: Callable[[], Iterable[Metric]], host: str, port: int) -> Iterator[str]:
    """Serve the metrics over HTTP while the block runs; yields "host:port", or "" when `port` is -1 (off).

    Raises:
        InvalidInput: the port is taken.
    """
    if port < 0:
        yield ""
        return
    registry = CollectorRegistry()
    registry.register(_Collector(families))
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise InvalidInput(
            f"metrics: cannot listen on {host}:{port}: {error.strerror or error}; "
            "choose another --metrics-port, 0 for any free one or -1 for none"
        ) from None
    try:
        yield f"{host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
