"""Live AI fails in every way there is, on the running system: the caller is served on, and no word is lost.

The limits here are four times the goals (first sound within 3 s, no dead air over
4 s), for machines that are slow today; `bench/faults.py` prints what they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from flaskapp.phone.audio import read_wav, voiced_ms
from tests.system.faults import SCENES, House, Verdict

pytestmark = pytest.mark.system

CALLS = 2
AT_ONCE = 3  # they wait more than they work
FIRST_SOUND_MS = 12_000
DEAD_AIR_MS = 16_000
SAID_MS = 1200


@dataclass(frozen=True)
class Played:
    """What became of a scene's callers, and what anybody complained of."""

    verdicts: list[Verdict]
    offences: list[str]
    log: str
    voice_ms: list[int]  # of each recording that was understood


def play(name: str, folder: Path) -> Played:
    with ExitStack() as stack:
        house = House(stack, folder, {})
        recordings: list[bytes] = []
        house.batch.heard = lambda wav: recordings.append(wav) or f"recorded words {hash(wav) & 0xFFFF}"
        verdicts = [verdict for _, verdict, _ in house.plays(name, CALLS)]
        offences = [offence for session in house.engine.sessions for offence in session.offences]
        voice_ms = [voiced_ms(read_wav(wav).pcm)[0] for wav in recordings]
        return Played(verdicts, [*house.batch.offences, *offences], house.log("web").read_text(), voice_ms)


@pytest.fixture(scope="module")
def scenes(request, tmp_path_factory) -> Iterator[dict[str, Future[Played]]]:
    """Those that are asked for, each in a house of its own, some side by side."""
    here = [item for item in request.session.items if item.module is request.module]
    names = [item.callspec.params["name"] for item in here]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(play, name, tmp_path_factory.mktemp("house")) for name in names}


@pytest.mark.parametrize("name", SCENES)
def test_the_caller_is_served_on(scenes, name):
    played = scenes[name].result()
    assert len(played.verdicts) == CALLS
    for found in played.verdicts:
        assert found.is_answered, found
        assert found.first_sound_ms < FIRST_SOUND_MS, found
        assert found.silence_ms < DEAD_AIR_MS, found
        assert found.is_complete, found
        assert found.rows == 1, found
        assert (found.modes == {"live"}) == (SCENES[name].goes_on == "live"), found
    assert played.offences == []
    if name == "7 gone in mid-word":
        assert min(played.voice_ms) >= SAID_MS - 100, "he was cut off"
    assert "Traceback" not in played.log
