"""Pipecat between Twilio and a Realtime engine, as its own examples put it together; run in .venv-peers.

.venv-peers/bin/python bench/relays/pipecat_peer.py PORT
"""

from __future__ import annotations

import json
import os
import sys

import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport

app = FastAPI()
logger.remove()  # its debug lines would cost more than its work
logger.add(sys.stderr, level="WARNING")


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.websocket("/media-stream")
async def media_stream(phone: WebSocket) -> None:
    """One call."""
    await phone.accept()
    await phone.receive_text()  # connected
    start = json.loads(await phone.receive_text())["start"]
    serializer = TwilioFrameSerializer(
        stream_sid=start["streamSid"],
        call_sid=start["callSid"],
        params=TwilioFrameSerializer.InputParams(auto_hang_up=False),
    )
    transport = FastAPIWebsocketTransport(
        websocket=phone,
        params=FastAPIWebsocketParams(audio_in_enabled=True, audio_out_enabled=True, serializer=serializer),
    )
    engine = OpenAIRealtimeLLMService(
        api_key=os.environ["OPENAI_API_KEY"],
        base_url=os.environ["OPENAI_BASE_URL"].replace("http", "ws", 1) + "/realtime",
    )
    pipeline = Pipeline([transport.input(), engine, transport.output()])
    params = PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000)
    task = PipelineTask(pipeline, params=params)

    @transport.event_handler("on_client_disconnected")
    async def gone(_transport: FastAPIWebsocketTransport, _client: WebSocket) -> None:
        await task.cancel()

    await PipelineRunner(handle_sigint=False).run(task)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
