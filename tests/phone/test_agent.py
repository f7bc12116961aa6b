"""Who answers: agent files, and the agent for each number."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flaskapp.phone.agent import GREETING, INSTRUCTIONS, Agent, Agents, CallLimits, read_agents
from flaskapp.phone.errors import ConfigurationError

FILE = """
name: Front desk
instructions: |
  You answer for a bakery.
  Be brief.
greeting: Good day, this is the bakery.
voice: marin
numbers:
  +1 (415) 555-0100:
    name: Night desk
    greeting: ""
  "+4930123456":
    language: de-DE
"""


@pytest.fixture
def agents(tmp_path):
    """Reads agent files: `agents("name: Desk")`."""

    def read(text: str | bytes) -> Agents:
        path = tmp_path / "agent.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_agents(path)

    return read


def test_an_agent_file_says_who_answers(agents):
    agent = agents(FILE).default
    assert (agent.name, agent.voice) == ("Front desk", "marin")
    assert agent.instructions == "You answer for a bakery.\nBe brief."


@pytest.mark.parametrize("called", ["+14155550100", "14155550100", "+1 415 555 0100", "+1-415-555-0100"])
def test_a_number_is_the_same_however_it_is_written(agents, called):
    assert agents(FILE).for_number(called).name == "Night desk"


def test_a_number_overrides_some_fields_and_keeps_the_others(agents):
    berlin = agents(FILE).for_number("+4930123456")
    assert (berlin.language, berlin.name) == ("de-DE", "Front desk")
    assert berlin.greeting == "Good day, this is the bakery."


@pytest.mark.parametrize("called", ["+4930999999", "", "anonymous", "sip:desk@example.com"])
def test_any_other_number_gets_the_default(agents, called):
    assert agents(FILE).for_number(called).name == "Front desk"


def test_an_empty_greeting_waits_for_the_caller(agents):
    assert agents(FILE).for_number("+14155550100").greeting_instructions() == ""


def test_the_greeting_is_to_be_said_word_for_word():
    assert '"Hi, Ann\'s."' in Agent(greeting="Hi, Ann's.").greeting_instructions()


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "{}", "voice:\nnumbers:\n"])
def test_what_a_file_leaves_out_stays_as_it_is_built_in(agents, text):
    agent = agents(text).default
    assert (agent.instructions, agent.greeting, agent.voice) == (INSTRUCTIONS, GREETING, "")


@pytest.mark.parametrize(
    "word", ["no", "on", "yes", "off", "1e3", "007", "12:30", "2026-11-21", "1_000", "NO"]
)
def test_words_that_yaml_takes_for_something_else_stay_words(agents, word):
    """Norwegian is ``no``."""
    assert agents(f"language: {word}").default.language == word


def test_a_national_number_keeps_its_zero(agents):
    assert agents("numbers: {0301234567: {name: Berlin}}").for_number("030 1234567").name == "Berlin"


def test_a_number_without_fields_gets_the_default(agents):
    assert agents("name: Desk\nnumbers:\n  +1555:\n").for_number("+1555").name == "Desk"


def test_fields_can_be_shared_by_anchors(agents):
    text = "numbers:\n  +1: &one {name: One, voice: ash}\n  +2: {<<: *one, name: Two}\n"
    assert agents(text).for_number("+2") == Agent(name="Two", voice="ash")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("greting: Hello", "unknown greting; an agent has"),
        ("numbers: {+1: {temperature: 1}}", "unknown temperature"),
        ("numbers: {+1: Hello}", "unknown 'Hello'"),
        ("numbers: [+1]", "'numbers' must map"),
        ("numbers: {sales: {name: Sales}}", "no telephone number: 'sales'"),
        ("instructions: [be, brief]", "instructions must be text"),
        ("greeting: {text: Hello}", "greeting must be text"),
        ("just words", "expected fields"),
        ("- a list", "expected fields"),
        ("name: [unclosed", "AGENT_FILE"),
        ("name: !!python/object/apply:os.getcwd []", "AGENT_FILE"),
        (b"name: \xff\xfe", "AGENT_FILE"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(agents, text, says):
    with pytest.raises(ConfigurationError) as error:
        agents(text)
    assert says in str(error.value)
    assert "agent.yaml" in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"AGENT_FILE .*none\.yaml"):
        read_agents(tmp_path / "none.yaml")


# ---------------------------------------------------------------------- whom it may call in, and its limits

HANDS_OVER = """
transfer_number: {sales: +1 (415) 555-0101, the workshop: "+49 30 123456"}
limits: {max_call_seconds: 600, max_call_cost_usd: 1.50}
tools: [opening_hours, order_status]
numbers:
  +15550000001: {transfer_number: +1.555.000.0009}
  +15550000002: {transfer_number: "", limits: {max_call_seconds: 60}, tools: []}
  +15550000003: {voice: ash}
"""


def test_callers_may_be_handed_over_to_those_who_are_named(agents):
    assert agents(HANDS_OVER).default.transfer_numbers == {
        "sales": "+14155550101",
        "the workshop": "+4930123456",
    }


def test_a_single_number_is_a_persons(agents):
    assert agents("transfer_number: +15550001111").default.transfer_numbers == {"person": "+15550001111"}
    assert agents("name: Desk").default.transfer_numbers == {}


def test_a_called_number_has_its_own_people_limits_and_tools_or_the_default_ones(agents):
    read = agents(HANDS_OVER)
    other, nobody, same = (read.for_number(f"+1555000000{n}") for n in (1, 2, 3))

    assert other.transfer_numbers == {"person": "+15550000009"}
    assert (other.limits, other.tools) == (read.default.limits, read.default.tools)
    assert nobody.transfer_numbers == {}
    assert nobody.limits == CallLimits(60, 1.5)
    assert nobody.tools == ()
    assert same == replace(read.default, voice="ash")


def test_without_limits_and_tools_the_settings_hold_and_all_tools_may_be_used(agents):
    agent = agents("name: Desk").default
    assert (agent.limits, agent.tools) == (CallLimits(None, None), None)


def test_an_agent_can_be_a_key_whoever_it_calls_in(agents):
    read = agents(HANDS_OVER)
    assert {read.default: 1}[agents(HANDS_OVER).default] == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("transfer_number: sales", "transfer_number must be a number such as +15551234567"),
        ("transfer_number: 0301234567", "transfer_number must be a number such as"),
        ("transfer_number: {sales: '911'}", "transfer_number must be a number such as"),
        ("transfer_number: {sales: +155512345678901234}", "transfer_number must be a number such as"),
        ("transfer_number: [+15551234567]", "transfer_number must be text"),
        ("transfer_number: {'': +15551234567}", "needs a name of its own"),
        ("transfer_number: {a: +15551234567, ' a': +15551234568}", "needs a name of its own"),
        ('transfer_number: {"a\\nb": +15551234567}', "needs a name of its own"),
        ("limits: 60", "limits may name max_call_seconds and max_call_cost_usd only"),
        ("limits: {seconds: 60}", "limits may name max_call_seconds and max_call_cost_usd only"),
        ("limits: {max_call_seconds: soon}", "limits needs a number for max_call_seconds, 1 or more"),
        ("limits: {max_call_seconds: 0}", "limits needs a number for max_call_seconds"),
        ("limits: {max_call_cost_usd: -1}", "limits needs a number for max_call_cost_usd"),
        ("limits: {max_call_cost_usd: nan}", "limits needs a number for max_call_cost_usd"),
        ("tools: opening_hours", "tools must be a list of names"),
        ("tools: [{name: x}]", "tools must be a list of names"),
        ("numbers: {+15550001111: {transfer_number: x}}", "transfer_number must be a number"),
    ],
)
def test_a_wrong_number_or_limit_is_named_with_what_is_wrong(agents, text, says):
    with pytest.raises(ConfigurationError) as error:
        agents(text)
    assert says in str(error.value)


def test_all_that_is_wrong_with_an_agent_is_named_at_once(agents):
    with pytest.raises(ConfigurationError, match=r"greeting must be text; limits .*; tools must be"):
        agents("greeting: [a]\nlimits: {a: 1}\ntools: x")
