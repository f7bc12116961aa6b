"""The conversation of one session: items in order, added, cut and forgotten."""

from __future__ import annotations

from flaskapp.localai import tokens
from flaskapp.localai.items import Item
from flaskapp.localai.mind import Line
from flaskapp.localai.refusal import Refused, invalid

MOST_ITEMS = 2000  # then the oldest go, as a full context would make them


class Conversation:
    """What was said so far. It knows no sockets and no clock."""

    def __init__(self, conversation_id: str) -> None:
        self.id = conversation_id
        self._items: list[Item] = []

    @property
    def items(self) -> tuple[Item, ...]:
        return tuple(self._items)

    def last_id(self) -> str | None:
        return self._items[-1].id if self._items else None

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Put an item at the end, or after another ("root": first); returns its predecessor's id.

        Raises:
            Refused: the id is taken, there is no item to put it after, or it answers no function's call.
        """
        answers = item.body.get("call_id") if item.body["type"] == "function_call_output" else None
        if answers is not None and not self._called(answers):
            text = f"Tool call ID '{answers}' not found in conversation."
            raise Refused("invalid_tool_call_id", text, "item.call_id")
        if any(item.id == other.id for other in self._items):
            raise Refused("item_create_invalid_item_id", f"Item '{item.id}' already exists.", "item.id")
        at = len(self._items)
        if after == "root":
            at = 0
        elif after is not None:
            at = self._items.index(self.find(after, "previous_item_id")) + 1
        self._items.insert(at, item)
        predecessor = self._items[at - 1].id if at else None
        del self._items[: max(0, len(self._items) - MOST_ITEMS)]
        return predecessor

    def _called(self, call_id: str) -> bool:
        return any(i.body["type"] == "function_call" and i.body["call_id"] == call_id for i in self._items)

    def find(self, item_id: str, param: str = "item_id") -> Item:
        """The item of this id.

        Raises:
            Refused: there is none.
        """
        for item in self._items:
            if item.id == item_id:
                return item
        raise Refused("item_not_found", f"Item with item_id '{item_id}' not found.", param)

    def delete(self, item_id: str) -> Item:
        item = self.find(item_id)
        self._items.remove(item)
        return item

    def truncate(self, item_id: str, audio_end_ms: int) -> Item:
        """Cut the agent's message to what was heard of it.

        Raises:
            Refused: no such item, not the agent's audio, or longer than it is.
        """
        item = self.find(item_id)
        if item.body.get("role") != "assistant":
            raise invalid("item_id", "an assistant message with audio")
        if audio_end_ms > item.audio_ms:
            raise Refused(
                "invalid_value",
                f"Audio content of {item.audio_ms}ms is already shorter than {audio_end_ms}ms",
                "audio_end_ms",
            )
        item.truncate(audio_end_ms)
        return item


def lines(items: tuple[Item, ...]) -> list[Line]:
    """The items as the mind reads them."""
    return [item.as_line() for item in items]


def input_tokens(items: tuple[Item, ...], instructions: str) -> tuple[int, int]:
    """(text, audio) tokens that a response to these items takes in."""
    counts = [item.input_tokens() for item in items]
    return tokens.of_text(instructions) + sum(text for text, _ in counts), sum(audio for _, audio in counts)
