"""Many commands to Redis as one command with one answer: asking and being answered costs more than the deed.

A script runs them in order, each as if it came by itself, and tells which were
refused. A Redis that takes no scripts - the one inside this process, or one that
forbids them - gets them as a pipeline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

#: Of each command: its name, how many words follow its key, and those.
SCRIPT = """
local refused, at = {}, 1
for number = 1, #KEYS do
    local last = at + 1 + tonumber(ARGV[at + 1])
    local answer = redis.pcall(ARGV[at], KEYS[number], unpack(ARGV, at + 2, last))
    if type(answer) == 'table' and answer.err then
        refused[#refused + 1] = number - 1
        refused[#refused + 1] = answer.err
    end
    at = last + 1
end
return refused
"""
UNKNOWN = "unknown command"  # Redis' words for one that it does not have

#: By their places in the bundle.
Refused = dict[int, ResponseError]


class Bundle:
    """Commands of one key each, in their order; whatever is put into a pipeline can be put in here."""

    __slots__ = ("commands",)

    def __init__(self) -> None:
        self.commands: list[tuple[Any, ...]] = []

    def __len__(self) -> int:
        return len(self.commands)

    def execute_command(self, *words: Any) -> None:
        """A command, its key, and what else it takes."""
        self.commands.append(words)

    def hset(self, name: str, mapping: Mapping[str, Any]) -> None:
        """Fields of a hash."""
        self.commands.append(("HSET", name, *(word for field in mapping.items() for word in field)))

    def expire(self, name: str, seconds: int) -> None:
        """How long a key stays."""
        self.commands.append(("EXPIRE", name, seconds))


class Courier:
    """Carries bundles to one Redis, by the client that speaks bytes; one thread's."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._script: Any = None
        self._takes_scripts = True

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """One connection for all that is sent inside: to fetch one, and look whether it lives, takes long.

        Raises:
            redis.exceptions.RedisError: there is none.
        """
        usual = self._redis
        with usual.client() as self._redis:
            try:
                yield
            finally:
                self._redis = usual

    def send(self, bundle: Bundle) -> Refused:
        """Have everything done; what of it Redis refused.

        Raises:
            redis.exceptions.RedisError: there was no answer, or nothing was done: some of it may be.
        """
        if self._takes_scripts and self._script is None:
            self._load()
        if not self._takes_scripts:
            return self._one_by_one(bundle)
        try:
            return self._together(bundle)
        except NoScriptError:  # it has begun anew since it was told
            self._load()
            return self._together(bundle)

    def _load(self) -> None:
        try:
            self._script = self._redis.script_load(SCRIPT)
        except ResponseError as error:
            if UNKNOWN not in str(error) and not isinstance(error, NoPermissionError):
                raise
            self._takes_scripts = False

    def _together(self, bundle: Bundle) -> Refused:
        names: list[Any] = []
        words: list[Any] = []
        for command in bundle.commands:
            names.append(command[1])
            words.append(command[0])
            words.append(len(command) - 2)
            words += command[2:]
        answer = self._redis.evalsha(self._script, len(names), *names, *words)
        return {
            place: ResponseError(said.decode(errors="replace"))
            for place, said in zip(answer[::2], answer[1::2], strict=True)
        }

    def _one_by_one(self, bundle: Bundle) -> Refused:
        with self._redis.pipeline(transaction=False) as pipe:
            for command in bundle.commands:
                pipe.execute_command(*command)
            answers = pipe.execute(raise_on_error=False)
        return {place: answer for place, answer in enumerate(answers) if isinstance(answer, ResponseError)}
