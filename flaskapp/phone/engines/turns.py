"""One recording in, one reply out: what a caller who was recorded is answered.

Two ways. Over HTTP: the recording is transcribed, a chat model replies, and
another speaks. By one Realtime session: where that is all there is (an Azure
resource without ``OPENAI_CHAT_MODEL``), or where the server has no such model.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flaskapp.engine_settings import EngineSettings
from flaskapp.phone.agent import Agent
from flaskapp.phone.audio import TELEPHONE_RATE_HZ, Wav, write_wav
from flaskapp.phone.directives import Directive
from flaskapp.phone.engines import realtime_turn
from flaskapp.phone.engines.batch import BatchEngine, Models, NoSuchModel
from flaskapp.phone.engines.connection import AZURE_SCOPE, Endpoint
from flaskapp.phone.engines.speakable import speakable
from flaskapp.phone.engines.tool_use import ROUNDS, ToolUse, Use
from flaskapp.phone.errors import EngineError, EngineUnreachable
from flaskapp.phone.transcript import CALLER, Line

log = logging.getLogger(__name__)

MOST_LINES = 200  # of the conversation so far
PIECE_S = 600  # of a long recording: 10 MB of the 25 that one request takes
ON_THE_TELEPHONE = (
    "This is a telephone call: your answer is read aloud. Answer in one to three short sentences, as spoken; "
    "no markup, no lists, no links."
)

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """What was said and what is said to it.

    Attributes:
        transcript: the caller's words; "" if there are none.
        response: to be read aloud: no markup, at most 1200 characters; "" if none was wanted or none came.
        usage: counts as of a session's; a transcription's begin with ``transcription_``, those of a chat
            model with ``chat_``.
        directives: what tools ask of the call, in order. Where a tool was used, ``response`` may be "" though
            one was wanted: the model failed afterwards, and asking again might use the tool again.
    """

    transcript: str
    response: str
    usage: dict[str, float] = field(default_factory=dict)
    directives: tuple[Directive, ...] = ()


class TurnEngine:
    """Understands and answers recordings; threads and greenlets may share one, and it dials when first asked.

    Args:
        service: the server, its models, and the right to use them.
        voice: for agents that have none of their own.

    Every method but ``is_alive`` raises:
        EngineUnreachable: refused, too slow, 429 or 5xx: later it may be different.
        EngineRejected: the server says no to what was asked (``status``).
        EngineMessageError: the server's answer cannot be read.
    """

    def __init__(self, service: BatchEngine, voice: str = "") -> None:
        self._service, self._voice = service, voice

    def prepare(self) -> None:
        """Load now what the first recording would."""
        self._service.load()

    def answer(
        self,
        sound: Wav,
        history: Sequence[Line],
        agent: Agent,
        *,
        wants_reply: bool = True,
        within_s: float = 14.0,
        tools: Sequence[Mapping[str, Any]] = (),
        use: Use | None = None,
    ) -> Answer:
        """What was said in a recording, and what to say to it.

        Args:
            history: the lines heard so far, in order.
            wants_reply: False for the words alone; no tool is used for them.
            within_s: for all of it; whatever is not ready then has failed.
            tools: as a Realtime session takes them.
            use: carries out one of them: ``(id, name, arguments as JSON) -> ToolAnswered``; called in another
                thread, once for each call. Whatever it raises is raised here.
        """
        lines, used = _recent(history), ToolUse(tools if wants_reply else (), use)
        return _settled(
            lambda until: self._answer(sound, lines, agent, wants_reply, until, used), within_s, used
        )

    def reply(
        self,
        words: str,
        history: Sequence[Line],
        agent: Agent,
        within_s: float = 14.0,
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        use: Use | None = None,
    ) -> Answer:
        """What to say to the caller's words; ``tools`` and ``use`` as in ``answer``."""
        lines, used = _recent(history), ToolUse(tools, use)
        return _settled(lambda until: self._reply(words, lines, agent, until, used), within_s, used)

    def speak(self, text: str, agent: Agent, within_s: float = 6.0) -> bytes:
        """The text in the agent's voice, as a WAV file: mono 16-bit PCM at 8 kHz."""
        return _in_time(lambda until: self._speak(text, agent.voice or self._voice, until), within_s)

    def is_alive(self, within_s: float = 3.0) -> bool:
        """Whether the service answers; costs nothing but one small request."""
        try:
            return _in_time(self._service.is_alive, within_s)
        except EngineUnreachable:
            return False

    # ------------------------------------------------------------------ the two ways

    def _answer(
        self,
        sound: Wav,
        history: Sequence[Line],
        agent: Agent,
        wants_reply: bool,
        until: float,
        used: ToolUse,
    ) -> Answer:
        if not self._service.models.chat:
            return self._answer_in_session(sound, history, agent, wants_reply, until, used)
        try:
            words = self._words(sound, agent, until, used)
        except NoSuchModel as error:
            log.warning("No transcription model %s (%s)", self._service.models.transcribe, error)
            return self._answer_in_session(sound, history, agent, wants_reply, until, used)
        if not words or not wants_reply:
            return _answer_of(used, words, "")
        return self._reply(words, history, agent, until, used)

    def _words(self, sound: Wav, agent: Agent, until: float, used: ToolUse) -> str:
        said = []
        for wav in _files(sound):
            words, usage = self._service.words(wav, _language(agent), until)
            said.append(words)
            used.count(usage, "transcription_")
        return " ".join(each for each in said if each)

    def _reply(
        self, words: str, history: Sequence[Line], agent: Agent, until: float, used: ToolUse
    ) -> Answer:
        models, used.words = self._service.models, words
        if models.chat:
            try:
                return _answer_of(used, words, self._chat(_messages(words, history, agent), until, used))
            except NoSuchModel as error:
                log.warning("No chat model %s (%s)", models.chat, error)
        text = realtime_turn.reply(self._service, self._spec(agent), words, history, until, used)
        return _answer_of(used, words, text)

    def _chat(self, messages: Sequence[Mapping[str, Any]], until: float, used: ToolUse) -> str:
        """The chat model's line, after the tools that it wanted first."""
        for rounds_left in range(ROUNDS, -1, -1):
            line = self._service.chat(messages, until, used.schemas, rounds_left > 0)
            used.count(line.usage, "chat_")
            used.said += [line.text] if line.text else []
            if not line.calls or not rounds_left:
                break
            outputs = [
                {"role": "tool", "tool_call_id": each.id, "content": used.perform(each)}
                for each in line.calls
            ]
            if used.is_last_word:
                break
            messages = [*messages, line.message(), *outputs]
        return used.last_said

    def _answer_in_session(
        self,
        sound: Wav,
        history: Sequence[Line],
        agent: Agent,
        wants_reply: bool,
        until: float,
        used: ToolUse,
    ) -> Answer:
        words, text = realtime_turn.answer(
            self._service, self._spec(agent), sound, history, wants_reply, until, used
        )
        return _answer_of(used, words, text)

    def _speak(self, text: str, voice: str, until: float) -> bytes:
        models = self._service.models
        if models.speech:
            try:
                return self._service.speech(text, voice, until)
            except NoSuchModel as error:
                log.warning("No speech model %s (%s)", models.speech, error)
        return realtime_turn.speak(self._service, text, voice, until)

    def _spec(self, agent: Agent) -> realtime_turn.Spec:
        return realtime_turn.Spec(_told(agent), self._service.models.transcribe, _language(agent))


def turn_engine(settings: EngineSettings, credentials: Any) -> TurnEngine:
    """The engine that the settings describe; ``credentials`` as for ``Engine``."""
    at = Endpoint(settings.base_url, settings.kind == "azure", settings.token_scope or AZURE_SCOPE)
    models = Models(settings.transcribe_model, settings.chat_model, settings.speech_model)
    return TurnEngine(BatchEngine(at, settings.model, credentials, models), settings.voice)


def _settled(work: Callable[[float], Answer], within_s: float, used: ToolUse) -> Answer:
    """The work's answer; where it fails after a tool was used, what it has come to."""
    try:
        return _in_time(work, within_s)
    except EngineError as error:
        if not used.give_up():
            raise
        log.warning("A recorded turn fails after it used a tool: %s", error)
        return _answer_of(used, used.words or realtime_turn.UNTRANSCRIBED, used.last_said)


def _answer_of(used: ToolUse, words: str, text: str) -> Answer:
    return Answer(words, speakable(text), dict(used.usage), tuple(used.directives))


def _in_time(work: Callable[[float], T], within_s: float) -> T:
    """The work's result; work that is late (a name server, a token, a trickle) is left to itself.

    Every step of it is given the moment ``until``, so that it ends soon after.

    Raises:
        EngineUnreachable: it was late.
    """
    result: Future[T] = Future()
    until = time.monotonic() + within_s

    def run() -> None:
        try:
            result.set_result(work(until))
        except BaseException as error:  # all of it is raised where it is waited for
            result.set_exception(error)

    threading.Thread(target=run, name="turn", daemon=True).start()
    try:
        return result.result(within_s)
    except TooLate as error:
        raise EngineUnreachable(f"no answer within {within_s:g} s") from error


def _recent(history: Sequence[Line]) -> list[Line]:
    return [line for line in history if line.text][-MOST_LINES:]


def _told(agent: Agent) -> str:
    return f"{agent.told()}\n\n{ON_THE_TELEPHONE}"


def _language(agent: Agent) -> str:
    """Engines want ``de``, not ``de-DE``."""
    return agent.language.split("-")[0].lower()


def _messages(words: str, history: Sequence[Line], agent: Agent) -> list[dict[str, str]]:
    lines = [
        {"role": "user" if line.speaker == CALLER else "assistant", "content": line.text} for line in history
    ]
    now = [{"role": "user", "content": words}] if words else []
    return [{"role": "system", "content": _told(agent)}, *lines, *now]


def _files(sound: Wav) -> list[bytes]:
    """The recording as WAV files, each short enough for one request."""
    rate_hz = min(sound.rate_hz, 2 * TELEPHONE_RATE_HZ)
    pcm, size = sound.at(rate_hz), PIECE_S * rate_hz * 2
    return [write_wav(pcm[start : start + size], rate_hz) for start in range(0, len(pcm), size)]
