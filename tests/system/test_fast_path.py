"""The fast path whole, in a process that gevent has taken over: real sockets, every way to write a frame.

``FRAMES=1000000`` lets so many pass; the usual number is a tenth of that.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.phone.certificates import files
from tests.servers import wait_until
from tests.system.crowd import Carrier, Echo, delta, payload
from tests.system.miniature import worker

pytestmark = pytest.mark.system
FRAMES = int(os.environ.get("FRAMES", "100000"))
CALLS = 4
WINDOW = 400  # of 300 bytes: less than the queue of any leg
LINE = b'{"type":"response.output_audio_transcript.delta","response_id":"r1","item_id":"a1","delta":"Yes."}'


@pytest.fixture
def engine():
    engine = Echo()
    yield engine
    engine.close()


@pytest.fixture
def house(engine):
    with worker(engine.url) as house:
        yield house


def live(house, call_sid: str, is_narrow: bool = False) -> Carrier:
    """A call whose session stands."""
    carrier = Carrier(house.dialled(is_narrow), call_sid)
    wait_until(lambda: house.asks("call", call_sid).get("state") == "live", f"{call_sid} gets no session")
    return carrier


def converse(house, frames: int) -> list[Carrier]:
    """Some calls at once; each has its share of the frames, and two stalls."""
    carriers = [live(house, f"CA-{number}", is_narrow=number % 2 == 1) for number in range(CALLS)]
    failures: list[BaseException] = []

    def run(carrier: Carrier) -> None:
        try:
            carrier.converses(frames // CALLS, WINDOW, stalls=2)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(carrier,)) for carrier in carriers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    return carriers


@pytest.mark.parametrize("sealed", [False, True], ids=["plain", "TLS"])
def test_every_frame_comes_back_once_and_in_order_however_it_is_written(sealed, tmp_path):
    context = certificate = None
    if sealed:
        certificate, key = files(tmp_path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    engine = Echo(seed=1, context=context)
    with worker(engine.url, certificate) as house:
        began = time.monotonic()
        carriers = converse(house, FRAMES // 2)
        print(f"{FRAMES // 2} frames in {time.monotonic() - began:.1f} s")
        share = FRAMES // 2 // CALLS
        for carrier in carriers:
            assert carrier.played == list(range(share))
            assert carrier.pongs > 0
        assert engine.heard == [list(range(share))] * CALLS
        assert engine.pongs > 0
        for carrier in carriers:
            carrier.ends()
        wait_until(lambda: len(house.asks("ended")) == CALLS, "a call does not end")
        for told in house.asks("ended").values():
            assert (told["dropped_frames"], told["dropped_to_engine"]) == (0, 0)
            assert told["received_ms"] == share * 20.25
    engine.close()


def test_what_a_carrier_that_stalls_is_not_sent_is_counted_and_the_rest_is_in_order(engine, house):
    carrier, count = live(house, "CA-stalls", is_narrow=True), 30_000  # more than all buffers on the way hold
    carrier.speaks(1)  # its echo makes the item that is spoken
    carrier.hears(lambda carrier: carrier.played)
    for at in range(1, count, 50):
        engine.says(0, *(delta(payload(number)) for number in range(at, min(at + 50, count))))
    carrier.hears(lambda carrier: carrier.played[-1] == count - 1)
    carrier.ends()
    wait_until(lambda: house.asks("ended"), "the call does not end")
    assert carrier.played == sorted(set(carrier.played))
    dropped = house.asks("ended")["CA-stalls"]["dropped_frames"]
    assert dropped == count - len(carrier.played) > 0


def test_what_an_engine_that_stalls_is_not_given_is_counted_and_the_rest_is_in_order():
    engine = Echo(echoes=False)
    with worker(engine.url) as house:
        carrier, count = live(house, "CA-stalls"), 60_000
        carrier.speaks(1)
        wait_until(lambda: engine.heard[0], "the first frame")
        engine.gate.clear()
        carrier.speaks(count - 1)
        wait_until(lambda: carrier_is_read(house, count), "the carrier is not read")
        engine.gate.set()
        wait_until(lambda: engine.heard[0][-1] == count - 1, "the last frame")
        carrier.ends()
        wait_until(lambda: house.asks("ended"), "the call does not end")
        heard, told = engine.heard[0], house.asks("ended")["CA-stalls"]
        assert heard == sorted(set(heard))
        assert told["dropped_to_engine"] == count - len(heard) > 0
        assert (told["received_ms"], told["dropped_frames"]) == (count * 20.25, 0)
    engine.close()


def carrier_is_read(house, count: int) -> bool:
    return house.asks("call", "CA-stalls")["received_ms"] == count * 20.25


# --------------------------------------------------------------------- an owner who stands still


def gated(engine: Echo, house) -> Carrier:
    """A call whose owner stands still in a listener; its sound has begun."""
    carrier = live(house, "CA-gated")
    carrier.speaks(1)
    carrier.hears(lambda carrier: carrier.played)
    engine.says(0, LINE)
    wait_until(lambda: house.asks("standing") == 1, "nobody tells the listener")
    return carrier


def test_a_call_whose_listener_stands_still_delays_no_other_call(engine, house):
    held = gated(engine, house)
    other = live(house, "CA-other")
    held.speaks(50)
    other.converses(2000, WINDOW)
    assert other.played == list(range(2000))
    assert house.asks("standing") == 1
    assert engine.heard[0] == [0]
    house.asks("open_gate")
    held.hears(lambda carrier: len(carrier.played) == 51)
    assert held.played == list(range(51))


def crowd(house, carrier: Carrier) -> None:
    """Frames, one to a read, until reading pauses."""
    for _ in range(400):
        if house.asks("call", carrier.call_sid)["paused"]:
            return
        for _ in range(50):
            carrier.speaks()
            time.sleep(0.0005)  # the worker reads meanwhile
    raise AssertionError(house.asks("call", carrier.call_sid))


def test_a_crowded_inbox_is_filled_no_further_and_nothing_of_what_waits_is_lost(engine, house):
    carrier = gated(engine, house)
    crowd(house, carrier)
    time.sleep(0.1)
    waiting = house.asks("call", "CA-gated")["reads"]
    for _ in range(100):
        carrier.speaks()
        time.sleep(0.001)
    engine.says(0, *(delta(payload(number)) for number in range(10)))
    time.sleep(0.3)
    assert house.asks("call", "CA-gated")["reads"] == waiting
    house.asks("open_gate")
    carrier.hears(lambda carrier: len(carrier.played) == carrier.sent + 10)
    assert house.asks("call", "CA-gated")["paused"] is False
    assert sorted(carrier.played) == sorted([*range(carrier.sent), *range(10)])
    assert engine.heard[0] == list(range(carrier.sent))
    carrier.speaks(100)  # and it goes on
    carrier.hears(lambda carrier: carrier.played[-1] == carrier.sent - 1)


def test_a_carrier_at_the_door_is_read_no_further_than_a_crowd_and_then_heard_whole(engine, house):
    carrier = Carrier(house.dialled(), "CA-knocks")
    wait_until(lambda: house.asks("call", "CA-knocks"), "nobody at the door")
    crowd(house, carrier)
    time.sleep(0.1)
    waiting = house.asks("call", "CA-knocks")["door"]
    for _ in range(100):
        carrier.speaks()
        time.sleep(0.001)
    assert house.asks("call", "CA-knocks")["door"] == waiting
    house.asks("open_gate")
    wait_until(lambda: engine.heard and engine.heard[0][-1:] == [carrier.sent - 1], "the last frame")
    kept = engine.heard[0]
    assert kept == list(range(carrier.sent - len(kept), carrier.sent))
    assert len(kept) * 20.25 >= 9000  # ten seconds are kept until a session listens


def test_a_session_that_is_closed_while_reading_pauses_is_let_go(engine, house):
    carrier = gated(engine, house)
    crowd(house, carrier)
    house.asks("hang_up", "CA-gated")
    house.asks("open_gate")
    wait_until(lambda: house.asks("ended"), "the call does not end")
    carrier.hears(lambda carrier: carrier.closed_with is not None)
    carrier.sock.close()
    wait_until(lambda: house.asks("closed_engines") == 1, "the session's end is told to nobody", 20)


# --------------------------------------------------------------------- nothing is left


def brief(house, number: int) -> None:
    """A short call, ended in one of many ways."""
    carrier = Carrier(house.dialled(is_narrow=number % 7 == 6), f"CA-brief-{number}", seed=number)
    how = number % 4
    if how:
        carrier.converses(20, 10)
    if how == 1:
        carrier.ends()
    elif how == 2:
        carrier.hangs_up()
    carrier.sock.close()


def loses_its_engine(house, call_sid: str, engine: Echo) -> None:
    carrier = live(house, call_sid)
    engine.sockets[-1].shutdown(2)
    carrier.sock.close()


def test_two_hundred_short_calls_leave_nothing_behind(engine, house):
    def calls(numbers: range) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: brief(house, number), numbers))
        loses_its_engine(house, f"CA-loses-{numbers[0]}", engine)

    calls(range(20))  # what is made once is made now
    wait_until(lambda: is_empty(before := house.asks("census"), before), "a call stays", 60)
    before = house.asks("census")
    house.asks("keep_litter")
    calls(range(20, 220))
    wait_until(lambda: house.asks("files") <= before["files"], "sockets wait for the garbage collector", 60)
    wait_until(lambda: is_empty(house.asks("census"), before), f"more is left than {before}", 60)


def is_empty(now: dict[str, int], before: dict[str, int]) -> bool:
    is_gone = not any(now[what] for what in ("bridges", "wires", "engine legs"))
    return is_gone and all(now[what] <= count for what, count in before.items())
