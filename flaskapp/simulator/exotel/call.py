"""One call on the simulated Exotel: a flow of applets, from the answer to the hang-up."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

import aiohttp

from flaskapp.simulator.encoding import Encoding
from flaskapp.simulator.exotel import address, applets
from flaskapp.simulator.exotel.handshake import Opening
from flaskapp.simulator.exotel.stream import ExotelStream
from flaskapp.simulator.journal import Journal
from flaskapp.simulator.line import HungUp, Line
from flaskapp.simulator.person import Person, Utterance
from flaskapp.simulator.report import RecordingReport
from flaskapp.simulator.route import Route
from flaskapp.simulator.spec import CallSpec

ACCOUNT_SID = "simulated1"


class ExotelCall:
    """Lives through one flow for one caller; ``applets`` does what each applet does."""

    def __init__(self, spec: CallSpec, session: aiohttp.ClientSession) -> None:
        self.sid = self.new_sid()
        self.account_sid = ACCOUNT_SID
        self.spec = spec
        self.session = session
        self.status = "queued"
        self.answered_at: float | None = None
        self.ended_at: float | None = None
        self.streams: list[ExotelStream] = []
        self.made: list[RecordingReport] = []
        self.listened: list[tuple[float, float]] = []
        self.elsewhere: list[tuple[float, float]] = []  # while somebody else was dialled
        self.violations: dict[str, int] = {}
        parameters = {
            **({"stream-type": "unidirectional"} if spec.flow.is_one_way else {}),
            **spec.parameters,
        }
        configured = address.applet(spec.url, spec.sample_rate_hz, parameters)
        self.route = Route(spec.public_url or address.origin(spec.url), address.origin(spec.url))
        self.address = address.read(configured, spec.api_key, spec.api_token).published(self.route)
        rate_hz = self.address.rate_hz or address.RATES[0]
        person = Person(spec.script, encoding=Encoding(rate_hz, is_linear=True))
        self.journal = Journal(spec, self.sid)  # from here on the caller waits
        self.line = Line(person, spec.seconds, on_speech=self._spoke)
        self.opening = Opening(session, self.route, self.journal, spec.choices.handshake_s)

    async def run(self) -> None:
        """Answers the call and lives it to its end; what happened is in the journal and the line."""
        self.journal.event("ringing")
        self.status, self.answered_at = "in-progress", self.journal.clock()
        self.journal.event("answered")
        try:
            await applets.flow(self)
        except HungUp:
            pass
        finally:
            self.line.hang_up("network")
            self.ended_at = self.journal.clock()
        self.status = "completed"
        self.journal.event("ended", status=self.status, by=self.line.ended_by)

    def new_sid(self) -> str:
        """32 hexadecimal digits."""
        return secrets.token_hex(16)

    def hang_up(self) -> None:
        """Ends the call from the network's side."""
        self.line.hang_up("network")

    def about(self) -> dict[str, str]:
        """What every applet that asks somebody tells of the call."""
        return {
            "CallSid": self.sid,
            "Direction": "incoming",
            "From": self.spec.from_number,
            "CallFrom": self.spec.from_number,
            "To": self.spec.to_number,
            "CallTo": self.spec.to_number,
            "Created": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S"),
        }

    def _spoke(self, utterance: Utterance) -> None:
        self.journal.event("spoke", name=utterance.name)
