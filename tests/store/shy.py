"""A Redis that can be away, or take what it is told and not answer."""

from __future__ import annotations

from redis.exceptions import ConnectionError as NoConnection


class Shy:
    """A Redis that can be away, or take what it is told and not answer."""

    def __init__(self, redis) -> None:
        self.redis, self.is_away, self.mute = redis, False, 0

    def pipeline(self, *arguments, **options):
        if self.is_away:
            raise NoConnection("away")
        pipe = self.redis.pipeline(*arguments, **options)
        execute = pipe.execute

        def executed(*arguments, **options):
            is_push = any("RPUSH" in str(command[0][0]) for command in pipe.command_stack)
            answers = execute(*arguments, **options)
            if self.mute and is_push:
                self.mute -= 1
                raise NoConnection("no answer")
            return answers

        pipe.execute = executed
        return pipe

    def __getattr__(self, name):
        return getattr(self.redis, name)
