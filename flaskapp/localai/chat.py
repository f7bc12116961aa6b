"""POST /v1/chat/completions: the scripted mind, asked in writing.

Source: 'Create chat completion' in OpenAI's API reference.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from flaskapp.localai import mind, tokens
from flaskapp.localai.ids import new_id
from flaskapp.localai.mind import Line, Speaker
from flaskapp.localai.refusal import Refused, invalid, missing
from flaskapp.localai.session import Desk
from flaskapp.localai.shape import (
    Check,
    anything,
    boolean,
    either,
    integer,
    list_of,
    mapping,
    number,
    one_of,
    or_null,
    record,
    text,
    variant,
)

_TEXT_PART = variant(
    {"text": record({"type": text, "text": text}, "text"), "refusal": record({"type": text, "refusal": text})}
)
_CONTENT = either(text, list_of(_TEXT_PART))
_CALL = record(
    {
        "id": text,
        "type": one_of("function"),
        "function": record({"name": text, "arguments": text}, "name", "arguments"),
    },
    "id",
    "function",
)
_SAID: dict[str, Check] = {"role": text, "content": _CONTENT, "name": text}
_MESSAGE = variant(
    {
        **dict.fromkeys(("system", "developer", "user"), record(_SAID, "content")),
        "assistant": record(
            {
                **_SAID,
                "content": or_null(_CONTENT),
                "refusal": or_null(text),
                "tool_calls": or_null(list_of(_CALL)),
                "audio": or_null(anything),
                "annotations": or_null(anything),
                "function_call": or_null(anything),
            }
        ),
        "tool": record({"role": text, "content": _CONTENT, "tool_call_id": text}, "content", "tool_call_id"),
    },
    tag="role",
)
_FUNCTION = record(
    {"name": text, "description": text, "parameters": mapping, "strict": or_null(boolean)}, "name"
)
_TOOL = variant({"function": record({"type": text, "function": _FUNCTION}, "function")})
_TOOL_CHOICE = either(
    one_of("auto", "none", "required"),
    variant({"function": record({"type": text, "function": record({"name": text}, "name")}, "function")}),
)
# Accepted, and nothing is done about them: the script says what it says.
_IDLE = (
    *(
        "audio",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "metadata",
        "modalities",
        "parallel_tool_calls",
    ),
    *("prediction", "presence_penalty", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
    *("reasoning_effort", "response_format", "safety_identifier", "seed", "service_tier", "stop", "store"),
    *("stream_options", "temperature", "top_logprobs", "top_p", "user", "verbosity"),
)
_REQUEST = record(
    {
        **dict.fromkeys(_IDLE, anything),
        "model": text,
        "messages": list_of(_MESSAGE, 2048),
        "max_tokens": or_null(integer(1, 1 << 20)),
        "max_completion_tokens": or_null(integer(1, 1 << 20)),
        "n": or_null(number(1, 1)),
        "stream": or_null(boolean),
        "tools": list_of(_TOOL),
        "tool_choice": _TOOL_CHOICE,
    },
    "model",
    "messages",
)
_SPEAKERS = {"user": Speaker.CALLER, "assistant": Speaker.AGENT, "tool": Speaker.RESULT}


async def create(request: web.Request, _desk: Desk) -> web.Response:
    """The endpoint.

    Raises:
        Refused: the request is not one, or asks for what there is not.
    """
    asked = await body_of(request)
    _REQUEST(asked, "")
    if asked.get("stream"):
        raise Refused("unsupported_value", "This server does not stream completions.", "stream")
    if not asked["messages"]:
        raise missing("messages")
    _check_tool_answers(asked["messages"])
    return web.json_response(_completion(asked))


def _check_tool_answers(messages: list[dict[str, Any]]) -> None:
    """As the real API has it: each tool call is answered right after it, and nothing else is.

    Raises:
        Refused: a call without its answer, or an answer without its call.
    """
    unanswered: list[str] = []
    for at, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in unanswered:
                raise invalid(f"messages[{at}].tool_call_id", "the id of a tool call right before it")
            unanswered.remove(message["tool_call_id"])
        elif unanswered:
            raise invalid(f"messages[{at}].role", f"'tool', with the answer to {unanswered[0]!r}")
        unanswered += [call["id"] for call in message.get("tool_calls") or []]
    if unanswered:
        raise invalid(f"messages[{len(messages)}]", f"a tool message that answers {unanswered[0]!r}")


async def body_of(request: web.Request) -> dict[str, Any]:
    """A request's JSON object.

    Raises:
        Refused: it has none.
    """
    try:
        body = await request.json()
    except ValueError as error:  # not JSON, or not text
        raise Refused("invalid_json", "We could not parse the JSON body of your request.") from error
    if not isinstance(body, dict):
        raise invalid("body", "an object")
    return body


def _completion(asked: dict[str, Any]) -> dict[str, Any]:
    decision = _decide(asked)
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    if isinstance(decision, mind.Call):
        function = {"name": decision.name, "arguments": decision.arguments}
        message["tool_calls"] = [{"id": new_id("call"), "type": "function", "function": function}]
        message["content"] = decision.saying or None
        reason, said = "tool_calls", f"{decision.saying} {decision.name} {decision.arguments}"
    else:
        message["content"] = said = decision.text
        reason = "stop"
    return {
        "id": new_id("chatcmpl"),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": asked["model"],
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
        "usage": _usage(asked["messages"], said),
    }


def _decide(asked: dict[str, Any]) -> mind.Say | mind.Call:
    messages = asked["messages"]
    told = "\n\n".join(_text(each) for each in messages if each["role"] in ("system", "developer"))
    choice = asked.get("tool_choice", "auto")
    offered = [] if choice == "none" else [each["function"] for each in asked.get("tools", [])]
    forced = choice["function"]["name"] if isinstance(choice, dict) else None
    return mind.answer([line for each in messages for line in _lines(each)], told, None, offered, forced)


def _lines(message: dict[str, Any]) -> Iterator[Line]:
    speaker, words = _SPEAKERS.get(message["role"]), _text(message)
    calls = message.get("tool_calls") or []
    if speaker is not None and (words or not calls):
        yield Line(speaker, words)
    for call in calls:
        yield Line(Speaker.CALL, call["function"]["arguments"], call["function"]["name"])


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text") or part.get("refusal") or "" for part in content)


def _usage(messages: list[dict[str, Any]], said: str) -> dict[str, int]:
    asked = sum(tokens.of_text(_text(each)) for each in messages)
    answered = tokens.of_text(said)
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}
