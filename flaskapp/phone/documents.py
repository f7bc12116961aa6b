"""TwiML: what the carrier shall do with a call, as documents.

Source: Twilio's pages on ``<Connect>``, ``<Stream>``, ``<Say>``. Every
document ends in something the caller hears.
"""

from __future__ import annotations

from twilio.twiml.voice_response import Connect, VoiceResponse

SORRY = (
    "We are sorry. Our assistant cannot take your call right now. Please call again a little later. Goodbye."
)


def stream(call_sid: str, ticket: str, origin: str, socket_origin: str) -> str:
    """Join the call to our stream; afterwards ask what next; if the stream never came about, fall back."""
    response = VoiceResponse()
    connect = Connect(action=f"{origin}/phone/stream-ended/{call_sid}", method="POST")
    media = connect.stream(url=f"{socket_origin}/phone/stream-audio/{call_sid}")
    media.parameter(name="ticket", value=ticket)
    response.append(connect)
    response.redirect(f"{origin}/phone/fallback", method="POST")
    return str(response)


def apology(language: str = "") -> str:
    """Nobody can answer: say so, politely, and end the call."""
    response = VoiceResponse()
    response.say(SORRY, **({"language": language} if language else {}))
    response.hangup()
    return str(response)


def hang_up() -> str:
    """The conversation is over."""
    response = VoiceResponse()
    response.hangup()
    return str(response)
