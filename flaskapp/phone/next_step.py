"""What a caller hears next when no stream carries the call: pure decisions, performed as documents."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from flaskapp.phone.agent import Agent
from flaskapp.phone.voice import Sentences, sayable, sentences, tag

SILENCES = 2  # recordings without a word before we say goodbye
TROUBLES = 3  # recordings that could not be used before we only take a message
WAIT_S = 20.0  # how long a caller waits for an answer
FILLER_EVERY_POLLS = 2  # each takes up to two seconds: nobody is left in silence for four
QUICK_WAITS = 3  # the same is asked again at once so often: a balancer sends the next request elsewhere
FILLER_EVERY_WAITS = 3
MOST_WAITS = 30  # whoever is asked again so often is not going away
SHORTEST_RECORDING_S = 5  # however little time a call has left


class Then(StrEnum):
    """What follows what is said."""

    RECORD = "record"
    MESSAGE = "message"  # record once more, without an answer
    STREAM = "stream"
    WAIT = "wait"
    DIAL = "dial"  # a person
    ASK_AGAIN = "ask_again"  # ask the same once more, in a second
    REJECT = "reject"  # never answered, never billed
    HANG_UP = "hang_up"


@dataclass(frozen=True)
class Spoken:
    """Words in one language, or a sound file in their place."""

    text: str
    language: str
    play_url: str = ""


@dataclass(frozen=True)
class Step:
    """What the carrier shall do next with a call.

    Attributes:
        silences, troubles: how often in a row it went that way; they ride on the next request's address.
        key, poll: the turn that is waited for, and for the how-manieth time it is asked for.
        why: an ending's reason, for the history.
        destination, number: whom to dial: the name in the agent's configuration, and the number there.
        waits: how often the same was asked again already.
        within_s: for how long may be recorded; 0: as long as usual.
    """

    said: tuple[Spoken, ...]
    then: Then
    silences: int = 0
    troubles: int = 0
    key: str = ""
    poll: int = 0
    why: str = ""
    destination: str = ""
    number: str = ""
    waits: int = 0
    within_s: int = 0


class Path:
    """The steps of one call's recording path, in its agent's voice."""

    def __init__(self, agent: Agent, consent: str = "") -> None:
        self._agent, self._consent = agent, consent
        self._ours: Sentences = sentences(agent.language)
        self._tag = tag(agent.language)

    def opening(self) -> Step:
        """A call begins: greet, ask for consent, record."""
        said = (*self._own(self._agent.greeting), *self._own(self._consent), *self._house("after_tone"))
        return Step(said, Then.RECORD)

    def consent(self) -> tuple[Spoken, ...]:
        """What a caller is told before anything of his call is kept; nothing, where nothing is said."""
        return self._own(self._consent)

    def no_assistant(self) -> Step:
        """Nobody can answer now, and that is known: say so, and take a message."""
        return Step((*self._house("unavailable"), *self._own(self._consent)), Then.MESSAGE)

    def cut_off(self) -> Step:
        """The stream failed and nothing was left unanswered: ask again, and record."""
        return Step((*self._own(self._consent), *self._house("lost")), Then.RECORD)

    def waiting(self, key: str, poll: int, waited_s: float, silences: int = 0, troubles: int = 0) -> Step:
        """The answer is not there yet: wait, and do not leave the caller in silence."""
        if waited_s >= WAIT_S:
            return Step(self._house("slow"), Then.MESSAGE)
        filler: tuple[Spoken, ...] = ()
        if poll % FILLER_EVERY_POLLS == 1:
            filler = self._house("one_moment" if poll == 1 else "still_here")
        return Step(filler, Then.WAIT, silences, troubles, key, poll + 1)

    def picking_up(self, key: str) -> Step:
        """The stream failed while words were unanswered: they are being understood."""
        return Step(self._house("one_moment"), Then.WAIT, key=key, poll=1)

    def silent(self, silences: int) -> Step:
        """Nothing was said into the recording."""
        if silences >= SILENCES:
            return Step(self._house("goodbye"), Then.HANG_UP, why="caller_silent")
        return Step(self._house("not_heard"), Then.RECORD, silences=silences)

    def answered(
        self,
        response: str,
        play_url: str,
        is_goodbye: bool,
        to_live: bool,
        *,
        why: str = "goodbye",
        ending: Step | None = None,
    ) -> Step:
        """The answer is there; then the next turn, live if that is possible again.

        Args:
            why: the reason of an ending by goodbye.
            ending: how the call must end now, whatever was answered.
        """
        said = (Spoken(response, self._tag, play_url),) if sayable(response).strip() else ()
        if is_goodbye:
            return Step(said or self._house("goodbye"), Then.HANG_UP, why=why)
        if ending is not None:
            return replace(ending, said=(*said, *ending.said))
        return Step(said or self._house("no_answer"), Then.STREAM if to_live else Then.RECORD)

    def unusable(self, troubles: int) -> Step:
        """The recording could not be had or used: apologise and record again, but not for ever."""
        if troubles >= TROUBLES:
            return Step(self._house("unavailable"), Then.MESSAGE)
        return Step(self._house("again"), Then.RECORD, troubles=troubles)

    def unavailable(self) -> Step:
        """AI cannot answer at all: the words are kept, and more may be left."""
        return Step(self._house("unavailable"), Then.MESSAGE)

    def transferring(self, destination: str, number: str, response: str = "", play_url: str = "") -> Step:
        """The caller is joined to a person; the agent's own words come first, or the house's."""
        said = (Spoken(response, self._tag, play_url),) if sayable(response).strip() else ()
        return Step(said or self._house("connecting"), Then.DIAL, destination=destination, number=number)

    def transfer_failed(self) -> Step:
        """Nobody was reached: the caller is back, and may go on here."""
        return Step((*self._house("not_connected"), *self._own(self._consent)), Then.RECORD)

    def time_is_up(self) -> Step:
        """The call has lasted as long as a call may."""
        return Step(self._house("time_is_up"), Then.HANG_UP, why="max_duration")

    def too_dear(self) -> Step:
        """The call has cost as much as a call may; the caller need not know that it is money."""
        return Step(self._house("time_is_up"), Then.HANG_UP, why="max_cost")

    def asking_again(self, waits: int) -> Step:
        """Somebody else is about to answer: the same is asked once more, at first without a word."""
        if waits >= MOST_WAITS:
            return self.unavailable()
        is_told = waits >= QUICK_WAITS and (waits - QUICK_WAITS) % FILLER_EVERY_WAITS == 0
        return Step(self._house("one_moment") if is_told else (), Then.ASK_AGAIN, waits=waits + 1)

    def message_left(self) -> Step:
        """The message is taken."""
        return Step(self._house("kept"), Then.HANG_UP, why="message_left")

    def _own(self, text: str) -> tuple[Spoken, ...]:
        return (Spoken(text, self._tag),) if text else ()

    def _house(self, name: str) -> tuple[Spoken, ...]:
        return (Spoken(getattr(self._ours, name), self._ours.tag),)


HANG_UP = Step((), Then.HANG_UP)
JOIN = Step((), Then.STREAM)
REJECT = Step((), Then.REJECT)
