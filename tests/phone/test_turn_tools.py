"""Tools of recorded turns, kept in the turn's book: no job does twice what a caller asked for once."""

from __future__ import annotations

import json
import threading

import pytest

from flaskapp.phone.agent import Agent
from flaskapp.phone.directives import EndCall, Message, TransferTo
from flaskapp.phone.toolbench import Toolbench
from flaskapp.phone.tools import CallContext, tool
from flaskapp.phone.turn_tools import NOBODY_KNOWS, TurnTools, as_json, from_json
from flaskapp.store.live import connect
from flaskapp.store.turns import Turn, TurnBook

AGENT = Agent(transfer_numbers={"sales": "+15557654321"})
TURN = Turn("CA1", "RE1", "recording", called="+15552223333")


class History:
    """A history of one call."""

    def call(self, call_sid):
        return {"caller": "+15550001111"}


class House:
    """A book, and workers that each have their own tool bench."""

    def __init__(self) -> None:
        self.book, self.done = TurnBook(connect("")), []
        self.book.claim(TURN)

        @tool
        def order(call: CallContext, dish: str, count: int = 1) -> str:
            """Order a dish.

            Args:
                dish: Which.
                count: How many.
            """
            self.done.append((dish, call.caller, call.called))
            return f"{count} {dish} ordered"

        self.tools = (order,)

    def worker(self, turn: Turn = TURN):
        return TurnTools(Toolbench(self.tools), self.book, History()).use(turn, AGENT)


@pytest.fixture
def house():
    return House()


def test_a_second_worker_gets_what_the_first_was_told(house):
    first = house.worker()("c1", "order", '{"dish": "soup", "count": 2}')
    again = house.worker()("c9", "order", '{"count":2,"dish":"soup"}')
    assert (first.output, again.output, again.tool_call_id) == ("2 soup ordered", "2 soup ordered", "c9")
    assert house.done == [("soup", "+15550001111", "+15552223333")]


def test_other_arguments_and_other_turns_are_other_uses(house):
    house.worker()("c1", "order", '{"dish": "soup"}')
    house.worker()("c2", "order", '{"dish": "salad"}')
    other = Turn("CA1", "RE2", "recording")
    house.book.claim(other)
    house.worker(other)("c3", "order", '{"dish": "soup"}')
    assert [dish for dish, *_ in house.done] == ["soup", "salad", "soup"]


def test_what_was_begun_and_never_answered_is_not_begun_again(house):
    class Killed(BaseException):
        pass

    tools = TurnTools(Toolbench(house.tools), house.book, History())

    def dies(*about):
        raise Killed

    tools._bench.perform = dies
    with pytest.raises(Killed):
        tools.use(TURN, AGENT)("c1", "order", '{"dish": "soup"}')
    answered = house.worker()("c1", "order", '{"dish": "soup"}')
    assert (answered.output, answered.is_error, house.done) == (NOBODY_KNOWS, True, [])


def test_of_two_workers_at_the_same_moment_one_does_it(house):
    start, answers = threading.Barrier(2), []

    def use():
        work = house.worker()
        start.wait(30)
        answers.append(work("c1", "order", '{"dish": "soup"}'))

    threads = [threading.Thread(target=use) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert (len(answers), len(house.done)) == (2, 1)


def test_a_directive_is_kept_with_the_answer(house):
    given = json.dumps({"destination": "sales"})
    answers = [house.worker()("c1", "transfer_to_human", given) for _ in range(2)]
    assert [each.directive for each in answers] == [TransferTo("sales", "+15557654321")] * 2


@pytest.mark.parametrize("arguments", ["", "{", "[]", "\ud800", '{"dish": 5}', '{"number": "+1900"}'])
def test_arguments_that_are_none_are_an_error_for_the_engine(house, arguments):
    for _ in range(2):
        assert house.worker()("c1", "order", arguments).is_error
    assert house.done == []


def test_directives_survive_json():
    given = [EndCall("goodbye"), TransferTo("sales", "+1555"), Message("Hi", "Ann", "555")]
    assert from_json(json.loads(json.dumps(as_json(given)))) == given
    assert from_json([{"do": "of a newer version"}]) == []
