"""``<Gather>``'s ear: collects the keys that the caller presses."""

from __future__ import annotations

import asyncio

from flaskapp.simulator.twilio.schema import Gather


class Menu:
    """Listens to the line for keys; speech is not understood here."""

    def __init__(self, verb: Gather) -> None:
        self.digits = ""
        self.finished_on = ""
        self._verb = verb
        self._pressed = asyncio.Event()
        self._done = False

    async def frame(self, mulaw: bytes, due: float, *, voiced: bool) -> bool:
        """Takes 20 ms of the caller, and lets it go by."""
        return True

    async def digit(self, digit: str) -> None:
        """Takes a key until there are enough or the finishing one was pressed."""
        if self._done or "dtmf" not in self._verb.input.split():
            return
        if self._verb.finish_on_key and digit in self._verb.finish_on_key:
            self.finished_on, self._done = digit, True
        else:
            self.digits += digit
            self._done = bool(self._verb.num_digits) and len(self.digits) >= self._verb.num_digits
        self._pressed.set()

    async def collect(self, prompting: asyncio.Task[None], gone: asyncio.Event) -> str:
        """The keys, when they are complete or none came for ``timeout`` s after the prompt."""
        hung_up = asyncio.create_task(gone.wait())
        try:
            while not self._done and not gone.is_set():
                self._pressed.clear()
                pressed = asyncio.create_task(self._pressed.wait())
                prompt = {prompting} if not self.digits and not prompting.done() else set()
                timeout = None if prompt else float(self._verb.timeout)
                done, _ = await asyncio.wait(
                    {pressed, hung_up, *prompt}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
                )
                pressed.cancel()
                if not done:
                    break
        finally:
            hung_up.cancel()
        return self.digits
