"""One session's conversation as a Realtime server keeps it, with what its client still owes."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from tests.behaviour import ToolUse

Said = tuple[str, str]  # role ("user", "assistant", "system", "function_call", "function_call_output"), words

AT_ONCE_S = 3.0  # a second response.create this soon after the first is one too many
ENDINGS = frozenset({"end_call", "transfer_to_human"})  # after these a call may have nothing more to hear
_CONTENT = {
    "user": {"input_text", "input_audio"},
    "assistant": {"output_text"},
    "system": {"input_text"},
}
_numbers = itertools.count(1)


@dataclass
class Conversation:
    """What was said, recited and called.

    Attributes:
        lines: all of it, in order; a function's call reads ``name arguments``.
        recited: what the client wrote, but for the answers to this session's own calls.
        history: what it had written before this session said or heard anything.
        created: the instructions of each ``response.create``, "" for those without.
        collisions: ``response.create`` while a response was active.
        calls: this session's own, and those recited, by call id.
        outputs: what each was answered.
        follow_ups: for each response with calls, how often another was asked for right after its answers.
    """

    lines: list[Said] = field(default_factory=list)
    recited: list[Said] = field(default_factory=list)
    history: list[Said] = field(default_factory=list)
    created: list[str] = field(default_factory=list)
    collisions: int = 0
    calls: dict[str, ToolUse] = field(default_factory=dict)
    outputs: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    follow_ups: dict[str, int] = field(default_factory=dict)
    _own: dict[str, str] = field(default_factory=dict)  # call id -> response
    _is_live: bool = False
    _answered: str = ""  # the response whose calls have all been answered
    _followed_at: float = 0.0

    # ------------------------------------------------------------------ what a test asks

    @property
    def greeted(self) -> bool:
        """Whether a greeting was asked for: a response to a conversation that had nothing in it."""
        return bool(self.created) and not self.history and self._greeted

    _greeted: bool = False

    def tool_debts(self, endings: frozenset[str] = ENDINGS) -> list[str]:
        """What the client still owes, in sentences: each call answered once, then one response.create."""
        debts = [
            f"{use.name} ({call_id}) was answered {len(self.outputs.get(call_id, []))} times"
            for call_id, use in self.calls.items()
            if len(self.outputs.get(call_id, [])) != 1
        ]
        for response, count in self.follow_ups.items():
            names = {self.calls[each].name for each, of in self._own.items() if of == response}
            if count > 1 or (count == 0 and not names & endings):
                debts.append(f"{', '.join(sorted(names))}: {count} response.create after it")
        return debts

    def answers_to(self, name: str) -> list[str]:
        """The outputs that calls of one function were given, in order."""
        return [out for each, use in self.calls.items() if use.name == name for out in self.outputs[each]]

    # ------------------------------------------------------------------ what happens

    def heard(self, words: str) -> None:
        self._live()
        self.lines.append(("user", words))

    def speech_began(self) -> None:
        self._live()
        self._answered = ""

    def said(self, words: str) -> None:
        self._live()
        self.lines.append(("assistant", words))

    def called(self, response: str, call_id: str, use: ToolUse) -> None:
        self._live()
        self.calls[call_id] = use
        self._own[call_id] = response
        self.follow_ups[response] = 0
        self.lines.append(("function_call", f"{use.name} {use.arguments}"))

    def create(self, item: dict[str, Any], wrong: list[str]) -> dict[str, Any] | None:
        """An item of the client's; the error that a real server would tell, if there is one.

        ``wrong``: what the typed models say against it.
        """
        if wrong:
            return _error("invalid_value", wrong[0], "item")
        if item.get("type") == "message":
            kinds = {part.get("type") for part in item["content"]}
            if not kinds <= _CONTENT.get(item.get("role", ""), set()):
                return _error(
                    "invalid_value", f"{item.get('role')} with {sorted(map(str, kinds))}", "item.content"
                )
            words = " ".join(part.get("text") or "" for part in item["content"])
            self._recite(item["role"], words)
        elif item.get("type") == "function_call":
            self.calls[item.get("call_id") or f"call_r{next(_numbers)}"] = ToolUse(
                item["name"], item["arguments"]
            )
            self._recite("function_call", f"{item['name']} {item['arguments']}")
        elif item.get("type") == "function_call_output":
            return self._answer(item["call_id"], item["output"])
        else:
            return _error("invalid_value", f"an item of type {item.get('type')!r}", "item.type")
        return None

    def create_response(self, instructions: str, is_busy: bool) -> dict[str, Any] | None:
        """The client wants a response; the error, where another is active."""
        if is_busy:
            self.collisions += 1
            text = "Conversation already has an active response in progress."
            return _error("conversation_already_has_active_response", text, None)
        self._greeted = self._greeted or not self.lines
        self.created.append(instructions)
        self._live()
        now = time.monotonic()
        if self._answered and (not self.follow_ups[self._answered] or now - self._followed_at < AT_ONCE_S):
            self.follow_ups[self._answered] += 1
            self._followed_at = now
        return None

    def _answer(self, call_id: str, output: str) -> dict[str, Any] | None:
        if call_id not in self.calls:
            text = f"Tool call ID '{call_id}' not found in conversation."
            return _error("invalid_tool_call_id", text, "item.call_id")
        self.outputs[call_id].append(output)
        response = self._own.get(call_id)
        if response is None:
            self._recite("function_call_output", output)
        else:
            self.lines.append(("function_call_output", output))
            mine = [each for each, of in self._own.items() if of == response]
            self._answered = response if all(self.outputs[each] for each in mine) else ""
        if len(self.outputs[call_id]) > 1:
            return _error("invalid_value", f"{call_id} was answered already", "item.call_id")
        return None

    def _recite(self, role: str, words: str) -> None:
        self.lines.append((role, words))
        self.recited.append((role, words))
        if not self._is_live:
            self.history.append((role, words))

    def _live(self) -> None:
        self._is_live = True


def _error(code: str, message: str, param: str | None) -> dict[str, Any]:
    return {"type": "invalid_request_error", "code": code, "message": message, "param": param}
