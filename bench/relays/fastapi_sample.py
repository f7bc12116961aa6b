"""A relay in the manner of the quick-start samples: FastAPI, websockets, json, a mark for every delta.

    uvicorn --app-dir bench/relays fastapi_sample:app

Two coroutines for each call, one for each direction; plain uvicorn, without
its faster parts, as a requirements file that says `uvicorn` installs it.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import websockets
from fastapi import FastAPI, WebSocket
from starlette.websockets import WebSocketDisconnect

app = FastAPI()

SESSION: dict[str, Any] = {
    "type": "realtime",
    "instructions": "You are a helpful assistant on the telephone.",
    "output_modalities": ["audio"],
    "audio": {
        "input": {"format": {"type": "audio/pcmu"}, "turn_detection": {"type": "server_vad"}},
        "output": {"format": {"type": "audio/pcmu"}, "voice": "alloy"},
    },
}


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.websocket("/media-stream")
async def media_stream(phone: WebSocket) -> None:
    """One call."""
    await phone.accept()
    url = os.environ["OPENAI_BASE_URL"].replace("http", "ws", 1) + "/realtime?model=gpt-realtime"
    headers = {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
    async with websockets.connect(url, additional_headers=headers) as engine:
        await engine.send(json.dumps({"type": "session.update", "session": SESSION}))
        stream: dict[str, Any] = {"sid": None, "timestamp": 0, "marks": []}
        await asyncio.gather(_listen(phone, engine, stream), _speak(phone, engine, stream))


async def _listen(phone: WebSocket, engine: Any, stream: dict[str, Any]) -> None:
    try:
        async for text in phone.iter_text():
            message = json.loads(text)
            if message["event"] == "media":
                stream["timestamp"] = int(message["media"]["timestamp"])
                append = {"type": "input_audio_buffer.append", "audio": message["media"]["payload"]}
                await engine.send(json.dumps(append))
            elif message["event"] == "start":
                stream["sid"] = message["start"]["streamSid"]
            elif message["event"] == "mark" and stream["marks"]:
                stream["marks"].pop(0)
            elif message["event"] == "stop":
                break
    except WebSocketDisconnect:
        pass
    await engine.close()


async def _speak(phone: WebSocket, engine: Any, stream: dict[str, Any]) -> None:
    async for text in engine:
        event = json.loads(text)
        if event["type"] == "response.output_audio.delta":
            media = {"event": "media", "streamSid": stream["sid"], "media": {"payload": event["delta"]}}
            await phone.send_json(media)
            mark = {"event": "mark", "streamSid": stream["sid"], "mark": {"name": "responsePart"}}
            await phone.send_json(mark)
            stream["marks"].append("responsePart")
