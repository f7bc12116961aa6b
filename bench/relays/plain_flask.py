"""The plainest possible Flask relay between Twilio and a Realtime server: what the product is compared with.

In the manner of quick-start samples: flask-sock, json, and the openai package's
own ``append()`` and iteration; one greenlet for each direction under gunicorn's
gevent worker. It relays audio and does nothing else.
"""

from __future__ import annotations

import json
import threading
from typing import Any

from flask import Flask
from flask_sock import Sock
from openai import OpenAI

app = Flask(__name__)
sock = Sock(app)
client = OpenAI()  # OPENAI_API_KEY and OPENAI_BASE_URL

SESSION: Any = {
    "type": "realtime",
    "instructions": "You are a helpful assistant on the telephone.",
    "output_modalities": ["audio"],
    "audio": {
        "input": {"format": {"type": "audio/pcmu"}, "turn_detection": {"type": "server_vad"}},
        "output": {"format": {"type": "audio/pcmu"}, "voice": "alloy"},
    },
}


@app.get("/health")
def health():
    return {"status": "ok"}


@sock.route("/media-stream")
def media_stream(ws):
    """One call."""
    stream = {"sid": ""}
    with client.realtime.connect(model="gpt-realtime") as connection:
        connection.session.update(session=SESSION)

        def speak():
            for event in connection:
                if event.type == "response.output_audio.delta":
                    media = {"payload": event.delta}
                    ws.send(json.dumps({"event": "media", "streamSid": stream["sid"], "media": media}))

        speaker = threading.Thread(target=speak, daemon=True)
        speaker.start()
        while True:
            message = json.loads(ws.receive())
            if message["event"] == "start":
                stream["sid"] = message["start"]["streamSid"]
            elif message["event"] == "media":
                connection.input_audio_buffer.append(audio=message["media"]["payload"])
            elif message["event"] == "stop":
                break
