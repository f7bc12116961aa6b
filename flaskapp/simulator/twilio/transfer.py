"""``<Dial>``: the caller is joined to somebody else, or hears that nobody answers.

Nobody is really rung: what comes of a number is in the call's ``CallSpec``.
Source: Twilio, "TwiML ``<Dial>``"; error pages 13214, 13223.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flaskapp.simulator.line import HungUp
from flaskapp.simulator.report import DialReport
from flaskapp.simulator.spec import CallSpec, DialOutcome
from flaskapp.simulator.twilio.account import new_sid
from flaskapp.simulator.twilio.schema import Dial

if TYPE_CHECKING:
    from flaskapp.simulator.twilio.call import TwilioCall
    from flaskapp.simulator.twilio.twiml import Document

BAD_CALLER_ID, BAD_NUMBER = 13214, 13223
_NUMBER = re.compile(r"\+?[0-9][0-9 ().-]{2,}")
_ANSWERED = ("answered", "completed")


async def dial(call: TwilioCall, verb: Dial, _: Document) -> Document | None:
    """Rings, talks, and asks ``action`` what next; without one the next verb follows."""
    numbers = [number.text for number in verb.children] or [verb.text]
    call.journal.dialled += numbers
    call.journal.event("dialled", number=", ".join(numbers))
    told = await _rung(call, verb, numbers)
    gone = call.line.gone.is_set()
    following = None
    if verb.action and (not gone or call.spec.choices.action_after_hangup):
        following = await call.document(verb.action, _about(told), verb.method)
    if gone:
        raise HungUp
    return following


async def _rung(call: TwilioCall, verb: Dial, numbers: list[str]) -> DialReport:
    """Lets it ring and the two talk; ends early with the call. Taken elsewhere by REST, it was canceled."""
    outcome = _failure(call, verb, numbers) or _outcome(call.spec, verb, numbers)
    began, answered_at, status = call.journal.clock(), None, "canceled"
    try:
        await call.line.hold(outcome.after_s)
        status = outcome.status
        if outcome.status in _ANSWERED:
            status, answered_at = "completed", call.journal.clock()
            await call.line.hold(min(outcome.talked_s, verb.time_limit))
    except HungUp:
        call.status = "completed"
    finally:
        ended = call.journal.clock()
        call.elsewhere.append((began, ended))
        at_ms, ended_ms = ((at - call.journal.t0) * 1000 for at in (began, ended))
        talked_s = 0.0 if answered_at is None else ended - answered_at
        told = DialReport(numbers[0], numbers, at_ms, ended_ms, status, talked_s, verb.caller_id)
        call.journal.dials.append(told)
    return told


def _about(dial: DialReport) -> dict[str, str]:
    """What the action is told; a duration only where somebody answered."""
    answered = dial.status == "completed"
    about = {
        "DialCallStatus": dial.status,
        "DialCallSid": new_sid("CA"),
        "DialBridged": "true" if answered else "false",
    }
    return {**about, "DialCallDuration": str(round(dial.talked_s))} if answered else about


def _failure(call: TwilioCall, verb: Dial, numbers: list[str]) -> DialOutcome | None:
    """Why nobody can be rung at all."""
    owned = {call.spec.from_number, call.spec.to_number, *(n.phone_number for n in call.account.numbers)}
    if verb.caller_id and verb.caller_id not in owned:
        call.journal.complain(BAD_CALLER_ID, f"callerId {verb.caller_id!r} is not this account's")
        return DialOutcome("failed", 0.0)
    wrong = [number for number in numbers if not _NUMBER.fullmatch(number)]
    if wrong:
        call.journal.complain(BAD_NUMBER, f"{wrong[0]!r} is not a telephone number")
        return DialOutcome("failed", 0.0)
    return None


def _outcome(spec: CallSpec, verb: Dial, numbers: list[str]) -> DialOutcome:
    """What comes of ringing them: all at once, the first to answer wins; or one after the other."""
    each = [_in_time(spec.dials.get(number, spec.dial), verb.timeout) for number in numbers]
    if not verb.sequential:
        answering = [outcome for outcome in each if outcome.status in _ANSWERED]
        if answering:
            return min(answering, key=lambda outcome: outcome.after_s)
        return max(each, key=lambda outcome: outcome.after_s)
    waited = 0.0
    for outcome in each:
        waited += outcome.after_s
        if outcome.status in _ANSWERED:
            break
    return DialOutcome(outcome.status, waited, outcome.talked_s)


def _in_time(outcome: DialOutcome, timeout_s: float) -> DialOutcome:
    """Nobody rings for longer than the verb allows."""
    return outcome if outcome.after_s <= timeout_s else DialOutcome("no-answer", timeout_s)
