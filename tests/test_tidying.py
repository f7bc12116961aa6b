"""A worker is looked through for circles when nobody speaks; what it has loaded is not looked at again."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest

from flaskapp.tidying import Tidying
from tests.conftest import PROJECT

#: What a worker had before its calls is kept out of all looking, and what the first of them left, too.
SCRIPT = """
import gc
from flaskapp import tidying

class Circle:
    def __init__(self):
        self.self = self

tidying.settle()
settled, (new, lots, overdue) = gc.get_freeze_count(), gc.get_threshold()
kept = [Circle() for _ in range(5000)]
looks = tidying.Tidying(lambda: True, due=0, settles=1)
looks.look()
print(settled > 1000, gc.get_freeze_count() - settled >= 5000)
kept += [Circle() for _ in range(5000)]
frozen = gc.get_freeze_count()
looks.look()
print(gc.get_freeze_count() == frozen, new * lots * overdue > 1_000_000)
"""


class Circle:
    """Nothing but the collector frees it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def lost():
    """A circle to which nothing leads any more, in the portion that is looked at last."""
    circle = Circle()
    gc.collect()
    return weakref.ref(circle)


def test_nothing_is_looked_through_while_somebody_speaks(lost):
    speaking = [True]
    tidying = Tidying(lambda: not speaking, due=0, settles=0)
    assert not tidying.look()
    assert lost() is not None
    speaking.clear()
    assert tidying.look()
    assert lost() is None


def test_nothing_is_looked_through_where_little_is_new(lost):
    assert not Tidying(lambda: True, due=1_000_000, settles=0).look()
    assert lost() is not None


def test_what_was_loaded_and_what_the_first_calls_left_is_looked_through_once():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.splitlines() == ["True True", "True True"], done.stderr
