"""A response's events without any socket: their order, however it ends, and what it is said to have cost."""

from __future__ import annotations

from flaskapp.localai import items, settings, tokens
from flaskapp.localai.reply import Reply
from flaskapp.localai.speaking import pieces


def reply(**request: object) -> Reply:
    chosen = settings.response_settings(settings.defaults("x"), request)
    return Reply("resp_1", chosen, "conv_1", (10, 20))


def kinds(told: list[dict[str, object]]) -> list[object]:
    return [event["type"] for event in told]


def test_a_reply_cancelled_before_it_said_anything_is_only_done():
    (done,) = reply().cancel("turn_detected")

    assert done["response"]["status"] == "cancelled"
    assert done["response"]["output"] == []


def test_a_reply_cancelled_in_the_middle_closes_what_was_open():
    speaking = reply()
    item = items.agent_message("item_1")
    speaking.open_message(item, None)
    speaking.words("Hello")
    speaking.audio(bytes(48 * 200))

    told = speaking.cancel("client_cancelled")

    assert kinds(told) == [
        "response.output_audio_transcript.done",
        "response.output_audio.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    assert item.body["status"] == "incomplete"
    assert (item.text, item.audio_ms) == ("Hello", 200)


def test_a_failed_reply_says_so_in_response_done():
    (done,) = reply().fail("the voice stopped working")

    assert done["response"]["status_details"]["error"]["message"] == "the voice stopped working"


def test_a_reply_outside_of_the_conversation_adds_nothing_to_it():
    speaking = reply(conversation="none")

    told = speaking.open_message(items.agent_message("item_1"), None) + speaking.close_message()

    assert not [kind for kind in kinds(told) if str(kind).startswith("conversation.")]
    assert speaking.complete()["response"]["conversation_id"] is None


def test_usage_counts_audio_by_its_length_and_text_by_its_words():
    speaking = reply()
    speaking.open_message(items.agent_message("item_1"), None)
    speaking.words("one two three")
    speaking.audio(bytes(48 * 1000))
    speaking.close_message()

    usage = speaking.complete()["response"]["usage"]

    assert usage["input_tokens"] == 30
    assert usage["output_token_details"] == {"text_tokens": 4, "audio_tokens": 20}
    assert usage["total_tokens"] == 54


def test_whisper_is_counted_by_duration_and_others_by_tokens():
    assert tokens.transcription_usage("whisper-1", 1500, "hi") == {"type": "duration", "seconds": 1.5}
    assert tokens.transcription_usage("gpt-transcribe", 1500, "hi there")["total_tokens"] == 15 + 3


def test_speech_is_sliced_with_its_words_beside_it():
    slices = list(pieces("one two three", bytes(1000), 400))

    assert [len(data) for _, data in slices] == [400, 400, 200]
    assert "".join(words for words, _ in slices) == "one two three"
    assert slices[0][0] == "one"
