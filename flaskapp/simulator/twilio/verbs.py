"""What each TwiML verb does on a call.

``perform`` executes a document; each verb returns the document that follows,
or None for the next verb.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flaskapp.phone import audio
from flaskapp.phone.errors import AudioError
from flaskapp.simulator import sounds
from flaskapp.simulator.line import HungUp
from flaskapp.simulator.report import RecordingReport
from flaskapp.simulator.twilio import schema, transfer
from flaskapp.simulator.twilio.account import new_sid
from flaskapp.simulator.twilio.handshake import HandshakeFailed, open_socket
from flaskapp.simulator.twilio.menu import Menu
from flaskapp.simulator.twilio.recording import Recorder, Recording
from flaskapp.simulator.twilio.stream import MediaStream
from flaskapp.simulator.twilio.twiml import Document
from flaskapp.simulator.twilio.webhook import NoAnswer

if TYPE_CHECKING:
    from flaskapp.simulator.twilio.call import TwilioCall

SAY_S_PER_CHARACTER = 0.060
KEY_S = {"w": 0.5, "W": 1.0}
NO_MEDIA = 12400


async def perform(call: TwilioCall, document: Document) -> Document | None:
    """Executes the verbs in order; returns the next document, None when the call has run out.

    Raises:
        HungUp: the call ended on the way.
        CallFailed: a document that should follow could not be had.
    """
    call.journal.is_stopgap = _is_stopgap(document)
    for verb in document.verbs:
        if call.line.gone.is_set():
            raise HungUp
        following = await _VERBS[type(verb)](call, verb, document)
        if following is not None:
            return following
    return None


def _is_stopgap(document: Document) -> bool:
    """Whether a document only passes the time and asks again."""
    *before, last = document.verbs or (None,)
    return isinstance(last, schema.Redirect) and all(
        isinstance(verb, schema.Say | schema.Play | schema.Pause) for verb in before
    )


async def _say(call: TwilioCall, verb: schema.Say, _: Document) -> None:
    """A hum as long as the words would take; the words themselves go into the report."""
    if not verb.text:
        return
    call.journal.said.append(verb.text)
    call.journal.utters(verb.text)
    call.journal.event("said", text=verb.text)
    await call.line.play(sounds.hum(len(verb.text) * SAY_S_PER_CHARACTER) * max(1, verb.loop), "say")


async def _play(call: TwilioCall, verb: schema.Play, _: Document) -> None:
    for key in verb.digits:
        await call.line.hold(KEY_S.get(key, 0.2))
    if not verb.url:
        return
    try:
        reply = await call.webhooks.fetch(verb.url)
        sound = audio.pcm16_to_mulaw(audio.read_wav(reply.body).at(audio.TELEPHONE_RATE_HZ))
    except NoAnswer as error:
        call.journal.complain(error.code, error.text)
        return
    except AudioError as error:
        call.journal.complain(NO_MEDIA, f"cannot play {verb.url}: {error}")
        return
    call.journal.utters(verb.url)
    call.journal.event("played", url=verb.url)
    await call.line.play(sound * max(1, verb.loop), "play")


async def _pause(call: TwilioCall, verb: schema.Pause, _: Document) -> None:
    await call.line.hold(verb.length)


async def _redirect(call: TwilioCall, verb: schema.Redirect, document: Document) -> Document:
    return await call.document(verb.url or document.url, method=verb.method)


async def _hangup(call: TwilioCall, _: schema.Hangup, __: Document) -> None:
    call.line.hang_up("network")
    raise HungUp


async def _reject(call: TwilioCall, verb: schema.Reject, _: Document) -> None:
    call.journal.complain(12200, "<Reject> is not the first verb: the call is answered already")
    await _hangup(call, schema.Hangup(), Document("", ()))


async def _connect(call: TwilioCall, verb: schema.Connect, _: Document) -> Document | None:
    """Streams until the server closes or the caller goes; then ``action``, else the next verb."""
    stream = verb.children[0]
    try:
        await _stream(call, stream)
    except HandshakeFailed as error:
        call.journal.complain(error.code, error.text)
        await _tell(call, stream, "", "stream-error", error.text)
        if not call.spec.choices.continue_after_failed_handshake:
            await _hangup(call, schema.Hangup(), Document("", ()))
    if call.line.gone.is_set():
        call.status = "completed"
        if verb.action and call.spec.choices.action_after_hangup and not call.was_completed:
            await call.document(verb.action, method=verb.method)
        raise HungUp
    return await call.document(verb.action, method=verb.method) if verb.action else None


async def _stream(call: TwilioCall, verb: schema.Stream) -> None:
    socket = await open_socket(call.session, call.route, verb.url, call.token, call.spec.choices.handshake_s)
    stream = MediaStream(
        socket,
        call.line,
        call.journal,
        call.spec,
        account_sid=call.account.sid,
        call_sid=call.sid,
        stream_sid=new_sid("MZ"),
        parameters={parameter.name: parameter.value for parameter in verb.children},
    )
    call.streams.append(stream)
    telling = asyncio.create_task(_tell(call, verb, stream.stream_sid, "stream-started"))
    call.journal.event("streaming", stream_sid=stream.stream_sid)
    try:
        await stream.run()
    finally:
        await telling
        await _tell(call, verb, stream.stream_sid, "stream-stopped")


async def _tell(call: TwilioCall, verb: schema.Stream, stream_sid: str, event: str, error: str = "") -> None:
    """The stream's own status callback."""
    if not verb.status_callback:
        return
    about = {
        "AccountSid": call.account.sid,
        "CallSid": call.sid,
        "StreamSid": stream_sid,
        "StreamName": verb.name or stream_sid,
        "StreamEvent": event,
        "Timestamp": datetime.now(UTC).isoformat(),
    }
    failed = {"StreamError": error} if error else {}
    await call.notify(verb.status_callback, {**about, **failed}, verb.status_callback_method)


async def _record(call: TwilioCall, verb: schema.Record, document: Document) -> Document | None:
    """Beeps, listens, then asks ``action`` (the current document, if there is none) what next."""
    if verb.play_beep:
        await call.line.play(sounds.beep(), "beep")
    recorder, began = Recorder(verb), call.journal.clock()
    call.line.listener = recorder
    gone = asyncio.create_task(call.line.gone.wait())
    finished = asyncio.create_task(recorder.finished.wait())
    try:
        await asyncio.wait({gone, finished}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        call.line.listener = None
        gone.cancel()
        finished.cancel()
        call.listened.append((began, call.journal.clock()))
    if recorder.empty and not call.spec.choices.action_for_empty_recording:
        _tell_recorded(call, verb, Recording(call.sid, b"", 0.0, fate="absent"))
        if call.line.gone.is_set():
            raise HungUp
        return None
    return await _recorded(call, verb, document, recorder)


async def _recorded(
    call: TwilioCall, verb: schema.Record, document: Document, recorder: Recorder
) -> Document:
    hung_up = call.line.gone.is_set()
    fates = call.spec.faults.recordings or ("well",)
    recording = call.recordings.keep(call.sid, recorder.mulaw, fates[min(len(call.made), len(fates) - 1)])
    about = _about(call, recording)
    digits = "hangup" if hung_up else recorder.digits
    began, ended = ((at - call.journal.t0) * 1000 for at in call.listened[-1])
    call.made.append(
        RecordingReport(recording.sid, about["RecordingUrl"], recording.seconds, digits, began, ended)
    )
    call.journal.event("recorded", recording_sid=recording.sid, seconds=round(recording.seconds, 2))
    call.status = "completed" if hung_up else call.status
    _tell_recorded(call, verb, recording)
    return await call.document(verb.action or document.url, {**about, "Digits": digits}, verb.method)


def _about(call: TwilioCall, recording: Recording) -> dict[str, str]:
    """What every request about a recording says of it."""
    url = f"{call.api_url}/2010-04-01/Accounts/{call.account.sid}/Recordings/{recording.sid}"
    return {
        "RecordingUrl": url,
        "RecordingSid": recording.sid,
        "RecordingDuration": str(math.ceil(recording.seconds)),
    }


# What is told of a recording, by its fate: the status, and the carrier's error code.
_TOLD = {"absent": ("absent", "16101"), "failed": ("failed", "16102")}


def _tell_recorded(call: TwilioCall, verb: schema.Record, recording: Recording) -> None:
    """The recording's status callback, once it is known what became of it; the call does not wait."""
    status, error = _TOLD.get(recording.fate, ("completed", ""))
    wanted = verb.recording_status_callback_event.split()
    if not verb.recording_status_callback or recording.fate == "never":
        return
    if status not in wanted and not (status == "failed" and wanted):
        return
    more = {
        "AccountSid": call.account.sid,
        "CallSid": call.sid,
        "RecordingStatus": status,
        "RecordingChannels": "1",
        "RecordingSource": "RecordVerb",
        "RecordingStartTime": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S +0000"),
        **({"ErrorCode": error} if error else {}),
    }

    async def tell() -> None:
        await asyncio.sleep(call.recordings.delay_s)
        await call.notify(
            verb.recording_status_callback,
            {**_about(call, recording), **more},
            verb.recording_status_callback_method,
        )

    call.meanwhile(tell())


async def _gather(call: TwilioCall, verb: schema.Gather, document: Document) -> Document | None:
    """Collects keys during and after the nested verbs; none: the next verb."""
    menu = Menu(verb)
    call.line.listener = menu
    prompting = asyncio.create_task(_prompt(call, verb, document))
    try:
        digits = await menu.collect(prompting, call.line.gone)
    finally:
        call.line.listener = None
        call.line.playout.clear(call.journal.clock())
        prompting.cancel()
        await asyncio.gather(prompting, return_exceptions=True)
    if call.line.gone.is_set():
        raise HungUp
    if not digits and not verb.action_on_empty_result:
        return None
    about = {"Digits": digits, "FinishedOnKey": menu.finished_on}
    return await call.document(verb.action or document.url, about, verb.method)


async def _prompt(call: TwilioCall, verb: schema.Gather, document: Document) -> None:
    for nested in verb.children:
        await _VERBS[type(nested)](call, nested, document)


_VERBS: dict[type, Callable[[TwilioCall, Any, Document], Awaitable[Document | None]]] = {
    schema.Say: _say,
    schema.Play: _play,
    schema.Pause: _pause,
    schema.Redirect: _redirect,
    schema.Hangup: _hangup,
    schema.Reject: _reject,
    schema.Connect: _connect,
    schema.Record: _record,
    schema.Gather: _gather,
    schema.Dial: transfer.dial,
}
