"""Recordings fetched from a host that is late, broken, endless, dishonest, or well: over real sockets."""

from __future__ import annotations

import base64
import gzip
import os
import subprocess
import sys
import threading
import time

import pytest

from flaskapp.phone.audio import write_wav
from flaskapp.phone.errors import FetchRefused, NotAudio, NotReady, TooLarge, Unreachable
from flaskapp.phone.fetch import Limits, Recording, RecordingHost
from tests import fake_recordings as fake
from tests.conftest import PROJECT

WHICH = Recording("AC1", "RE1")
PATH = "/2010-04-01/Accounts/AC1/Recordings/RE1"
WAV = fake.recording(1.0)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: audio/x-wav\r\n"


def fetched(*answers: fake.Answer, **limits: float):
    """What comes of fetching from a host that answers so."""
    with fake.host(*answers) as host:
        return client(host, **limits).fetch(WHICH)


def client(host: fake.RecordingHost, **limits: float) -> RecordingHost:
    return RecordingHost(host.url, "AC1", "secret", limits=Limits(**limits))


def test_a_recording_arrives_with_its_sound_and_the_request_proves_who_asks():
    with fake.host() as host:
        got = client(host).fetch(WHICH)
    assert (got.data, got.sound.duration_ms, got.sound.rate_hz, got.is_truncated) == (WAV, 1000, 8000, False)
    (asked,) = host.asked
    assert (asked.method, asked.path) == ("GET", f"{PATH}.wav")
    assert base64.b64decode(asked.headers["authorization"].removeprefix("Basic ")) == b"AC1:secret"


def test_without_an_account_the_one_that_the_webhook_named_is_used_with_an_empty_password():
    with fake.host() as host:
        RecordingHost(host.url).fetch(WHICH)
    assert base64.b64decode(host.asked[0].headers["authorization"].removeprefix("Basic ")) == b"AC1:"


def test_a_chunked_body_arrives_whole():
    assert fetched(fake.chunked(WAV)).data == WAV


def test_a_body_that_ends_with_the_connection_arrives_whole():
    assert not fetched(fake.plain(body=WAV, length=None)).is_truncated


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (fake.plain(404), NotReady),
        (fake.plain(429), NotReady),
        (fake.plain(401), FetchRefused),
        (fake.plain(403), FetchRefused),
        (fake.plain(400), FetchRefused),
        (fake.plain(410), FetchRefused),
        (fake.plain(408), Unreachable),
        (fake.plain(500), Unreachable),
        (fake.plain(503), Unreachable),
        (fake.plain(204), Unreachable),
        (fake.plain(302), Unreachable),
        (fake.reset(), Unreachable),
        (fake.reset(HEAD + b"Content-Length: 16044\r\n\r\n" + WAV[:8000]), Unreachable),
        (fake.garbage(b"SSH-2.0-OpenSSH_9.2\r\n"), Unreachable),
        (fake.garbage(b""), Unreachable),
        (fake.garbage(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"), Unreachable),
        (fake.garbage(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000), Unreachable),
        (fake.garbage(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"), NotAudio),
        (fake.plain(body=b""), NotAudio),
        (fake.plain(body=b"<!doctype html><html>Log in</html>"), NotAudio),
        (fake.plain(body=b'\n <?xml version="1.0"?><TwilioResponse/>'), NotAudio),
        (fake.plain(body=b'{"code": 20404}'), NotAudio),
        (fake.plain(body=b"ID3\x04" + bytes(500)), NotAudio),
        (fake.plain(body=gzip.compress(WAV), Content_Encoding="gzip"), NotAudio),
        (fake.plain(body=WAV[:30]), NotAudio),
        (fake.plain(body=WAV[:44]), NotAudio),
        (fake.plain(body=WAV[:12] + b"JUNK\4\0\0\0abcd" * 100_000 + WAV[12:]), NotAudio),
        (fake.plain(body=WAV.replace(b"\1\0\1\0", b"\1\0\x08\0", 1)), NotAudio),
        (fake.plain(body=WAV.replace(b"\1\0\1\0", b"\x55\0\1\0", 1)), NotAudio),
    ],
)
def test_each_failure_has_its_name(answer, error):
    with pytest.raises(error):
        fetched(answer)


@pytest.mark.parametrize(
    ("asked", "granted"), [("3", 3.0), ("999999", 60.0), ("soon", None), ("-1", None), ("1e9", None)]
)
def test_a_host_with_too_many_askers_says_when_to_come_again_but_not_next_year(asked, granted):
    with pytest.raises(NotReady) as told:
        fetched(fake.plain(429, Retry_After=asked))
    assert told.value.retry_after_s == granted


def test_a_page_with_an_audio_type_is_no_recording_and_a_recording_with_any_type_is_one():
    with pytest.raises(NotAudio):
        fetched(fake.plain(body=b"<html>", kind="audio/x-wav"))
    assert fetched(fake.plain(body=WAV, kind="text/html")).data == WAV


def test_what_a_host_says_does_not_reach_the_error():
    with pytest.raises(NotAudio) as told:
        fetched(fake.plain(body=b"<html>canary</html>"))
    assert "canary" not in str(told.value)
    with pytest.raises(Unreachable) as told:
        fetched(fake.garbage(b"canary canary canary\r\n"))
    assert "canary" not in str(told.value)


@pytest.mark.parametrize("cut", [fake.cut, fake.cut_chunked])
def test_a_transfer_that_was_cut_is_tried_once_more(cut):
    with fake.host(cut(WAV, 9000), fake.well()) as host:
        got = client(host).fetch(WHICH)
    assert (got.data, got.is_truncated, len(host.asked)) == (WAV, False, 2)


@pytest.mark.parametrize("cut", [fake.cut, fake.cut_chunked])
def test_what_came_of_a_recording_that_is_always_cut_is_saved_and_marked(cut):
    with fake.host(cut(WAV, 8044)) as host:
        got = client(host).fetch(WHICH)
    assert (got.sound.duration_ms, got.is_truncated, len(host.asked)) == (500, True, 2)


def test_a_file_that_promises_more_sound_than_it_has_is_marked():
    with fake.host(fake.plain(body=WAV[:8044])) as host:
        got = client(host).fetch(WHICH)
    assert (got.sound.duration_ms, got.is_truncated, len(host.asked)) == (500, True, 1)


def test_a_file_written_as_it_came_promises_any_length_and_is_whole():
    assert not fetched(fake.plain(body=WAV[:40] + b"\xff\xff\xff\xff" + WAV[44:])).is_truncated


def test_a_length_that_is_a_lie_takes_what_it_says_and_no_more():
    assert fetched(fake.plain(body=WAV, length=8044)).is_truncated


def test_a_recording_without_any_sound_is_a_silent_one():
    got = fetched(fake.plain(body=write_wav(b"")))
    assert (got.sound.duration_ms, got.is_truncated) == (0, False)


def test_a_host_that_says_nothing_is_given_up():
    for stalled in (fake.stalled(), fake.stalled(HEAD), fake.stalled(HEAD + b"\r\n" + WAV[:5000])):
        with pytest.raises(Unreachable, match="TimeoutError"):
            fetched(stalled, gap_s=0.3)


@pytest.mark.parametrize("begun", [b"", b"\r\n" + WAV[:44], b"Transfer-Encoding: chunked\r\n\r\n"])
def test_a_drip_has_its_time_in_the_head_as_in_the_body(begun):
    slow = fake.drip(HEAD + begun + b"0" * 5000)
    began = time.monotonic()
    with pytest.raises(TooLarge, match=r"0\.6 s"):
        fetched(slow, total_s=0.6)
    assert time.monotonic() - began < 40  # all of it would take a hundred


def test_an_endless_body_is_left_at_the_limit():
    with fake.host(fake.endless(WAV)) as host:
        with pytest.raises(TooLarge):
            client(host, size_bytes=1_000_000).fetch(WHICH)
        assert host.wires[0].sent < 30_000_000  # what the kernel had room for


def test_a_body_that_announces_too_much_is_not_read_at_all():
    with pytest.raises(TooLarge, match="200000000"):
        fetched(fake.plain(length=200_000_000), total_s=30)


def test_a_small_file_with_more_than_an_hour_in_it_is_refused_before_it_is_decoded():
    hour = write_wav(bytes(2 * 4000 * 10), 4000)
    assert fetched(fake.plain(body=hour), sound_s=10).sound.duration_ms == 10_000
    with pytest.raises(TooLarge, match="of sound"):
        fetched(fake.plain(body=hour), sound_s=9.9)


def test_nobody_listens():
    with fake.host() as host:
        gone = client(host)
    with pytest.raises(Unreachable, match="ConnectionRefusedError"):
        gone.fetch(WHICH)


@pytest.mark.parametrize("status", [204, 200, 404])
def test_the_carriers_copy_is_deleted_and_one_that_is_gone_is_fine(status):
    with fake.host(fake.plain(status)) as host:
        client(host).delete(WHICH)
    assert [(asked.method, asked.path) for asked in host.asked] == [("DELETE", f"{PATH}.json")]
    assert "authorization" in host.asked[0].headers


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (fake.plain(401), FetchRefused),
        (fake.plain(500), Unreachable),
        (fake.redirect("https://api.twilio.com/"), Unreachable),
        (fake.plain(429), NotReady),
    ],
)
def test_a_copy_that_stays_is_told(answer, error):
    with fake.host(answer) as host, pytest.raises(error):
        client(host).delete(WHICH)


def test_the_environments_proxies_and_passwords_are_nobodys_business(monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login foreign password foreign\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with fake.host() as host:
        client(host).fetch(WHICH)
    assert base64.b64decode(host.asked[0].headers["authorization"].removeprefix("Basic ")) == b"AC1:secret"


@pytest.mark.alone
def test_many_at_once_leave_no_connection_and_no_thread_behind():
    with fake.host(fake.well(0.2)) as host:
        shared, got = client(host), []
        before = len(os.listdir("/proc/self/fd")), threading.active_count()
        for _ in range(3):
            threads = [threading.Thread(target=lambda: got.append(shared.fetch(WHICH))) for _ in range(10)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        until = time.monotonic() + 30
        while (
            len(os.listdir("/proc/self/fd")) > before[0] or threading.active_count() > before[1]
        ) and time.monotonic() < until:
            time.sleep(0.05)
        after = len(os.listdir("/proc/self/fd")), threading.active_count()
    assert len(got) == 30
    assert after[0] <= before[0]
    assert after[1] <= before[1]


UNDER_GEVENT = """
from gevent import monkey; monkey.patch_all()
import gevent, time
from flaskapp.phone.errors import TooLarge, Unreachable
from flaskapp.phone.fetch import Limits, Recording, RecordingHost
from tests import fake_recordings as fake
which = Recording("AC1", "RE1")
def outcome(answer, **limits):
    with fake.host(answer) as host:
        try:
            return len(RecordingHost(host.url, limits=Limits(**limits)).fetch(which).data)
        except (TooLarge, Unreachable) as error:
            return type(error).__name__
ticks = []
ticking = gevent.spawn(lambda: [ticks.append(gevent.sleep(0.05)) for _ in range(1000)])
jobs = [gevent.spawn(outcome, fake.well()),
        gevent.spawn(outcome, fake.drip(b"HTTP/1.1 200 OK" * 500), total_s=0.6),
        gevent.spawn(outcome, fake.stalled(), gap_s=0.5)]
gevent.joinall(jobs)
assert len(ticks) > 3, ticks
print(*[job.value for job in jobs])
"""


def test_greenlets_wait_without_holding_each_other_up():
    done = subprocess.run(
        [sys.executable, "-c", UNDER_GEVENT], cwd=PROJECT, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == [str(len(WAV)), "TooLarge", "Unreachable"], done.stderr
