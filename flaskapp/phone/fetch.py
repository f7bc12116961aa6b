"""Recordings from the carrier, and from nowhere else."""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urljoin

import certifi

from flaskapp import addresses
from flaskapp.phone.audio import Wav, read_wav
from flaskapp.phone.carriers import twilio_recordings
from flaskapp.phone.carriers.twilio_recordings import PORTS, Address, Origin, Recording, is_public, split
from flaskapp.phone.errors import (
    AudioError,
    BlockedUrl,
    FetchError,
    FetchRefused,
    NotAudio,
    NotReady,
    TooLarge,
    Unreachable,
)

__all__ = ["Fetched", "Limits", "Recording", "RecordingHost"]

MOST_REDIRECTS = 3
MOST_ADDRESSES = 3  # of one host name are tried
MOST_CHUNKS = 200  # of a WAV file are looked at
LONGEST_RETRY_AFTER_S = 60.0
STREAMED = 0x7FFF_0000  # a WAV file that was written as it came claims this length or more
READ_BYTES = 64 << 10

Resolve = Callable[[str, int], Sequence[str]]  # host name and port -> IP addresses
Connect = Callable[[str, int, float], socket.socket]  # IP address, port, seconds -> a connection


@dataclass(frozen=True)
class Fetched:
    """A recording: the file as it came, what sounds in it, and whether its end is missing."""

    data: bytes
    sound: Wav
    is_truncated: bool


@dataclass(frozen=True)
class Limits:
    """How much patience and room one recording gets; seconds and bytes."""

    connect_s: float = 3.0
    gap_s: float = 10.0
    total_s: float = 120.0
    size_bytes: int = 100_000_000
    sound_s: float = 3600.0


def resolve(host: str, port: int) -> list[str]:
    """A host name's IP addresses, the system's favourite first.

    Raises:
        OSError: nobody knows the name.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def connect(address: str, port: int, timeout_s: float) -> socket.socket:
    """A TCP connection to an IP address: nothing is looked up any more.

    Raises:
        OSError: refused, or not within the time.
    """
    return socket.create_connection((address, port), timeout_s)


class RecordingHost:
    """The carrier's API as far as recordings go; threads and greenlets may share one.

    Args:
        base_url: the API's origin, ``https://api.twilio.com``.
        account_sid: whose recordings these are. Empty (a trial on this machine): whatever
            account the webhook named, but then only a loopback ``base_url`` is asked.
        auth_token: the account's; it is sent to ``base_url`` and to nobody else.
        tls: certificates to trust; the usual ones where it is not given.
    """

    def __init__(
        self,
        base_url: str,
        account_sid: str = "",
        auth_token: str = "",
        *,
        limits: Limits | None = None,
        resolve: Resolve = resolve,
        connect: Connect = connect,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._base, _ = split(base_url)
        self._is_loopback = addresses.is_loopback(base_url)
        self.account_sid, self._auth_token = account_sid, auth_token
        self._limits = limits or Limits()
        self._resolve, self._connect, self._given_tls = resolve, connect, tls

    def identify(self, url: str, recording_sid: str, account_sid: str) -> Recording:
        """The recording that a webhook speaks of; the URL itself is never connected to.

        Args:
            url: ``RecordingUrl``; recording_sid, account_sid: ``RecordingSid`` and
                ``AccountSid``, empty where the webhook has none.

        Raises:
            BlockedUrl: not the carrier's, not ours, or the three do not agree.
        """
        recording = twilio_recordings.identify(url, recording_sid, account_sid, self._base)
        self._path(recording)
        return recording

    def fetch(self, recording: Recording) -> Fetched:
        """The recording's sound. One attempt, and a second where the first was cut short.

        Raises:
            NotReady: not there yet (404), or too many asked (429).
            Unreachable: no connection, a broken one, silence, or the host's own trouble (5xx).
            FetchRefused: credentials or request not accepted (401, 403, other 4xx).
            BlockedUrl: not ours, or the way leads off the carrier's hosts.
            TooLarge: more bytes, time or sound than ``limits`` grant.
            NotAudio: something else than a WAV file, or one without a beginning.
        """
        target = f"{self._path(recording)}.wav"
        data, is_cut = self._download(target, recording)
        if is_cut:
            data, is_cut = self._download(target, recording)
        return _heard(data, is_cut, self._limits.sound_s)

    def delete(self, recording: Recording) -> None:
        """Removes the carrier's copy; one that is gone already is fine.

        Raises:
            FetchError: as for ``fetch``.
        """
        target = f"{self._path(recording)}.json"
        with (
            self._patient() as patience,
            self._asked("DELETE", self._base, target, recording, patience) as answer,
        ):
            if answer.status not in (200, 202, 204, 404):
                raise _refusal(answer)

    def _path(self, recording: Recording) -> str:
        """Where the recording lies on the API's host, without a suffix.

        Raises:
            BlockedUrl: not our account's.
        """
        if self.account_sid and recording.account_sid != self.account_sid:
            raise BlockedUrl("the recording is another account's")
        if not self.account_sid and not self._is_loopback:
            raise BlockedUrl("no account is configured: set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN")
        return recording.path

    # ------------------------------------------------------------------ over the wire

    def _download(self, target: str, recording: Recording) -> tuple[bytes, bool]:
        """(the body, whether it ended before its time), redirects followed."""
        with self._patient() as patience:
            origin = self._base
            for _ in range(MOST_REDIRECTS + 1):
                with self._asked("GET", origin, target, recording, patience) as answer:
                    if answer.status == 200:
                        return self._body(answer, patience)
                    if answer.status not in (301, 302, 303, 307, 308):
                        raise _refusal(answer)
                    origin, target = self._onwards(origin, target, answer.getheader("Location", ""))
            raise Unreachable(f"more than {MOST_REDIRECTS} redirects")

    @contextlib.contextmanager
    def _patient(self) -> Iterator[_Patience]:
        """Everything inside is over after ``total_s``, and fails with our own errors only."""
        with _Patience(self._limits.total_s) as patience:
            try:
                yield patience
            except (OSError, http.client.HTTPException, UnicodeError) as error:
                patience.check()
                # Not the error's own words: a host chooses those.
                raise Unreachable(f"the recording's host: {type(error).__name__}") from error

    @contextlib.contextmanager
    def _asked(
        self, method: str, origin: Origin, target: str, recording: Recording, patience: _Patience
    ) -> Iterator[http.client.HTTPResponse]:
        """One request and the head of its answer, over a connection of its own."""
        headers = {"User-Agent": "Answerline", "Accept-Encoding": "identity", "Connection": "close"}
        if origin == self._base:
            secret = f"{recording.account_sid}:{self._auth_token}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(secret).decode()}"
        with contextlib.ExitStack() as closing:
            wire = closing.enter_context(self._dial(origin, patience))
            connection = http.client.HTTPConnection(origin.name, origin.port)
            if origin.port == PORTS[origin.scheme]:
                headers["Host"] = origin.host
            connection.auto_open = 0  # it has this one wire, and dials nobody itself
            connection.sock = wire
            connection.request(method, target, headers=headers)
            yield closing.enter_context(connection.getresponse())

    def _dial(self, origin: Origin, patience: _Patience) -> socket.socket:
        """Connects to the address that was checked: a name that leads elsewhere a moment later is no way in.

        Raises:
            BlockedUrl: the name leads to none but private addresses.
        """
        found = self._resolve(origin.name, origin.port)
        allowed = [each for each in found if self._may_reach(origin, ipaddress.ip_address(each))]
        if found and not allowed:
            raise BlockedUrl("the carrier's host leads to a private address")
        failure: OSError = ConnectionError("the host has no address")
        for address in allowed[:MOST_ADDRESSES]:
            patience.check()
            try:
                wire = self._connect(address, origin.port, self._limits.connect_s)
            except OSError as error:
                failure = error
                continue
            return self._secured(wire, origin, patience)
        raise failure

    def _secured(self, wire: socket.socket, origin: Origin, patience: _Patience) -> socket.socket:
        """TLS over it where the scheme says so; from here on silence may last ``gap_s``."""
        with contextlib.ExitStack() as closing:
            closing.push(wire)
            patience.watch(wire)
            if origin.scheme == "https":
                wire = self._tls.wrap_socket(wire, server_hostname=origin.name)
            closing.pop_all()
        wire.settimeout(self._limits.gap_s)
        return wire

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._given_tls or ssl.create_default_context(cafile=certifi.where())

    def _may_reach(self, origin: Origin, address: Address) -> bool:
        """Public addresses only, but for an address that was configured as such, or this machine as such."""
        if origin == self._base:
            if self._is_loopback:
                return address.is_loopback
            with contextlib.suppress(ValueError):
                return address == ipaddress.ip_address(origin.name)
        return is_public(address)

    def _onwards(self, origin: Origin, target: str, location: str) -> tuple[Origin, str]:
        """Where a redirect leads.

        Raises:
            BlockedUrl: off the carrier's hosts.
        """
        if not location:
            raise Unreachable("a redirect to nowhere")
        try:
            url = urljoin(f"{origin}{target}", location).partition("#")[0]
        except ValueError as error:
            raise BlockedUrl("a redirect that is no address") from error
        onwards = split(url)
        if onwards[0] != self._base and not onwards[0].is_twilio:
            raise BlockedUrl("the recording's host redirects to one that is not the carrier's")
        return onwards

    def _body(self, answer: http.client.HTTPResponse, patience: _Patience) -> tuple[bytes, bool]:
        """(all bytes, whether there should be more)."""
        most, promised = self._limits.size_bytes, answer.length
        if promised is not None and promised > most:
            raise TooLarge(f"{promised} bytes, more than {most}")
        body, is_cut = bytearray(), False
        try:
            while promised is None or len(body) < promised:
                room = READ_BYTES if promised is None else min(READ_BYTES, promised - len(body))
                if not (some := answer.read1(room)):
                    break
                body += some
                if len(body) > most:
                    raise TooLarge(f"more than {most} bytes")
        except http.client.IncompleteRead:
            is_cut = True
        patience.check()
        return bytes(body), is_cut or (promised is not None and len(body) < promised)


class _Patience:
    """Cuts the connections that it watches when the time is up: a drip keeps no worker busy for ever."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._is_over = False
        self._watched: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> _Patience:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            for handle in self._watched:
                handle.close()
            self._watched.clear()

    def watch(self, wire: socket.socket) -> None:
        """Keeps a handle of its own: TLS takes the socket's away."""
        with self._lock:
            self._watched.append(wire.dup())
        self.check()

    def check(self) -> None:
        """Raises:
        TooLarge: the time is up.
        """
        if self._is_over:
            raise TooLarge(f"took more than {self._seconds:g} s")

    def _end(self) -> None:
        with self._lock:
            self._is_over = True
            for handle in self._watched:
                with contextlib.suppress(OSError):  # closed by the other side already
                    handle.shutdown(socket.SHUT_RDWR)


def _refusal(answer: http.client.HTTPResponse) -> FetchError:
    """What an answer other than the recording means."""
    said = f"HTTP {answer.status}"
    if answer.status == 404:
        return NotReady(said)
    if answer.status == 429:
        asked = answer.getheader("Retry-After", "")
        wait_s = min(float(asked), LONGEST_RETRY_AFTER_S) if re.fullmatch("[0-9]{1,9}", asked) else None
        return NotReady(said, wait_s)
    return FetchRefused(said) if 400 <= answer.status < 500 and answer.status != 408 else Unreachable(said)


# What comes instead of recordings, by how it begins.
_BEGINNINGS = ((b"<", "a page"), (b"{", "JSON"), (b"[", "JSON"), (b"\x1f\x8b", "something compressed"))


def _heard(data: bytes, is_cut: bool, most_s: float) -> Fetched:
    """The sound in a body, judged by its own bytes, whatever its headers said."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        begun = data[:256].lstrip(b"\xef\xbb\xbf \t\r\n")
        kind = next((name for magic, name in _BEGINNINGS if begun.startswith(magic)), "no WAV file")
        raise NotAudio(kind if data else "nothing")
    rate_hz, bytes_a_second, promised, there = _surveyed(data)
    if min(promised, there) > most_s * bytes_a_second:
        raise TooLarge(f"more than {most_s:g} s of sound")
    if not promised:
        return Fetched(data, Wav(b"", rate_hz), is_cut)
    try:
        return Fetched(data, read_wav(data), is_cut or there < promised < STREAMED)
    except AudioError as error:
        raise NotAudio(str(error)) from error


def _surveyed(data: bytes) -> tuple[int, int, int, int]:
    """(rate, bytes a second, bytes of sound promised, bytes there), before anything is decoded."""
    layout, at = b"", 12
    for _ in range(MOST_CHUNKS):
        if at + 8 > len(data):
            raise NotAudio("cut off before its sound")
        name, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        if name == b"fmt ":
            layout = data[at + 8 : at + 8 + min(size, 16)]
        elif name == b"data":
            break
        at += 8 + size + (size & 1)
    else:
        raise NotAudio("a WAV file of many parts and no sound")
    if len(layout) < 16:
        raise NotAudio("WAV file has no format before its sound")
    _, channels, rate_hz, _, _, bits = struct.unpack("<HHIIHH", layout)
    if not (rate_hz and bits and 1 <= channels <= 2):
        raise NotAudio("WAV file has a format that no telephone recording has")
    return rate_hz, rate_hz * channels * max(1, bits // 8), size, len(data) - at - 8
