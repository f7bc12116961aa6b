"""Live calls joined to a person by the carrier's REST interface.

Source: Twilio docs, "Call resource" (update a call in progress); a call that is
over is answered with 404 and code 20404.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from flaskapp.config import Settings
from flaskapp.phone import documents
from flaskapp.phone.agent import Agents
from flaskapp.phone.next_step import Step, Then
from flaskapp.phone.twilio_rest import twilio_client
from flaskapp.redaction import mask_number
from flaskapp.store.live import LiveStore

log = logging.getLogger(__name__)

ANSWERS_WITHIN_S = 3.0
MOST_TWIML = 4000  # characters; source: the same page
OVER = 20404


class Transfers:
    """Has the carrier dial a person in the place of our stream.

    Args:
        agents: the only numbers that may be dialled are theirs.
        client: the carrier's API as ``twilio.rest.Client`` has it; made when it is first needed, from the
            settings. Threads and greenlets may share it.
    """

    def __init__(
        self,
        settings: Settings,
        agents: Agents,
        live: LiveStore,
        client: Callable[[], Any] | None = None,
    ) -> None:
        self._settings, self._agents, self._live = settings, agents, live
        self._client = client or self._dialled_up
        self._known: Any = None

    def transfer(self, call_sid: str, number: str) -> bool:
        """Take the call from its stream and dial a number; at most three seconds.

        What becomes of it is told to ``/phone/transfer-ended``.

        Returns:
            False: the carrier could not be asked, or would not; the caller is still on the stream. True also
            for a call that is over already: nobody is there to be told otherwise.

        Raises:
            ValueError: none of the numbers that this call's agent has.
        """
        known = self._live.recall(call_sid)
        destination = self._destination(known.get("called", ""), number)
        origin = self._settings.flask_base_url or known.get("origin", "")
        if not (self._settings.twilio_account_sid and origin):
            return False
        twiml = documents.render(
            Step((), Then.DIAL, destination=destination, number=number),
            documents.Addresses(call_sid, origin, ""),
            lambda: "",
        )
        if len(twiml) > MOST_TWIML:
            return False
        # Said first: the stream ends, and may be asked for, before the carrier has answered.
        self._live.remember(call_sid, dialled=destination)
        self._live.count(call_sid, "dials")
        if self._is_taken(call_sid, mask_number(number), twiml):
            return True
        self._live.remember(call_sid, dialled="")
        return False

    def _destination(self, called: str, number: str) -> str:
        """The name under which the agent knows a number, which is checked here once more."""
        agents = self._agents
        asked = [agents.for_number(called)] if called else [agents.default, *agents.by_number.values()]
        for agent in asked:
            for name, known in agent.transfer_numbers.items():
                if known == number:
                    return name
        raise ValueError("no number that this call's agent may transfer to")

    def _is_taken(self, call_sid: str, masked: str, twiml: str) -> bool:
        """Whether the carrier took it."""
        from requests import RequestException
        from twilio.base.exceptions import TwilioException

        try:
            self._api().calls(call_sid).update(twiml=twiml)
        except TwilioException as error:
            status, code = getattr(error, "status", None), getattr(error, "code", None)
            is_over = code == OVER
            said = f"No transfer to {masked}: " + (
                "the call is over" if is_over else f"HTTP {status}, code {code}"
            )
            log.log(logging.INFO if is_over else logging.WARNING, said, extra={"call_sid": call_sid})
            return is_over
        except (RequestException, ValueError) as error:  # ValueError: a page, not JSON
            log.warning("No transfer to %s: %s", masked, type(error).__name__, extra={"call_sid": call_sid})
            return False
        log.info("The carrier took the transfer to %s", masked, extra={"call_sid": call_sid})
        return True

    def _api(self) -> Any:
        if self._known is None:
            self._known = self._client()
        return self._known

    def _dialled_up(self) -> Any:
        return twilio_client(self._settings, ANSWERS_WITHIN_S)
