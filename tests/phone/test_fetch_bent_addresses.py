"""Ten thousand recording URLs bent out of shape: none leads off the list, nobody is connected to."""

from __future__ import annotations

import random
import re
from urllib.parse import urlsplit

import pytest
import requests
from urllib3.util import parse_url
from yarl import URL

from flaskapp.phone.errors import BlockedUrl
from flaskapp.phone.fetch import RecordingHost
from tests.fake_recordings import watched

SID, RECORDING = "AC" + "1" * 32, "RE" + "a" * 32
PATH = f"/2010-04-01/Accounts/{SID}/Recordings/{RECORDING}"
TWILIO, LOCAL = "https://api.twilio.com", "http://127.0.0.1:5055"

HOSTS = (
    *("evil.example", "127.0.0.1", "0x7f000001", "2130706433", "0177.0.0.1", "169.254.169.254", "[::1]"),
    *("[::ffff:7f00:1]", "localhost", "10.0.0.1", "api.twilio.com.evil.example", "xapi.twilio.com"),
    *("api.twilio.co", "twilio.com", "api.dublin.ie1.twilio.com", "API.TWILIO.COM", "api.twilio.com."),
    *("api.ＴＷＩＬＩＯ.com", "api%2etwilio.com", "api.twilio.com%00.evil.example", "api.twilio.com:443"),
    *("api.twilio.com:5055", "127.0.0.1:5055", "127.0.0.1:5056", "a@api.twilio.com", "api.twilio.com@a"),
    *("api.twilio.com:443@evil.example", "api.twilio.com\\.evil.example", "evil.example\\@api.twilio.com"),
)
SCHEMES = ("https", "http", "HTTPS", "ftp", "file", "gopher", "https:", "", "javascript", "ws")
ACCOUNTS = (SID, SID.lower(), "AC" + "2" * 32, "")
PIECES = (
    *("@", ":", "/", "//", "\\", "#", "?", "%2f", "%40", "%23", "%00", "\0", "\t", "\r\n", " ", "..", "/../"),
    *(".", "/./", "[", "]", ";", "&", "evil.example", "@evil.example", "#@evil.example", ".evil.example"),
    *("\u3002", "\u2044", "\u00ad", "\u200b", "ⅰ", "AC" + "2" * 32, ".wav", ".json", "2010-04-01", "'", '"'),
)


def bent(chance: random.Random) -> str:
    """A recording's URL with one to four things wrong with it, or with none."""
    scheme, host, path = chance.choice(("https", "https", "http")), "api.twilio.com", PATH
    for _ in range(chance.randrange(3)):
        which = chance.randrange(3)
        scheme = chance.choice(SCHEMES) if which == 0 else scheme
        host = chance.choice(HOSTS) if which == 1 else host
        path = (
            path.replace(SID, chance.choice((SID, SID.lower(), "AC" + "2" * 32, ""))) if which == 2 else path
        )
    url = f"{scheme}://{host}{path}"
    for _ in range(chance.randrange(3)):
        at = chance.randrange(len(url) + 1)
        kind = chance.randrange(3)
        url = url[:at] + (chance.choice(PIECES) if kind else "") + url[at + (kind == 2) :]
    return url


def hosts_of(url: str) -> set[tuple[str, str, int | None]]:
    """(scheme, host, port) as four readers of URLs see them, who do not always agree."""
    default = {"http": 80, "https": 443}
    seen = urlsplit(url)
    port = lambda scheme, given: given or default.get(scheme)  # noqa: E731
    found = {(seen.scheme, seen.hostname or "", port(seen.scheme, seen.port))}
    third = parse_url(url)
    found.add((third.scheme or "", third.host or "", port(third.scheme or "", third.port)))
    fourth = URL(url)
    found.add((fourth.scheme, fourth.host or "", fourth.port))
    asked = urlsplit(requests.Request("GET", url).prepare().url or "")
    found.add((asked.scheme, asked.hostname or "", port(asked.scheme, asked.port)))
    return found


@pytest.mark.parametrize("base", [TWILIO, LOCAL])
def test_of_ten_thousand_bent_addresses_none_leads_off_the_list(base):
    seed, passed = 20261121, []
    chance, host = random.Random(seed), RecordingHost(base, SID, "secret")
    with watched() as deeds:
        for _ in range(10_000):
            url = bent(chance)
            try:
                passed.append((url, host.identify(url, "", "")))
            except BlockedUrl:
                continue
    assert deeds == []
    assert 100 < len(passed) < 9000, f"seed {seed}: {len(passed)} passed"
    listed = {("https", "api.twilio.com", 443), ("https", "api.dublin.ie1.twilio.com", 443)}
    listed |= {("http", "127.0.0.1", 5055)} if base == LOCAL else set()
    for url, which in passed:
        assert hosts_of(url) <= listed, f"seed {seed}: {url!r}"
        assert which.account_sid == SID, url
        assert re.fullmatch("[A-Za-z0-9]{1,64}", which.recording_sid), url
        assert urlsplit(url).username is None
