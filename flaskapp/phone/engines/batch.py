"""OpenAI's plain HTTP endpoints, one request at a time: a recording's words, a reply in text, a text's sound.

Sources: the API reference's 'Create transcription', 'Create chat completion'
and 'Create speech'; Azure's ``/openai/v1`` has the same ones, with deployments
for models. Moments (``until``) are of ``time.monotonic``.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeVar
from uuid import uuid4

from flaskapp.phone.audio import TELEPHONE_RATE_HZ, read_wav, write_wav
from flaskapp.phone.engines.connection import Endpoint, Engine
from flaskapp.phone.engines.tool_use import ToolCall
from flaskapp.phone.errors import (
    AudioError,
    EngineError,
    EngineMessageError,
    EngineRejected,
    EngineUnreachable,
)

log = logging.getLogger(__name__)

CONNECT_WITHIN_S = 3.0
PAUSE_S = 0.3  # before the second try
WORTH_S = 0.5  # with less time left there is no second try
MOST_BYTES = 16 << 20  # of one answer: ten minutes of speech are fewer
PASSING = (408, 409, 429)  # like 5xx: may be gone at the second try
UNTAKEN = (400, 422)  # something of what was asked is not known there
MANNERS = ("tools without thinking first", "tools", "no tools")
#: The package loads its parts when they are first used.
ASKED_FOR = tuple(
    f"openai.resources.{each}"
    for each in ("audio.transcriptions", "audio.speech", "chat.completions", "models")
)
NO_SUCH_MODEL = {
    *("model_not_found", "DeploymentNotFound", "OperationNotSupported", "invalid_model", "unsupported_model"),
}

T = TypeVar("T")
Usage = dict[str, float]


class NoSuchModel(EngineRejected):
    """The server does not have the model, or not this endpoint."""


@dataclass(frozen=True)
class Models:
    """Their names; on Azure those of deployments. Empty: there is none."""

    transcribe: str
    chat: str = ""
    speech: str = ""


@dataclass(frozen=True)
class Completion:
    """A chat model's line: what it says, the tools that it asks for, and what it cost."""

    text: str
    calls: tuple[ToolCall, ...] = ()
    usage: Usage = field(default_factory=dict)

    def message(self) -> dict[str, Any]:
        """As the conversation goes on with it."""
        calls = [
            {"id": each.id, "type": "function", "function": {"name": each.name, "arguments": each.arguments}}
            for each in self.calls
        ]
        return {"role": "assistant", "content": self.text or None, "tool_calls": calls}


class BatchEngine(Engine):
    """An ``Engine`` that is asked over plain HTTP too, with the same credentials.

    Every method raises:
        EngineUnreachable: refused, not within the time, 429 or 5xx.
        EngineRejected: any other 4xx; ``NoSuchModel`` where that was the reason.
        EngineMessageError: an answer that cannot be read.
    """

    def __init__(self, at: Endpoint, realtime_model: str, credentials: Any, models: Models) -> None:
        super().__init__(at, realtime_model, credentials)
        self.models = models
        self._manner: dict[tuple[str, ...], int] = {}  # in which the chat model takes these tools

    def load(self) -> None:
        """Load now what the first request would: a tenth of a second in which nothing else is done."""
        for name in ASKED_FOR:
            import_module(name)
        self.prepare()

    def words(self, wav: bytes, language: str, until: float) -> tuple[str, Usage]:
        """What is said in a WAV file of up to 25 MB; ``language`` as ``en``, or empty."""
        about: dict[str, Any] = {"language": language} if language else {}
        answer = self._ask(
            lambda http, rules: http.audio.transcriptions.create(
                model=self.models.transcribe,
                file=("turn.wav", wav, "audio/wav"),
                response_format="json",
                **about,
                **rules,
            ),
            until,
        )
        text = getattr(answer, "text", None)
        if not isinstance(text, str):
            raise EngineMessageError("a transcription without its text")
        return text.strip(), _counts(getattr(answer, "usage", None))

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        until: float,
        tools: Sequence[Mapping[str, Any]] = (),
        may_use: bool = True,
    ) -> Completion:
        """The chat model's next line; ``tools`` as a Realtime session takes them.

        Some models take tools only if they do not think first, others know no such word, and some take no
        tools: each is asked in one manner after the other, and from then on in the one that it took.
        """
        manners, names = _manners(tools, may_use), tuple(str(each.get("name")) for each in tools)
        for at in range(self._manner.get(names, 0), len(manners)):
            try:
                completion = self._complete(messages, until, manners[at])
            except NoSuchModel:
                raise
            except EngineRejected as error:
                if error.status not in UNTAKEN or at == len(manners) - 1:
                    raise
                continue
            if at > self._manner.get(names, 0):
                log.warning("The chat model takes %s", MANNERS[at])
                self._manner[names] = at
            return completion
        raise AssertionError("there is always a last manner")

    def _complete(
        self, messages: Sequence[Mapping[str, Any]], until: float, about: Mapping[str, Any]
    ) -> Completion:
        answer = self._ask(
            lambda http, rules: http.chat.completions.create(
                model=self.models.chat, messages=messages, **about, **rules
            ),
            until,
        )
        choices = getattr(answer, "choices", None)
        message = getattr(choices[0], "message", None) if isinstance(choices, list) and choices else None
        if message is None:
            raise EngineMessageError("a completion without a message")
        texts = (getattr(message, name, None) for name in ("content", "refusal"))
        text = next((each for each in texts if each and isinstance(each, str)), "")
        usage = _as_sessions_have_them(_counts(getattr(answer, "usage", None)))
        return Completion(text, _calls(getattr(message, "tool_calls", None)), usage)

    def speech(self, text: str, voice: str, until: float) -> bytes:
        """The text spoken, as a WAV file: mono 16-bit PCM at 8 kHz."""
        answer = self._ask(
            lambda http, rules: http.audio.speech.create(
                model=self.models.speech, voice=voice, input=text, response_format="wav", **rules
            ),
            until,
        )
        try:
            sound = read_wav(answer.content)
        except (AudioError, AttributeError) as error:
            raise EngineMessageError("speech that is no WAV file") from error
        return write_wav(sound.at(TELEPHONE_RATE_HZ))

    def is_alive(self, until: float) -> bool:
        """Whether the server answers and would serve us."""
        try:
            self._ask(lambda http, rules: http.models.list(**rules), until)
        except EngineRejected as error:
            return error.status not in (401, 403)  # it need not have a list of models
        except EngineMessageError:
            return True
        except EngineError:
            return False
        return True

    def _ask(self, send: Callable[[Any, Mapping[str, Any]], T], until: float) -> T:
        """Send one request, and a second one where the first failed in passing and there is time."""
        try:
            return self._send(send, until)
        except Passing as error:
            pause_s = max(PAUSE_S, error.retry_after_s)
            if until - time.monotonic() - pause_s < WORTH_S:
                raise
        time.sleep(pause_s)
        return self._send(send, until)

    def _send(self, send: Callable[[Any, Mapping[str, Any]], T], until: float) -> T:
        """One request; an error's text never holds the server's words, which may echo ours."""
        import openai

        left_s = until - time.monotonic()
        if left_s <= 0:
            raise EngineUnreachable("no time left")
        rules = {"timeout": _patience(left_s), "extra_headers": self._headers()}
        try:
            return send(self.prepare(), rules)
        except openai.APITimeoutError as error:
            raise EngineUnreachable("no answer in time") from error
        except openai.APIConnectionError as error:
            raise Passing(f"no connection: {type(error.__cause__).__name__}") from error
        except openai.APIStatusError as error:
            raise _refusal(error) from error
        except (openai.APIError, ValueError, TypeError, AttributeError) as error:
            raise EngineMessageError(f"an answer that cannot be read: {type(error).__name__}") from error
        except EngineError:
            raise
        except Exception as error:  # azure-identity's own: no token
            raise EngineRejected(401, type(error).__name__) from error

    def _http_client(self) -> Any:
        """An API key in a header of its own would follow a redirect anywhere."""
        from openai import DefaultHttpxClient

        return DefaultHttpxClient(follow_redirects=False, event_hooks={"response": [_bound]})


class Passing(EngineUnreachable):
    """May be gone at the second try."""

    def __init__(self, detail: str, retry_after_s: float = 0.0) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


def _refusal(error: Any) -> EngineError:
    status, code = error.status_code, str(error.code or "")
    if status in PASSING or status >= 500:
        after = error.response.headers.get("Retry-After", "")
        return Passing(f"HTTP {status}", float(after) if after.replace(".", "", 1).isdigit() else 0.0)
    if status == 404 or (status == 400 and (code in NO_SUCH_MODEL or error.param == "model")):
        return NoSuchModel(status, "no such model")
    return EngineRejected(status)


def _patience(left_s: float) -> Any:
    import openai

    return openai.Timeout(left_s, connect=min(CONNECT_WITHIN_S, left_s))


def _bound(response: Any) -> None:
    """An answer may neither trickle past its time nor be endless: each read alone would be in time."""
    patience = response.request.extensions.get("timeout", {}).get("read") or 0.0
    response.stream = _bounded(response.stream, time.monotonic() + patience)


def _bounded(stream: Any, until: float) -> Any:
    import httpx2

    class Bounded(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            size = 0
            for piece in stream:
                size += len(piece)
                if time.monotonic() > until:
                    raise httpx2.ReadTimeout("the answer trickles")
                if size > MOST_BYTES:
                    raise httpx2.ReadError("the answer is endless")
                yield piece

        def close(self) -> None:
            stream.close()

    return Bounded()


def _manners(tools: Sequence[Mapping[str, Any]], may_use: bool) -> list[dict[str, Any]]:
    """How to ask for tools, the last one without: what a request has beside its messages."""
    if not tools:
        return [{}]
    functions = [{name: value for name, value in each.items() if name != "type"} for each in tools]
    plain = {
        "tools": [{"type": "function", "function": each} for each in functions],
        **({} if may_use else {"tool_choice": "none"}),
    }
    return [{**plain, "reasoning_effort": "none"}, plain, {}]


def _calls(asked: Any) -> tuple[ToolCall, ...]:
    """Calls of functions; arguments that are no text, as some servers have them, are made one."""
    found = []
    for each in asked if isinstance(asked, list) else []:
        function = getattr(each, "function", None)
        name, arguments = getattr(function, "name", None), getattr(function, "arguments", None)
        if name and isinstance(name, str):
            text = arguments if isinstance(arguments, str) else json.dumps(arguments, default=str)
            found.append(ToolCall(str(getattr(each, "id", None) or f"call_{uuid4().hex}"), name, text))
    return tuple(found)


def _counts(usage: Any) -> Usage:
    """Token counts flattened as a session's are: ``input_tokens``, ``input_audio_tokens``, ``seconds`` ..."""
    flat: Usage = {}
    for name, value in (usage.model_dump() if hasattr(usage, "model_dump") else {}).items():
        if isinstance(value, dict):
            prefix = name.removesuffix("_tokens_details").removesuffix("_token_details") + "_"
            flat.update({prefix + key: count for key, count in value.items() if _is_count(count)})
        elif _is_count(value):
            flat[name] = value
    return flat


def _as_sessions_have_them(usage: Usage) -> Usage:
    """A chat's counts by the names that a session's have."""
    other = {"prompt_": "input_", "completion_": "output_"}
    return {
        next(
            (new + name.removeprefix(old) for old, new in other.items() if name.startswith(old)), name
        ): count
        for name, count in usage.items()
    }


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 2**31 - 1
