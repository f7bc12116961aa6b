"""The server's events as dictionaries of the GA API; their ids are added when they are sent."""

from __future__ import annotations

from typing import Any

Event = dict[str, Any]


def session_created(settings: dict[str, Any]) -> Event:
    return {"type": "session.created", "session": settings}


def session_updated(settings: dict[str, Any]) -> Event:
    return {"type": "session.updated", "session": settings}


def speech_started(item_id: str, start_ms: int) -> Event:
    return {"type": "input_audio_buffer.speech_started", "item_id": item_id, "audio_start_ms": start_ms}


def speech_stopped(item_id: str, end_ms: int) -> Event:
    return {"type": "input_audio_buffer.speech_stopped", "item_id": item_id, "audio_end_ms": end_ms}


def committed(item_id: str, previous_item_id: str | None) -> Event:
    return {
        "type": "input_audio_buffer.committed",
        "item_id": item_id,
        "previous_item_id": previous_item_id,
    }


def cleared() -> Event:
    return {"type": "input_audio_buffer.cleared"}


def item_added(item: Event, previous_item_id: str | None) -> Event:
    return {"type": "conversation.item.added", "item": item, "previous_item_id": previous_item_id}


def item_done(item: Event, previous_item_id: str | None) -> Event:
    return {"type": "conversation.item.done", "item": item, "previous_item_id": previous_item_id}


def item_retrieved(item: Event) -> Event:
    return {"type": "conversation.item.retrieved", "item": item}


def item_deleted(item_id: str) -> Event:
    return {"type": "conversation.item.deleted", "item_id": item_id}


def item_truncated(item_id: str, audio_end_ms: int) -> Event:
    return {
        "type": "conversation.item.truncated",
        "item_id": item_id,
        "content_index": 0,
        "audio_end_ms": audio_end_ms,
    }


def transcription_delta(item_id: str, delta: str) -> Event:
    return {
        "type": "conversation.item.input_audio_transcription.delta",
        "item_id": item_id,
        "content_index": 0,
        "delta": delta,
    }


def transcription_completed(item_id: str, transcript: str, usage: Event) -> Event:
    return {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": item_id,
        "content_index": 0,
        "transcript": transcript,
        "usage": usage,
    }


def transcription_failed(item_id: str, message: str) -> Event:
    return {
        "type": "conversation.item.input_audio_transcription.failed",
        "item_id": item_id,
        "content_index": 0,
        "error": {"type": "server_error", "code": "transcription_failed", "message": message},
    }
