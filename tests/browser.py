"""Debian's Chromium, with a microphone that a test speaks into."""

from __future__ import annotations

import shutil
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
RATE_HZ = 8000
#: Root needs the first; a machine without a screen is spared the second.
ALWAYS = ("--no-sandbox", "--disable-gpu")
ALLOWED = "--use-fake-ui-for-media-stream"
PATIENCE_MS = 60_000


@contextmanager
def chromium(microphone: Path | None = None, *flags: str) -> Iterator[Browser]:
    """A browser. ``microphone``: the WAV that it hears over and over, and may; None: it may hear none."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    assert program, "no Chromium here; `make test` says how to get it"
    heard = [ALLOWED, f"--use-file-for-fake-audio-capture={microphone}"] if microphone else []
    arguments = [*ALWAYS, "--use-fake-device-for-media-stream", *heard, *flags]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """A page, and whatever went wrong on it."""

    page: Page
    errors: list[str] = field(default_factory=list)


def watched(browser: Browser, **options: object) -> Watched:
    """A new page whose console is listened to."""
    page = browser.new_page(**options)  # type: ignore[arg-type]
    page.set_default_timeout(PATIENCE_MS)
    found = Watched(page)
    page.on("console", lambda said: found.errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: found.errors.append(str(error)))
    return found


def write_wav(path: Path, *parts: bytes) -> Path:
    """16-bit PCM at 8 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        for part in parts:
            file.writeframes(part)
    return path


def silence(seconds: float) -> bytes:
    return bytes(2 * round(RATE_HZ * seconds))
