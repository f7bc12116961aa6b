"""Which addresses are fetched from: the carrier's, whatever a webhook, a redirect or a name server says."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest

from flaskapp.phone.errors import BlockedUrl, FetchError, Unreachable
from flaskapp.phone.fetch import Limits, Recording, RecordingHost
from tests import fake_recordings as fake
from tests.fake_recordings import watched

SID, RECORDING = "AC" + "1" * 32, "RE" + "a" * 32
PATH = f"/2010-04-01/Accounts/{SID}/Recordings/{RECORDING}"
TWILIO, LOCAL = "https://api.twilio.com", "http://127.0.0.1:5055"
WHICH = Recording(SID, RECORDING)


def ours(base: str = TWILIO, **more) -> RecordingHost:
    return RecordingHost(base, SID, "secret", **more)


# ---------------------------------------------------------------- what a webhook names


@pytest.mark.parametrize(
    "url",
    [
        f"{TWILIO}{PATH}",
        f"{TWILIO}{PATH}.wav",
        f"{TWILIO}{PATH}.mp3",
        f"{TWILIO}{PATH}.json",
        f"https://API.Twilio.com:443{PATH}",
        f"https://api.dublin.ie1.twilio.com{PATH}",
        f"https://api.sydney.au1.twilio.com{PATH}",
    ],
)
@pytest.mark.parametrize("base", [TWILIO, LOCAL, "https://api.dublin.ie1.twilio.com"])
def test_the_carriers_addresses_name_a_recording(url, base):
    assert ours(base).identify(url, RECORDING, SID) == WHICH
    assert ours(base).identify(url, "", "") == WHICH


def test_the_configured_hosts_address_names_a_recording():
    assert ours(LOCAL).identify(LOCAL + PATH, RECORDING, SID) == WHICH
    assert (
        ours("http://provider.example:8080").identify(f"http://Provider.example:8080{PATH}", "", SID) == WHICH
    )


@pytest.mark.parametrize(
    "url",
    [
        "",
        PATH,
        f"//api.twilio.com{PATH}",
        f"http://api.twilio.com{PATH}",
        f"ftp://api.twilio.com{PATH}",
        f"file://{PATH}",
        f"https://evil.example{PATH}",
        f"https://api.twilio.com.evil.example{PATH}",
        f"https://evil-api.twilio.com{PATH}",
        f"https://api.twilio.com@evil.example{PATH}",
        f"https://user:password@api.twilio.com{PATH}",
        f"https://api.twilio.com:8443{PATH}",
        f"https://api.twilio.com:80{PATH}",
        f"https://api.twilio.com.{PATH}",
        f"https://api.a.b.c.twilio.com{PATH}",
        f"https://twilio.com{PATH}",
        f"https://api.twilio.com\\@evil.example{PATH}",
        f"https://evil.example#@api.twilio.com{PATH}",
        f"https://evil.example?@api.twilio.com{PATH}",
        f"https://169.254.169.254{PATH}",
        f"http://169.254.169.254{PATH}",
        f"https://[::1]{PATH}",
        f"https://[::ffff:169.254.169.254]{PATH}",
        f"https://2130706433{PATH}",
        f"https://0x7f.1{PATH}",
        f"http://127.0.0.1:5055{PATH}",
        f"https://127.0.0.1{PATH}",
        f"https://localhost{PATH}",
        f"https://api.twilio.com{PATH}?x=1",
        f"https://api.twilio.com{PATH}#x",
        f"https://api.twilio.com{PATH}/",
        f"https://api.twilio.com{PATH}.wav.exe",
        f"https://api.twilio.com/{PATH}",
        f"https://api.twilio.com/x/..{PATH}",
        f"https://api.twilio.com{PATH}/../../../../x",
        f"https://api.twilio.com{PATH}%2e%2e",
        f"https://api.twilio.com{PATH}\n",
        f"https://api.twilio.com{PATH}\r\nHost: evil.example",
        f" https://api.twilio.com{PATH}",
        f"https://api.twilio.com\t{PATH}",
        f"https://ap\u0131.twilio.com{PATH}",
        f"https://api\u3002twilio\u3002com{PATH}",
        f"https://api.twilio.com/2010-04-01/Accounts/{SID}/Calls/{RECORDING}",
        f"https://api.twilio.com/2010-04-01/Accounts/{SID}/Recordings/",
        f"https://api.twilio.com/2010-04-01/Accounts/{SID}/Recordings/{'R' * 65}",
        f"https://api.twilio.com/2010-04-01/Accounts/AC{'2' * 32}/Recordings/{RECORDING}",
    ],
)
def test_other_addresses_name_nothing_and_nobody_is_connected_to(url):
    with watched() as deeds, pytest.raises(BlockedUrl) as told:
        ours().identify(url, "", "")
    assert deeds == []
    assert "evil" not in str(told.value)


def test_sids_that_disagree_name_nothing():
    other = "RE" + "b" * 32
    for recording_sid, account_sid in ((other, SID), (RECORDING, "AC" + "2" * 32)):
        with pytest.raises(BlockedUrl):
            ours().identify(TWILIO + PATH, recording_sid, account_sid)


def test_a_job_that_names_another_account_or_no_sid_is_refused_as_well():
    for which in (Recording("AC" + "2" * 32, RECORDING), Recording(SID, "../x"), Recording("", RECORDING)):
        for does in (ours(LOCAL).fetch, ours(LOCAL).delete):
            with watched() as deeds, pytest.raises(BlockedUrl):
                does(which)
            assert deeds == []


def test_without_an_account_only_this_machine_is_asked():
    trial = RecordingHost(LOCAL)
    assert trial.identify(LOCAL + PATH, RECORDING, SID) == WHICH
    for base in (TWILIO, "https://provider.example"):
        with watched() as deeds, pytest.raises(BlockedUrl, match="TWILIO_ACCOUNT_SID"):
            RecordingHost(base).identify(base + PATH, RECORDING, SID)
        assert deeds == []


# ---------------------------------------------------------------- where names and redirects lead


@dataclass
class Internet:
    """Names and public addresses that really are ports of this machine; what was wished for is noted."""

    names: dict[str, list[str]]
    ports: dict[str, int] = field(default_factory=dict)
    looked_up: list[str] = field(default_factory=list)
    dialled: list[tuple[str, int]] = field(default_factory=list)

    def resolve(self, host: str, port: int) -> list[str]:
        self.looked_up.append(host)
        return self.names.get(host, [])

    def connect(self, address: str, port: int, timeout_s: float) -> socket.socket:
        self.dialled.append((address, port))
        if address not in self.ports:
            raise ConnectionRefusedError
        return socket.create_connection(("127.0.0.1", self.ports[address]), timeout_s)

    def seen_by(self, base: str, **more) -> RecordingHost:
        return ours(base, resolve=self.resolve, connect=self.connect, **more)


PRIVATE = (
    *("127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.0.1", "198.18.0.1", "240.0.0.1", "203.0.113.1"),
    *("::1", "::", "fe80::1", "fe80::1%lo", "fc00::1", "fd12::1", "ff02::1", "::ffff:127.0.0.1"),
    *("::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::1"),
    *("2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1"),
)


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_of_the_carriers_that_leads_to_a_private_address_is_not_dialled(address):
    net = Internet({"api.twilio.com": [address]})
    with pytest.raises(BlockedUrl, match="private"):
        net.seen_by(TWILIO).fetch(WHICH)
    assert (net.looked_up, net.dialled) == (["api.twilio.com"], [])


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_a_public_address_is_dialled(address):
    net = Internet({"api.twilio.com": ["10.0.0.1", address]})
    with pytest.raises(Unreachable):
        net.seen_by(TWILIO).fetch(WHICH)
    assert net.dialled == [(address, 443)]


def test_the_address_that_was_looked_at_is_the_one_that_is_dialled():
    turns = [["8.8.8.8"], ["127.0.0.1"]]  # a name server that answers otherwise the second time
    net = Internet({})
    net.resolve = lambda host, port: net.looked_up.append(host) or turns.pop(0)  # type: ignore[method-assign]
    with pytest.raises(Unreachable):
        net.seen_by(TWILIO).fetch(WHICH)
    assert (net.looked_up, net.dialled) == (["api.twilio.com"], [("8.8.8.8", 443)])


@pytest.mark.parametrize(
    ("base", "address", "is_dialled"),
    [
        ("http://localhost:5055", "127.0.0.1", True),
        ("http://localhost:5055", "::1", True),
        ("http://localhost:5055", "10.0.0.1", False),
        ("http://10.0.0.5:8080", "10.0.0.5", True),
        ("http://10.0.0.5:8080", "127.0.0.1", False),
        ("http://[fd00::5]:8080", "fd00::5", True),
        ("https://provider.example", "10.0.0.1", False),
        ("https://provider.example", "8.8.8.8", True),
    ],
)
def test_a_private_address_that_was_configured_on_purpose_is_dialled_and_no_other(base, address, is_dialled):
    net = Internet({urlsplit(base).hostname or "": [address]})
    with pytest.raises(Unreachable if is_dialled else BlockedUrl):
        net.seen_by(base).fetch(WHICH)
    assert [each for each, _ in net.dialled] == ([address] if is_dialled else [])


@pytest.mark.parametrize(
    "to",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/",
        "https://evil.example/x.wav",
        "//evil.example/x.wav",
        "http://api.twilio.com/x.wav",
        "https://twilio.com.evil.example/",
        "https://api.twilio.com@evil.example/",
        "https://api.twilio.com:8443/",
        "https://eviltwilio.com/",
        "https://[::1]/",
        "http://[oops/",
        "file:///etc/passwd",
        "http://127.0.0.1:1/",
        "http://localhost/",
        "https://" + "a" * 70 + ".twilio.com/",
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_off_the_carriers_hosts_is_not_followed(to, status):
    with fake.host(fake.redirect(to, status)) as host, watched() as deeds:
        with pytest.raises(BlockedUrl):
            ours(host.url).fetch(WHICH)
        assert [what for event, what in deeds if event == "socket.connect"] == [("127.0.0.1", host.port)]
    assert host.connections == 1


def test_a_redirect_to_a_host_of_the_carriers_that_leads_to_a_private_address_is_not_followed():
    with fake.host(fake.redirect("https://media.twilio.com/x.wav")) as host:
        net = Internet(
            {"127.0.0.1": ["127.0.0.1"], "media.twilio.com": ["127.0.0.1"]}, {"127.0.0.1": host.port}
        )
        with pytest.raises(BlockedUrl, match="private"):
            net.seen_by(host.url).fetch(WHICH)
    assert net.dialled == [("127.0.0.1", host.port)]
    assert host.connections == 1


def test_redirects_within_the_carriers_hosts_are_followed_and_the_password_stays_at_home():
    server, trusted = fake.certificates("api.twilio.com", "media.twilio.com")
    away = fake.redirect("https://media.twilio.com/a/b.wav?signature=x%20y", 307)
    with (
        fake.host(away, tls=server) as api,
        fake.host(fake.redirect("c.wav"), fake.well(), tls=server) as media,
    ):
        names = {"api.twilio.com": ["8.8.8.8"], "media.twilio.com": ["8.8.4.4"]}
        net = Internet(names, {"8.8.8.8": api.port, "8.8.4.4": media.port})
        got = net.seen_by(TWILIO, tls=trusted).fetch(WHICH)
    assert got.sound.duration_ms == 1000
    assert [asked.headers["host"] for asked in api.asked + media.asked] == [
        *("api.twilio.com", "media.twilio.com", "media.twilio.com")
    ]
    assert "authorization" in api.asked[0].headers
    assert [asked.path for asked in media.asked] == ["/a/b.wav?signature=x%20y", "/a/c.wav"]
    assert not any("authorization" in asked.headers for asked in media.asked)


def test_a_redirect_at_home_keeps_the_password():
    with fake.host(fake.redirect("/elsewhere.wav"), fake.well()) as host:
        ours(host.url).fetch(WHICH)
    assert [asked.path for asked in host.asked] == [f"{PATH}.wav", "/elsewhere.wav"]
    assert all("authorization" in asked.headers for asked in host.asked)


def test_redirects_in_a_circle_end():
    with fake.host(fake.redirect(f"{PATH}.wav")) as host:
        with pytest.raises(Unreachable, match="redirects"):
            ours(host.url).fetch(WHICH)
        assert len(host.asked) == 4


def test_a_host_that_cannot_prove_its_name_hears_nothing():
    server, trusted = fake.certificates("somebody.example")
    with fake.host(tls=server) as impostor:
        net = Internet({"api.twilio.com": ["8.8.8.8"]}, {"8.8.8.8": impostor.port})
        with pytest.raises(Unreachable, match="CertVerification"):
            net.seen_by(TWILIO, tls=trusted).fetch(WHICH)
    assert impostor.asked == []


def test_a_drip_over_tls_has_its_time_too():
    server, trusted = fake.certificates("api.twilio.com")
    with fake.host(fake.drip(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(5000)), tls=server) as slow:
        net = Internet({"api.twilio.com": ["8.8.8.8"]}, {"8.8.8.8": slow.port})
        with pytest.raises(FetchError, match="took more"):
            net.seen_by(TWILIO, tls=trusted, limits=Limits(total_s=1.0)).fetch(WHICH)


def test_a_name_that_nobody_knows_is_tried_again_later():
    def nobody(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(Unreachable, match="gaierror"):
        ours(TWILIO, resolve=nobody).fetch(WHICH)
