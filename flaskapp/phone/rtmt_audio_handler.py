"""RTMTAudioHandler: the real-time middle tier between phone legs and an AI engine; one instance, many calls.

    handler = RTMTAudioHandler("https://NAME.openai.azure.com", "gpt-realtime", "API-KEY")
    handler.on_transcript = print
    handler.serve(leg, call_sid)      # blocks until the call ends; one thread or greenlet for each call

Works under gevent and with plain threads, with and without a Flask app.
"""

from __future__ import annotations

import base64
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

from flaskapp.phone.agent import Agent, Agents
from flaskapp.phone.audio import BYTES_PER_MS, PCMU, from_telephone
from flaskapp.phone.breaker import Breaker, probe
from flaskapp.phone.bridge import Bridge, PhoneLeg
from flaskapp.phone.call import Call, free
from flaskapp.phone.carriers.base import Carrier
from flaskapp.phone.carriers.twilio import TwilioStream
from flaskapp.phone.consent import telling
from flaskapp.phone.cost import Prices
from flaskapp.phone.endings import Limits
from flaskapp.phone.engines.connection import AZURE_SCOPE, Endpoint, Engine, endpoint
from flaskapp.phone.engines.realtime import SessionSpec
from flaskapp.phone.errands import Errands
from flaskapp.phone.events import StreamStarted
from flaskapp.phone.giving_way import give_way, pause
from flaskapp.phone.listener import Listener
from flaskapp.phone.past import NOTHING, Past
from flaskapp.phone.playout import Clip, Sounds
from flaskapp.phone.script_leg import ScriptLeg
from flaskapp.phone.toolbench import Toolbench
from flaskapp.phone.tools import CallContext
from flaskapp.phone.wire import Wire

log = logging.getLogger(__name__)

TICK_S = 0.1
KEEPS_WITHIN_S = 20.0  # as long as a greeting is at most
BUSY_S = 0.0004  # so long the pulse lets time pass before it lets others
CLIPS = Path(__file__).parent / "clips"
TRANSCRIBE_MODEL = "gpt-transcribe"


class Keeper(Protocol):
    """Follows calls from a thread of its own (``store/keeper.py``).

    Attributes:
        keeps_sound: it wants to have both sides' sound (``Flow.take_heard``).
    """

    keeps_sound: bool

    def follow(self, call_sid: str, source: Bridge) -> None:
        """The call's stream was admitted: take its audio and lines from time to time."""

    def release(self, call_sid: str) -> object:
        """The leg is over (of several, the oldest): take the rest at once."""


class Greetings(Protocol):
    """Where greetings are kept as the engine spoke them (``store/greetings.py``)."""

    def find(self, audio_format: str, *depends_on: str) -> Clip | None: ...
    def keep(self, sound: bytes, audio_format: str, *depends_on: str) -> None: ...


class Leg(Protocol):
    """A phone leg of one's own: the carrier's messages as text."""

    def send(self, text: str) -> None: ...
    def receive(self, timeout: float) -> str | None: ...
    def close(self, code: int) -> None: ...


def _welcome(started: StreamStarted) -> None:
    """Everybody is admitted: whoever holds the handler knows whom it serves."""


class RTMTAudioHandler:
    """Joins phone legs to Realtime sessions.

    Args:
        endpoint: an Azure OpenAI resource in any spelling, or another server's ``http(s)://host/v1``.
        deployment: the model; on Azure its deployment's name.
        credentials: an API key, an ``AzureKeyCredential``, or a token credential of azure-identity.
        voice_choice: the engine's voice; an agent's own comes first.
        agents: who answers; by default one that greets and helps.
        transcribe_model: writes down the caller's words; empty for no caller lines.
        listener: is told what happens on every call.
        keeper: puts every call's audio and lines where they survive this process.
        breaker: knows how the engine does; by default one of this handler's own.
        tools: what agents may use; by default those that are built in.
        transfer: has the carrier join a call (its SID) to a number; whether it will.
        greetings: keeps how the engine speaks them, so that the next caller hears one at once.
        limits: what a call may take; an agent's own come first.
        prices: what usage costs.
        hides_digits: mask numbers in all that is kept and told; the engine hears and reads them.

    Attributes:
        sessions: open calls by call SID.
        on_transcript: called with each transcript update:
            ``{"call_sid", "transcript", "is_final", "speaker", "item", "sequence"}``,
            at last ``{"call_sid", "event": "call_ended", ...}``.
    """

    def __init__(
        self,
        endpoint: str | Endpoint,
        deployment: str,
        credentials: Any,
        voice_choice: str | None = None,
        *,
        agents: Agents | None = None,
        transcribe_model: str = TRANSCRIBE_MODEL,
        scope: str = AZURE_SCOPE,
        listener: Listener | None = None,
        keeper: Keeper | None = None,
        breaker: Breaker | None = None,
        tools: Toolbench | None = None,
        transfer: Callable[[str, str], bool] | None = None,
        greetings: Greetings | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        prices: Prices | None = None,
        hides_digits: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine = Engine(_endpoint(endpoint, scope), deployment, credentials)
        self.voice_choice = voice_choice or ""
        self.agents = agents or Agents()
        self.transcribe_model = transcribe_model
        self.listener = listener or Listener()
        self.keeper = keeper
        self.breaker = breaker or Breaker(lambda wants_reply: probe(self.engine, wants_reply))
        self.tools, self._transfer, self._greetings = tools or Toolbench(), transfer, greetings
        self._limits, self._prices, self._hides_digits = limits, prices, hides_digits
        self.sessions: dict[str, Bridge] = {}
        self._bridges: dict[
            Bridge, list[float]
        ] = {}  # with when they want to be ticked; also those whose stream has not been admitted yet
        self.on_transcript: Callable[[dict[str, Any]], None] | None = None
        self._clock = clock
        self._pulse: threading.Thread | None = None
        self._guard = threading.Lock()
        self._kept_at: dict[tuple[str, ...], float] = {}  # when a greeting was last begun to be kept

    def serve(
        self,
        leg: Leg | Wire,
        call_sid: str,
        *,
        called: str = "",
        caller: str = "",
        carrier: Carrier | None = None,
        admit: Callable[[StreamStarted], None] = _welcome,
        past: Past = NOTHING,
        listens: bool = False,
        consent: str = "",
    ) -> None:
        """Serve one call on this leg; blocks until the call is over and the leg closed.

        Args:
            called: the number that was dialled: chooses the agent.
            caller: who calls; tools are told.
            carrier: the leg's codec; Twilio's by default.
            admit: raises ``TicketError`` to refuse the stream when it starts.
            past: what was said and done on this call before this leg.
            listens: the leg takes no audio: what is said on it is written down, and nobody answers.
            consent: the agent's first words, before which no sound is kept; empty: the caller knows.
        """
        agent, carrier = telling(self.agents.for_number(called), consent), carrier or TwilioStream()
        phone: PhoneLeg = leg if isinstance(leg, Wire) else ScriptLeg(leg)
        call = self._call(call_sid, agent, past, listens)
        bridge = Bridge(
            call,
            phone,
            carrier,
            self.engine,
            self._spec(agent, listens),
            self.listener,
            admit,
            lambda: self._take_over(call_sid, bridge),
            lambda: self._release(call_sid),
            self.breaker,
            self._errands(CallContext(call_sid, caller, called, agent), call, carrier.takes_orders),
            self.on_transcript,
            self._clock,
        )
        bridge.consent, bridge.hides_digits = consent, self._hides_digits
        if self.keeper is not None:
            bridge.keeps(self.keeper.keeps_sound)
        self._enter(bridge)
        try:
            bridge.run()
        finally:
            self._leave(call_sid, bridge)
            if isinstance(phone, ScriptLeg):
                phone.finish()

    def close(self, call_sid: str, reason: str = "closed") -> bool:
        """End a call now; whether there was one."""
        bridge = self.sessions.get(call_sid)
        if bridge is None:
            return False
        bridge.hang_up(reason)
        return True

    def move_all(self, within_s: float) -> None:
        """Have other workers take over all open calls: each at a good moment, at the latest then."""
        for bridge in tuple(self._bridges):
            bridge.move(within_s)

    @property
    def open_streams(self) -> int:
        """How many streams there are, those that are not admitted yet included."""
        return len(self._bridges)

    def _call(self, call_sid: str, agent: Agent, past: Past, listens: bool) -> Call:
        own = agent.limits
        limits = replace(
            self._limits,
            call_s=own.max_call_seconds or self._limits.call_s,
            cost_usd=self._limits.cost_usd if own.max_call_cost_usd is None else own.max_call_cost_usd,
        )
        price = self._prices.cost_usd if self._prices else free
        call = Call(call_sid, agent, self._clock(), past, limits, price)
        call.sounds = partial(self._sounds, agent)
        call.talk.greeting.may_be_kept = partial(self._may_keep_greeting, agent)
        call.talk.listens = listens
        return call

    def _sounds(self, agent: Agent, audio_format: str) -> Sounds:
        greetings, key = self._greetings, self._greeting_key(agent)
        greeting = greetings.find(audio_format, *key) if greetings else None
        return Sounds(hold_clip(agent.language, audio_format), greeting)

    def _may_keep_greeting(self, agent: Agent) -> bool:
        """Of many calls that begin together one keeps it; a later one may, should that one be cut short."""
        key, now = self._greeting_key(agent), self._clock()
        with self._guard:
            if self._greetings is None or now - self._kept_at.get(key, -KEEPS_WITHIN_S) < KEEPS_WITHIN_S:
                return False
            self._kept_at[key] = now
            return True

    def _greeting_key(self, agent: Agent) -> tuple[str, ...]:
        voice = agent.voice or self.voice_choice
        model = (self.engine.at.base_url, self.engine.model)
        return (agent.name, agent.greeting, agent.language, voice, *model)

    def _errands(self, context: CallContext, call: Call, takes_orders: bool) -> Errands:
        sid, transfer, greetings = context.call_sid, self._transfer, self._greetings
        key = self._greeting_key(context.agent)
        return Errands(
            sid,
            partial(self.tools.start, context),
            (lambda number: transfer(sid, number)) if transfer and takes_orders else None,
            (lambda sound: greetings.keep(sound, call.memory.audio_format, *key)) if greetings else None,
        )

    def _spec(self, agent: Agent, listens: bool) -> SessionSpec:
        voice = agent.voice or self.voice_choice
        tools = () if listens else self.tools.schemas(agent)
        return SessionSpec(agent.told(), voice, agent.language, self.transcribe_model, tools, listens)

    def _enter(self, bridge: Bridge) -> None:
        with self._guard:
            self._bridges[bridge] = bridge.calm_until
            if self._pulse is None:
                self._pulse = threading.Thread(target=self._beat, name="call-pulse", daemon=True)
                self._pulse.start()

    def _take_over(self, call_sid: str, bridge: Bridge) -> None:
        """A call has one stream: a second that is admitted means that the first is dead and does not know."""
        if self.sessions.get(call_sid) is not bridge:
            self.close(call_sid, "replaced")
        with self._guard:
            self.sessions[call_sid] = bridge
        if self.keeper is not None:
            self.keeper.follow(call_sid, bridge)

    def _release(self, call_sid: str) -> None:
        """Of a call whose stream was replaced the keeper follows two: the older one ends first."""
        if threading.current_thread() is not self._pulse:  # all calls wait for the pulse
            give_way()  # many may end at once
        if self.keeper is not None:
            self.keeper.release(call_sid)

    def _leave(self, call_sid: str, bridge: Bridge) -> None:
        with self._guard:
            self._bridges.pop(bridge, None)
            if self.sessions.get(call_sid) is bridge:
                del self.sessions[call_sid]

    def _beat(self) -> None:
        """Let every open call know that time passes, as long as there is one."""
        while True:
            time.sleep(TICK_S)
            began = self._clock()
            now = began
            for bridge, calm_until in tuple(self._bridges.items()):
                if now < calm_until[0]:
                    continue
                now = self._clock()
                if now - began >= BUSY_S:
                    pause()
                    began = now = self._clock()
                try:
                    bridge.tick(now)
                except Exception:  # the call's edge: one broken call must not stop the others' clock
                    log.exception("A call's clock failed", extra={"call_sid": bridge.call.call_sid})
            with self._guard:
                if not self._bridges:
                    self._pulse = None
                    return


def _endpoint(address: str | Endpoint, scope: str) -> Endpoint:
    return address if isinstance(address, Endpoint) else endpoint(address, scope)


@cache
def hold_clip(language: str, audio_format: str = PCMU) -> Clip:
    """What keeps a caller company in this language: words in English, a chime in all others."""
    is_english = language.split("-")[0].lower() in ("", "en")
    mulaw = (CLIPS / ("one-moment.ulaw" if is_english else "chime.ulaw")).read_bytes()
    sound = from_telephone(mulaw, audio_format)
    return Clip(base64.b64encode(sound), len(sound) / BYTES_PER_MS[audio_format])
