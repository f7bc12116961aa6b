"""Makes docs/images/ anew: the dashboard's pages as `make run` serves them, in both themes and on a phone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.browser import chromium
from tests.servers import free_port

PROJECT = Path(__file__).resolve().parent.parent
IMAGES = PROJECT / "docs" / "images"
DESK, NARROW = {"width": 1180, "height": 860}, {"width": 390, "height": 844}
PATIENCE_S = 120
#: Of the user's own settings: the pictures are of a server with everything built in.
SET_ASIDE = (
    *("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_PHONE_NUMBER", "FLASK_BASE_URL", "REDIS_URL"),
    *("AZURE_OPENAI_ENDPOINT", "OPENAI_API_KEY", "OPENAI_BASE_URL", "AGENT_FILE", "DASHBOARD_PASSWORD"),
    "TRUSTED_PROXIES",
)


@dataclass(frozen=True)
class Shot:
    """One picture; its page's address may have the call's SID in it."""

    name: str
    path: str
    theme: str = "light"
    size: dict[str, int] | None = None


SHOTS = tuple(
    Shot(f"{name}-{kind}", path, theme, size)
    for name, path in (
        ("board", "/dashboard/"),
        ("call", "/dashboard/calls/{call_sid}"),
        ("phone", "/dashboard/phone"),
    )
    for kind, theme, size in (("light", "light", DESK), ("dark", "dark", DESK), ("narrow", "light", NARROW))
)


@contextmanager
def serving() -> Iterator[str]:
    """`make run` on a free port with a database of its own; yields its address."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        database, audio = f"sqlite:///{folder}/calls.sqlite3", f"{folder}/audio"
        own = {"PORT": str(port), "DATABASE_URL": database, "AUDIO_DIR": audio, "RECORD_CALLS": "1"}
        environment = {**os.environ, **dict.fromkeys(SET_ASIDE, ""), **own, "LOG_LEVEL": "ERROR"}
        command = [sys.executable, "-m", "flaskapp.local", "run"]
        server = subprocess.Popen(command, cwd=PROJECT, env=environment)  # noqa: S603 - our own program
        url = f"http://127.0.0.1:{port}"
        try:
            until = time.monotonic() + PATIENCE_S
            while not _answers(url) and server.poll() is None and time.monotonic() < until:
                time.sleep(0.2)
            yield url
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:  # noqa: S310 - an address of our own
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def place_calls(url: str, count: int) -> None:
    """Some calls of a day, for the board."""
    command = [sys.executable, "-m", "flask", "--app", "flaskapp.command:app", "phone", "load", url]
    asked = ["--calls", str(count), "--seconds", "20"]
    subprocess.run([*command, *asked], cwd=PROJECT, check=False, stdout=subprocess.DEVNULL)  # noqa: S603


def new_page(browser: Browser, shot: Shot) -> Page:
    page = browser.new_page(viewport=shot.size or DESK, color_scheme=shot.theme)  # type: ignore[arg-type]
    page.set_default_timeout(PATIENCE_S * 1000)
    return page


@contextmanager
def somebody_calls(browser: Browser, url: str) -> Iterator[str]:
    """While the sample caller is on the line, and was answered once; yields the call's SID."""
    page = new_page(browser, SHOTS[0])
    try:
        yield call_from(page, url)
        page.wait_for_selector("#over:not([hidden])")
    finally:
        page.close()


def call_from(page: Page, url: str) -> str:
    """The sample caller calls, and was answered: the call's SID."""
    page.goto(f"{url}/dashboard/phone")
    page.click("#sample")
    page.locator("latency-chart circle.point").first.wait_for()
    page.locator("#transcript [role=log] .said.agent", has_text="nine to five").first.wait_for()
    return str(page.get_attribute("#call-page", "href")).rpartition("/")[2]


def show(browser: Browser, url: str, shot: Shot, call_sid: str) -> None:
    """A picture of a page that shows what was or is going on."""
    page = new_page(browser, shot)
    page.goto(url + shot.path.format(call_sid=call_sid))
    page.wait_for_load_state("networkidle") if "{" in shot.path else page.wait_for_timeout(1500)
    save(page, shot)


def save(page: Page, shot: Shot) -> None:
    page.screenshot(path=IMAGES / f"{shot.name}.png")
    page.close()
    print(f"docs/images/{shot.name}.png")


def main() -> int:
    """The phone's and the board's while somebody talks, the call page's of a call that is over."""
    IMAGES.mkdir(exist_ok=True)
    with serving() as url, chromium() as browser:
        place_calls(url, 4)
        for shot in SHOTS:
            if shot.name.startswith("phone"):
                page = new_page(browser, shot)
                call_from(page, url)
                save(page, shot)
        with somebody_calls(browser, url) as call_sid:
            for shot in SHOTS:
                if shot.name.startswith("board"):
                    show(browser, url, shot, call_sid)
        for shot in SHOTS:
            if shot.name.startswith("call"):
                show(browser, url, shot, call_sid)
    return 0


if __name__ == "__main__":
    sys.exit(main())
