"""What is counted and measured, by the names that dashboards and alerts rely on."""

from __future__ import annotations

import os
import resource
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

# gunicorn.conf.py leaves it in the environment: several workers, one set of figures.
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
TURN_S = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
FRAME_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.1, 0.5)
LAG_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Metrics:
    """One attribute per metric: the metric's name without `phone_` and without its unit.

    prometheus_client is imported when the first of these is made, which is after gevent patched.
    """

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._registry = registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"phone_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str, over_workers: Any = "livesum") -> Gauge:
            return Gauge(f"phone_{name}", text, labels, registry=registry, multiprocess_mode=over_workers)

        def seconds(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"phone_{name}", text, buckets=buckets, registry=registry)

        self.calls = counter("calls_total", "Calls that are over", "carrier", "mode", "ended")
        self.active_calls = gauge("active_calls", "Calls in progress", "carrier")
        self.websockets = gauge("websockets", "Open WebSockets", "leg")
        self.engine_sessions = gauge("engine_sessions", "Open sessions with the engine")
        self.turn_latency = seconds("turn_latency_seconds", "Caller stops to first agent audio sent", TURN_S)
        self.frame_delay = seconds("frame_delay_seconds", "Frame in to frame out of the bridge", FRAME_S)
        self.first_sound = seconds("first_sound_seconds", "Stream open to first agent audio sent", TURN_S)
        self.engine_reconnects = counter(
            "engine_reconnects_total", "Sessions opened again in a call", "result"
        )
        self.fallbacks = counter("fallbacks_total", "Calls that live AI could not serve", "reason")
        self.faults = counter("faults_total", "Faults that were survived", "kind")
        self.dropped_frames = counter("dropped_frames_total", "Frames thrown away", "leg")
        self.buffer = gauge("buffer_bytes", "Caller audio kept for the calls of this worker")
        self.webhook_rejected = counter("webhook_rejected_total", "Webhooks refused", "reason")
        self.loop_lag = seconds("loop_lag_seconds", "How late this worker's loop wakes up", LAG_S)
        self.worker_rss = gauge("worker_rss_bytes", "Resident memory", over_workers="liveall")
        self.worker_cpu = counter("worker_cpu_seconds_total", "Processor time of the workers")

    def render(self) -> tuple[bytes, str]:
        """Body and content type of /metrics, of all workers together under gunicorn."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self._collected()), CONTENT_TYPE_LATEST

    def dropped(self) -> int:
        """Frames thrown away by all workers since they began."""
        told = (each for each in self._collected().collect() if each.name == "phone_dropped_frames")
        return int(sum(each.value for one in told for each in one.samples if each.name.endswith("_total")))

    def _collected(self) -> CollectorRegistry:
        if SHARED_FOLDER not in os.environ:
            return self._registry
        from prometheus_client import CollectorRegistry
        from prometheus_client.multiprocess import MultiProcessCollector

        together = CollectorRegistry()
        MultiProcessCollector(together)
        return together


def watch_process(metrics: Metrics, every_s: float = 1.0) -> None:
    """Measures this worker once a second, for ever; run it in a greenlet (or a daemon thread)."""
    spent_s = 0.0
    while True:
        due = time.monotonic() + every_s
        time.sleep(every_s)
        metrics.loop_lag.observe(max(0.0, time.monotonic() - due))
        metrics.worker_rss.set(resident_bytes())
        now_spent_s = time.process_time()
        metrics.worker_cpu.inc(now_spent_s - spent_s)
        spent_s = now_spent_s


def resident_bytes() -> int:
    """Memory of this process now; its peak where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as statm:
            return int(statm.read(100).split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
