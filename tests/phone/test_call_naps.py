"""A call on which nobody says anything is looked at seldom, and nothing comes late for it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from flaskapp.phone import events as ev
from flaskapp.phone.endings import Limits
from tests.phone.scene import READY, START, Scene, audio, frame, words

STEP_S = 0.125
LIVES_S = 40.0
NAPS_S = 0.95


@dataclass
class Life:
    """What a call commanded, when (seconds since it began), and how often it was looked at."""

    commanded: list[tuple[str, float]] = field(default_factory=list)
    looks: int = 0


def lived(limits: Limits, line_dies_at: float, naps: bool, speaks: bool = False) -> Life:
    """A live call whose line brings silence until it dies; looked at always, or when it says so."""
    scene, life = Scene(limits=limits), Life()
    scene.hears(START, ev.EngineOpened(), READY)
    if speaks:
        scene.hears(ev.ReplyStarted("r1"), words("one two", is_final=True), audio(ms=3000.0))
        scene.hears(ev.ReplyAudioEnded("r1", "a1"), ev.ReplyEnded("r1", "completed"))
    calm_until, began = 0.0, scene.now
    for step in range(round(LIVES_S / STEP_S)):
        at = step * STEP_S
        if scene.call.is_over:
            break
        told = scene.hears(frame(step, STEP_S * 1000)) if at < line_dies_at else []
        scene.now = began + at
        if not naps or scene.now >= calm_until:
            life.looks += 1
            told = [*told, *scene.waits(0.0)]
            calm_until = scene.now + scene.call.calm_s(scene.now)
        life.commanded += [(type(each).__name__, at) for each in told]
    return life


@pytest.mark.parametrize(
    "limits",
    [
        Limits(silence_s=0.0, session_s=0.0),
        Limits(),
        Limits(call_s=9.0, silence_s=0.0),
        Limits(silence_s=3.0),
        Limits(session_s=12.0, silence_s=0.0),
    ],
    ids=["nothing but the line", "usual", "a short call", "impatient", "a short session"],
)
@pytest.mark.parametrize("line_dies_at", [0.5, 6.0, LIVES_S], ids=["dead", "dies", "lives"])
@pytest.mark.parametrize("speaks", [False, True], ids=["nobody spoke", "the agent spoke"])
def test_whatever_time_brings_comes_within_a_second_of_when_it_would(limits, line_dies_at, speaks):
    always, seldom = (lived(limits, line_dies_at, naps, speaks) for naps in (False, True))
    assert [what for what, _ in seldom.commanded] == [what for what, _ in always.commanded]
    late = [seen - due for (_, due), (_, seen) in zip(always.commanded, seldom.commanded, strict=True)]
    assert all(0.0 <= each <= NAPS_S + 2 * STEP_S for each in late), (always.commanded, seldom.commanded)


@pytest.mark.parametrize("line_dies_at", [0.5, LIVES_S], ids=["dead", "lives"])
def test_it_is_looked_at_seldom(line_dies_at):
    patient = Limits(silence_s=0.0, session_s=0.0)
    always, seldom = (lived(patient, line_dies_at, naps) for naps in (False, True))
    assert seldom.looks < always.looks / 2  # the first three seconds of a session not counted
