"""Recorded calls by hand: what a carrier asks, what it is told, and an AI that answers as it is told."""

from __future__ import annotations

import json
import threading
import xml.etree.ElementTree as ET
from types import SimpleNamespace

from flaskapp.phone.errors import EngineUnreachable
from tests import servers
from tests.fake_recordings import recording

FORM = {"CallSid": "CA1", "From": "+15550001111", "To": "+15552223333", "AccountSid": "AC1"}


class Mind:
    """A stand-in for batch AI: answers when it may, and uses the tools that it is told to.

    Attributes:
        uses: names and arguments of the tools that are used for each answer.
        told: what those tools said.
        dies_of: what is raised after its tools were used.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[int, list[str], bool]] = []
        self.words, self.response, self.fails = "When do you open?", "At nine.", False
        self.usage: dict[str, float] = {"input_tokens": 3}
        self.uses: list[tuple[str, dict]] = []
        self.told: list[str] = []
        self.offered: list[str] = []
        self.dies_of: BaseException | None = None
        self.may = threading.Event()
        self.may.set()

    def answer(self, sound, history, agent, *, wants_reply=True, within_s=14.0, tools=(), use=None):
        self.may.wait(30)
        if self.fails:
            raise EngineUnreachable("down")
        self.offered = [each["name"] for each in tools]
        directives = self._use(use) if use else ()
        if self.dies_of:
            raise self.dies_of
        self.asked.append((sound.duration_ms, [line.text for line in history], wants_reply))
        return SimpleNamespace(
            transcript=self.words,
            response=self.response if wants_reply else "",
            usage=self.usage,
            directives=directives,
        )

    def _use(self, use):
        answers = [use(f"c{at}", name, json.dumps(given)) for at, (name, given) in enumerate(self.uses)]
        self.told += [each.output for each in answers]
        return tuple(each.directive for each in answers if each.directive)

    def speak(self, text, agent, within_s=6.0):
        return recording(0.3)


def post(client, path, **form):
    return client.post(path, data={**FORM, **form}, base_url="http://localhost:5001")


def verbs(answer):
    assert answer.status_code == 200, answer.data
    return list(ET.fromstring(answer.data))


def tags(answer):
    return [verb.tag for verb in verbs(answer)]


def said(answer):
    return " ".join(verb.text for verb in verbs(answer) if verb.tag == "Say")


def recorded(client, host, sid="RE1", path="/phone/process-voice/CA1", **form):
    """The carrier brings a recording."""
    url = f"{host.url}/2010-04-01/Accounts/AC1/Recordings/{sid}"
    about = {"RecordingUrl": url, "RecordingSid": sid, "RecordingDuration": "1", "Digits": "", **form}
    return post(client, path, **about)


def followed(client, answer):
    """What the carrier gets when it follows redirects until it may do something."""
    for _ in range(40):
        *_, last = verbs(answer)
        if last.tag != "Redirect" or "turn=" not in last.text:
            return answer
        answer = post(client, last.text.removeprefix("http://localhost:5001"))
    raise AssertionError("redirected for ever")


def rows(app, query="recordings"):
    assert app.extensions["scribe"].settle(20)
    return getattr(app.extensions["history"], query)("CA1")


def statuses(app):
    return [(row["recording_sid"], row["status"]) for row in rows(app)]


def eventually(condition):
    servers.wait_until(condition, "it did not happen", 30)


def told_complete(client, host, sid):
    return post(
        client, "/phone/recording-status/CA1", RecordingSid=sid, RecordingStatus="completed",
        RecordingUrl=f"{host.url}/2010-04-01/Accounts/AC1/Recordings/{sid}", RecordingDuration="1",
    )  # fmt: skip


def lose_all_memory(app):
    app.extensions["live_store"].redis.flushall()
    app.extensions["live_store"]._own.clear()
    app.extensions["live_store"]._own_lines.clear()
