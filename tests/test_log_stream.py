"""Log lines on their way out: nobody waits for a reader, and what is lost is told."""

from __future__ import annotations

import io
import os
import subprocess
import sys

from flaskapp.log_stream import LogStream
from tests.conftest import PROJECT

LINE = "x" * 99
# Logs far more than a pipe holds while nobody reads it, says so on another one; reads a word, and logs on.
WORKER = f"""
from gevent import monkey; monkey.patch_all()
import logging, os, sys
import gevent
from flaskapp.observability import configure_logging

configure_logging("INFO", "plain")
log = logging.getLogger("calls")
for number in range(int(sys.argv[1])): log.info("%06d {LINE}", number)
print("went on", flush=True)
sys.stdin.readline()
(handler,) = [each for each in logging.getLogger().handlers if each.get_name() == "answerline"]
def drain():
    while handler.stream._waiting: gevent.sleep(0.01)
drain()
log.info("the end")
drain()
"""


def logged(lines: int) -> list[str]:
    """What a reader finds who comes late."""
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(lines)],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout.readline() == "went on\n"
    return worker.communicate("go\n", timeout=60)[1].splitlines()


def test_a_pipe_that_nobody_reads_stops_nobody_and_what_waited_comes_whole_and_in_order():
    numbers = [line.split()[-2] for line in logged(5000) if line.endswith(LINE)]
    assert numbers == [f"{number:06d}" for number in range(5000)]


def test_what_is_too_much_is_lost_and_counted():
    lines = logged(30_000)
    kept = sum(line.endswith(LINE) for line in lines)
    (told,) = [line for line in lines if "are lost" in line]
    assert 5000 < kept < 30_000
    assert int(told.split()[0]) == 30_000 - kept
    assert lines[-1].endswith("the end")


def test_where_gevent_is_not_every_line_is_written_at_once():
    stream = io.StringIO()
    LogStream(stream).write("one\n")
    assert stream.getvalue() == "one\n"


def test_a_reader_who_is_gone_is_no_reason_to_keep_lines():
    reading, writing = os.pipe()
    script = WORKER.replace('print("went on", flush=True)\nsys.stdin.readline()', "")
    with open(writing, "w") as stderr:
        worker = subprocess.Popen([sys.executable, "-c", script, "5"], cwd=PROJECT, stderr=stderr)
        os.close(reading)
    assert worker.wait(60) in (0, 120)  # 120: the interpreter could not flush its own stderr
