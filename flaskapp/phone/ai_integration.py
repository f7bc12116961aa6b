"""AIVoiceIntegration: the front desk - audio in, words and an answer out, and where a call's stream is.

    desk = AIVoiceIntegration(twilio_account_sid="AC...", twilio_auth_token="...")
    desk.process_realtime_audio(chunk, "CA1234567890abcdef")     # -> {"status": "buffered", ...}
    desk.get_streaming_audio_url("CA1234567890abcdef")           # -> "wss://.../phone/stream-audio/CA..."

Needs no Flask app: without one its parts are made from the environment.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from redis.exceptions import RedisError

from flaskapp import parts
from flaskapp.config import Settings, load_settings
from flaskapp.phone import audio as sound
from flaskapp.phone.agent import Agents
from flaskapp.phone.chunks import TooMuchAudio, as_mulaw
from flaskapp.phone.digits import masked_line
from flaskapp.phone.engines.turns import Answer, TurnEngine
from flaskapp.phone.errors import AudioError, EngineError
from flaskapp.phone.rtmt_audio_handler import RTMTAudioHandler
from flaskapp.phone.transcript import AGENT, CALLER, Line
from flaskapp.store.audio import AudioBuffer, Held
from flaskapp.store.live import LiveStore, connect
from flaskapp.store.turns import TurnBook
from flaskapp.tickets import Tickets

log = logging.getLogger(__name__)

CALL_SID = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_HELD_MS = 600_000
SPEECH_MS, PAUSE_MS, LONGEST_MS = 500, 800, 15_000
ONE_AT_A_TIME = "upload"
LEFT_ALONE_S = 5.0  # AI that could not answer a call is not asked for it again with every chunk


class NothingHeld(AudioError):
    """There is no audio of this call to be processed."""


class AnsweredElsewhere(AudioError):
    """Somebody else has this call's audio answered at this moment."""


class StreamBringsAudio(AudioError):
    """The call's live stream brings its audio, and has it answered."""


@dataclass(frozen=True)
class Stored:
    """A chunk that was accepted: what the call's buffer holds now, and what the chunk was."""

    held: Held
    format: str


def _named(error: Exception) -> str:
    return str(error) or type(error).__name__


class AIVoiceIntegration:
    """The desk where a call's audio is handed in, chunk by chunk, and answered.

    Args:
        twilio_account_sid, twilio_auth_token: the carrier's account; by default the environment's.
        settings, live, audio, book, ai, agents, tickets: the parts, where an app has made them.
        rtmt: the live handler whose streams ``get_streaming_audio_url`` gives away.
        origin: ``https://host`` as carriers reach this server, or None where nobody knows.
        keep: writes lines of a call to its history.
        is_draining: whether this worker is about to end, and takes no new calls.
    """

    def __init__(
        self,
        twilio_account_sid: str | None = None,
        twilio_auth_token: str | None = None,
        *,
        settings: Settings | None = None,
        live: LiveStore | None = None,
        audio: AudioBuffer | None = None,
        book: TurnBook | None = None,
        ai: TurnEngine | None = None,
        agents: Agents | None = None,
        tickets: Tickets | None = None,
        rtmt: RTMTAudioHandler | None = None,
        origin: Callable[[], str | None] | None = None,
        keep: Callable[[str, Sequence[Line]], None] | None = None,
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        account = {"TWILIO_ACCOUNT_SID": twilio_account_sid, "TWILIO_AUTH_TOKEN": twilio_auth_token}
        known = settings or load_settings({name: value for name, value in account.items() if value})
        if live is None or audio is None or book is None:
            ours = connect(known.redis_url)
            live, audio, book = LiveStore(ours), AudioBuffer(ours), TurnBook(ours)
        self.settings = known
        self._live, self._audio, self._book = live, audio, book
        self._ai = ai or parts.turn_engine(known)
        self._agents = agents or parts.agents(known)
        self._tickets = tickets or Tickets(parts.secret(known), self._live)
        self._rtmt = rtmt
        self._origin = origin or (lambda: parts.origin(known))
        self._keep = keep or (lambda call_sid, lines: None)
        self._is_draining = is_draining
        self._ask_again_at: dict[str, float] = {}

    # ------------------------------------------------------------------ audio in, an answer out

    def process_realtime_audio(
        self, audio_data: bytes, call_sid: str, *, final: bool | None = None
    ) -> dict[str, Any]:
        """Take a chunk of what a caller says; answer when it is time to.

        Args:
            audio_data: RIFF/WAVE, or headerless mu-law at 8 kHz; at most 1 MiB.
            final: True answers what is held and this now; False only buffers; None answers when 0.8 s of
                silence follow at least 0.5 s of speech, or 15 s are held.

        Returns:
            ``call_sid``, ``status`` ("buffered", "processed", "rejected"), ``transcript``, ``response``,
            ``duration_ms`` (of what is held, or was processed), ``latency_ms``, ``error``.
            "buffered" with an ``error``: it was time to answer, AI could not, and the audio stays held;
            for this call, AI is not asked again for 5 s, unless ``final`` is True.
            Never raises for bad audio.
        """
        began = time.monotonic()
        try:
            if self._ai is None:
                raise EngineError("no AI engine is configured")
            if audio_data or not final:
                held = self.store(call_sid, audio_data).held
            else:
                self._check_call(call_sid)
                held = self._audio.held(call_sid)
        except (AudioError, EngineError, RedisError, ValueError) as error:
            told = {"status": "rejected", "error": _named(error)}
        else:
            told = self._answered_in_time(call_sid, held, final)
        empty = {"transcript": "", "response": "", "duration_ms": 0, "error": None}
        latency_ms = round((time.monotonic() - began) * 1000)
        return {"call_sid": call_sid, **empty, "latency_ms": latency_ms, **told}

    def _answered_in_time(self, call_sid: str, held: Held, final: bool | None) -> dict[str, Any]:
        """What became of audio that is held: answered if it is time to, else held on."""
        buffered = {"status": "buffered", "duration_ms": held.duration_ms}
        try:
            if final is False or (final is None and not self._is_time(call_sid)):
                return buffered
            told = self.complete(call_sid)
        except EngineError as error:
            self._leave_alone(call_sid)
            return {**buffered, "error": _named(error)}
        except (AnsweredElsewhere, RedisError) as error:
            return {**buffered, "error": _named(error)}
        except (AudioError, ValueError) as error:
            return {"status": "rejected", "error": _named(error)}
        self._ask_again_at.pop(call_sid, None)
        return told

    def _leave_alone(self, call_sid: str) -> None:
        now = time.monotonic()
        for other, again_at in list(self._ask_again_at.items()):
            if again_at <= now:
                self._ask_again_at.pop(other, None)
        self._ask_again_at[call_sid] = now + LEFT_ALONE_S

    def _check_call(self, call_sid: str) -> None:
        if not isinstance(call_sid, str) or not CALL_SID.fullmatch(call_sid):
            raise ValueError("call_sid must be 1 to 64 letters, digits, '-' or '_'")
        if self._live.recall(call_sid).get("state") == "live":
            raise StreamBringsAudio("this call is live: its stream brings its audio and has it answered")

    def store(self, call_sid: str, audio_data: bytes) -> Stored:
        """Add a chunk to a call's buffer.

        Raises:
            ValueError: no call SID.
            AudioError: empty, or as ``as_mulaw``; TooMuchAudio when ten minutes are held;
                StreamBringsAudio when the call is live.
            redis.exceptions.RedisError: the buffer is away.
        """
        self._check_call(call_sid)
        if not isinstance(audio_data, bytes | bytearray | memoryview) or not audio_data:
            raise AudioError("no audio: bytes are expected, and some of them")
        mulaw, kind = as_mulaw(bytes(audio_data))
        ms = len(mulaw) // sound.MULAW_BYTES_PER_MS
        if self._audio.held(call_sid).duration_ms + ms > MAX_HELD_MS:
            raise TooMuchAudio("ten minutes of this call are held already: have them processed first")
        held = self._audio.append_next(call_sid, mulaw)
        log.info("Stored audio chunk for call %s", call_sid, extra={"call_sid": call_sid})
        return Stored(held, kind)

    def complete(self, call_sid: str) -> dict[str, Any]:
        """Have what is held understood and answered; it is held no longer then.

        Raises:
            NothingHeld: there is nothing.
            AnsweredElsewhere: somebody else is at it.
            StreamBringsAudio: the call is live.
            EngineError: no engine, or it is away; the audio stays held.
            redis.exceptions.RedisError: the buffer is away.
        """
        began = time.monotonic()
        self._check_call(call_sid)
        with self._book.holding(call_sid, ONE_AT_A_TIME) as is_ours:
            if not is_ours:
                raise AnsweredElsewhere("this call's audio is being answered already")
            chunks = self._audio.read(call_sid)
            if not chunks:
                raise NothingHeld("no audio of this call is held")
            if self._ai is None:
                raise EngineError("no AI engine is configured")
            log.info("Processing streamed audio for call %s", call_sid, extra={"call_sid": call_sid})
            pcm = sound.mulaw_to_pcm16(b"".join(chunk.mulaw for chunk in chunks))
            speech = sound.Wav(pcm, sound.TELEPHONE_RATE_HZ)
            answer = self._answered(call_sid, speech) if speech.has_speech else Answer("", "", {})
            self._audio.cut(call_sid, chunks[-1].start_ms + len(chunks[-1].mulaw) // sound.MULAW_BYTES_PER_MS)
        log.info("Real-time audio processing completed for call %s", call_sid, extra={"call_sid": call_sid})
        return {
            "call_sid": call_sid,
            "status": "processed",
            "transcript": answer.transcript,
            "response": answer.response,
            "duration_ms": speech.duration_ms,
            "latency_ms": round((time.monotonic() - began) * 1000),
            "error": None,
        }

    def _is_time(self, call_sid: str) -> bool:
        """Whether the caller has stopped speaking, or has spoken for long enough, and AI may be asked."""
        if time.monotonic() < self._ask_again_at.get(call_sid, 0.0):
            return False
        chunks = self._audio.read(call_sid)
        pcm = sound.mulaw_to_pcm16(b"".join(chunk.mulaw for chunk in chunks))
        voice_ms, quiet_ms = sound.voiced_ms(pcm)
        held_ms = len(pcm) // 2 // sound.MULAW_BYTES_PER_MS
        return held_ms >= LONGEST_MS or (voice_ms >= SPEECH_MS and quiet_ms >= PAUSE_MS)

    def _answered(self, call_sid: str, speech: sound.Wav) -> Answer:
        assert self._ai is not None  # noqa: S101 - the caller has looked
        known = self._live.lines(call_sid)
        past = [Line(each["item_id"], each["position"], each["speaker"], each["text"]) for each in known]
        agent = self._agents.for_number(self._live.recall(call_sid).get("called", ""))
        answer = self._ai.answer(speech, past, agent)
        position, end_ms = self._live.next_position(call_sid, 2), self._live.elapsed_ms(call_sid)
        said = ((CALLER, answer.transcript), (AGENT, answer.response))
        lines = [
            Line(f"upload-{position}-{speaker}", position + at, speaker, text,
                 max(end_ms - (0 if at else speech.duration_ms), 0), end_ms, True)
            for at, (speaker, text) in enumerate(said)
            if text
        ]  # fmt: skip
        if self.settings.redact_digits:
            lines = [masked_line(line) for line in lines]
        self._live.keep_lines(call_sid, [{**asdict(line), "mode": "recorded"} for line in lines])
        self._keep(call_sid, lines)
        return answer

    # ------------------------------------------------------------------ streams

    def get_streaming_audio_url(self, call_sid: str) -> str | None:
        """A URL that can be dialled as it is, its ticket in the path; None where no stream can be served.

        That is: no engine is configured, it is known to be down, the worker is
        full or about to end, or nobody knows where this server can be reached.
        """
        origin = self._origin()
        if origin is None or not CALL_SID.fullmatch(call_sid) or self.why_no_stream():
            return None
        ticket = self._tickets.for_stream(call_sid)
        return f"{origin.replace('http', 'ws', 1)}/phone/stream-audio/{call_sid}/{ticket}"

    def why_no_stream(self) -> str:
        """Why no new call should be streamed now; empty if it may.

        One of "no_engine", "engine_down", "full" (MAX_CALLS), "draining" (this worker is about to end).
        """
        if self.settings.engine is None:
            return "no_engine"
        if self._is_draining():
            return "draining"
        if self._rtmt is None:
            return ""
        if not self._rtmt.breaker.allows_new_calls:
            return "engine_down"
        return "full" if self._rtmt.open_streams >= self.settings.max_calls else ""

    def is_live_well(self) -> bool:
        """Whether a call that was recorded so far may go live."""
        return not self.why_no_stream() and self._rtmt is not None and self._rtmt.breaker.is_well
