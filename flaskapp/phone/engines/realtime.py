"""The Realtime API on the wire, both ways: OpenAI's and Azure's GA shape.

Source: the typed events of the ``openai`` package (``openai.types.realtime``).
Events of other names are ignored, whatever they bring; audio passes through
as the base64 text that it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from flaskapp.phone import events as ev
from flaskapp.phone.audio import BYTES_PER_MS, PCM, PCM_RATE_HZ, PCMU
from flaskapp.phone.payloads import SHORT, base64_size, unquoted

SESSION_UPDATE_ID = "session-update"
_AUDIO = "response.output_audio.delta"
_EVENT_ID, _NO_MESSAGE = b'"event_id"', b"\0"
APPEND_HEAD = b'{"type":"input_audio_buffer.append","audio":"'
APPEND_TAIL = b'"}'
COMMIT = b'{"type":"input_audio_buffer.commit"}'
_ROLES = {
    "caller": ("user", "input_text"),
    "agent": ("assistant", "output_text"),
    "note": ("system", "input_text"),
}
MAX_NUMBER = 2**31 - 1  # of milliseconds: 24 days; what a database keeps of a whole number


@dataclass(frozen=True)
class SessionSpec:
    """What a session is asked for; empty strings leave the server's default.

    ``tools``: functions as the API takes them (``{"type": "function", "name": ...}``);
    ``listens``: nobody hears what it would say, it shall only write down what it hears.
    """

    instructions: str
    voice: str = ""
    language: str = ""
    transcribe_model: str = ""
    tools: tuple[dict[str, Any], ...] = ()
    listens: bool = False


class _Message(msgspec.Struct, gc=False):
    type: str
    delta: str | None = ""
    response_id: str | None = ""
    item_id: str | None = ""
    content_index: int | float | None = 0
    transcript: str | None = ""
    text: str | None = ""
    audio_start_ms: int | float | None = 0
    audio_end_ms: int | float | None = 0
    item: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    session: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None


class _Delta(msgspec.Struct, gc=False):
    type: str
    delta: str
    response_id: str = ""
    item_id: str = ""
    content_index: int = 0


class _Named(msgspec.Struct, gc=False):
    type: str


_decode = msgspec.json.Decoder(_Message).decode
_decode_delta = msgspec.json.Decoder(_Delta).decode
_decode_name = msgspec.json.Decoder(_Named).decode


class RealtimeSession:
    """The codec of one Realtime session."""

    __slots__ = (
        *("_goes_on_at", "_goes_on", "_begins", "_ends", "_id_at", "_sound_at", "_sound_ends"),
        "_bytes_per_ms",
    )

    def __init__(self, audio_format: str = PCMU) -> None:
        self._bytes_per_ms = BYTES_PER_MS[audio_format]
        self._begins, self._goes_on, self._ends = _NO_MESSAGE, b"", b""
        self._id_at = self._goes_on_at = self._sound_at = self._sound_ends = 0

    # ------------------------------------------------------------------ in

    def decode(self, message: bytes) -> ev.Event | None:
        """A server event as ours; None for the many that need no answer; never raises."""
        if (audio := self.audio(message)) is not None:
            return audio if audio.payload else None
        try:
            parsed = _decode(message)
            if parsed.type == _AUDIO:
                return self._odd_audio(parsed)
            read = _READERS.get(parsed.type)
            return read(parsed) if read else None
        except msgspec.ValidationError:
            return _unexpected(message)
        except (ValueError, TypeError, AttributeError, RecursionError):
            return ev.Malformed("engine", "message")

    def audio(self, message: bytes) -> ev.ReplyAudio | None:
        """Sound, read without looking at what else the event says; None: ``decode`` is to be asked."""
        try:
            parsed = _decode_delta(message)
            if parsed.type != _AUDIO:
                return None
            payload = parsed.delta.encode("ascii")
            duration_ms = base64_size(payload) / self._bytes_per_ms
        except (ValueError, RecursionError):  # msgspec's errors are such, too
            return None
        return ev.ReplyAudio(parsed.response_id, parsed.item_id, parsed.content_index, payload, duration_ms)

    def learn(self, message: bytes, audio: ev.ReplyAudio) -> None:
        """What ``audio`` made of a message: those that only sound differently, ``more`` reads with less work.

        Their events' ids may differ, too: in the letters and digits at the end.
        """
        self._begins = _NO_MESSAGE
        named_at = message.find(_EVENT_ID)
        id_at = message.find(b'"', named_at + len(_EVENT_ID)) + 1
        id_ends, sound_at = message.find(b'"', id_at), message.find(audio.payload)
        id_at = max(id_at, message.rfind(b"_", id_at, id_ends) + 1)
        if 0 <= named_at < id_at <= id_ends < sound_at:
            self._begins, self._id_at = message[:id_at], id_at
            self._goes_on, self._goes_on_at = message[id_ends:sound_at], id_ends
            self._ends, self._sound_at = message[sound_at + len(audio.payload) :], sound_at
            self._sound_ends = -len(self._ends)

    def more(self, data: bytes, at: int) -> tuple[bytes, float] | None:
        """The sound, and its seconds, of a message like the one that was learned.

        None: it is another, or none of its kind; ``audio`` is to be asked.

        Args:
            at: where in the data the message begins; it goes to the end.
        """
        goes_on_at = self._goes_on_at + at
        if not (
            data.startswith(self._goes_on, goes_on_at)
            and data.startswith(self._begins, at)
            and data.endswith(self._ends)
            and data[self._id_at + at : goes_on_at].isalnum()
        ):
            return None
        quoted = data[self._sound_at - 1 + at : self._sound_ends + 1]
        try:
            size = len(unquoted(quoted)) if len(quoted) < SHORT else base64_size(quoted[1:-1])
        except ValueError:
            return None
        if not size or (size + 2) // 3 * 4 != len(quoted) - 2:
            return None
        return quoted[1:-1], size / self._bytes_per_ms / 1000

    def _odd_audio(self, parsed: _Message) -> ev.Event | None:
        """Sound whose other fields are not quite what they should be."""
        payload = (parsed.delta or "").encode("ascii")
        if not payload:
            return None
        return ev.ReplyAudio(
            parsed.response_id or "",
            parsed.item_id or "",
            int(parsed.content_index or 0),
            payload,
            base64_size(payload) / self._bytes_per_ms,
        )

    # ------------------------------------------------------------------ out

    def append(self, payload: bytes) -> bytes:
        """The caller's audio, base64 as it came."""
        return APPEND_HEAD + payload + APPEND_TAIL

    def session_update(self, spec: SessionSpec, audio_format: str, minimal: bool = False) -> bytes:
        """The session in GA shape; ``minimal`` asks for nothing that a server might not have."""
        session_format = {"type": audio_format, **({"rate": PCM_RATE_HZ} if audio_format == PCM else {})}
        hears: dict[str, Any] = {"format": session_format}
        speaks: dict[str, Any] = {"format": session_format}
        session: dict[str, Any] = {
            "type": "realtime",
            "instructions": spec.instructions,
            "output_modalities": ["audio"],
            "audio": {"input": hears, "output": speaks},
        }
        if not minimal:
            replies = not spec.listens
            hears["turn_detection"] = {
                "type": "server_vad",
                "create_response": replies,
                "interrupt_response": replies,
            }
            if spec.transcribe_model:
                hears["transcription"] = _transcription(spec)
            if spec.voice:
                speaks["voice"] = spec.voice
            if spec.tools:
                session |= {"tools": list(spec.tools), "tool_choice": "auto"}
        return _json({"type": "session.update", "event_id": SESSION_UPDATE_ID, "session": session})

    def response_create(self, instructions: str = "") -> bytes:
        """Ask for a response, by its own instructions if there are any."""
        return _json(
            {
                "type": "response.create",
                **({"response": {"instructions": instructions}} if instructions else {}),
            }
        )

    def recite(self, speaker: str, text: str) -> bytes:
        """A line of the conversation before this session, as an item of it."""
        role, kind = _ROLES[speaker]
        item = {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}
        return _json({"type": "conversation.item.create", "item": item})

    def tool_output(self, tool_call_id: str, output: str) -> bytes:
        """A function's answer, for the session that asked for it."""
        item = {"type": "function_call_output", "call_id": tool_call_id, "output": output}
        return _json({"type": "conversation.item.create", "item": item})

    def recite_tool(self, tool_call_id: str, name: str, arguments: str, output: str) -> list[bytes]:
        """A function that was used before this session, as two items of it."""
        call = {"type": "function_call", "call_id": tool_call_id, "name": name, "arguments": arguments}
        return [
            _json({"type": "conversation.item.create", "item": call}),
            self.tool_output(tool_call_id, output),
        ]

    def response_cancel(self, response_id: str) -> bytes:
        return _json({"type": "response.cancel", "response_id": response_id})

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> bytes:
        """What was heard of an item, in ms; more than was received would be an error."""
        return _json(
            {
                "type": "conversation.item.truncate",
                "item_id": item_id,
                "content_index": content_index,
                "audio_end_ms": audio_end_ms,
            }
        )


def _json(event: dict[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def _transcription(spec: SessionSpec) -> dict[str, str]:
    """Languages go by their first part: an engine wants ``de``, not ``de-DE``."""
    language = spec.language.split("-")[0].lower()
    return {"model": spec.transcribe_model, **({"language": language} if language else {})}


def _unexpected(message: bytes) -> ev.Event | None:
    """JSON of another shape than ours: an event that we do not read may look as it likes."""
    try:
        is_ours = _decode_name(message).type in {*_READERS, _AUDIO}
    except (ValueError, RecursionError):
        is_ours = True  # not even an event
    return ev.Malformed("engine", "message") if is_ours else None


def _session_ready(parsed: _Message) -> ev.Event:
    audio = (parsed.session or {}).get("audio") or {}
    hears, speaks = audio.get("input") or {}, audio.get("output") or {}
    turns = hears.get("turn_detection") or {}
    return ev.SessionReady(
        (hears.get("format") or {}).get("type") or "",
        (speaks.get("format") or {}).get("type") or "",
        bool(turns and turns.get("interrupt_response", True)),
        _ms(turns.get("silence_duration_ms")),
        bool(hears.get("transcription")),
    )


def _error(parsed: _Message) -> ev.Event:
    error = parsed.error or {}
    words = {name: str(error.get(name) or "") for name in ("code", "type", "message", "param", "event_id")}
    return ev.EngineFault(words["code"], words["type"], words["message"], words["param"], words["event_id"])


def _response_done(parsed: _Message) -> ev.Event:
    response = parsed.response or {}
    details = response.get("status_details") or {}
    error = details.get("error") or {}
    return ev.ReplyEnded(
        str(response.get("id") or ""),
        str(response.get("status") or ""),
        str(details.get("reason") or ""),
        str(error.get("code") or error.get("type") or ""),
        _usage(response.get("usage")),
    )


def _usage(usage: dict[str, Any] | None) -> dict[str, float]:
    """Counts flattened: ``input_tokens``, ``input_text_tokens``, ``input_cached_text_tokens`` ..."""
    flat: dict[str, float] = {}
    for name, value in (usage or {}).items():
        if isinstance(value, dict):
            prefix = name.removesuffix("_token_details") + "_" if name.endswith("_token_details") else ""
            flat.update({prefix + key: count for key, count in value.items() if _is_count(count)})
            cached = value.get("cached_tokens_details")
            for key, count in cached.items() if isinstance(cached, dict) else ():
                if _is_count(count):
                    flat[f"{prefix}cached_{key}"] = count
        elif _is_count(value):
            flat[name] = value
    return flat


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER


def _ms(value: Any) -> int:
    """Milliseconds since the session began; ``ValueError`` if no session can be that long."""
    ms = int(value or 0)
    if ms > MAX_NUMBER:
        raise ValueError(ms)
    return max(ms, 0)


def _item_done(parsed: _Message) -> ev.Event | None:
    """Function calls are taken here and nowhere else, so that none is carried out twice."""
    item = parsed.item or {}
    if item.get("type") != "function_call" or item.get("status") == "incomplete":
        return None  # one that was broken off asks for nothing
    return ev.ToolCalled(
        parsed.response_id or "",
        str(item.get("call_id") or ""),
        str(item.get("name") or ""),
        str(item.get("arguments") or ""),
    )


def _words(is_final: bool) -> Callable[[_Message], ev.Event]:
    def read(parsed: _Message) -> ev.Event:
        text = (parsed.transcript or parsed.text) if is_final else parsed.delta
        return ev.ReplyWords(parsed.response_id or "", parsed.item_id or "", text or "", is_final)

    return read


_HEARD = "conversation.item.input_audio_transcription."
_READERS: dict[str, Callable[[_Message], ev.Event | None]] = {
    "session.updated": _session_ready,
    "input_audio_buffer.speech_started": lambda p: ev.SpeechStarted(p.item_id or "", _ms(p.audio_start_ms)),
    "input_audio_buffer.speech_stopped": lambda p: ev.SpeechStopped(p.item_id or "", _ms(p.audio_end_ms)),
    "input_audio_buffer.committed": lambda p: ev.SpeechCommitted(p.item_id or ""),
    _HEARD + "delta": lambda p: ev.CallerWords(p.item_id or "", p.delta or "", False),
    _HEARD + "completed": lambda p: ev.CallerWords(
        p.item_id or "", p.transcript or "", True, _usage(p.usage)
    ),
    _HEARD + "failed": lambda p: ev.CallerWordsLost(p.item_id or "", str((p.error or {}).get("code") or "")),
    "response.created": lambda p: ev.ReplyStarted(str((p.response or {}).get("id") or "")),
    "response.output_audio.done": lambda p: ev.ReplyAudioEnded(p.response_id or "", p.item_id or ""),
    "response.output_audio_transcript.delta": _words(False),
    "response.output_audio_transcript.done": _words(True),
    "response.output_text.delta": _words(False),
    "response.output_text.done": _words(True),
    "response.output_item.done": _item_done,
    "response.done": _response_done,
    "error": _error,
}
