"""When a worker is looked through for what nothing leads to any more: while nobody speaks, for all wait.

Counting references frees nearly everything at once. What refers to itself in a circle is found by Python's
collector only: in small portions among what is new, and now and then among all there is. That takes up to
a microsecond for each object, and a worker with many calls has tens of thousands of them.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

#: So many new objects are looked through at once; and so many such lots together, a second time.
NEW, LOTS = 700, 4
#: After so many lots of lots all is looked through at a quiet moment; at any, for memory ends, too.
DUE, OVERDUE = 15, 400
LOOKS_EVERY_S = 1.0
#: What is there at the first quiet moments was loaded by the first calls, and stays. What is kept out of all
#: further looking is never freed if it is a circle: so not for ever.
SETTLES = 5


def settle() -> None:
    """Whatever is here by now stays, and need not be looked through again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW, LOTS, OVERDUE)


class Tidying:
    """Looks a worker through at quiet moments.

    Args:
        is_quiet: nobody would wait.
        due: after so many lots of what is new.
        settles: so often whatever is found in use is kept out of all further looking.
    """

    def __init__(self, is_quiet: Callable[[], bool], due: int = DUE, settles: int = SETTLES) -> None:
        self._is_quiet, self._due, self._settles = is_quiet, due, settles

    def start(self) -> None:
        """Look again and again, as long as the process lives."""
        threading.Thread(target=self._look_for_ever, name="tidying", daemon=True).start()

    def look(self) -> bool:
        """Look through all there is, if that is due and nobody would wait; whether it was."""
        if gc.get_count()[2] < self._due or not self._is_quiet():
            return False
        gc.collect()
        if self._settles > 0:
            self._settles -= 1
            gc.freeze()
        return True

    def _look_for_ever(self) -> None:
        while True:
            time.sleep(LOOKS_EVERY_S)
            self.look()
