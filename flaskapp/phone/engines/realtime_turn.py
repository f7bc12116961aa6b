"""One recording, or one line of text, answered by one Realtime session: opened, asked, read, closed.

For where there is no other model than a Realtime one. The session detects no
turns: what is appended and committed is the caller's turn. Source: the typed
events of the ``openai`` package (``openai.types.realtime``). Moments
(``until``) are of ``time.monotonic``.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from flaskapp.phone import events as ev
from flaskapp.phone.audio import TELEPHONE_RATE_HZ, Wav, mulaw_to_pcm16, pcm16_to_mulaw, write_wav
from flaskapp.phone.engines.connection import Engine
from flaskapp.phone.engines.realtime import COMMIT, SESSION_UPDATE_ID, RealtimeSession
from flaskapp.phone.engines.tool_use import ROUNDS, ToolCall, ToolUse
from flaskapp.phone.errors import EngineMessageError, EngineRejected, EngineUnreachable, LegClosed
from flaskapp.phone.transcript import CALLER, Line
from flaskapp.phone.wire import Wire

PIECE_BYTES = 48_000  # 64 kB in base64
WORDS_WITHIN_S = 3.0  # the transcription may come so much later than the answer
WORTH_S = 1.0  # with less time left the model is not asked for the words itself
HISTORY = "history"
UNTRANSCRIBED = "(not transcribed)"
WRITE_DOWN = (
    "Do not answer now. Write down, word for word and in its language, what the caller said in the last "
    "audio message. Write these words and nothing else; if there are none, write nothing."
)
SAY = 'Say exactly the following, word for word, and nothing else: "{}"'
WIDE_RATE_HZ = 24_000
PCMU: dict[str, Any] = {"type": "audio/pcmu"}
PCM: dict[str, Any] = {"type": "audio/pcm", "rate": WIDE_RATE_HZ}


@dataclass(frozen=True)
class Spec:
    """What a session is asked for; an empty string leaves a thing out."""

    instructions: str
    transcribe_model: str = ""
    language: str = ""
    voice: str = ""


@dataclass
class Said:
    """What one response brought."""

    texts: dict[str, str] = field(default_factory=dict)
    calls: dict[str, ToolCall] = field(default_factory=dict)
    audio: bytearray = field(default_factory=bytearray)
    status: str = ""

    @property
    def text(self) -> str:
        return " ".join(each for each in self.texts.values() if each).strip()


class Turn:
    """One session on its way through one turn. Use it as ``with turn(...) as it``."""

    def __init__(self, wire: Wire, until: float, audio_format: str, used: ToolUse) -> None:
        self._wire, self._until, self._used = wire, until, used
        self._codec = RealtimeSession(audio_format)
        self._left: list[bytes] = []
        self.words: str | None = None  # None as long as it is not known what was said
        self.are_words_lost = False
        self.said = Said()

    # ------------------------------------------------------------------ saying

    def send(self, *happenings: dict[str, Any] | bytes) -> None:
        self._wire.send([each if isinstance(each, bytes) else _json(each) for each in happenings])

    def configure(self, sessions: Sequence[dict[str, Any]]) -> None:
        """Ask for a session; if it is refused, for the next one that asks for less.

        Raises:
            EngineRejected: the last one was refused too.
        """
        refused = ""
        for session in sessions:
            self.send({"type": "session.update", "event_id": SESSION_UPDATE_ID, "session": session})
            for event in self._events(self._until):
                if isinstance(event, ev.SessionReady):
                    self.are_words_lost = not event.transcribes
                    return
                if isinstance(event, ev.EngineFault):
                    refused = event.code or event.kind
                    break
        raise EngineRejected(400, f"the session was refused: {refused}")

    def tell(self, history: Sequence[Line]) -> None:
        """The conversation so far, as text."""
        self.send(*(_item(line, f"{HISTORY}-{at}") for at, line in enumerate(history) if line.text))

    def hear(self, data: bytes) -> None:
        """The caller's turn, in the session's format."""
        for start in range(0, len(data), PIECE_BYTES):
            self.send(self._codec.append(base64.b64encode(data[start : start + PIECE_BYTES])))
        self.send(COMMIT)

    def ask(self, instructions: str = "", may_use_tools: bool = True) -> None:
        """Have the model respond; what it says is then in ``said``."""
        self.said = Said()
        about = {
            **({"instructions": instructions} if instructions else {}),
            **({} if may_use_tools or not self._used.schemas else {"tool_choice": "none"}),
        }
        self.send({"type": "response.create", **({"response": about} if about else {})})

    def respond(self, until: float) -> str:
        """What the model says, after the tools that it wanted first.

        Raises:
            EngineUnreachable: it was not in time.
        """
        used = self._used
        for rounds_left in range(ROUNDS, -1, -1):
            self.ask(may_use_tools=rounds_left > 0)
            if not self.wait(lambda: self.is_answered, until):
                raise EngineUnreachable("no answer in time")
            used.said += [self.said.text] if self.said.text else []
            calls = list(self.said.calls.values()) if rounds_left else []
            outputs = [_output(each.id, used.perform(each)) for each in calls]
            if not outputs or used.is_last_word:
                break
            self.send(*outputs)
        return used.last_said

    # ------------------------------------------------------------------ listening

    def wait(self, is_done: Callable[[], bool], until: float) -> bool:
        """Read until something is so; False if it was not in time.

        Raises:
            EngineUnreachable: the session ended, or the response failed.
            EngineRejected: something of what was asked was refused.
        """
        if is_done():
            return True
        for event in self._events(min(until, self._until), is_patient=False):
            self._note(event)
            if is_done():
                return True
        return False

    @property
    def is_answered(self) -> bool:
        return bool(self.said.status)

    @property
    def are_words_settled(self) -> bool:
        return self.words is not None or self.are_words_lost

    def _events(self, until: float, is_patient: bool = True) -> Iterator[ev.Event]:
        """Events as they come; when time is out an error, or the end for who can do without."""
        while True:
            while self._left:
                event = self._codec.decode(self._left.pop(0))
                if event is not None:
                    yield event
            left_s = until - time.monotonic()
            if left_s <= 0:
                if is_patient:
                    raise EngineUnreachable("no answer in time")
                return
            try:
                self._left = self._wire.receive(left_s)
            except LegClosed as error:
                raise EngineUnreachable(f"the session ended: {error.code}") from error

    def _note(self, event: ev.Event) -> None:
        take = _TAKERS.get(type(event))
        if take is not None:
            take(self, event)

    def _fault(self, event: ev.EngineFault) -> None:
        if not event.event_id.startswith(HISTORY):  # a line that it did not take is no loss
            raise EngineRejected(400, event.code or event.kind)

    def _caller_words(self, event: ev.CallerWords) -> None:
        if event.is_final:
            self.words = self._used.words = event.text.strip()
            self._used.count(event.usage, "transcription_")

    def _lost(self, _event: ev.CallerWordsLost) -> None:
        self.are_words_lost = True

    def _reply_words(self, event: ev.ReplyWords) -> None:
        before = "" if event.is_final else self.said.texts.get(event.item_id, "")
        self.said.texts[event.item_id] = before + event.text

    def _reply_audio(self, event: ev.ReplyAudio) -> None:
        self.said.audio += base64.b64decode(event.payload)

    def _tool_called(self, event: ev.ToolCalled) -> None:
        call = ToolCall(event.tool_call_id, event.name, event.arguments)
        self.said.calls.setdefault(call.id, call)

    def _reply_ended(self, event: ev.ReplyEnded) -> None:
        self._used.count(event.usage)
        if event.status not in ("completed", "incomplete"):
            raise EngineUnreachable(f"the response {event.status}: {event.error_code or event.reason}")
        self.said.status = event.status

    def _malformed(self, _event: ev.Malformed) -> None:
        raise EngineMessageError("a message that cannot be read")


_TAKERS: dict[type, Callable[[Turn, Any], None]] = {
    ev.EngineFault: Turn._fault,
    ev.CallerWords: Turn._caller_words,
    ev.CallerWordsLost: Turn._lost,
    ev.ReplyWords: Turn._reply_words,
    ev.ReplyAudio: Turn._reply_audio,
    ev.ToolCalled: Turn._tool_called,
    ev.ReplyEnded: Turn._reply_ended,
    ev.Malformed: Turn._malformed,
}


def answer(
    engine: Engine,
    spec: Spec,
    sound: Wav,
    history: Sequence[Line],
    wants_reply: bool,
    until: float,
    used: ToolUse,
) -> tuple[str, str]:
    """What was said in a recording, and what to say to it ("" unless wanted).

    Where the server's transcription does not come, the model itself is asked
    for the words. If it does not tell either, a reply counts all the same,
    with ``UNTRANSCRIBED`` for the words.

    Raises:
        EngineUnreachable, EngineRejected, EngineMessageError.
    """
    is_wide = sound.rate_hz > TELEPHONE_RATE_HZ
    hears = PCM if is_wide else PCMU
    data = sound.at(WIDE_RATE_HZ) if is_wide else pcm16_to_mulaw(sound.at(TELEPHONE_RATE_HZ))
    with _opened(engine, until, hears["type"], used) as turn:
        turn.configure(_text_sessions(spec, hears, used.schemas))
        turn.tell(history)
        turn.hear(data)
        response = turn.respond(until) if wants_reply else ""
        words = _words(turn, wants_reply, until)
        return words, response if words else ""


def reply(
    engine: Engine, spec: Spec, words: str, history: Sequence[Line], until: float, used: ToolUse
) -> str:
    """What to say to a line of text.

    Raises:
        EngineUnreachable, EngineRejected, EngineMessageError.
    """
    asked = [*history, Line("", len(history), CALLER, words)] if words else history
    with _opened(engine, until, "audio/pcmu", used) as turn:
        turn.configure(_text_sessions(Spec(spec.instructions), PCMU, used.schemas))
        turn.tell(asked)
        return turn.respond(until)


def speak(engine: Engine, text: str, voice: str, until: float) -> bytes:
    """The text spoken, as a WAV file: mono 16-bit PCM at 8 kHz.

    Raises:
        EngineUnreachable, EngineRejected, EngineMessageError.
    """
    speaks = {"format": PCMU, **({"voice": voice} if voice else {})}
    session = {
        "type": "realtime",
        "instructions": "You read texts aloud, as they are.",
        "output_modalities": ["audio"],
        "audio": {"input": {"format": PCMU, "turn_detection": None}, "output": speaks},
    }
    with _opened(engine, until, "audio/pcmu", ToolUse()) as turn:
        turn.configure([session])
        turn.ask(SAY.format(text.replace('"', "'")))
        if not turn.wait(lambda: turn.is_answered, until):
            raise EngineUnreachable("no speech in time")
        if turn.said.status != "completed" or not turn.said.audio:
            raise EngineMessageError("speech that is not whole")
        return write_wav(mulaw_to_pcm16(bytes(turn.said.audio)))


def _words(turn: Turn, has_reply: bool, until: float) -> str:
    """The caller's words, from the transcription or else from the model itself."""
    patience = time.monotonic() + WORDS_WITHIN_S if has_reply else until - 2 * WORDS_WITHIN_S
    turn.wait(lambda: turn.are_words_settled, max(patience, time.monotonic() + WORTH_S))
    if turn.words is not None:
        return turn.words
    if until - time.monotonic() >= WORTH_S:
        turn.ask(WRITE_DOWN, may_use_tools=False)
        turn.wait(lambda: turn.is_answered or turn.words is not None, until)
        if turn.words is not None:
            return turn.words
        if turn.said.status == "completed":
            return turn.said.text
    if not has_reply:
        raise EngineUnreachable("no words in time")
    return UNTRANSCRIBED


@contextmanager
def _opened(engine: Engine, until: float, audio_format: str, used: ToolUse) -> Iterator[Turn]:
    try:
        wire = engine.open()
    except EngineRejected as error:
        if error.status == 429 or error.status >= 500:
            raise EngineUnreachable(f"HTTP {error.status}") from error
        raise
    try:
        yield Turn(wire, until, audio_format, used)
        wire.close(1000)
    finally:
        wire.dispose(close_socket=True)


def _text_sessions(
    spec: Spec, hears: dict[str, Any], tools: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """A session that hears, writes and uses tools; then ones without what not every server knows."""
    plain = {"format": hears, "turn_detection": None}
    language = {"language": spec.language} if spec.language else {}
    transcribed = {**plain, "transcription": {"model": spec.transcribe_model, **language}}
    session = {"type": "realtime", "instructions": spec.instructions, "output_modalities": ["text"]}
    wanted = [transcribed, plain] if spec.transcribe_model else [plain]
    return [
        {**session, **with_tools, "audio": {"input": each}}
        for with_tools in ([{"tools": list(tools)}] if tools else []) + [{}]
        for each in wanted
    ]


def _output(tool_call_id: str, output: str) -> dict[str, Any]:
    item = {"type": "function_call_output", "call_id": tool_call_id, "output": output}
    return {"type": "conversation.item.create", "item": item}


def _item(line: Line, event_id: str) -> dict[str, Any]:
    is_caller = line.speaker == CALLER
    content = {"type": "input_text" if is_caller else "output_text", "text": line.text}
    item = {"type": "message", "role": "user" if is_caller else "assistant", "content": [content]}
    return {"type": "conversation.item.create", "event_id": event_id, "item": item}


def _json(event: dict[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
