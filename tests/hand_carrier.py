"""A carrier by hand: signed webhooks one by one, and a shelf of recordings that no two are alike on.

What a simulated call does in real time, a test does here as fast, as often and
in whatever order it likes.

    with Shelf(()) as shelf:
        carrier = HandCarrier(app.url, shelf.url, account_sid, auth_token)
        carrier.post("/phone/incoming-call", "CA1")
        told = carrier.follow("CA1", carrier.bring("CA1", sid(7)))
        assert "seven" in told.said
"""

from __future__ import annotations

import http.client
import re
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import urlencode, urlsplit

from flaskapp.phone.audio import mulaw_to_pcm16, read_wav, write_wav
from flaskapp.simulator.sounds import tone
from flaskapp.simulator.twilio.signature import HEADER, sign
from tests.fake_recordings import Answer as HostAnswer
from tests.fake_recordings import RecordingHost, plain

PATIENCE_S = 30.0
SPOKEN_S = 1.0  # how long a sentence of ours lasts here
SHORTEST_MS = 1000
NUMBERS = 2000

_voice = mulaw_to_pcm16(tone((SHORTEST_MS + NUMBERS) / 1000, 300))


def sid(number: int) -> str:
    """The SID of a recording that is known by a number below 2000."""
    return f"RE{number:032d}"


def sound(number: int) -> bytes:
    """That recording: a voice as many milliseconds longer than one second."""
    return write_wav(_voice[: (SHORTEST_MS + number) * 16])


def number_of(wav: bytes) -> int:
    """Which recording this is, by its sound."""
    return round(len(read_wav(wav).pcm) / 16) - SHORTEST_MS


class Shelf(RecordingHost):
    """A recording host where every recording is what its SID says, unless ``at`` says otherwise."""

    def _next(self, path: str) -> HostAnswer:
        found = re.search(r"/RE(\d{32})\.", path)
        if path in self.at or not found:
            return super()._next(path)
        return plain(body=sound(int(found[1])))


@dataclass(frozen=True)
class Told:
    """What a webhook was answered."""

    status: int
    body: str
    took_s: float

    @cached_property
    def verbs(self) -> list[ET.Element]:
        return list(ET.fromstring(self.body)) if self.body else []

    @property
    def tags(self) -> list[str]:
        return [verb.tag for verb in self.verbs]

    @property
    def said(self) -> str:
        return " ".join(verb.text or "" for verb in self.verbs if verb.tag == "Say")

    @property
    def dialled(self) -> list[str]:
        """The numbers that the document dials, nested or not."""
        dials = [verb for verb in self.verbs if verb.tag == "Dial"]
        return [text for dial in dials for text in map(str.strip, dial.itertext()) if text]

    @property
    def action(self) -> str:
        """The address that the end of the first verb that has one is told to; empty for none."""
        return next((verb.get("action", "") for verb in self.verbs if verb.get("action")), "")

    @property
    def streams(self) -> bool:
        """Whether the call is live from now on."""
        return any(verb.find("Stream") is not None for verb in self.verbs if verb.tag == "Connect")

    @property
    def asks_again(self) -> str:
        """The address of the next question, where the document does nothing but wait; empty otherwise."""
        last = self.verbs[-1] if self.verbs else None
        if last is None or last.tag != "Redirect" or "turn=" not in (last.text or ""):
            return ""
        return last.text or ""


@dataclass
class HandCarrier:
    """Sends webhooks to the app at ``url``; ``took`` keeps how long each was waited for, by its path."""

    url: str
    api_url: str
    account_sid: str
    auth_token: str
    took: list[tuple[str, float]] = field(default_factory=list)

    @property
    def slowest_s(self) -> float:
        return max((seconds for _, seconds in self.took), default=0.0)

    def post(self, path: str, call_sid: str, **form: str) -> Told:
        """One signed webhook; ``path`` may be a whole address of the app's."""
        target = urlsplit(path)
        where = f"{target.path}?{target.query}" if target.query else target.path
        about = {"CallSid": call_sid, "AccountSid": self.account_sid, "From": "+15550001111"}
        fields = {**about, "To": "+15552223333", "CallStatus": "in-progress", **form}
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            HEADER: sign(self.auth_token, self.url + where, fields),
        }
        began = time.monotonic()
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE_S)
        try:
            connection.request("POST", where, urlencode(fields), headers)
            answer = connection.getresponse()
            told = Told(answer.status, answer.read().decode(), time.monotonic() - began)
        finally:
            connection.close()
        self.took.append((target.path.rpartition("/phone/")[2].split("/")[0], told.took_s))
        return told

    def bring(self, call_sid: str, recording_sid: str, *, query: str = "", **form: str) -> Told:
        """A recording was made: its action request."""
        about = {**self._about(recording_sid), "Digits": ""}
        return self.post(f"/phone/process-voice/{call_sid}{query}", call_sid, **{**about, **form})

    def recording_status(self, call_sid: str, recording_sid: str, status: str = "completed") -> Told:
        """A recording's own callback."""
        about = {**self._about(recording_sid), "RecordingStatus": status}
        return self.post(f"/phone/recording-status/{call_sid}", call_sid, **about)

    def _about(self, recording_sid: str) -> dict[str, str]:
        url = f"{self.api_url}/2010-04-01/Accounts/{self.account_sid}/Recordings/{recording_sid}"
        return {"RecordingUrl": url, "RecordingSid": recording_sid, "RecordingDuration": "1"}

    def stream_ended(self, call_sid: str, **form: str) -> Told:
        """The media stream is over, by whomever: what now?"""
        return self.post(f"/phone/stream-ended/{call_sid}", call_sid, **form)

    def dial_ended(self, action: str, call_sid: str, status: str, seconds: int = 0, **form: str) -> Told:
        """Who was dialled answered ("completed") or not ("busy", "no-answer", "failed", "canceled")."""
        answered = status == "completed"
        about = {
            "DialCallStatus": status,
            "DialCallSid": f"CAd{call_sid}",
            "DialBridged": str(answered).lower(),
        }
        duration = {"DialCallDuration": str(seconds)} if answered else {}
        return self.post(action, call_sid, **{**about, **duration, **form})

    def over(self, call_sid: str, status: str = "completed") -> Told:
        """The call has ended, says its status callback."""
        return self.post("/phone/call-status", call_sid, CallStatus=status, SequenceNumber="3")

    def follow(self, call_sid: str, told: Told, questions: int = 40) -> Told:
        """What comes of it, asking again as the carrier does: after each pause, after each sentence."""
        for _ in range(questions):
            if not told.asks_again:
                return told
            for verb in told.verbs:
                time.sleep({"Pause": float(verb.get("length", "1")), "Say": SPOKEN_S}.get(verb.tag, 0.0))
            told = self.post(told.asks_again, call_sid)
        raise AssertionError(f"still waiting after {questions} questions")
