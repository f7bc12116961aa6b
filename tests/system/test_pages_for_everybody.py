"""The operator's pages in a browser: for every eye and hand, in both themes, on a desk and on a phone."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from flaskapp.simulator.person import Script
from flaskapp.simulator.sounds import bundled
from flaskapp.store.history import TraceKept
from tests.browser import PATIENCE_MS, chromium, watched
from tests.conftest import PROJECT
from tests.dashboard.histories import HOSTILE, write_whole_call
from tests.store.conftest import history_app
from tests.system.conftest import Office

pytestmark = pytest.mark.system

AXE = (PROJECT / "tests/vendor/axe-core/axe.min.js").read_text()
GRAVE = ("serious", "critical")
CALL = "/dashboard/calls/CAwhole"
PAGES = ("/dashboard/", CALL, "/dashboard/phone", "/docs", "/dashboard/calls/CAnone")
NARROW = {"width": 390, "height": 844}
STRANGER = {"X-Forwarded-For": "192.0.2.7"}  # no request of this machine's


@pytest.fixture
def app(gunicorn_app) -> Any:
    """With one call of which there is much to tell."""
    app = gunicorn_app({"DASHBOARD_PASSWORD": "a password of some length"})
    history = history_app(app.environment["DATABASE_URL"]).extensions["history"]
    write_whole_call(history)
    event = {"at_ms": 12, "leg": "engine", "out": False, "kind": "error", "detail": {"message": HOSTILE}}
    history.write([TraceKept("CAwhole", zlib.compress(json.dumps(event).encode()))])
    return app


@pytest.fixture
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def grave(page: Page) -> list[str]:
    """What axe-core finds that shuts somebody out."""
    if not page.evaluate("typeof axe !== 'undefined'"):
        page.evaluate(AXE)
    found = page.evaluate("axe.run()")["violations"]
    return [
        f"{each['id']}: {[node['html'][:200] for node in each['nodes']]}"
        for each in found
        if each["impact"] in GRAVE
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_shuts_anybody_out(app, browser, theme):
    seen = watched(browser, color_scheme=theme)
    page = seen.page
    for path in PAGES:
        page.goto(app.url + path)
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        if path == CALL:
            page.locator(".chart canvas").wait_for()
            page.locator("call-latency + div summary, [data-part=turns] summary").click()
            page.locator("raw-events summary").click()
            page.locator("raw-events tbody tr").wait_for()
        if path == "/docs":
            page.locator("summary").first.click()
            page.locator("details[open] a[href='#Problem']").first.click()
            page.locator("details#Problem[open] table").wait_for()
        assert grave(page) == [], path
    stranger = watched(browser, color_scheme=theme, extra_http_headers=STRANGER)
    stranger.page.goto(app.url + "/dashboard/login")
    stranger.page.locator("[name=password]").wait_for()
    assert grave(stranger.page) == []
    # What is not there is an error to a browser, too.
    assert [each for each in seen.errors if "404" not in each] == []
    assert stranger.errors == []


def test_a_call_is_read_and_sought_with_the_keyboard_alone(app, browser):
    seen = watched(browser, viewport=NARROW)
    page = seen.page
    page.goto(app.url + "/dashboard/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("[data-part=calls] a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{CALL}")
    place = page.get_by_role("slider", name="Place in the call")
    place.focus()
    page.keyboard.press("ArrowRight")
    assert place.get_attribute("aria-valuenow") == "1000"
    page.keyboard.press("End")
    assert place.get_attribute("aria-valuetext") == "0:21 of 0:21"
    page.get_by_role("button", name="0:05").first.press("Enter")
    assert place.get_attribute("aria-valuenow") == "5300"
    assert "We open at nine" in page.locator(".said.present").inner_text()
    page.locator("raw-events summary").press("Enter")
    page.locator("raw-events tbody tr", has_text=HOSTILE.split()[0]).wait_for()
    assert page.locator("img[src=x]").count() == 0, "what people said is text"
    for path in PAGES[:4]:
        page.goto(app.url + path)
        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true })")
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"], path
    stranger = watched(browser, viewport=NARROW, extra_http_headers=STRANGER)
    stranger.page.goto(app.url + "/dashboard/login")
    assert stranger.page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    assert seen.errors == []


def test_a_call_is_watched_from_its_first_word_to_its_end(
    gunicorn_app, speech_server, exchange, signed, browser
):
    app = gunicorn_app({"LOCALAI_URL": speech_server, **signed})
    office = Office(app, None, exchange)
    seen = watched(browser)
    board = seen.page
    board.goto(app.url + "/dashboard/")
    board.get_by_text("No call is on the line.").wait_for()
    call = exchange.start(office.spec(script=Script(bundled())))
    board.locator(".live a").wait_for()
    board.locator(".live .last", has_text="help").wait_for()
    board.locator(".live a").click()
    board.get_by_text("On the line", exact=True).wait_for()
    board.locator(".said.caller .words", has_text="opening hours").wait_for()
    board.locator("#spoken p", has_text="Caller: ").first.wait_for(state="attached")
    call.result(PATIENCE_MS / 1000)
    board.locator("[data-part=head] .notice").wait_for()
    assert board.get_by_text("On the line", exact=True).count() == 0
    board.locator(".chart canvas").wait_for()
    assert seen.errors == []


def test_over_plain_http_the_phone_says_that_nothing_works_and_what_would(app):
    port = app.url.rpartition(":")[2]
    with chromium(None, "--host-resolver-rules=MAP plain.example 127.0.0.1") as browser:
        seen = watched(browser)
        page = seen.page
        page.goto(f"http://plain.example:{port}/dashboard/phone")
        page.fill("[name=password]", "a password of some length")
        page.press("[name=password]", "Enter")
        told = page.locator("#troubles .notice", has_text="plain http").inner_text()
        assert page.evaluate("[isSecureContext, 'audioWorklet' in AudioContext.prototype]") == [False, False]
        assert "by voice, by the sample caller or by typing" in told
        assert "docs/deploying.md" in told
        assert f"ssh -L {port}:127.0.0.1:{port} plain.example" in told
        assert page.locator("#before").is_hidden(), "nothing is recommended that does not work"
        assert page.locator("#call").is_disabled()
        assert page.locator("#sample").is_disabled()
        assert seen.errors == []


def test_a_board_that_is_cut_off_says_so_and_comes_back(app, browser):
    page = watched(browser).page
    page.goto(app.url + "/dashboard/")
    page.route("**/board.json*", lambda route: route.abort())
    page.get_by_text("Disconnected, retrying").wait_for()
    page.unroute("**/board.json*")
    page.get_by_text("Disconnected, retrying").wait_for(state="hidden")
