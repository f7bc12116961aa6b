"""The flow of one call over Exotel: what it asks, and what the app knows of the call."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flaskapp.store.history import CallOpened

ENGINE = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
HOME = "http://localhost:5001"
SID = "c1f0"

#: Whether over?, resume? and transfer? are answered with yes.
OVER, RESUME, TRANSFER, RECORD = (
    [True, False, False],
    [False, True, False],
    [False, False, True],
    [False, False, False],
)


class Flow:
    """The flow of one call, and what the app knows of it."""

    def __init__(self, app: Any, client: Any) -> None:
        self.app, self.client, self.live = app, client, app.extensions["live_store"]

    def begin(self, **known) -> None:
        """A call whose stream has been there, as its leg left it."""
        self.live.begin(SID)
        was = {"carrier": "exotel", "path": "live", "wants_stream": "1", "caller": "0987", "leg": "1"}
        self.live.remember(SID, **{**was, **known})

        opened = CallOpened(SID, "exotel", "0987", "0801", "live", datetime.now(UTC))
        self.app.extensions["scribe"].note(opened)

    def asks(self, ask="over", status="completed", by="bot", stream="s1", to="", **fields):
        """The answer's status, and what is to follow."""
        query = {"ask": ask, "CallSid": SID, **({"to": to} if to else {}), **fields}
        about = {"StreamSID": stream, "Status": status, "DisconnectedBy": by}
        query |= {f"Stream[{name}]": value for name, value in about.items() if value}
        answer = self.client.get("/exotel/passthru", query_string=query, base_url=HOME)
        assert "Location" not in answer.headers
        assert answer.json["answer"] is (answer.status_code == 200)
        return answer.status_code, answer.json["next"]

    def chain(self, **report):
        """All three questions: whether each is answered with yes."""
        return [self.asks(ask, **report)[0] == 200 for ask in ("over", "resume", "transfer")]

    @property
    def row(self):
        assert self.app.extensions["scribe"].settle(10)
        return self.app.extensions["history"].call(SID)

    @property
    def events(self):
        assert self.app.extensions["scribe"].settle(10)
        return self.app.extensions["history"].events(SID)
