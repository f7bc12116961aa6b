"""A call played as a scene: what each party does, and what the call commands then."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone.agent import Agent
from flaskapp.phone.call import Call
from flaskapp.phone.endings import Closing, Limits
from flaskapp.phone.past import NOTHING, Past

AGENT = Agent(name="Test", greeting="Good day.")
SILENT = Agent(name="Test", greeting="")
START = ev.StreamStarted("MZ1", "CA1", "audio/pcmu")
READY = ev.SessionReady("audio/pcmu", "audio/pcmu", interrupts_itself=True, silence_ms=500)
PATIENT = Limits(silence_s=0.0, session_s=0.0)  # for scenes in which nothing happens for long
SILENCES = b"\xff\x7f\xfe\x7e"  # in mu-law
BEGAN_AT = 100.0  # on the scene's clock; exact in binary, as all times in these tests should be


def frame(number: int = 0, ms: float = 20.0) -> ev.CallerAudio:
    """A slice of silence that can be told from every other one."""
    return ev.CallerAudio(b64encode(bytes(SILENCES[number >> 2 * place & 3] for place in range(6))), ms)


def voice(ms: float = 20.0) -> ev.CallerAudio:
    """A slice of somebody speaking."""
    return ev.CallerAudio(b64encode(b"\x8f\x0f" * 3), ms)


def audio(
    item: str = "a1", ms: float = 1000.0, reply: str = "r1", payload: bytes = b"sound"
) -> ev.ReplyAudio:
    return ev.ReplyAudio(reply, item, 0, payload, ms)


def words(text: str, item: str = "a1", reply: str = "r1", is_final: bool = False) -> ev.ReplyWords:
    return ev.ReplyWords(reply, item, text, is_final)


def heard_words(text: str, item: str = "u1", is_final: bool = True) -> ev.CallerWords:
    return ev.CallerWords(item, text, is_final)


class Scene:
    """One call on a clock of its own."""

    def __init__(self, agent: Agent = SILENT, limits: Limits = PATIENT, past: Past = NOTHING) -> None:
        self.now = BEGAN_AT
        self.call = Call("CA1", agent, self.now, past, limits)
        self.told: list[do.Command] = []

    def hears(self, *events: ev.Event, after: float = 0.0) -> list[do.Command]:
        """What these events, ``after`` seconds from the last, make it command, but for TellEngine."""
        self.now += after
        return self._keep([command for event in events for command in self.call.receive(event, self.now)])

    def waits(self, seconds: float) -> list[do.Command]:
        """What it commands when time passes, asked at the end of it."""
        self.now += seconds
        return self._keep(self.call.tick(self.now))

    def _keep(self, commands: list[do.Command]) -> list[do.Command]:
        self.told += commands
        return [command for command in commands if not isinstance(command, do.TellEngine)]

    def all(self, kind: type) -> list[Any]:
        """Every command of a kind, from the beginning."""
        return [command for command in self.told if isinstance(command, kind)]

    @property
    def state(self) -> str:
        return str(self.call.memory.state)


def opening(agent: Agent = SILENT) -> Scene:
    """The stream has started, the engine is being dialled."""
    scene = Scene(agent)
    scene.hears(START)
    return scene


def configuring(agent: Agent = SILENT) -> Scene:
    """The engine's connection stands, its session was asked for."""
    scene = opening(agent)
    scene.hears(ev.EngineOpened())
    return scene


def resting() -> Scene:
    """The engine refused, and will be asked again in a quarter of a second."""
    scene = opening()
    scene.hears(ev.EngineClosed("engine_rejected", status=503))
    return scene


def live(agent: Agent = SILENT, ready: ev.SessionReady = READY) -> Scene:
    """Caller and engine are joined."""
    scene = configuring(agent)
    scene.hears(ready)
    return scene


def speaking(seconds: float = 4.0, item: str = "a1", reply: str = "r1", scene: Scene | None = None) -> Scene:
    """The agent speaks: the engine has sent it all and is not done with the response."""
    scene = scene or live()
    scene.hears(ev.ReplyStarted(reply), words("one two three four", item, reply))
    scene.hears(audio(item, seconds * 1000, reply))
    return scene


def stage(name: str) -> Scene:
    """A call in a state of this name."""
    makers = {
        "waiting": Scene,
        "opening": opening,
        "configuring": configuring,
        "live": live,
        "resting": resting,
    }
    if name in makers:
        return makers[name]()
    if name == "closing":
        scene = live()
        scene.call.endings.begin(Closing("max_duration", 60.0, "Say goodbye.", yields=False))
        scene.call._last_sentence(0.0)
        return scene
    if name == "lingering":
        scene = opening()
        scene.hears(voice(), ev.EngineClosed("engine_rejected", status=401))
        assert scene.state == name
        return scene
    scene = live()
    scene.hears(ev.SpeechStarted("u1", 0))
    scene.hears(ev.StreamStopped() if name == "draining" else ev.HangUp("operator"))
    assert scene.state == name
    return scene


def only(kind: type, commands: list[do.Command]) -> Any:
    """The one command of a kind."""
    found = [command for command in commands if isinstance(command, kind)]
    assert len(found) == 1, commands
    return found[0]


def closed(commands: list[do.Command]) -> tuple[int, bool]:
    """How the carrier's connection was closed: code, and whether the caller needs a fallback."""
    close = only(do.CloseCarrier, commands)
    only(do.CloseEngine, commands)
    return close.code, close.needs_fallback


def faults(commands: list[do.Command]) -> list[str]:
    return [command.kind for command in commands if isinstance(command, do.TellFault)]
