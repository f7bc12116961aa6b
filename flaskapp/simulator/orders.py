"""What the commands ask of the simulator's own process: JSON in on stdin, JSON lines out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from flaskapp.simulator import sounds
from flaskapp.simulator.person import Script, Utterance
from flaskapp.simulator.route import is_loopback, origin_of
from flaskapp.simulator.spec import CallSpec, Spelling

STREAMING, RECORDING = "/phone/incoming-call-streaming", "/phone/incoming-call"
TWILIO, TRIAL = "https://api.twilio.com", "http://127.0.0.1:5055"
FALLBACK, STATUS = "/phone/fallback", "/phone/call-status"


@dataclass(frozen=True)
class Order:
    """Calls to be placed, all alike but for their numbers.

    ``auth_token`` empty: unsigned, as servers on this machine accept it.
    ``sample_rate_hz``, ``spelling``, ``api_key``, ``api_token``: Exotel's; an empty key is not sent.
    ``api_url``: where the application looks for the carrier's REST API, so that is where it
    must be; "" for anywhere. ``needs_api``: the calls are pointless without it.
    ``wavs``: the caller's utterances; none: the bundled ones.
    ``stereo_to``: where the call's sound goes, "" for nowhere.
    """

    url: str
    public_url: str = ""
    fallback_url: str = ""
    status_callback: str = ""
    account_sid: str = ""
    auth_token: str = field(default="", repr=False)
    api_url: str = ""
    needs_api: bool = False
    from_number: str = "+15551230001"
    to_number: str = "+15559870000"
    carrier: str = "twilio"
    sample_rate_hz: int = 8000
    spelling: Spelling = "snake"
    api_key: str = ""
    api_token: str = field(default="", repr=False)
    wavs: tuple[str, ...] = ()
    calls: int = 1
    seconds: float = 60.0
    repeat: bool = False
    stereo_to: str = ""

    @classmethod
    def to(cls, url: str, *, record_path: bool = False) -> Order:
        """An order for a server's origin (webhook paths as the app has them) or for one webhook.

        Raises:
            ValueError: not an http(s) URL.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not a URL such as http://127.0.0.1:5001")
        if parts.path not in ("", "/"):
            return cls(url)
        origin = origin_of(url)
        path = RECORDING if record_path else STREAMING
        return cls(origin + path, fallback_url=origin + FALLBACK, status_callback=origin + STATUS)

    @classmethod
    def to_exotel(cls, url: str) -> Order:
        """An order for a server's origin, its Voicebot's ws(s) URL, or an http(s) URL that answers with one.

        Raises:
            ValueError: none of these.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
            raise ValueError(f"{url!r} is not a URL such as http://127.0.0.1:5001")
        return cls(url, carrier="exotel")

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Order:
        fields = json.loads(text)
        return cls(**{**fields, "wavs": tuple(fields["wavs"])})

    def specs(self) -> list[CallSpec]:
        """One spec for each call; from the second on, callers have numbers of their own."""
        spec = CallSpec(
            url=self.url,
            public_url=self.public_url,
            fallback_url=self.fallback_url,
            status_callback=self.status_callback,
            from_number=self.from_number,
            to_number=self.to_number,
            carrier=self.carrier,
            sample_rate_hz=self.sample_rate_hz,
            spelling=self.spelling,
            api_key=self.api_key,
            api_token=self.api_token,
            script=Script(self._utterances(), repeat=self.repeat),
            seconds=self.seconds,
            signed=bool(self.auth_token),
            record_stereo=bool(self.stereo_to),
        )
        numbers = [self.from_number, *(f"+1555{number:07d}" for number in range(1, self.calls))]
        return [replace(spec, from_number=number) for number in numbers]

    def _utterances(self) -> tuple[Utterance, ...]:
        if not self.wavs:
            return sounds.bundled()
        return tuple(sounds.utterance(Path(wav)) for wav in self.wavs)


def port_of(api_url: str) -> int:
    """The port that the simulated REST API must take to be found there; 0: any."""
    return (urlsplit(api_url).port or 80) if api_url else 0


def api_url(configured: str, account_sid: str, server_url: str) -> str:
    """Where the application at ``server_url`` looks for the REST API, if that is on this machine.

    Without an account there is none but the simulated one: then it is where ``make run`` puts it.
    """
    if is_loopback(urlsplit(configured).hostname or ""):
        return configured
    is_here = is_loopback(urlsplit(server_url).hostname or "")
    return TRIAL if is_here and not account_sid and configured in ("", TWILIO) else ""
