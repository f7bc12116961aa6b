"""One call on the simulated Twilio: from the first webhook to the last callback."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import aiohttp

from flaskapp.simulator.journal import Journal
from flaskapp.simulator.line import HungUp, Line
from flaskapp.simulator.person import Person, Utterance
from flaskapp.simulator.report import RecordingReport
from flaskapp.simulator.route import Route, origin_of
from flaskapp.simulator.spec import CallSpec, UpdateFate
from flaskapp.simulator.twilio import schema, twiml, verbs
from flaskapp.simulator.twilio.account import Account, new_sid
from flaskapp.simulator.twilio.recording import Recordings
from flaskapp.simulator.twilio.stream import MediaStream
from flaskapp.simulator.twilio.webhook import NoAnswer, Webhooks

MOST_DOCUMENTS = 500
ENDED = frozenset({"completed", "busy", "failed", "no-answer", "canceled"})


class CallFailed(Exception):
    """Neither the webhook nor its fallback gave a document."""


@dataclass(frozen=True)
class Elsewhere:
    """Where a document is to be asked for, once the call has been taken from what it was at."""

    url: str
    method: str = "POST"


class TwilioCall:
    """Executes TwiML for one caller; ``verbs`` does what each verb says."""

    def __init__(
        self,
        spec: CallSpec,
        account: Account,
        recordings: Recordings,
        session: aiohttp.ClientSession,
        api_url: str,
    ) -> None:
        self.sid = new_sid("CA")
        self.spec = spec
        self.account = account
        self.session = session
        self.api_url = api_url
        self.recordings = recordings
        self.status = "queued"
        self.answered_at: float | None = None
        self.ended_at: float | None = None
        self.streams: list[MediaStream] = []
        self.made: list[RecordingReport] = []
        self.listened: list[tuple[float, float]] = []
        self.elsewhere: list[tuple[float, float]] = []  # while somebody else was dialled
        self.updates = 0  # through REST, so far
        self.was_completed = False  # through REST
        self.journal = Journal(spec, self.sid)
        self.line = Line(Person(spec.script), spec.seconds, on_speech=self._spoke)
        self.route = Route(spec.public_url or origin_of(spec.url), origin_of(spec.url))
        self.token = spec.faults.sign_with or (account.auth_token if spec.signed else None)
        self.webhooks = Webhooks(session, self.route, self.token, self.journal)
        self._replacement: twiml.Document | Elsewhere | None = None
        self._serving: asyncio.Task[twiml.Document | None] | None = None
        self._errands: list[asyncio.Task[None]] = []

    @property
    def ended(self) -> bool:
        return self.status in ENDED or self.line.gone.is_set()

    async def run(self) -> None:
        """Places the call and lives it to its end; what happened is in the journal and the line."""
        self.status = "ringing"
        self.journal.event("ringing")
        try:
            await self._converse(await self._rung())
        except CallFailed:
            self.status = "failed" if self.answered_at is None else "completed"
        finally:
            self.line.hang_up("network")
            self.ended_at = self.journal.clock()
        if self.status not in ENDED:
            self.status = "completed"
        self.journal.event("ended", status=self.status, by=self.line.ended_by)
        await self._report_status()
        await asyncio.gather(*self._errands)

    def meanwhile(self, errand: Coroutine[Any, Any, None]) -> None:
        """Does something beside the call, which neither waits for it nor ends it."""
        self._errands.append(asyncio.create_task(errand))

    async def document(
        self, url: str, extra: Mapping[str, str] | None = None, method: str = "POST"
    ) -> twiml.Document:
        """Asks for the next document; where there is none, the fallback URL is asked.

        Raises:
            CallFailed: the fallback URL is missing or no better.
        """
        try:
            return await self._fetch(url, extra or {}, method)
        except (NoAnswer, twiml.BadDocument) as error:
            self.journal.complain(error.code, error.text)
            if not self.spec.fallback_url:
                raise CallFailed from error
            told = {**(extra or {}), "ErrorCode": str(error.code), "ErrorUrl": url}
        try:
            return await self._fetch(self.route.published(self.spec.fallback_url), told, "POST")
        except (NoAnswer, twiml.BadDocument) as error:
            self.journal.complain(error.code, error.text)
            raise CallFailed from error

    async def notify(self, url: str, parameters: Mapping[str, str], method: str = "POST") -> None:
        """A callback whose answer is not TwiML; its failure is only a warning."""
        try:
            await self.webhooks.request(self.route.published(url), parameters, method)
        except NoAnswer as error:
            self.journal.complain(error.code, error.text, "warning")

    def replace(self, replacement: twiml.Document | Elsewhere) -> None:
        """Aborts what is going on and goes on with another document (REST: Url, Twiml)."""
        if self._serving is not None and not self.ended:
            self._replacement = replacement
            self._serving.cancel()

    def hang_up(self) -> None:
        """Ends the call from the network's side (REST: Status=completed); no action is asked for."""
        self.was_completed = True
        self.line.hang_up("network")

    def update_fate(self) -> UpdateFate:
        """What becomes of the REST update that has just come."""
        fates = self.spec.faults.updates or ("well",)
        self.updates += 1
        return fates[min(self.updates, len(fates)) - 1]

    def parameters(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The standard parameters of every request about this call."""
        caller, called = self.spec.from_number, self.spec.to_number
        standard = {
            "CallSid": self.sid,
            "AccountSid": self.account.sid,
            "From": caller,
            "To": called,
            "Caller": caller,
            "Called": called,
            "CallStatus": self.status,
            "ApiVersion": "2010-04-01",
            "Direction": "inbound",
        }
        places = {
            f"{who}{what}": value
            for who in ("From", "To", "Caller", "Called")
            for what, value in (("City", ""), ("State", "CA"), ("Zip", ""), ("Country", "US"))
        }
        return {**standard, **places, **self.spec.parameters, **(extra or {})}

    async def _fetch(self, url: str, extra: Mapping[str, str], method: str) -> twiml.Document:
        reply = await self.webhooks.request(url, self.parameters(extra), method)
        return self.accepted(twiml.read_reply(reply.url, reply.content_type, reply.body))

    def accepted(self, document: twiml.Document) -> twiml.Document:
        """The same document, its problems written down."""
        for problem in document.problems:
            self.journal.complain(problem.code, problem.text)
        return document

    async def _rung(self) -> twiml.Document:
        """The first webhook's document; a faulty carrier sends that webhook several times at once."""
        url = self.route.published(self.spec.url)
        copies = [
            asyncio.create_task(self.notify(url, self.parameters()))
            for _ in range(self.spec.faults.webhook_copies - 1)
        ]
        try:
            return await self.document(url)
        finally:
            await asyncio.gather(*copies)

    async def _converse(self, document: twiml.Document | None) -> None:
        """Executes documents until none follows; the line lives from the first to the last."""
        if document is not None and document.verbs and isinstance(document.verbs[0], schema.Reject):
            self.status = "busy" if document.verbs[0].reason == "busy" else "failed"
            self.journal.rejected = document.verbs[0].reason
            self.journal.event("rejected", reason=document.verbs[0].reason)
            return
        self.status, self.answered_at = "in-progress", self.journal.clock()
        self.journal.event("answered")
        line = asyncio.create_task(self.line.run())
        try:
            for _ in range(MOST_DOCUMENTS):
                if document is None:
                    return
                document = await self._served(document)
            self.journal.complain(12100, f"more than {MOST_DOCUMENTS} documents in one call")
        except HungUp:
            self.status = "completed"
        finally:
            self.line.hang_up("network")
            await line

    async def _served(self, document: twiml.Document) -> twiml.Document | None:
        """Executes one document; a replacement through REST takes over at any moment."""
        self._serving = asyncio.create_task(verbs.perform(self, document))
        following: twiml.Document | None = None
        try:
            following = await self._serving
        except asyncio.CancelledError:
            if self._replacement is None:
                self._serving.cancel()
                raise
        # A replacement that came as the last verb ended had nothing to abort, yet it is next.
        replacement, self._replacement = self._replacement, None
        if isinstance(replacement, Elsewhere):
            return await self.document(replacement.url, method=replacement.method)
        return replacement or following

    async def _report_status(self) -> None:
        if not self.spec.status_callback:
            return
        seconds = 0 if self.answered_at is None else round((self.ended_at or 0) - self.answered_at)
        about = {
            "CallDuration": str(seconds),
            "Duration": str(-(-seconds // 60)),
            "Timestamp": formatdate(),
            "CallbackSource": "call-progress-events",
            "SequenceNumber": "0",
        }
        await self.notify(self.spec.status_callback, self.parameters(about))

    def _spoke(self, utterance: Utterance) -> None:
        self.journal.event("spoke", name=utterance.name)
