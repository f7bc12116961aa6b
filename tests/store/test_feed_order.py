"""What readers of a live transcript are told, and in which order, however late words arrive."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from flaskapp.store.feed_order import PATIENCE_S, LineOrder, Update


@dataclass
class Scene:
    """An order, and all that it had told."""

    order: LineOrder = field(default_factory=LineOrder)
    told: list[Update] = field(default_factory=list)

    def placed(self, item: str, position: int, is_over: bool = False) -> None:
        self.told += self.order.placed(item, position, "caller", is_over)

    def line(self, item: str, position: int, text: str, is_final: bool = False, now: float = 0.0) -> None:
        self.told += self.order.line(item, position, "caller", text, is_final, now)

    @property
    def said(self) -> list[tuple[str, str, bool]]:
        return [(each.item, each.text, each.is_final) for each in self.told]

    @property
    def finals(self) -> list[str]:
        return [each.item for each in self.told if each.is_final]


def test_a_line_grows_under_its_item_and_is_final_once():
    scene = Scene()
    for text, is_final in (
        ("We", False),
        ("We are", False),
        ("We are open.", True),
        ("We are.", True),
        ("x", False),
    ):
        scene.line("a", 0, text, is_final)
    assert scene.said == [("a", "We", False), ("a", "We are", False), ("a", "We are open.", True)]


def test_a_place_is_seen_at_once_and_an_answer_waits_for_the_words_before_it():
    scene = Scene()
    scene.placed("question", 0)
    scene.line("answer", 1, "Nine", False)
    scene.line("answer", 1, "Nine o'clock.", True)
    assert scene.said == [
        ("question", "", False),
        ("answer", "Nine", False),
        ("answer", "Nine o'clock.", False),
    ]
    scene.line("question", 0, "When?", True)
    assert scene.said[3:] == [("question", "When?", True), ("answer", "Nine o'clock.", True)]


def test_words_that_never_come_free_their_place():
    scene = Scene()
    scene.placed("noise", 0)
    scene.line("answer", 1, "Pardon?", True)
    scene.placed("noise", 0, is_over=True)
    assert scene.finals == ["noise", "answer"]
    assert scene.told[-2].text == ""


def test_a_line_that_nobody_heard_of_is_withdrawn_in_silence():
    scene = Scene()
    scene.line("a", 0, "", True)
    scene.placed("b", 1, is_over=True)
    assert scene.told == []


def test_nobody_waits_for_more_than_five_seconds_and_nobody_is_overtaken():
    scene = Scene()
    scene.placed("lost", 0)
    scene.line("third", 2, "c", True, now=1.0)
    scene.line("second", 1, "b", True, now=4.0)
    assert scene.order.next_due() == 1.0 + PATIENCE_S
    assert scene.order.late(1.0 + PATIENCE_S - 0.01) == []
    scene.told += scene.order.late(1.0 + PATIENCE_S)
    assert scene.finals == ["second", "third"]
    scene.line("fourth", 3, "d", True, now=7.0)
    assert scene.finals == ["second", "third", "fourth"], "who was waited for in full is waited for no longer"
    scene.line("lost", 0, "here", True, now=8.0)
    assert scene.finals[-1] == "lost"


def test_lines_of_other_processes_are_not_waited_for_nor_told_again():
    scene = Scene()
    scene.order.adopt(Update("theirs", 0, "caller", "", False))
    scene.order.adopt(Update("done", 1, "agent", "Hello.", True))
    scene.line("mine", 2, "Yes.", True)
    scene.line("done", 1, "Hello.", True)
    assert scene.finals == ["mine"]
    scene.told += scene.order.withdrawn(kept=())
    assert scene.said[-1] == ("theirs", "", True)


def test_at_the_end_everything_is_told_as_it_stands():
    scene = Scene()
    scene.placed("silent", 0)
    scene.line("half", 1, "I would", False)
    scene.line("whole", 2, "Good bye.", True)
    scene.told += scene.order.flush()
    assert [(each.item, each.text) for each in scene.told if each.is_final] == [
        ("silent", ""), ("half", "I would"), ("whole", "Good bye.")
    ]  # fmt: skip


def test_a_process_that_ends_holds_no_final_line_back():
    scene = Scene()
    scene.placed("open", 0)
    scene.line("b", 1, "b", True)
    scene.told += scene.order.release()
    assert scene.finals == ["b"]


happenings = st.lists(
    st.tuples(
        st.integers(0, 6),
        st.sampled_from(["placed", "over", "grows", "final", "final", "empty"]),
        st.sampled_from([0.0, 0.5, 3.0, 6.0]),
    ),
    max_size=40,
)


@given(happenings)
def test_whatever_happens_final_lines_come_once_and_nothing_stays_open(happenings):
    scene, now = Scene(), 0.0
    for position, kind, pause_s in happenings:
        now += pause_s
        scene.told += scene.order.late(now)
        item = f"i{position}"
        if kind in ("placed", "over"):
            scene.placed(item, position, kind == "over")
        else:
            text = "" if kind == "empty" else f"words {len(scene.told)}"
            scene.line(item, position, text, kind != "grows", now)
        due = scene.order.next_due()
        assert due is None or now - PATIENCE_S <= due <= now + PATIENCE_S
    announced = {each.item for each in scene.told}
    scene.told += scene.order.flush()
    assert announced <= set(scene.finals), "nothing stays open"
    assert len(scene.finals) == len(set(scene.finals))
    for at, each in enumerate(scene.told):
        assert not any(later.item == each.item for later in scene.told[at + 1 :]) or not each.is_final


@given(st.permutations(range(6)), st.integers(0, 5))
def test_lines_that_were_placed_come_in_their_order_however_their_words_arrive(arrivals, split):
    scene = Scene()
    for position in range(6):
        scene.placed(f"i{position}", position)
    for number, position in enumerate(arrivals):
        scene.line(f"i{position}", position, f"{position}", True, now=float(number > split))
    assert scene.finals == [f"i{position}" for position in range(6)]
