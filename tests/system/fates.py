"""What a recording host may answer, and what must become of each; addresses that are not the carrier's."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from flaskapp.phone.audio import write_wav
from tests.fake_recordings import Answer, cut, drip, endless, plain, redirect
from tests.hand_carrier import sound

NOT_THERE = plain(404, b'{"code": 20404}', "application/json")
PAGE = plain(body=b"<!DOCTYPE html><html><body>Please sign in</body></html>", kind="text/html")


def wav_of(rate_hz: int, data_bytes: int, promised: int | None = None) -> bytes:
    """A WAV file whose header says what it likes."""
    size = data_bytes if promised is None else promised
    layout = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate_hz, rate_hz * 2, 2, 16)
    head = b"RIFF" + struct.pack("<I", 36 + size) + b"WAVE" + layout
    return head + b"data" + struct.pack("<I", size) + b"\x10\x27\xf0\xd8" * (data_bytes // 4)


@dataclass(frozen=True)
class Fate:
    """What the recording host answers, and what must become of it.

    ``hears``: the verb after which the caller is no longer waiting, and a word that he has heard by then.
    """

    answers: tuple[Answer, ...]
    status: str
    hears: str
    lines: int = 1
    error: str = ""
    waits_s: float = 30.0


FATES: Mapping[str, Fate] = {
    "31 not there four times": Fate((NOT_THERE,) * 4, "answered", "Answer"),
    "31 not there for long": Fate((NOT_THERE,) * 12, "understood", "message", waits_s=60),
    "32 its second half is missing": Fate((cut(sound(0), 9000),), "answered", "Answer", error="truncated"),
    "33 endless": Fate(
        (endless(wav_of(8000, 0, 0x7FFFFFFF)),), "too_large", "once more", lines=0, waits_s=60
    ),
    "33 promises too much": Fate(
        (plain(body=b"RIFF", length=200_000_000),), "too_large", "once more", lines=0, error="200000000 bytes"
    ),
    "33 a byte every second": Fate(
        (drip(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n" + sound(0), 1.0),),
        *("too_large", "message"),
        lines=0,
        error="took more than 120 s",
        waits_s=160,
    ),
    "34 a page": Fate((PAGE,), "not_audio", "once more", lines=0, error="a page"),
    "34 a page at first": Fate((PAGE,), "answered", "Answer"),
    "35 silence": Fate((plain(body=write_wav(bytes(32000))),), "silent", "not hear", lines=0),
    "31b a WAV bomb": Fate((plain(body=wav_of(1, 400_000)),), "too_large", "once more", lines=0),
    "31b a WAV file of crumbs": Fate(
        (plain(body=b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 500),), "not_audio", "once more", lines=0
    ),
    "12 sent to this machine": Fate((), "blocked_url", "once more", lines=0, error="redirects"),
    "12 sent to the cloud's metadata": Fate(
        (redirect("http://169.254.169.254/latest/meta-data"),), "blocked_url", "once more", 0, "redirects"
    ),
}
#: Fates that pass: afterwards the recording is what its SID says.
PASSES = {"31 not there four times", "31 not there for long", "34 a page at first"}

ELSEWHERE = (
    "http://127.0.0.1:{trap}{path}",
    "http://localhost:{trap}{path}",
    "http://[::1]:{trap}{path}",
    "http://169.254.169.254{path}",
    "https://api.twilio.com@127.0.0.1:{trap}{path}",
    "https://api.twilio.com.evil.example{path}",
    "http://api.twilio.com:{trap}{path}",
    "{api}/../../admin",
    "{api}/2010-04-01/Accounts/ACother/Recordings/{sid}",
    "file:///etc/passwd",
)
