"""What Prometheus is told: ``/+metrics``.

Each process tells its own, under its number: who adds them up has asked all of them.  The
text is made when it is asked for, by a registry of prometheus-client that belongs to the
question, so that two servers in one process have nothing in common.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from devpi_server import __version__
from devpi_server.services.access import Principal
from devpi_server.services.counting import Counts, Durations
from devpi_server.services.status import Status

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is looked at when somebody asks."""

    memory_of_pages: Callable[[], int]  # bytes
    arriving: Callable[[], int]
    passed_over: Callable[[], int]
    ticked: Callable[[], Mapping[str, float]]  # name of a worker → seconds ago
    datadir: Path


class Metrics:
    """The metrics of this process."""

    def __init__(self, counts: Counts, gauges: Gauges, status: Status) -> None:
        self._counts = counts
        self._gauges = gauges
        self._status = status

    def text(self, principal: Principal) -> bytes:
        """All of them, as Prometheus reads them; of mirrors, those that may be known to him."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Once(self._collect(principal)))
        ProcessCollector(registry=registry)
        return generate_latest(_Marked(registry, {"process": str(os.getpid())}))

    def _collect(self, principal: Principal) -> Iterator[Metric]:
        self._counts.fold()
        yield from self._requests()
        yield from self._upstream()
        yield from self._state()
        yield from self._told(self._status.describe(principal))

    def _requests(self) -> Iterator[Metric]:
        counts = self._counts
        labels = ("surface", "method", "status", "origin")
        requests = CounterMetricFamily("devpi_requests", "Requests answered.", labels=labels)
        for key, count in sorted(counts.requests.copy().items()):
            requests.add_metric(key, count)
        yield requests
        sent = CounterMetricFamily("devpi_sent_bytes", "Bytes of bodies.", labels=["surface"])
        for surface, size in sorted(counts.bytes.copy().items()):
            sent.add_metric([surface], size)
        yield sent
        yield _histogram(
            "devpi_request_duration_seconds",
            "Until an answer began that was not ready-made.",
            "surface",
            counts.durations,
        )

    def _upstream(self) -> Iterator[Metric]:
        counts = self._counts
        labels = ("what", "outcome")
        asked = CounterMetricFamily("devpi_upstream_requests", "Upstream asked.", labels=labels)
        for key, count in sorted(counts.upstream.copy().items()):
            asked.add_metric(key, count)
        yield asked
        yield _histogram(
            "devpi_upstream_duration_seconds",
            "Until upstream's answer was known.",
            "what",
            counts.upstream_durations,
        )

    def _state(self) -> Iterator[Metric]:
        gauges = self._gauges
        yield GaugeMetricFamily(
            "devpi_arriving_files", "Downloads under way.", value=gauges.arriving()
        )
        yield GaugeMetricFamily(
            "devpi_upstream_addresses_passed_over",
            "Addresses of mirrors that failed, and are not asked now.",
            value=gauges.passed_over(),
        )
        yield GaugeMetricFamily(
            "devpi_pages_memory_bytes", "Rendered pages.", value=gauges.memory_of_pages()
        )
        yield GaugeMetricFamily(
            "devpi_disk_free_bytes",
            "Left on the disk of the data directory.",
            value=shutil.disk_usage(gauges.datadir).free,
        )
        # Of one kind, the last: their names have those of mirrors.
        ages: dict[str, float] = {}
        for name, seconds in gauges.ticked().items():
            kind = name.split()[0]
            ages[kind] = max(seconds, ages.get(kind, 0.0))
        ticked = GaugeMetricFamily(
            "devpi_worker_age_seconds", "Since background work was done.", labels=["worker"]
        )
        for kind, seconds in sorted(ages.items()):
            ticked.add_metric([kind], seconds)
        yield ticked

    def _told(self, status: Mapping[str, Any]) -> Iterator[Metric]:
        version = GaugeMetricFamily("devpi_version", "Of the server.", labels=["version"])
        version.add_metric([__version__], 1)
        yield version
        yield GaugeMetricFamily("devpi_serial", "Of the last change here.", value=status["serial"])
        lag = GaugeMetricFamily(
            "devpi_mirror_lag_seconds", "Since the feed of changes answered.", labels=["mirror"]
        )
        serial = GaugeMetricFamily(
            "devpi_mirror_serial", "Up to which changes are known.", labels=["mirror"]
        )
        for name, mirror in sorted(status["mirrors"].items()):
            for family, word in ((lag, "lag"), (serial, "serial")):
                if mirror[word] is not None:
                    family.add_metric([name], mirror[word])
        yield lag
        yield serial


def _histogram(
    name: str, words: str, label: str, durations: Mapping[str, Durations]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, words, labels=[label])
    for value, each in sorted(dict(durations).items()):
        family.add_metric([value], list(each.cumulative()), each.total)
    return family


class _Once(Collector):
    """Metrics that are there already."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


class _Marked(CollectorRegistry):
    """Another registry, each of whose samples has these labels, too."""

    def __init__(self, registry: CollectorRegistry, labels: Mapping[str, str]) -> None:
        super().__init__()
        self._registry = registry
        self._labels = labels

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [
                sample._replace(labels={**sample.labels, **self._labels})
                for sample in metric.samples
            ]
            yield metric
