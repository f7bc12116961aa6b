"""Tools at work: beside the call, a bounded number at once, and each answered exactly once."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flaskapp.phone import events as ev
from flaskapp.phone.agent import Agent, Agents
from flaskapp.phone.built_in import RESERVED
from flaskapp.phone.directives import EndCall, Message, TransferTo
from flaskapp.phone.errors import ConfigurationError
from flaskapp.phone.toolbench import AT_ONCE_IN_A_CALL, BUSY, LATE, UNKNOWN, Toolbench
from flaskapp.phone.tools import FAILED, CallContext, Tool, tool

PROJECT = Path(__file__).resolve().parents[2]
CALL = CallContext("CA1", "+15550001111", "+15550002222", Agent())
CANARY = "canary-7711"
PATIENCE_S = 30.0


@tool
def opening_hours(day: str) -> str:
    """Tell when the shop is open."""
    return f"{day}: nine to five"


class Gate:
    """A tool that waits until a test opens it; ``runs`` is how often it was begun, ``at_once`` the most."""

    def __init__(self, timeout_s: float = PATIENCE_S) -> None:
        self.opened = threading.Event()
        self.ended = threading.Semaphore(0)
        self.runs = self.running = self.at_once = 0
        self._guard = threading.Lock()
        self.tool = Tool("wait", "Wait.", {"type": "object"}, self._run, timeout_s)

    def _run(self, call: CallContext, arguments: str) -> str:
        with self._guard:
            self.runs += 1
            self.running += 1
            self.at_once = max(self.at_once, self.running)
        self.opened.wait(PATIENCE_S)
        with self._guard:
            self.running -= 1
        self.ended.release()
        return f"waited {arguments}"


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


class Answers:
    """Takes what ``done`` is called with."""

    def __init__(self) -> None:
        self.got: list[ev.ToolAnswered] = []

    def __call__(self, answer: ev.ToolAnswered) -> None:
        self.got.append(answer)

    def wait(self, count: int) -> list[ev.ToolAnswered]:
        until(lambda: len(self.got) >= count)
        return self.got


def until(is_so: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, "never so"
        time.sleep(0.005)


def test_a_tool_is_used_and_answered():
    answers = Answers()
    Toolbench([opening_hours]).start(CALL, "call_1", "opening_hours", '{"day": "Friday"}', answers)
    assert answers.wait(1) == [ev.ToolAnswered("call_1", "Friday: nine to five")]


def test_what_a_tool_asks_of_the_call_comes_with_its_answer():
    answer = Toolbench().perform(CALL, "call_1", "end_call", "{}")
    assert (answer.directive, answer.is_error) == (EndCall("goodbye"), False)


def test_the_starter_does_not_wait_and_is_told_from_elsewhere(gate):
    threads: list[threading.Thread] = []
    Toolbench([gate.tool]).start(
        CALL, "call_1", "wait", "{}", lambda _answer: threads.append(threading.current_thread())
    )
    assert threads == []  # it is back, and the tool has not ended
    gate.opened.set()
    until(lambda: threads)
    assert threads[0] is not threading.current_thread()


WRONG = {
    "no such tool": ("transfer_to_human", '{"destination": "+19005550100"}', UNKNOWN),
    "a broken name": (f"no\n{CANARY}", "{}", UNKNOWN),
    "wrong arguments": ("opening_hours", json.dumps({"date": CANARY}), "arguments are wrong"),
    "broken arguments": ("opening_hours", f'{{"day": "{CANARY}', "arguments are wrong"),
}


@pytest.mark.parametrize(("name", "arguments", "says"), WRONG.values(), ids=WRONG.keys())
def test_whatever_the_engine_asks_for_is_answered(name, arguments, says, caplog):
    answers = Answers()
    with caplog.at_level(logging.DEBUG):
        Toolbench([opening_hours]).start(CALL, "call_1", name, arguments, answers)
        (answer,) = answers.wait(1)

    assert (answer.tool_call_id, answer.is_error, answer.directive) == ("call_1", True, None)
    assert says in answer.output
    assert "\n" not in "".join(record.getMessage() for record in caplog.records)
    assert CANARY not in caplog.text or name.endswith(CANARY)


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, RecursionError])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_whatever_a_tool_throws_is_answered_and_frees_its_place(error):
    def throw(call: CallContext, arguments: str) -> str:
        raise error(CANARY)

    bench = Toolbench([Tool("throw", "Throw.", {}, throw), opening_hours], at_once=1)

    for number in range(3):
        answer = bench.perform(CALL, f"call_{number}", "throw", "{}")
        assert answer == ev.ToolAnswered(f"call_{number}", FAILED, None, True)
    until(lambda: not bench.perform(CALL, "call_3", "opening_hours", '{"day": "x"}').is_error)


def test_a_tool_that_is_late_is_answered_once_and_what_it_says_then_is_dropped(gate, caplog):
    slow, answers = Gate(timeout_s=0.2), Answers()
    bench = Toolbench([slow.tool, opening_hours])

    bench.start(CALL, "call_1", "wait", f'{{"text": "{CANARY}"}}', answers)
    (answer,) = answers.wait(1)
    slow.opened.set()
    assert slow.ended.acquire(timeout=PATIENCE_S)
    bench.start(CALL, "call_2", "opening_hours", '{"day": "x"}', answers)

    assert answer == ev.ToolAnswered("call_1", LATE, None, True)
    assert [each.tool_call_id for each in answers.wait(2)] == ["call_1", "call_2"]
    assert slow.runs == 1
    assert "Tool wait took more than 0.2 s" in caplog.text
    assert CANARY not in caplog.text


def in_call(call_sid: str) -> CallContext:
    return CallContext(call_sid, "", "", Agent(transfer_numbers={"sales": "+15557654321"}))


def test_so_many_run_at_once_and_one_more_is_answered_that_it_was_not_done(gate):
    bench, answers = Toolbench([gate.tool], at_once=3), Answers()
    for number in range(3):
        bench.start(CALL, f"call_{number}", "wait", "{}", answers)
    until(lambda: gate.running == 3)

    for number in range(3, 20):
        bench.start(CALL, f"call_{number}", "wait", "{}", answers)
    refused = list(answers.wait(17))
    gate.opened.set()

    assert all(each.output == BUSY and each.is_error for each in refused)
    assert sorted(each.tool_call_id for each in answers.wait(20)) == sorted(f"call_{n}" for n in range(20))
    assert (gate.runs, gate.at_once) == (3, 3)


def test_one_call_has_so_many_places_and_leaves_the_others_to_other_calls(gate):
    bench, answers = Toolbench([gate.tool]), Answers()
    for number in range(AT_ONCE_IN_A_CALL + 1):
        bench.start(in_call("CAone"), f"one_{number}", "wait", "{}", answers)
    (ninth,) = answers.wait(1)
    assert (ninth.output, ninth.is_error) == (BUSY, True)
    bench.start(in_call("CAother"), "other", "wait", "{}", answers)
    until(lambda: gate.running == AT_ONCE_IN_A_CALL + 1)
    gate.opened.set()
    got = answers.wait(AT_ONCE_IN_A_CALL + 2)
    assert [each.tool_call_id for each in got if each.output == BUSY] == [ninth.tool_call_id]


def test_a_call_s_places_are_free_again_when_its_tools_have_ended(gate):
    bench, answers = Toolbench([gate.tool], at_once_in_a_call=2), Answers()
    for number in range(2):
        bench.start(in_call("CAone"), f"call_{number}", "wait", "{}", answers)
    until(lambda: gate.running == 2)
    gate.opened.set()
    answers.wait(2)
    until(lambda: not bench.perform(in_call("CAone"), "call_3", "wait", "{}").is_error)


def test_however_many_tools_hang_a_caller_is_transferred_and_leaves_a_message():
    hung = Gate(timeout_s=0.1)
    bench, answers = Toolbench([hung.tool], at_once=3), Answers()
    for number in range(3):
        bench.start(in_call(f"CA{number}"), f"call_{number}", "wait", "{}", answers)
    assert {each.output for each in answers.wait(3)} == {LATE}
    assert bench.perform(in_call("CA9"), "call_9", "wait", "{}").output == BUSY

    def asks_of_the_call(name: str, **arguments: str) -> Any:
        return bench.perform(in_call("CA0"), "call_4", name, json.dumps(arguments)).directive

    assert asks_of_the_call("end_call") == EndCall("goodbye")
    assert asks_of_the_call("take_message", text="Call me.") == Message("Call me.", "", "")
    assert asks_of_the_call("transfer_to_human", destination="sales") == TransferTo("sales", "+15557654321")
    hung.opened.set()


def test_where_no_thread_can_be_had_the_house_s_tools_are_refused_and_the_built_in_ones_used(monkeypatch):
    def none(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    bench, answers = Toolbench([opening_hours]), Answers()
    monkeypatch.setattr(threading.Thread, "start", none)
    bench.start(CALL, "call_1", "opening_hours", '{"day": "x"}', answers)
    bench.start(CALL, "call_2", "end_call", "{}", answers)
    assert [(each.tool_call_id, each.directive) for each in answers.got] == [
        ("call_1", None),
        ("call_2", EndCall("goodbye")),
    ]
    assert answers.got[0].output == BUSY


def test_a_tool_that_hangs_keeps_its_place_until_it_ends():
    hung = Gate(timeout_s=0.1)
    bench = Toolbench([hung.tool, opening_hours], at_once=1)

    assert bench.perform(CALL, "call_1", "wait", "{}").output == LATE
    assert bench.perform(CALL, "call_2", "opening_hours", '{"day": "x"}').output == BUSY
    hung.opened.set()
    until(lambda: not bench.perform(CALL, "call_3", "opening_hours", '{"day": "x"}').is_error)


def test_hundreds_of_calls_are_answered_each_with_its_own():
    bench, answers = Toolbench([opening_hours], at_once=1000), Answers()
    for number in range(300):
        bench.start(
            in_call(f"CA{number}"),
            f"call_{number}",
            "opening_hours",
            json.dumps({"day": str(number)}),
            answers,
        )
    got = {each.tool_call_id: each.output for each in answers.wait(300)}
    assert got == {f"call_{n}": f"{n}: nine to five" for n in range(300)}
    assert len(answers.got) == 300


def test_an_engine_is_told_of_what_its_agent_may_use():
    bench = Toolbench([opening_hours])

    def names(agent: Agent) -> list[str]:
        return [each["name"] for each in bench.schemas(agent)]

    assert names(Agent()) == ["end_call", "take_message", "opening_hours"]
    assert names(Agent(tools=())) == ["end_call", "take_message"]
    assert "transfer_to_human" in names(Agent(transfer_numbers={"person": "+15551234567"}))


def test_what_an_agent_may_not_use_it_does_not():
    call = CallContext("CA1", "", "", Agent(tools=()))
    answer = Toolbench([opening_hours]).perform(call, "call_1", "opening_hours", '{"day": "x"}')
    assert (answer.output, answer.is_error) == (UNKNOWN, True)


def test_an_agent_that_names_a_tool_that_is_not_there_is_told_so():
    agents = Agents(Agent(tools=("opening_hours", "end_call")), {"1": Agent(tools=("horoscope",))})
    with pytest.raises(ConfigurationError, match="no module of TOOLS has a tool called horoscope; there are"):
        Toolbench([opening_hours], agents)
    Toolbench([opening_hours], Agents(Agent(tools=("opening_hours", "end_call"))))


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_a_tool_with_a_built_in_one_s_name_is_refused(name):
    with pytest.raises(ConfigurationError, match=f"{name}: a built-in tool has this name"):
        Toolbench([Tool(name, "Mine.", {}, lambda call, arguments: "")])


def test_two_of_the_house_s_tools_with_one_name_are_refused():
    with pytest.raises(ConfigurationError, match="two tools are called opening_hours"):
        Toolbench([opening_hours, opening_hours])


UNDER_GEVENT = """
from gevent import monkey; monkey.patch_all()
import threading, time
from flaskapp.phone.agent import Agent
from flaskapp.phone.toolbench import LATE, Toolbench
from flaskapp.phone.tools import CallContext, Tool

def nap(call, arguments):
    time.sleep(float(arguments))
    return "rested"

bench = Toolbench([Tool("nap", "Nap.", {}, nap, timeout_s=5.0)])
answers, ticks = [], 0
for number in range(50):
    bench.start(CallContext(f"CA{number}", "", "", Agent()), f"call_{number}", "nap", "1", answers.append)
bench.start(CallContext("CA99", "", "", Agent()), "late", "nap", "60", answers.append)
deadline = time.monotonic() + 30
while len(answers) < 51 and time.monotonic() < deadline:
    time.sleep(0.01)
    ticks += 1
assert sorted({each.output for each in answers}) == sorted({"rested", LATE}), answers
assert len(answers) == 51, len(answers)
assert ticks > 20, ticks  # the audio went on
print("ok")
"""


def test_under_gevent_tools_are_greenlets_and_the_audio_goes_on():
    done = subprocess.run(
        [sys.executable, "-c", UNDER_GEVENT],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "ok", done.stderr
