"""What a caller is told before anything of his call is kept: first, once, and known to have been heard."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from flaskapp.phone.agent import Agent
from flaskapp.phone.consent import consent_due, consent_heard, heard_at_ms, telling
from flaskapp.phone.transcript import AGENT, CALLER, Line
from tests.phone import lanes, sayings

TEXT = "This call is recorded. Hang up if you mind."
FORM = {"CallSid": "CA1", "From": "+15550001111", "To": "+15552223333"}
WEBHOOK = "/phone/incoming-call-streaming"


@pytest.fixture
def config(config):
    return {**config, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "CONSENT_TEXT": TEXT}


def said(client, path, **form):
    """What a document has said before anything else happens, and its other verbs."""
    answer = client.post(path, data={**FORM, **form}, base_url="http://localhost:5001")
    assert answer.status_code == 200
    verbs = list(ET.fromstring(answer.data))
    return [verb.text for verb in verbs if verb.tag == "Say"], [
        verb.tag for verb in verbs if verb.tag != "Say"
    ]


def test_the_carrier_says_it_before_it_opens_the_stream(client):
    assert said(client, WEBHOOK) == ([TEXT], ["Connect", "Redirect"])


def test_a_webhook_that_comes_again_is_told_it_again(client):
    assert said(client, WEBHOOK) == said(client, WEBHOOK)


def test_a_call_whose_stream_came_is_not_told_again(app, client):
    said(client, WEBHOOK)
    live = app.extensions["live_store"]
    known = live.recall("CA1")
    assert consent_due(known, TEXT) == "", "the carrier has said it: the agent need not"
    consent_heard("CA1", known, live)
    live.remember("CA1", state="moving")
    assert said(client, "/phone/stream-ended/CA1") == ([], ["Connect", "Redirect"])


def test_a_recorded_call_that_goes_live_was_told_already(app, client):
    said(client, "/phone/incoming-call")
    said(client, "/phone/process-voice/CA1")
    assert app.extensions["live_store"].recall("CA1")["consented"] == "1"


def test_nobody_is_recorded_who_was_told_nothing_because_the_server_was_about_to_end(app, client):
    app.extensions["drain"].begin()
    spoken, verbs = said(client, f"{WEBHOOK}?wait=1000")
    assert "Record" in verbs
    assert spoken[-1] == TEXT


def test_where_no_document_says_it_the_agent_does():
    assert consent_due({}, TEXT) == TEXT
    assert consent_due({}, "") == ""
    assert telling(Agent(greeting="Hello."), TEXT).greeting == f"{TEXT} Hello."
    assert telling(Agent(greeting=""), TEXT).greeting == TEXT
    assert telling(Agent(greeting="Hello."), "").greeting == "Hello."


def line(text: str, speaker: str = AGENT, is_final: bool = True) -> Line:
    return Line("a", 0, speaker, text, 0, 4000, is_final)


@pytest.mark.parametrize(
    ("told", "is_heard"),
    [
        (line(f"{TEXT} Hello."), True),
        (line("this call is recorded, hang up if you mind!"), True),
        (line("This call is recorded. Hang up"), False),  # the caller interrupted
        (line(f"{TEXT} Hello.", is_final=False), False),
        (line(TEXT, CALLER), False),
        (line("Hello. How can I help you?"), False),
    ],
)
def test_it_was_heard_when_all_of_it_was(told, is_heard):
    assert heard_at_ms(TEXT, [told]) == (4000 if is_heard else None)


def test_of_an_agent_that_says_it_sound_is_kept_from_its_end_on():
    lane = lanes.Lane(True, agent=telling(Agent(greeting="Hello."), TEXT))
    lane.bridge.consent = TEXT
    lane.bridge.keeps(both_sides=True)
    lane.goes_live(sayings.START)
    assert lane.bridge.kept_from_ms is None
    lane.engine_says(
        sayings.reply_begins("r1"),
        sayings.delta(b"\1" * 16_000, "a1", "r1"),
        sayings.agents_words(f"{TEXT} Hello.", "a1", "r1", True),
        sayings.reply_ends("r1", "completed"),
    )
    lane.works_off()
    lane.now += 1.0
    lane.ticks()
    assert lane.bridge.kept_from_ms is None
    lane.now += 2.0
    lane.ticks()
    assert lane.bridge.kept_from_ms == 2000
    lane.ends()
