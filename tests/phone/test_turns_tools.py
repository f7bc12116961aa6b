"""Recordings that are answered with the help of tools, by a chat model: each is used once, all in time."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from flaskapp.phone.agent import Agent
from flaskapp.phone.built_in import toolbox
from flaskapp.phone.directives import EndCall, Message, TransferTo
from flaskapp.phone.engines.tool_use import NO_TIME, ROUNDS, ToolCall, ToolUse
from flaskapp.phone.engines.turns import Answer
from flaskapp.phone.errors import EngineRejected, EngineUnreachable
from flaskapp.phone.events import ToolAnswered
from flaskapp.phone.toolbench import Toolbench
from flaskapp.phone.tools import CallContext
from tests.fake_turns import FakeTurns, Fault, Uses
from tests.phone.test_turns_over_http import SOUND, WORDS
from tests.phone.turn_engines import KEY, engine

AGENT = Agent(instructions="Be kind.", transfer_numbers={"sales": "+14155550101"})
TOOLS = toolbox(AGENT).schemas()
MESSAGE = Uses((("take_message", '{"text": "Call back.", "name": "Ann"}'),))
TAKEN = "I have written that down."


@pytest.fixture
def fake() -> Iterator[FakeTurns]:
    with FakeTurns(api_key=KEY).running() as fake:
        yield fake
    assert fake.offences == []


class Desk:
    """Carries out tools as the app does, and keeps account."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str]] = []
        self._bench = Toolbench()

    def __call__(self, tool_call_id: str, name: str, arguments: str) -> ToolAnswered:
        self.calls.append((tool_call_id, name, arguments))
        return self._bench.perform(CallContext("CA1", "", "", AGENT), tool_call_id, name, arguments)

    @property
    def names(self) -> list[str]:
        return [name for _, name, _ in self.calls]


def answered(fake: FakeTurns, desk: Desk, **about: Any) -> Answer:
    return engine(fake).answer(SOUND, [], AGENT, **{"tools": TOOLS, "use": desk, **about})


def test_a_tool_is_used_and_the_model_answers_with_its_output(fake):
    fake.answers = [MESSAGE, TAKEN]

    answer = answered(fake, desk := Desk())

    assert (answer.transcript, answer.response) == (WORDS, TAKEN)
    assert answer.directives == (Message("Call back.", "Ann"),)
    assert desk.names == ["take_message"]
    first, second = fake.of_kind("chat")
    assert [each["function"]["name"] for each in first.fields["tools"]] == [
        *("end_call", "take_message", "transfer_to_human"),
    ]
    asked, told = second.fields["messages"][-2:]
    assert asked["tool_calls"][0]["id"] == desk.calls[0][0] == told["tool_call_id"]
    assert told["content"] == "The message is written down. Tell the caller so."


def test_what_all_rounds_cost_is_told(fake):
    fake.answers = [MESSAGE, TAKEN]
    usage = answered(fake, Desk()).usage
    assert (usage["chat_input_tokens"], usage["transcription_input_tokens"]) == (80, 30)


def test_several_tools_at_once_are_each_answered(fake):
    fake.answers = [Uses((*MESSAGE.calls, ("horoscope", "{}"), ("take_message", "{broken"))), TAKEN]

    answer = answered(fake, desk := Desk())

    assert desk.names == ["take_message", "horoscope", "take_message"]
    assert (answer.response, len(answer.directives)) == (TAKEN, 1)
    told = [each["content"] for each in fake.of_kind("chat")[1].fields["messages"][-3:]]
    assert "no such tool" in told[1]
    assert "arguments are wrong" in told[2]


def test_a_number_that_the_caller_names_is_dialled_by_nobody(fake):
    fake.answers = [Uses((("transfer_to_human", '{"destination": "+19005550100"}'),)), "I cannot do that."]

    answer = answered(fake, Desk())

    assert (answer.directives, answer.response) == ((), "I cannot do that.")


@pytest.mark.parametrize(
    ("call", "directive"),
    [
        (("end_call", "{}"), EndCall()),
        (("transfer_to_human", '{"destination": "sales"}'), TransferTo("sales", "+14155550101")),
    ],
)
def test_who_has_said_goodbye_is_not_asked_for_more(fake, call, directive):
    fake.answers = [Uses((call,), "Goodbye, and thank you."), "Anything else?"]

    answer = answered(fake, Desk())

    assert (answer.response, answer.directives) == ("Goodbye, and thank you.", (directive,))
    assert len(fake.of_kind("chat")) == 1


def test_who_ends_the_call_without_a_word_is_asked_for_one(fake):
    fake.answers = [Uses((("end_call", "{}"),)), "Goodbye."]
    answer = answered(fake, Desk())
    assert (answer.response, answer.directives) == ("Goodbye.", (EndCall(),))


def test_words_before_a_tool_stand_if_none_follow(fake):
    fake.answers = [Uses(MESSAGE.calls, "One moment."), ""]
    assert answered(fake, Desk()).response == "One moment."


def test_a_model_that_never_has_enough_must_answer_in_the_end(fake):
    fake.answers = [Uses(MESSAGE.calls, "Still at it.")]

    answer = answered(fake, desk := Desk())

    assert len(desk.calls) == ROUNDS
    chats = fake.of_kind("chat")
    assert [each.fields.get("tool_choice") for each in chats] == [None] * ROUNDS + ["none"]
    assert answer.response == "Still at it."


def test_words_alone_use_tools_too(fake):
    fake.answers = [MESSAGE, TAKEN]
    answer = engine(fake).reply("Please call back.", [], AGENT, tools=TOOLS, use=Desk())
    assert (answer.response, answer.directives) == (TAKEN, (Message("Call back.", "Ann"),))


def test_where_no_answer_is_wanted_and_where_there_is_no_tool_none_is_offered(fake):
    answered(fake, Desk(), wants_reply=False)
    answered(fake, Desk(), tools=())
    answered(fake, Desk(), use=None)

    chats = fake.of_kind("chat")
    assert len(chats) == 2
    assert all(not each.fields.keys() & {"tools", "tool_choice", "reasoning_effort"} for each in chats)


# ---------------------------------------------------------------------- models that take less


def test_a_model_that_thinks_is_asked_not_to_before_tools(fake):
    answered(fake, Desk())
    assert fake.of_kind("chat")[0].fields["reasoning_effort"] == "none"


def test_a_model_that_knows_no_thinking_is_asked_without_a_word_of_it_and_only_once_with(fake):
    fake.untaken, fake.answers = {"reasoning_effort"}, [MESSAGE, TAKEN]
    one = engine(fake)

    for _ in range(2):
        assert one.answer(SOUND, [], AGENT, tools=TOOLS, use=Desk()).response == TAKEN

    tried = [each.fields for each in fake.of_kind("chat") if "reasoning_effort" in each.fields]
    assert len(tried) == 1
    assert all("tools" in each.fields for each in fake.of_kind("chat"))


def test_a_model_that_takes_no_tools_answers_without(fake):
    fake.untaken = {"tools"}
    assert answered(fake, desk := Desk()).response == "We are open from nine to five."
    assert desk.calls == []


def test_a_no_that_is_not_about_tools_stays_a_no(fake):
    fake.always = {"chat": Fault(status=400)}
    with pytest.raises(EngineRejected):
        answered(fake, Desk())


# ---------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("fault", [Fault(status=503), Fault(close=True), Fault(half=True)])
def test_a_request_that_is_sent_again_uses_no_tool_again(fake, fault):
    fake.answers, fake.faults = [MESSAGE, TAKEN], {"chat": [fault, Fault(), fault]}

    answer = answered(fake, desk := Desk())

    assert len(desk.calls) == (0 if fault.half else 1)  # a half answer asked for it, and nobody read that
    assert answer.response == TAKEN


@pytest.mark.parametrize("fault", [Fault(status=503), Fault(status=400), Fault(body=b"{}"), Fault(hang=True)])
def test_a_model_that_fails_after_a_tool_leaves_what_was_done(fake, fault):
    """Asked again, it might take the message twice."""
    fake.answers, fake.faults = [MESSAGE], {"chat": [Fault(), *[fault] * 5]}

    answer = answered(fake, desk := Desk(), within_s=6.0)

    assert (answer.transcript, answer.response) == (WORDS, "")
    assert answer.directives == (Message("Call back.", "Ann"),)
    assert answer.usage["chat_input_tokens"] == 40
    assert len(desk.calls) == 1


def test_a_model_that_fails_before_any_tool_fails_as_ever(fake):
    fake.always = {"chat": Fault(status=503)}
    with pytest.raises(EngineUnreachable):
        answered(fake, Desk())


def test_a_tool_that_takes_all_the_time_leaves_what_was_done_and_none_is_begun_afterwards(fake):
    fake.answers = [Uses((("end_call", "{}"), *MESSAGE.calls)), TAKEN]
    slow, let_go = Desk(), threading.Event()

    def use(tool_call_id: str, name: str, arguments: str) -> ToolAnswered:
        answer = slow(tool_call_id, name, arguments)
        let_go.wait(60)
        return answer

    ready = engine(fake)
    ready.is_alive(20.0)  # a first import takes what it takes
    answer = ready.answer(SOUND, [], AGENT, within_s=3.0, tools=TOOLS, use=use)
    let_go.set()

    assert (answer.transcript, answer.response, answer.directives) == (WORDS, "", ())
    deadline = time.monotonic() + 30
    while any(each.name == "turn" for each in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert slow.names == ["end_call"]
    assert len(fake.of_kind("chat")) == 1


def test_what_a_desk_raises_is_raised(fake):
    fake.answers = [MESSAGE, TAKEN]

    def away(*_: str) -> ToolAnswered:
        raise ConnectionError("the book is away")

    with pytest.raises(ConnectionError):
        engine(fake).answer(SOUND, [], AGENT, tools=TOOLS, use=away)


STRANGE = {
    "no id": {"type": "function", "function": {"name": "take_message", "arguments": '{"text": "x"}'}},
    "arguments that are no text": {
        "id": "a",
        "function": {"name": "take_message", "arguments": {"text": "x"}},
    },
    "arguments that are nothing": {"id": "a", "function": {"name": "take_message", "arguments": None}},
    "no function": {"id": "a", "type": "custom"},
    "null": None,
}


@pytest.mark.parametrize("call", STRANGE.values(), ids=STRANGE.keys())
def test_a_call_of_a_strange_shape_is_answered_or_left_out(fake, call):
    message = {"role": "assistant", "content": "One moment.", "tool_calls": [call]}
    body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})
    fake.faults, fake.answers = {"chat": [Fault(body=body.encode())]}, [TAKEN]

    answer = answered(fake, desk := Desk())

    assert answer.response == (TAKEN if desk.calls else "One moment.")


def test_a_call_that_comes_twice_is_carried_out_once_and_another_of_its_id_is_another():
    used = ToolUse(TOOLS, desk := Desk())
    call = ToolCall("call_1", "take_message", '{"text": "x"}')

    assert used.perform(call) == used.perform(ToolCall("call_1", "take_message", '{"text": "x"}'))
    used.perform(ToolCall("call_1", "end_call", "{}"))

    assert desk.names == ["take_message", "end_call"]
    assert used.directives == [Message("x"), EndCall()]


def test_once_a_turn_is_given_up_no_tool_is_begun():
    used = ToolUse(TOOLS, desk := Desk())
    assert not used.give_up()
    assert used.perform(ToolCall("call_1", "end_call", "{}")) == NO_TIME
    assert desk.calls == []
