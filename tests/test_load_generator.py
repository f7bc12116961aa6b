"""The load generator counts what becomes of every frame, and says when it is the one that is slow."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
import subprocess
import sys
import urllib.request
import uuid
from pathlib import Path

import pytest

pytest.importorskip("picows", reason="only who measures needs it")
pytest.importorskip("uvloop", reason="only who measures needs it")

PROJECT = Path(__file__).resolve().parent.parent
BENCH = PROJECT / "bench"
PATIENCE_S = 60

pytestmark = pytest.mark.system


@pytest.fixture(scope="module", autouse=True)
def _bench_is_importable():
    """Its files find each other as programs do: beside them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        yield


# ---------------------------------------------------------------- frames and their fates


class Wire:
    """What a caller sent, and how to answer it."""

    def __init__(self, caller):
        self.caller, self.sent = caller, []
        caller.send = lambda _kind, text: self.sent.append(text)

    def frames(self, count):
        """The payloads of so many frames that it speaks."""
        del self.sent[:]
        for number in range(count):
            self.caller.speak(float(number))
        return [json.loads(text)["media"]["payload"] for text in self.sent]

    def says(self, *payloads):
        for payload in payloads:
            self.caller.message(json.dumps({"event": "media", "media": {"payload": payload}}).encode())


@pytest.fixture
def twilio():
    from callers_twilio import TwilioCaller

    return Wire(TwilioCaller({"path": "/", "call_sid": "CA1", "parameters": {}}))


def fates(wire):
    counted = wire.caller.counts()
    return [counted[name] for name in ("heard", "missing", "doubled", "reordered", "foreign")]


def test_frames_that_return_in_their_order_are_heard(twilio):
    twilio.says(*twilio.frames(3))
    assert fates(twilio) == [3, 0, 0, 0, 0]


def test_a_frame_that_never_returns_is_missing(twilio):
    first, _, third = twilio.frames(3)
    twilio.says(first, third)
    assert fates(twilio) == [2, 1, 0, 0, 0]


def test_a_frame_that_returns_after_a_later_one_is_reordered_but_not_lost(twilio):
    first, second, third = twilio.frames(3)
    twilio.says(first, third, second)
    assert fates(twilio) == [3, 0, 0, 1, 0]


def test_a_frame_that_returns_twice_is_doubled(twilio):
    first, second = twilio.frames(2)
    twilio.says(first, second, first)
    assert fates(twilio) == [2, 0, 1, 0, 0]


def test_another_callers_frame_is_foreign(twilio):
    from callers_twilio import TwilioCaller

    other = Wire(TwilioCaller({"path": "/", "call_sid": "CA2", "parameters": {}}))
    twilio.frames(1)
    twilio.says(*other.frames(1))
    assert fates(twilio) == [0, 1, 0, 0, 1]


def test_a_frame_whose_sound_changed_is_foreign(twilio):
    sound = bytearray(base64.b64decode(twilio.frames(1)[0]))
    sound[100] ^= 1
    twilio.says(base64.b64encode(sound).decode())
    assert fates(twilio) == [0, 1, 0, 0, 1]


def test_frames_that_an_app_puts_together_are_told_apart(twilio):
    whole = b"".join(map(base64.b64decode, twilio.frames(3)))
    twilio.says(base64.b64encode(whole).decode())
    assert fates(twilio) == [3, 0, 0, 0, 0]


def test_twilio_numbers_all_messages_marks_among_them(twilio):
    twilio.frames(2)
    twilio.caller.message(b'{"event":"mark","streamSid":"MZ","mark":{"name":"m1"}}')
    twilio.caller.speak(9.0)
    numbers = [json.loads(text)["sequenceNumber"] for text in twilio.sent]
    assert numbers == ["2", "3", "4", "5"]
    media = json.loads(twilio.sent[-1])["media"]
    assert (media["chunk"], media["timestamp"]) == ("3", "40")
    assert json.loads(twilio.sent[2])["mark"] == {"name": "m1"}


def test_exotels_sound_is_counted_in_bytes_and_a_chunk_may_be_held_back():
    from callers_exotel import ExotelCaller

    wire = Wire(ExotelCaller({"path": "/", "call_sid": "c1", "parameters": {}, "sample_rate_hz": 8000}))
    wire.frames(25)
    wire.says(base64.b64encode(bytes(3200)).decode())
    counted = wire.caller.counts()
    assert [counted[name] for name in ("heard", "missing", "bytes_in", "bytes_out")] == [10, 5, 8000, 3200]


def test_percentiles_are_those_of_the_durations_counted():
    from tally import Histogram

    waits = Histogram()
    for number in range(200):
        waits.add(number / 1000 + 0.000001)
    waits.add(7.0)
    told = waits.figures("wait", (50, 99))
    assert told["wait_p50_ms"] == pytest.approx(100, abs=1.1)
    assert told["wait_p99_ms"] == pytest.approx(199, abs=1.1)
    assert told["wait_max_ms"] == pytest.approx(7000, abs=20)


def test_a_clock_that_was_stopped_ticks_again():
    import uvloop
    from ticks import Ticks

    async def ticked(times):
        for _ in range(times):
            heard = asyncio.Event()
            ticks = [Ticks.every(0.001, heard.set) for _ in range(2)]
            await asyncio.wait_for(heard.wait(), PATIENCE_S)
            for each in ticks:
                each.stop()

    uvloop.run(ticked(20))


# ---------------------------------------------------------------- the process and its lines


class Load:
    """The process."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, str(BENCH / "load.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.told = json.loads(self._process.stdout.readline())

    def ask(self, order):
        self._process.stdin.write(json.dumps(order) + "\n")
        return self.hear()

    def hear(self):
        return json.loads(self._process.stdout.readline())

    def quit(self):
        self._process.stdin.write('{"quit": true}\n')
        try:
            return self._process.wait(PATIENCE_S)
        finally:
            self._process.kill()


@pytest.fixture(scope="module")
def load():
    load = Load()
    yield load
    assert load.quit() == 0
    assert not Path(load.told["ca_file"]).exists()


def stream():
    return {"path": "/straight", "call_sid": "CA" + uuid.uuid4().hex, "parameters": {}}


def order(*subjects, **more):
    return {"subjects": subjects, "seconds": 0.6, "turn_s": 0.2, "warm_up": 0.1, "ramp": None, **more}


def alone(load, calls, **more):
    return {"port": load.told["engine"], "pids": None, "streams": [stream() for _ in range(calls)], **more}


def test_every_frame_comes_back_from_its_own_engine(load):
    (counted,) = load.ask(order(alone(load, 4)))
    names = ("lost", "doubled", "reordered", "foreign", "ended")
    assert [counted[name] for name in names] == [0] * 5
    assert counted["sent"] >= counted["pairs"] > 0
    assert len(counted["turns_us"]) == 3
    assert min(counted["turns_us"]) > 0
    assert counted["wall_s"] >= 0.6 > 0 < counted["load_cpu_s"]


def test_a_subject_that_does_not_answer_spoils_no_other(load):
    refused = {**alone(load, 2), "port": 1}
    failed, counted = load.ask(order(refused, alone(load, 2)))
    assert re.search("0 of 2 calls were answered", failed["error"])
    assert counted["pairs"] > 0


def test_calls_join_while_others_speak_and_are_told_apart(load):
    ramp = {"streams": [stream() for _ in range(3)], "per_s": 50}
    (counted,) = load.ask(order(alone(load, 2, idle=[stream()]), ramp=ramp))
    assert counted["ramp"]["sent"] > 0 == counted["ramp"]["lost"]
    assert counted["pairs"] <= counted["sent"] + counted["ramp"]["sent"]


def test_the_engine_over_tls_is_trusted_with_its_authority_alone(load):
    url = f"https://localhost:{load.told['engine_tls']}/"
    trusting = ssl.create_default_context(cafile=load.told["ca_file"])
    with pytest.raises(urllib.error.HTTPError):  # it is no WebSocket: but it was heard and answered
        urllib.request.urlopen(url, timeout=PATIENCE_S, context=trusting)
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(url, timeout=PATIENCE_S, context=ssl.create_default_context())


def test_a_turn_is_told_as_it_begins_and_its_waits_apart(load):
    told = load.ask(order(alone(load, 2), tells_turns=True))
    assert told == {"turn": 0}
    assert [load.hear() for _ in range(2)] == [{"turn": 1}, {"turn": 2}]
    (counted,) = load.hear()
    assert len(counted["turns"]) == 3
    assert max(turn["wait_max_ms"] for turn in counted["turns"]) == counted["wait_max_ms"] > 0


def test_calls_join_in_the_turn_in_which_they_shall(load):
    ramp = {"streams": [stream() for _ in range(2)], "per_s": 50, "in_turn": 2}
    (counted,) = load.ask(order(alone(load, 2), ramp=ramp))
    assert [turn["wait_max_ms"] > 0 for turn in counted["ramp"]["turns"]] == [False, False, True]
