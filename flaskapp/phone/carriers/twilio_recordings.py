"""Whose recording a URL speaks of, and which addresses belong to the carrier: text in, a verdict out.

A webhook names a recording by a URL, and whoever can forge or bend that URL must
not choose whom we connect to. So the URL is only read here; what is fetched is put
together again from the two sids. Source: Twilio docs, "Recordings resource".
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import NamedTuple

from flaskapp.phone.errors import BlockedUrl

PORTS = {"http": 80, "https": 443}

_SID = re.compile(r"[A-Za-z0-9]{1,64}")
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(:(?P<port>[0-9]{1,5}))?"
    r"(?P<target>/[!-\"$-~]*)?",  # printable, without a fragment
    re.IGNORECASE | re.ASCII,
)
_PATH = re.compile(
    r"/2010-04-01/Accounts/(?P<account>[A-Za-z0-9]{1,64})"
    r"/Recordings/(?P<recording>[A-Za-z0-9]{1,64})(\.(wav|mp3|json))?"
)
_API_HOST = re.compile(r"api(\.[a-z0-9-]{1,63}\.[a-z0-9-]{1,63})?\.twilio\.com")  # api.{edge}.{region}
_ANY_HOST = re.compile(r"([a-z0-9-]{1,63}\.)+twilio\.com")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Recording:
    """Which recording of whose."""

    account_sid: str
    recording_sid: str

    @property
    def path(self) -> str:
        """Where it lies on the API's host, without a suffix.

        Raises:
            BlockedUrl: the sids are none.
        """
        if not (_SID.fullmatch(self.account_sid) and _SID.fullmatch(self.recording_sid)):
            raise BlockedUrl("the sids are none")
        return f"/2010-04-01/Accounts/{self.account_sid}/Recordings/{self.recording_sid}"


class Origin(NamedTuple):
    """Scheme, host and port, each in one spelling."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def name(self) -> str:
        """The host as resolvers and certificates know it."""
        return self.host.strip("[]")

    @property
    def is_api(self) -> bool:
        """Whether it is Twilio's API, in one of its regions."""
        return self._is_twilio(_API_HOST)

    @property
    def is_twilio(self) -> bool:
        """Whether it is any host of Twilio's, as its API may redirect to."""
        return self._is_twilio(_ANY_HOST)

    def _is_twilio(self, hosts: re.Pattern[str]) -> bool:
        return self.scheme == "https" and self.port == 443 and bool(hosts.fullmatch(self.host))


def split(url: str) -> tuple[Origin, str]:
    """(origin, path and query) of a URL without user, password or fragment.

    Raises:
        BlockedUrl: anything else.
    """
    found = _URL.fullmatch(url)
    if found is None:
        raise BlockedUrl("the address is none that a carrier would give")
    scheme = found["scheme"].lower()
    return Origin(scheme, found["host"].lower(), int(found["port"] or PORTS[scheme])), found["target"] or "/"


def identify(url: str, recording_sid: str, account_sid: str, base: Origin) -> Recording:
    """The recording that a webhook speaks of.

    Args:
        url: ``RecordingUrl``; recording_sid, account_sid: ``RecordingSid`` and
            ``AccountSid``, empty where the webhook has none.
        base: the API's origin as it is configured; Twilio's own are always among the allowed.

    Raises:
        BlockedUrl: not the carrier's, no recording's, or the three do not agree.
    """
    origin, target = split(url)
    if origin != base and not origin.is_api:
        raise BlockedUrl("the recording's host is not the carrier's")
    found = _PATH.fullmatch(target)
    if found is None:
        raise BlockedUrl("the address is not that of a recording")
    if recording_sid not in ("", found["recording"]):
        raise BlockedUrl("the address is not that of the recording that RecordingSid names")
    if account_sid not in ("", found["account"]):
        raise BlockedUrl("the address is not that of the account that AccountSid names")
    return Recording(found["account"], found["recording"])


def is_public(address: Address) -> bool:
    """Whether an address leads out into the internet; those that wrap an IPv4 address count as that one."""
    if isinstance(address, ipaddress.IPv6Address):
        wrapped = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            wrapped = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if wrapped is not None:
            return is_public(wrapped)
    return address.is_global and not address.is_multicast
