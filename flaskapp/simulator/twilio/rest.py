"""Twilio's REST API as far as the application uses it: live calls, recordings, numbers.

Basic auth with AccountSid and AuthToken; errors are Twilio's JSON with its
codes 20003 and 20404 (Twilio docs, "Call resource", "Recordings resource").
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from flaskapp.simulator.twilio import twiml
from flaskapp.simulator.twilio.account import Account, PhoneNumber
from flaskapp.simulator.twilio.call import Elsewhere, TwilioCall
from flaskapp.simulator.twilio.recording import Recordings

VERSION = "2010-04-01"
UNAUTHORIZED, NOT_FOUND, BAD_REQUEST, INTERNAL = 20003, 20404, 20001, 20500
MOST_TWIML = 4000
SILENT_S = 120.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RestServer:
    """The API on a loopback port; every request needs the account's credentials."""

    def __init__(self, account: Account, recordings: Recordings, calls: Mapping[str, TwilioCall]) -> None:
        self.url = ""
        self.requests: list[tuple[str, str, int]] = []
        self._account = account
        self._recordings = recordings
        self._calls = calls
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> None:
        """Listens on 127.0.0.1.

        Raises:
            OSError: the port is taken.
        """
        app = web.Application(middlewares=[self._checked])
        account = f"/{VERSION}/Accounts/{{account}}"
        app.router.add_get(f"{account}.json", self._show_account)
        app.router.add_get(f"{account}/Calls/{{call}}.json", self._show_call)
        app.router.add_post(f"{account}/Calls/{{call}}.json", self._update_call)
        app.router.add_get(f"{account}/Recordings/{{file}}", self._recording)
        app.router.add_delete(f"{account}/Recordings/{{file}}", self._delete_recording)
        app.router.add_get(f"{account}/IncomingPhoneNumbers.json", self._numbers)
        app.router.add_get(f"{account}/IncomingPhoneNumbers/{{number}}.json", self._show_number)
        app.router.add_post(f"{account}/IncomingPhoneNumbers/{{number}}.json", self._update_number)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _checked(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Lets nobody in but the account's owner, and notes every request."""
        if not self._authorized(request):
            answer: web.StreamResponse = _error(401, UNAUTHORIZED, "Authenticate")
        elif request.match_info.get("account") != self._account.sid:
            answer = _not_found(request)
        else:
            answer = await handler(request)
        self.requests.append((request.method, request.path, answer.status))
        return answer

    def _authorized(self, request: web.Request) -> bool:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        try:
            user, colon, password = base64.b64decode(given, validate=True).partition(b":")
        except binascii.Error:
            return False
        if scheme != "Basic" or not colon or not hmac.compare_digest(user, self._account.sid.encode()):
            return False
        token = self._account.auth_token.encode()
        return not token or hmac.compare_digest(password, token)

    async def _show_account(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"sid": self._account.sid, "status": "active", "type": "Full", "friendly_name": "Simulated"}
        )

    async def _show_call(self, request: web.Request) -> web.Response:
        call = self._calls.get(request.match_info["call"])
        return _not_found(request) if call is None else web.json_response(_call_json(call))

    async def _update_call(self, request: web.Request) -> web.Response:
        """``Status=completed`` ends the call; ``Twiml`` or ``Url`` takes its place."""
        call = self._calls.get(request.match_info["call"])
        if call is None or call.ended:
            return _not_found(request)
        form = {name: str(value) for name, value in (await request.post()).items()}
        fate = call.update_fate()
        if fate == "error":
            return _error(500, INTERNAL, "Internal Server Error")
        if fate == "gone":
            return _not_found(request)
        if fate != "hangs":
            try:
                _update(call, form)
            except twiml.BadDocument as error:
                return _error(400, error.code, error.text)
        return web.json_response(_call_json(call)) if fate == "well" else await _silence(request)

    async def _recording(self, request: web.Request) -> web.Response:
        """The sound as WAV, with or without a suffix; 404 until it is ready, or what a faulty host sends."""
        sid, _, suffix = request.match_info["file"].partition(".")
        recording = self._recordings.ready(sid)
        if recording is None:
            return _not_found(request)
        if request.query.get("RequestedChannels") == "2":
            return _error(400, BAD_REQUEST, "the recording has one channel")
        if suffix == "json":
            return web.json_response({"sid": sid, "status": "completed", "call_sid": recording.call_sid})
        if suffix not in ("", "wav"):
            return _error(406, BAD_REQUEST, f".{suffix} is not simulated, .wav is")
        recording.served += 1
        if recording.fate == "page":
            return web.Response(text=_PAGE, content_type="text/html")
        return web.Response(body=recording.wav, content_type="audio/x-wav")

    async def _delete_recording(self, request: web.Request) -> web.Response:
        sid = request.match_info["file"].partition(".")[0]
        return web.Response(status=204) if self._recordings.delete(sid) else _not_found(request)

    async def _numbers(self, request: web.Request) -> web.Response:
        wanted = request.query.get("PhoneNumber")
        numbers = [n for n in self._account.numbers if wanted in (None, n.phone_number)]
        return web.json_response(
            {
                "incoming_phone_numbers": [_number_json(self._account, n) for n in numbers],
                "page": 0,
                "page_size": 50,
                "next_page_uri": None,
                "uri": request.path_qs,
            }
        )

    async def _show_number(self, request: web.Request) -> web.Response:
        number = self._number(request)
        return (
            _not_found(request) if number is None else web.json_response(_number_json(self._account, number))
        )

    async def _update_number(self, request: web.Request) -> web.Response:
        number = self._number(request)
        if number is None:
            return _not_found(request)
        form = await request.post()
        wrong = [name for name in _ADDRESSES if not _is_address(str(form.get(name, "")))]
        if wrong:
            return _error(400, BAD_REQUEST, f"{wrong[0]} is not valid")
        for name, attribute in _NUMBER_FIELDS.items():
            if name in form:
                setattr(number, attribute, str(form[name]))
        return web.json_response(_number_json(self._account, number))

    def _number(self, request: web.Request) -> PhoneNumber | None:
        sid = request.match_info["number"]
        return next((number for number in self._account.numbers if number.sid == sid), None)


_PAGE = "<!doctype html><html><title>Sign in</title><body>Please sign in.</body></html>"
_NUMBER_FIELDS = {
    "VoiceUrl": "voice_url",
    "VoiceMethod": "voice_method",
    "VoiceFallbackUrl": "voice_fallback_url",
    "VoiceFallbackMethod": "voice_fallback_method",
    "StatusCallback": "status_callback",
    "StatusCallbackMethod": "status_callback_method",
    "VoiceApplicationSid": "voice_application_sid",
    "TrunkSid": "trunk_sid",
    "FriendlyName": "friendly_name",
}


_ADDRESSES = ("VoiceUrl", "VoiceFallbackUrl", "StatusCallback")
LONGEST_HOST = 253


def _is_address(url: str) -> bool:
    """Whether it is one that can be called; an empty one is none, and takes back what was there."""
    parts = urlsplit(url)
    return not url or (parts.scheme in ("http", "https") and 0 < len(parts.hostname or "") <= LONGEST_HOST)


def _update(call: TwilioCall, form: Mapping[str, str]) -> None:
    """Ends the call or takes it elsewhere; a URL is asked when the answer has gone out, as Twilio does.

    Raises:
        BadDocument: what is given instead of TwiML is none.
    """
    if form.get("Status") == "completed":
        call.hang_up()
    elif "Url" in form:
        call.replace(Elsewhere(form["Url"], form.get("Method", "POST")))
    elif "Twiml" not in form:
        raise twiml.BadDocument(BAD_REQUEST, "none of Status=completed, Url and Twiml is given")
    elif len(form["Twiml"]) > MOST_TWIML:
        raise twiml.BadDocument(BAD_REQUEST, f"Twiml is longer than {MOST_TWIML} characters")
    else:
        call.replace(call.accepted(twiml.read("", form["Twiml"])))


async def _silence(request: web.Request) -> web.Response:
    """No answer, for as long as the client waits for one."""
    until = time.monotonic() + SILENT_S
    while request.transport is not None and not request.transport.is_closing() and time.monotonic() < until:
        await asyncio.sleep(0.05)
    return web.Response(status=504)


def _call_json(call: TwilioCall) -> dict[str, Any]:
    return {
        "sid": call.sid,
        "account_sid": call.account.sid,
        "status": call.status,
        "from": call.spec.from_number,
        "to": call.spec.to_number,
        "direction": "inbound",
        "api_version": VERSION,
    }


def _number_json(account: Account, number: PhoneNumber) -> dict[str, Any]:
    fields = {attribute: getattr(number, attribute) for attribute in _NUMBER_FIELDS.values()}
    base = {"sid": number.sid, "account_sid": account.sid, "phone_number": number.phone_number}
    return {**base, **fields, "capabilities": {"voice": True, "sms": False, "mms": False, "fax": False}}


def _not_found(request: web.Request) -> web.Response:
    return _error(404, NOT_FOUND, f"The requested resource {request.path} was not found")


def _error(status: int, code: int, message: str) -> web.Response:
    more = f"https://www.twilio.com/docs/errors/{code}"
    return web.json_response(
        {"code": code, "message": message, "more_info": more, "status": status}, status=status
    )
