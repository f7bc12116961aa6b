"""TwiML: what the carrier shall do with a call, as documents.

Source: Twilio's pages on ``<Connect>``, ``<Stream>``, ``<Say>``, ``<Record>``,
``<Pause>``, ``<Redirect>``, ``<Dial>``, ``<Reject>``. Every document ends in something the
caller hears, or in the next request for one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from twilio.twiml.voice_response import Connect, Dial, VoiceResponse

from flaskapp.phone.next_step import QUICK_WAITS, Step, Then
from flaskapp.phone.voice import sayable

SILENCE_ENDS_RECORDING_S = 2
LONGEST_RECORDING_S = 120
LONGEST_MESSAGE_S = 300
PAUSE_S = 1
RINGS_FOR_S = 25  # shorter than most mailboxes wait: a machine is nobody to be transferred to


@dataclass(frozen=True)
class Addresses:
    """Where one call's next requests go: ``https://...`` and ``wss://...`` origins as carriers know them.

    Attributes:
        asked: path and query of the present request, for asking the same again.
    """

    call_sid: str
    origin: str
    socket_origin: str
    asked: str = ""

    def process_voice(self, **numbers: object) -> str:
        """The recording path's next question; numbers that are zero or empty stay away."""
        told = {name: value for name, value in numbers.items() if value}
        query = f"?{urlencode(told)}" if told else ""
        return f"{self.origin}/phone/process-voice/{self.call_sid}{query}"

    def transfer_ended(self, destination: str) -> str:
        """Where the carrier tells what became of a transfer."""
        query = urlencode({"destination": destination})
        return f"{self.origin}/phone/transfer-ended/{self.call_sid}?{query}"

    def once_more(self, waits: int) -> str:
        """The present request again; how often it was is part of its address."""
        asked = urlsplit(self.asked or "/phone/fallback")
        query = [each for each in parse_qsl(asked.query, keep_blank_values=True) if each[0] != "wait"]
        path = urlunsplit(("", "", asked.path, urlencode([*query, ("wait", waits)]), ""))
        return f"{self.origin}{path}"


def render(step: Step, where: Addresses, ticket: Callable[[], str]) -> str:
    """A step as a document; ``ticket`` is asked for one only if the step joins the call to a stream."""
    response = VoiceResponse()
    for spoken in step.said:
        if spoken.play_url:
            response.play(spoken.play_url)
        elif (text := sayable(spoken.text)).strip():
            response.say(text, **({"language": spoken.language} if spoken.language else {}))
    _FOLLOWS[step.then](response, step, where, ticket)
    return str(response)


def _stream(response: VoiceResponse, step: Step, where: Addresses, ticket: Callable[[], str]) -> None:
    """Join the call to our stream; afterwards ask what next; if the stream never came about, fall back."""
    connect = Connect(action=f"{where.origin}/phone/stream-ended/{where.call_sid}", method="POST")
    media = connect.stream(url=f"{where.socket_origin}/phone/stream-audio/{where.call_sid}")
    media.parameter(name="ticket", value=ticket())
    response.append(connect)
    response.redirect(f"{where.origin}/phone/fallback", method="POST")


def _record(response: VoiceResponse, step: Step, where: Addresses, ticket: Callable[[], str]) -> None:
    """Record; an empty recording makes no request of its own, so the verb after it does."""
    is_message = step.then is Then.MESSAGE
    about = {"message": int(is_message), "silences": step.silences, "troubles": step.troubles}
    usual_s = LONGEST_MESSAGE_S if is_message else LONGEST_RECORDING_S
    response.record(
        action=where.process_voice(**about),
        method="POST",
        timeout=SILENCE_ENDS_RECORDING_S,
        max_length=min(step.within_s or usual_s, usual_s),
        finish_on_key="#",
        play_beep=True,
        trim="trim-silence",
        recording_status_callback=f"{where.origin}/phone/recording-status/{where.call_sid}",
        recording_status_callback_event="completed absent",
    )
    silent = {**about, "silences": step.silences + 1}
    response.redirect(where.process_voice(**silent), method="POST")


def _wait(response: VoiceResponse, step: Step, where: Addresses, ticket: Callable[[], str]) -> None:
    if not step.said:
        response.pause(length=PAUSE_S)
    about = {"turn": step.key, "poll": step.poll, "silences": step.silences, "troubles": step.troubles}
    response.redirect(where.process_voice(**about), method="POST")


def _dial(response: VoiceResponse, step: Step, where: Addresses, ticket: Callable[[], str]) -> None:
    """Join the caller to a person; whatever becomes of it is told to the action, which goes on from there."""
    dial = Dial(
        action=where.transfer_ended(step.destination),
        method="POST",
        timeout=RINGS_FOR_S,
        answer_on_bridge=True,
    )
    dial.number(step.number)
    response.append(dial)


def _ask_again(response: VoiceResponse, step: Step, where: Addresses, ticket: Callable[[], str]) -> None:
    if not step.said and step.waits > QUICK_WAITS:
        response.pause(length=PAUSE_S)
    response.redirect(where.once_more(step.waits), method="POST")


def _reject(response: VoiceResponse, step: Step, where: Addresses, ticket: Callable[[], str]) -> None:
    response.reject(reason="busy")


def _hang_up(response: VoiceResponse, step: Step, where: Addresses, ticket: Callable[[], str]) -> None:
    response.hangup()


_FOLLOWS: Mapping[Then, Callable[[VoiceResponse, Step, Addresses, Callable[[], str]], None]] = {
    Then.RECORD: _record,
    Then.MESSAGE: _record,
    Then.STREAM: _stream,
    Then.WAIT: _wait,
    Then.DIAL: _dial,
    Then.ASK_AGAIN: _ask_again,
    Then.REJECT: _reject,
    Then.HANG_UP: _hang_up,
}
