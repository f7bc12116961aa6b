"""Log lines and metrics: bound to the call, masked, in the format that was asked for."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading

import pytest

from flaskapp.config import PROJECT
from flaskapp.observability import Metrics, bound_call, configure_logging, watch_process

NAMES = {
    *("phone_calls", "phone_active_calls", "phone_websockets", "phone_engine_sessions"),
    *("phone_turn_latency_seconds", "phone_frame_delay_seconds", "phone_first_sound_seconds"),
    *("phone_fallbacks", "phone_faults", "phone_dropped_frames", "phone_webhook_rejected"),
    *("phone_loop_lag_seconds", "phone_worker_rss_bytes", "phone_worker_cpu_seconds"),
}


@pytest.fixture
def log():
    """Configures logging into memory, and puts the root logger back."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    stream = io.StringIO()

    def configure(format: str, level: str = "INFO", secrets=()):
        configure_logging(level, format, secrets, stream)
        return stream

    yield configure
    root.handlers[:] = before
    root.setLevel(level)


def last(stream: io.StringIO) -> dict:
    return json.loads(stream.getvalue().splitlines()[-1])


def test_a_line_of_the_standard_library_carries_its_call(log):
    stream = log("json")
    logging.getLogger("flaskapp.phone").info(
        "Stored audio chunk for call %s", "CA1", extra={"call_sid": "CA1"}
    )
    line = last(stream)
    assert (line["event"], line["call_sid"]) == ("Stored audio chunk for call CA1", "CA1")
    assert (line["level"], line["logger"]) == ("info", "flaskapp.phone")


def test_lines_inside_a_call_are_bound_to_it_and_lines_outside_are_not(log):
    stream = log("json")
    with bound_call("CA1"):
        logging.getLogger("any").info("inside")
        assert last(stream)["call_sid"] == "CA1"
        other = threading.Thread(target=logging.getLogger("any").info, args=("elsewhere",))
        other.start()
        other.join()
        assert "call_sid" not in last(stream)
    logging.getLogger("any").info("after")
    assert "call_sid" not in last(stream)


def test_the_plain_format_is_the_one_that_people_grep(log):
    stream = log("plain")
    logging.getLogger("flaskapp.phone").warning("from +14155550123")
    assert stream.getvalue().endswith(" - flaskapp.phone - WARNING - from *******0123\n")


@pytest.mark.parametrize("format", ["console", "json", "plain"])
def test_no_format_shows_a_secret_not_even_in_a_traceback(log, format):
    stream = log(format, secrets=["canary-in-the-mine"])
    try:
        raise RuntimeError("canary-in-the-mine at +14155550123, /phone/stream-audio/CA1/abcdefgh")
    except RuntimeError:
        logging.getLogger("any").exception(
            "call %s", "+14155550199", extra={"detail": {"key": ["canary-in-the-mine"]}}
        )
    shown = stream.getvalue()
    assert "RuntimeError" in shown
    assert not any(each in shown for each in ("canary-in", "5550123", "5550199", "abcdefgh"))


FORGED = "x\n2026-11-21 10:00:00 - flaskapp - ERROR - forged\r\x1b[2K\x85\u2028\u202eforged"


@pytest.mark.parametrize("format", ["console", "json", "plain"])
def test_whatever_a_message_contains_a_record_is_one_line(log, format):
    stream = log(format)
    logging.getLogger("any").warning(
        "No tool is called %s", FORGED, extra={"call_sid": FORGED, "more": [FORGED]}
    )
    (line,) = stream.getvalue().splitlines()
    assert "\u202e" not in line
    assert "\x1b[2K" not in line
    assert "forged" in line
    if format != "json":
        assert r"x\n2026-11-21" in line


@pytest.mark.parametrize("format", ["console", "plain"])
def test_a_traceback_keeps_its_lines(log, format):
    stream = log(format)
    try:
        raise ValueError("odd")
    except ValueError:
        logging.getLogger("any").exception("first\nsecond")
    lines = stream.getvalue().splitlines()
    assert r"first\nsecond" in lines[0]
    assert lines[1].startswith("Traceback")
    assert lines[-1] == "ValueError: odd"


def test_a_call_id_of_digits_stays_whole(log):
    stream = log("json")
    logging.getLogger("any").info("up", extra={"call_sid": "12345678901"})
    assert last(stream)["call_sid"] == "12345678901"


def test_configuring_twice_logs_once(log):
    stream = log("plain")
    log("plain", "WARNING")
    logging.getLogger("any").info("too low")
    logging.getLogger("any").warning("once")
    assert stream.getvalue().count("once") == 1
    assert "too low" not in stream.getvalue()


def test_every_metric_has_its_name():
    from prometheus_client.parser import text_string_to_metric_families

    body, content_type = Metrics().render()
    assert {family.name for family in text_string_to_metric_families(body.decode())} >= NAMES
    assert content_type.startswith("text/plain")


def test_two_apps_in_one_process_count_apart():
    one, two = Metrics(), Metrics()
    one.calls.labels(carrier="twilio", mode="live", ended="caller").inc()
    assert b'phone_calls_total{carrier="twilio",ended="caller",mode="live"} 1.0' in one.render()[0]
    assert b"twilio" not in two.render()[0]


def test_the_worker_is_measured():
    metrics = Metrics()
    threading.Thread(target=watch_process, args=(metrics, 0.01), daemon=True).start()
    threading.Event().wait(0.3)
    body = metrics.render()[0].decode()
    figures = dict(line.rsplit(" ", 1) for line in body.splitlines() if not line.startswith("#"))
    assert float(figures["phone_worker_rss_bytes"]) > 1_000_000
    assert float(figures["phone_loop_lag_seconds_count"]) > 3
    assert float(figures["phone_worker_cpu_seconds_total"]) > 0


def test_workers_are_counted_together(tmp_path):
    count = "from flaskapp.observability import Metrics; m = Metrics();"
    count += "m.fallbacks.labels(reason='x').inc();"
    count += "m.active_calls.labels(carrier='twilio').inc(); print(m.render()[0].decode())"
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for expected in ("1.0", "2.0"):
        done = subprocess.run(
            [sys.executable, "-c", count],
            cwd=PROJECT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert f'phone_fallbacks_total{{reason="x"}} {expected}' in done.stdout, done.stderr
        assert f'phone_active_calls{{carrier="twilio"}} {expected}' in done.stdout


def test_nothing_heavy_is_imported_before_it_is_used():
    imported = "import sys, flaskapp.config, flaskapp.observability; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", imported], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"prometheus_client", "structlog", "sqlalchemy", "flask", "redis", "openai", "gevent"}
