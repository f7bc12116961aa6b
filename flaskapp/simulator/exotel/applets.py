"""The applets of a flow, and the order in which the application's documentation puts them together.

Voicebot, then Passthrus that ask whether the call is over, whether the caller is
to be joined to another Voicebot, whether he is to be connected to somebody; else Voicemail.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from flaskapp.simulator import sounds
from flaskapp.simulator.exotel import passthru
from flaskapp.simulator.exotel.address import Address
from flaskapp.simulator.exotel.handshake import NOT_ESTABLISHED, HandshakeFailed
from flaskapp.simulator.exotel.passthru import Told
from flaskapp.simulator.exotel.rules import Flaw
from flaskapp.simulator.exotel.stream import ExotelStream
from flaskapp.simulator.exotel.voicemail import Voicemail
from flaskapp.simulator.line import HungUp
from flaskapp.simulator.report import DialReport, RecordingReport

if TYPE_CHECKING:
    from flaskapp.simulator.exotel.call import ExotelCall

GREETING = "Please leave a message after the tone."
GREETING_S = 2.0
_ANSWERED = ("answered", "completed")


async def flow(call: ExotelCall) -> None:
    """The whole flow, on a line that lives from its first applet to its last.

    Raises:
        HungUp: the call ended before the flow did.
    """
    line = asyncio.create_task(call.line.run())
    try:
        await (_listened_to(call) if call.spec.flow.is_one_way else _answered(call))
    finally:
        call.line.hang_up("network")
        await line


async def _answered(call: ExotelCall) -> None:
    left = call.spec.flow.voicebots
    while True:
        told, left = await voicebot(call), left - 1
        if await _ask(call, "over", told):
            return
        if not left or not await _ask(call, "resume", told):
            break
    for name in call.spec.flow.transfers:
        if await _ask(call, "transfer", told, **({"to": name} if name else {})):
            if not await connect(call, name):
                break
            return
    await voicemail(call)


async def _listened_to(call: ExotelCall) -> None:
    """A Stream applet: the flow goes on at once, and somebody else talks to the caller."""
    stream = await _opened(call)
    running = asyncio.create_task(stream.run()) if isinstance(stream, ExotelStream) else None
    began = call.journal.clock()
    try:
        await call.line.hold(call.spec.seconds + 1)
    finally:
        call.elsewhere.append((began, call.journal.clock()))
        call.line.hang_up("network")
        if running is not None:
            await running


async def _ask(call: ExotelCall, question: str, told: Told, **more: str) -> bool:
    """One Passthru; a caller who has gone is told of all the same, once.

    Raises:
        HungUp: whatever was answered, nobody is there any more.
    """
    if call.line.gone.is_set() and question != "over":
        raise HungUp
    answer = await passthru.ask(call, question, told, **more)
    if call.line.gone.is_set():
        raise HungUp
    return answer


async def voicebot(call: ExotelCall) -> Told:
    """Streams until the bot closes, the caller goes, or the socket breaks; says how it ended."""
    stream = await _opened(call)
    if isinstance(stream, Told):
        return stream
    if len(call.streams) == 1:
        stream.break_at(call.spec.faults.break_at_ms)
    await stream.run()
    return passthru.about(stream, call.line)


async def _opened(call: ExotelCall) -> ExotelStream | Told:
    """The next stream, not yet begun; or why it never stood."""
    try:
        to = await call.opening.resolve(call.address, call.about())
        socket = await call.opening.connect(to)
    except HandshakeFailed as error:
        call.journal.complain(NOT_ESTABLISHED, error.text)
        return passthru.never_stood(error)
    stream = ExotelStream(
        socket,
        call.line,
        call.journal,
        call.spec,
        account_sid=call.account_sid,
        call_sid=call.sid,
        stream_sid=call.new_sid(),
        address=to,
        violations=call.violations,
    )
    for flaw in _misled(call, to):
        stream.broken(flaw)
    call.streams.append(stream)
    call.journal.event("streaming", stream_sid=stream.stream_sid)
    return stream


def _misled(call: ExotelCall, to: Address) -> list[Flaw]:
    """What is wrong with a URL that the application answered."""
    flaws = []
    if to.rate_hz != call.line.playout.encoding.rate_hz:
        flaws.append(Flaw("parameters", f"{to.url} is of another rate than the applet"))
    if to.is_too_long:
        flaws.append(Flaw("parameters", f"{to.url} has more than 3 parameters or 256 characters of them"))
    return flaws


async def connect(call: ExotelCall, name: str) -> bool:
    """Rings somebody, and lets the two talk; False if nobody answered.

    Raises:
        HungUp: the call ended meanwhile.
    """
    whom = name or "agents"
    call.journal.dialled.append(whom)
    call.journal.event("dialled", number=whom)
    outcome = call.spec.dials.get(name, call.spec.dial)
    began, answered_at, status = call.journal.clock(), None, "canceled"
    try:
        await call.line.hold(outcome.after_s)
        status = outcome.status
        if outcome.status in _ANSWERED:
            status, answered_at = "completed", call.journal.clock()
            await call.line.hold(outcome.talked_s)
    finally:
        ended = call.journal.clock()
        call.elsewhere.append((began, ended))
        at_ms, ended_ms = ((at - call.journal.t0) * 1000 for at in (began, ended))
        talked_s = 0.0 if answered_at is None else ended - answered_at
        call.journal.dials.append(DialReport(whom, [whom], at_ms, ended_ms, status, talked_s))
    return status == "completed"


async def voicemail(call: ExotelCall) -> None:
    """Asks for a message and records it.

    Raises:
        HungUp: the caller hung up before it could begin.
    """
    call.journal.said.append(GREETING)
    call.journal.event("said", text=GREETING)
    await call.line.play(sounds.hum(GREETING_S), "carrier")
    await call.line.play(sounds.beep(), "beep")
    recorder, began = Voicemail(), call.journal.clock()
    call.line.listener = recorder
    with contextlib.suppress(HungUp):
        await recorder.recorded(call.line)
    call.line.listener = None
    ended = call.journal.clock()
    call.listened.append((began, ended))
    began_ms, ended_ms = ((at - call.journal.t0) * 1000 for at in (began, ended))
    digits = "hangup" if call.line.gone.is_set() else ""
    sid = call.new_sid()
    call.made.append(RecordingReport(sid, "", recorder.seconds, digits, began_ms, ended_ms))
    call.journal.event("recorded", recording_sid=sid, seconds=round(recorder.seconds, 2))
