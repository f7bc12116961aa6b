"""Calls joined to a person over the carrier's REST interface, against a server that does as it is told."""

from __future__ import annotations

import json
import threading
import time
import xml.etree.ElementTree as ET
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest

from flaskapp.config import load_settings
from flaskapp.phone.agent import Agent, Agents
from flaskapp.phone.transfers import MOST_TWIML, Transfers
from flaskapp.store.live import LiveStore, connect
from tests import servers

SALES, DESK, FOREIGN = "+15557654321", "+15557650000", "+19005551234"
OVER = (404, {"code": 20404, "message": "not found", "status": 404})


class Api:
    """The carrier's API: notes what it is asked, answers what it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.answer: tuple[int, dict | bytes] = (200, {"sid": "CA1", "status": "in-progress"})
        self.delay_s = 0.0
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = {name: values[0] for name, values in parse_qs(body).items()}
                api.asked.append((self.path, self.headers.get("Authorization", ""), form))
                time.sleep(api.delay_s)
                status, told = api.answer
                data = told if isinstance(told, bytes) else json.dumps(told).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def api():
    own = Api()
    threading.Thread(target=own.server.serve_forever, daemon=True).start()
    yield own
    own.server.shutdown()
    own.server.server_close()


@pytest.fixture
def live():
    store = LiveStore(connect(""))
    store.remember("CA1", called="+15552223333", origin="https://v.example.com")
    return store


@pytest.fixture
def transfers(api, live, monkeypatch, tmp_path):
    return _transfers(api.url, live, tmp_path, monkeypatch)


def _transfers(url, live, folder, monkeypatch, **own):
    monkeypatch.chdir(folder)
    settings = load_settings(
        {"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": "token", "TWILIO_API_BASE_URL": url, **own}
    )
    agents = Agents(
        Agent(transfer_numbers={"desk": DESK}),
        {"15552223333": Agent(transfer_numbers={"sales": SALES, "desk": DESK})},
    )
    return Transfers(settings, agents, live)


def test_the_carrier_is_told_to_dial_in_the_place_of_the_stream(api, live, transfers):
    assert transfers.transfer("CA1", SALES) is True
    ((path, authorization, form),) = api.asked
    assert path == "/2010-04-01/Accounts/AC1/Calls/CA1.json"
    assert authorization.startswith("Basic ")
    (dial,) = ET.fromstring(form["Twiml"])
    assert (dial.tag, dial[0].text) == ("Dial", SALES)
    assert dial.get("action") == "https://v.example.com/phone/transfer-ended/CA1?destination=sales"
    assert len(form["Twiml"]) < MOST_TWIML
    assert live.recall("CA1")["dialled"] == "sales"


@pytest.mark.parametrize("number", [FOREIGN, "", SALES[1:], SALES + ";ext=1", "sales"])
def test_no_number_but_the_agents_own_is_dialled(api, live, transfers, number):
    with pytest.raises(ValueError, match="no number"):
        transfers.transfer("CA1", number)
    assert api.asked == []
    assert "dialled" not in live.recall("CA1")


def test_another_agents_number_is_no_number_of_this_call(api, live, transfers):
    live.remember("CA2", called="+15550000000", origin="https://v.example.com")
    with pytest.raises(ValueError, match="no number"):
        transfers.transfer("CA2", SALES)
    assert transfers.transfer("CA2", DESK)


@pytest.mark.parametrize(
    "answer",
    [
        (500, {"code": 20500, "message": "oops", "status": 500}),
        (429, {"code": 20429, "message": "slow down", "status": 429}),
        (401, {"code": 20003, "message": "no", "status": 401}),
        (404, b"<html>nothing here</html>"),
        (200, b"<html>a proxy's page</html>"),
    ],
)
def test_what_the_carrier_would_not_do_is_said_to_be_undone(api, live, transfers, caplog, answer):
    api.answer = answer
    assert transfers.transfer("CA1", SALES) is False
    assert live.recall("CA1")["dialled"] == ""
    assert SALES not in caplog.text
    assert "token" not in caplog.text
    assert "No transfer to" in caplog.text


def test_a_call_that_is_over_already_needs_no_transfer(api, transfers):
    api.answer = OVER
    assert transfers.transfer("CA1", SALES) is True


def test_a_carrier_that_hangs_is_not_waited_for_for_ever(api, transfers):
    api.delay_s = 30.0
    began = time.monotonic()
    assert transfers.transfer("CA1", SALES) is False
    assert time.monotonic() - began < 20


def test_a_carrier_that_is_away_could_not_be_asked(live, monkeypatch, tmp_path):
    url = f"http://127.0.0.1:{servers.free_port()}"
    assert _transfers(url, live, tmp_path, monkeypatch).transfer("CA1", SALES) is False


def test_without_an_account_or_an_address_nobody_is_asked(api, live, monkeypatch, tmp_path):
    nobody = {"TWILIO_ACCOUNT_SID": "", "TWILIO_AUTH_TOKEN": ""}
    assert _transfers(api.url, live, tmp_path, monkeypatch, **nobody).transfer("CA1", SALES) is False
    live.remember("CA1", origin="")
    assert _transfers(api.url, live, tmp_path, monkeypatch).transfer("CA1", SALES) is False
    assert api.asked == []
