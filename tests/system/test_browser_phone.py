"""A browser calls the running app: it is heard, it hears, and its page tells what goes on."""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from flaskapp.phone import audio
from flaskapp.simulator.sounds import FOLDER
from tests.browser import chromium, silence, watched, write_wav

pytestmark = pytest.mark.system

PASSWORD = "a password of some length"
REAL_VOICE = Path("/usr/share/asterisk/sounds/en/vm-goodbye.wav")
CALLER = "#transcript [role=log] .said.caller"
AGENT = "#transcript [role=log] .said.agent"
ENERGY = """() => { const bar = document.querySelector('#agent-level [role=meter]'); window.loudest = 0;
    new MutationObserver(() => { window.loudest = Math.max(window.loudest, Number(bar.ariaValueNow)) })
        .observe(bar, { attributes: true }) }"""


def pcm(path: Path) -> bytes:
    return audio.read_wav(path.read_bytes()).at(8000)


def said(page: Page, where: str, words: str) -> None:
    """Waits until somebody has said something."""
    page.locator(where, has_text=re.compile(words, re.I)).first.wait_for()


def sign_in(page: Page, url: str) -> None:
    page.goto(f"{url}/dashboard/phone")
    page.fill("[name=password]", PASSWORD)
    page.press("[name=password]", "Enter")
    page.wait_for_selector("browser-phone[data-ready]")


@pytest.fixture
def microphone(tmp_path) -> Path:
    """Who waits for the greeting, asks, waits for the answer, and says goodbye with a person's voice."""
    question = pcm(FOLDER / "what-are-your-opening-hours.wav")
    goodbye = pcm(REAL_VOICE) if REAL_VOICE.is_file() else pcm(FOLDER / "goodbye.wav")
    return write_wav(tmp_path / "caller.wav", silence(5), question, silence(7), goodbye, silence(12))


@pytest.fixture
def serve(gunicorn_app, speech_server) -> Callable[..., Any]:
    """The app with the local speech server, as `make run` has it."""
    return lambda **settings: gunicorn_app({"LOCALAI_URL": speech_server, **settings})


def test_a_caller_at_a_microphone_is_heard_answered_and_timed(serve, microphone):
    app = serve()
    with chromium(microphone) as browser:
        seen = watched(browser)
        page = seen.page
        page.goto(f"{app.url}/dashboard/phone")
        assert page.inner_text("#engine") == "local stand-in"
        assert page.text_content("#cost") == "nothing is charged"
        page.evaluate(ENERGY)
        page.click("#call")
        said(page, AGENT, "how can i help")
        said(page, CALLER, "opening hours")
        said(page, AGENT, "nine to five")
        page.locator("latency-chart circle.point").first.wait_for()
        assert page.evaluate("window.loudest") > 30, "the answer was audible"
        assert page.locator("latency-chart table tbody tr").count() >= 1
        page.locator(CALLER).nth(1).wait_for()  # the other voice, too
        page.click("#hangup")
        page.wait_for_selector("#why:has-text('You hung up')")
        page.click("#call-page")
        page.wait_for_url("**/dashboard/calls/BR*")
        said(page, "main", "opening hours")
        assert seen.errors == []


def test_in_public_the_operator_signs_in_and_calls_without_a_microphone(serve, signed):
    app = serve(LOCAL="", DASHBOARD_PASSWORD=PASSWORD, **signed)
    with chromium() as browser:
        seen = watched(browser)
        page = seen.page
        sign_in(page, app.url)
        page.evaluate(ENERGY)
        page.click("#call")
        page.wait_for_selector("#troubles:has-text('may not use the microphone')")
        said(page, AGENT, "how can i help")
        page.fill("#text", "where are you")
        page.press("#text", "Enter")
        said(page, CALLER, "where are you")
        said(page, AGENT, "not been told the address")
        page.locator("latency-chart circle.point").first.wait_for()
        page.click("text=Keypad")
        page.press("[data-key='1']", "4")
        page.click("[data-key='#']")
        said(page, CALLER, "keys pressed: 4 #")
        assert page.evaluate("window.loudest") > 30, "the answer was audible"
        page.set_viewport_size({"width": 320, "height": 640})
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, "it fits on a small phone"
        page.click("#hangup")
        page.wait_for_selector("#why:has-text('You hung up')")
        assert seen.errors == []
        cookie = "; ".join(f"{each['name']}={each['value']}" for each in page.context.cookies())
    begun = {"Cookie": cookie, "Origin": app.url}
    assert refusal(app.url, begun, {"Origin": app.url}) == 403, "a ticket alone is not enough"
    assert refusal(app.url, begun, {"Cookie": cookie, "Origin": "https://elsewhere.example"}) == 403
    assert refusal(app.url, begun, {"Cookie": cookie, "Origin": app.url}) == 101


def refusal(url: str, begun: dict[str, str], shown: dict[str, str]) -> int:
    """How the handshake of a call's stream is answered, with what is shown beside its ticket."""
    asked = urllib.request.Request(f"{url}/dashboard/phone/calls", b"{}", begun)
    asked.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(asked, timeout=30) as answer:
        path = json.load(answer)["stream_url"]
    try:
        with connect(url.replace("http", "ws", 1) + path, additional_headers=shown):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


def test_who_signs_out_elsewhere_is_told_so_and_reads_on_when_he_is_back(serve, signed):
    app = serve(LOCAL="", DASHBOARD_PASSWORD=PASSWORD, **signed)
    with chromium() as browser:
        context = browser.new_context()
        page, other = context.new_page(), context.new_page()
        readers: list[str] = []
        page.on("websocket", lambda socket: readers.append(socket.url) if "/client" in socket.url else None)
        sign_in(page, app.url)
        page.click("#call")
        said(page, AGENT, "how can i help")
        other.goto(f"{app.url}/dashboard/phone")
        other.click("text=Sign out")
        page.wait_for_selector("#troubles:has-text('You are signed out here')")
        asked = len(readers)
        page.fill("#text", "where are you")
        page.press("#text", "Enter")
        page.wait_for_timeout(3000)  # it would have asked again twice
        assert len(readers) == asked, "nobody who is signed out asks on and on"
        assert page.inner_text("#state") == "Connected", "the call itself goes on"
        assert page.inner_text("#troubles a") == "sign in again in a new tab"
        sign_in(other, app.url)
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # a tab that is seen again
        said(page, AGENT, "not been told the address")
        assert page.inner_text("#troubles") == ""
        other.goto(f"{app.url}/dashboard/phone")
        other.click("text=Sign out")
        page.wait_for_selector("#troubles:has-text('You are signed out here')")
        page.fill("#text", "who are you")
        page.press("#text", "Enter")
        page.wait_for_timeout(1000)
        page.click("#hangup")
        page.wait_for_selector("#why:has-text('You hung up')")
        sign_in(other, app.url)
        page.evaluate("dispatchEvent(new Event('focus'))")  # another window beside this one
        said(page, CALLER, "who are you")
        page.wait_for_selector("#troubles:empty", state="attached")


def test_one_call_leaves_nothing_of_itself_to_the_next(serve):
    app = serve()
    with chromium() as browser:
        page = watched(browser).page
        page.goto(f"{app.url}/dashboard/phone")
        page.focus("#call")
        page.keyboard.press("Enter")
        page.wait_for_selector("#who:has-text('The agent speaks')")
        assert page.evaluate("document.activeElement.id") == "hangup", "the keyboard stays where it was"
        page.wait_for_timeout(1500)  # some of the greeting is heard
        page.fill("#text", "where are you")
        page.press("#text", "Enter")
        said(page, AGENT, "not been told the address")
        order = page.locator("#transcript [role=log] .said").evaluate_all("all => all.map(e => e.className)")
        assert order[:2] == ["said agent", "said noted"], "a note stands behind the line that it is about"
        page.wait_for_function("document.querySelector('#agent-level [role=meter]').ariaValueNow > 20")
        page.click("#mute")
        page.click("#hangup")
        page.wait_for_selector("#over:not([hidden])")
        assert page.get_attribute("#agent-level [role=meter]", "aria-valuenow") == "0"
        page.click("#call")
        page.wait_for_selector("#who:has-text('The agent speaks')")
        assert (page.inner_text("#mute"), page.get_attribute("#mute", "aria-pressed")) == ("Mute", "false")


def test_a_call_and_what_was_said_survive_the_worker(serve, redis_server):
    app = serve(REDIS_URL=redis_server)
    with chromium() as browser:
        page = watched(browser).page
        page.goto(f"{app.url}/dashboard/phone")
        page.click("#sample")
        said(page, AGENT, "how can i help")
        (worker,) = children(app.process.pid)
        os.kill(worker, signal.SIGKILL)
        said(page, AGENT, "nine to five")
        assert page.locator(AGENT, has_text="How can I help").count() >= 1
        page.wait_for_selector("#over:not([hidden])")


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
