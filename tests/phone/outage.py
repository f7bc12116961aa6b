"""A call whose engine fails: what is commanded as time passes, and what the next session is told."""

from __future__ import annotations

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone.playout import Clip
from tests.phone.scene import BEGAN_AT, READY, Scene, frame, only

CLIP = Clip(b"one moment", 1000.0)
LOST = ev.EngineClosed("engine_lost", 1011)
REOPENED = [do.CloseEngine(), do.OpenEngine()]


def held(scene: Scene) -> Scene:
    scene.call.clip = CLIP
    return scene


def ticks(scene: Scene, seconds: float) -> list[tuple[float, do.Command]]:
    """What is commanded when, asked eight times a second while the caller says nothing."""
    told = []
    for _ in range(round(seconds * 8)):
        scene.hears(frame(ms=125), after=0.125)
        told += [(scene.now - BEGAN_AT, command) for command in scene.waits(0.0)]
    return told


def clips(told: list[tuple[float, do.Command]]) -> list[float]:
    return [at for at, command in told if command == do.Play(CLIP.payload)]


def rejoined(scene: Scene, after: float = 0.25, ready: ev.SessionReady = READY) -> list[do.Command]:
    """The engine stands again: all that it is told then."""
    only(do.ConfigureSession, scene.hears(ev.EngineOpened(), after=after))
    return scene.hears(ready)
