"""POST /v1/chat/completions, by the ``openai`` client over a socket."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import openai
import pytest

from flaskapp.localai import mind
from tests.localai.test_localai_contract import strangers

TOOL: Any = {
    "type": "function",
    "function": {
        "name": "transfer_call",
        "description": "d",
        "parameters": {
            "type": "object",
            "properties": {"department": {"type": "string", "enum": ["sales", "support"]}},
            "required": ["department"],
        },
    },
}
END_CALL: Any = {"type": "function", "function": {"name": "end_call"}}


def said(role: str, content: Any, **fields: Any) -> Any:
    return {"role": role, "content": content, **fields}


def ask(server: str, *messages: Any, **about: Any) -> Any:
    client = openai.OpenAI(base_url=server, api_key="anything", max_retries=0, timeout=60)
    answer = client.chat.completions.create(**{"model": "gpt-6-luna", "messages": list(messages), **about})
    assert strangers(answer) == []
    return answer


def text(answer: Any) -> str:
    return answer.choices[0].message.content


def test_a_question_is_answered(server):
    answer = ask(server, said("user", "what are your opening hours"))

    assert text(answer) == "We are open from nine to five, Monday to Friday."
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.object, answer.model) == ("chat.completion", "gpt-6-luna")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 10


def test_it_is_where_azure_has_it_too(server):
    assert text(ask(server.removesuffix("/v1") + "/openai/v1", said("user", "goodbye"))).endswith("Goodbye.")


def test_what_it_was_told_counts(server):
    told = said("system", "Be brief. The shop is open from 8 to 10.")

    assert text(ask(server, told, said("user", "when do you open"))) == "The shop is open from 8 to 10."
    assert text(ask(server, {**told, "role": "developer"}, said("user", "when do you open"))).endswith("10.")


def test_the_conversation_counts(server):
    before = [
        said("user", "can i leave a message"),
        said("assistant", mind.ASK_FOR_MESSAGE),
    ]

    assert (
        text(ask(server, *before, said("user", "tell bob i called")))
        == "Thank you, I noted: tell bob i called."
    )


def test_texts_may_come_in_parts(server):
    parts = [{"type": "text", "text": "what are your"}, {"type": "text", "text": "opening hours"}]

    assert text(ask(server, said("user", parts))).startswith("We are open")


def test_a_function_is_called_and_its_result_is_used(server):
    asked = said("user", "please transfer me to support")
    answer = ask(server, asked, tools=[TOOL])

    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert message.content == "I am connecting you now."
    (call,) = message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == (
        "transfer_call",
        {"department": "support"},
    )

    result = said("tool", "ok", tool_call_id=call.id)
    after = ask(server, asked, message.model_dump(exclude_none=True), result, tools=[TOOL])
    assert text(after) == "One moment please."


def test_a_function_can_be_forced_or_forbidden(server):
    forced = {"type": "function", "function": {"name": "transfer_call"}}

    answer = ask(server, said("user", "hello"), tools=[TOOL], tool_choice=forced)
    assert answer.choices[0].message.tool_calls[0].function.name == "transfer_call"
    answer = ask(server, said("user", "transfer me to sales"), tools=[TOOL], tool_choice="none")
    assert answer.choices[0].message.tool_calls is None


def test_goodbye_is_written_beside_the_call_that_ends(server):
    message = ask(server, said("user", "goodbye"), tools=[END_CALL]).choices[0].message
    assert message.content == "Thank you for calling. Goodbye."
    assert message.tool_calls[0].function.name == "end_call"


def test_every_call_is_to_be_answered_and_nothing_else(server):
    asked = said("user", "please transfer me to support")
    message = ask(server, asked, tools=[TOOL]).choices[0].message.model_dump(exclude_none=True)
    answered = said("tool", "ok", tool_call_id=message["tool_calls"][0]["id"])
    for wrong in (
        (asked, message),
        (asked, message, said("user", "hello?")),
        (asked, message, answered, answered),
        (asked, said("tool", "ok", tool_call_id="call_of_nobody")),
    ):
        with pytest.raises(openai.BadRequestError):
            ask(server, *wrong, tools=[TOOL])


def test_what_the_script_cannot_heed_is_taken_all_the_same(server):
    about = {
        "temperature": 0.5,
        "max_completion_tokens": 100,
        "n": 1,
        "user": "u",
        "stream": False,
        "seed": 1,
    }

    assert text(ask(server, said("user", "hello"), **about)) == "Hello. How can I help you?"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a stream": ({"stream": True}, "stream"),
    "two choices": ({"n": 2}, "n"),
    "no messages": ({"messages": []}, "messages"),
    "an unknown role": ({"messages": [said("narrator", "hm")]}, "messages[0].role"),
    "no content": ({"messages": [{"role": "user"}]}, "messages[0].content"),
    "an image": (
        {"messages": [said("user", [{"type": "image_url", "image_url": {"url": "x"}}])]},
        "messages[0].content[0].type",
    ),
    "an unknown field": ({"extra_body": {"surprise": 1}}, "surprise"),
    "a nameless tool": ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
}


@pytest.mark.parametrize(("about", "param"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_done_is_refused_in_openais_shape(server, about, param):
    with pytest.raises(openai.BadRequestError) as raised:
        ask(server, said("user", "hello"), **about)

    assert raised.value.param == param
    assert raised.value.type == "invalid_request_error"
    assert set(raised.value.body) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b"null", b'"hello"', b"{}", b'{"model": 3}'])
def test_a_body_that_is_no_request_is_refused(server, body):
    request = urllib.request.Request(f"{server}/chat/completions", body, {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(request, timeout=60)

    assert raised.value.code == 400
    assert set(json.loads(raised.value.read())["error"]) == {"message", "type", "param", "code"}
