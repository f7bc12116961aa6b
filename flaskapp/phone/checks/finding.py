"""What a check is given, and what it says: well, doubtful or broken, why, and what mends it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flaskapp.config import Settings
    from flaskapp.phone.checks.visit import Visit

PAGE = "docs/doctor.md"


class Status(StrEnum):
    """How it is; also the words that are shown."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        cause: what is there, or what is wrong and why; no secrets.
        command: what mends it or tells more: a command, a setting, lines of a file; empty where all is well.
        page: where that is explained; the page on checks, where a trouble says nothing else.
        name: the check's.
    """

    status: Status
    cause: str
    command: str = ""
    page: str = ""
    name: str = ""

    def of(self, name: str) -> Finding:
        """The same, as what a check of that name found."""
        needs_page = self.status is Status.FAILURE or bool(self.command)
        return replace(self, name=name, page=self.page or (f"{PAGE}#{name}" if needs_page else ""))

    def to_json(self) -> dict[str, str]:
        """``{"name", "status", "cause", "command", "page"}``."""
        return {
            "name": self.name,
            "status": str(self.status),
            "cause": self.cause,
            "command": self.command,
            "page": self.page,
        }


def ok(cause: str) -> Finding:
    """All is well."""
    return Finding(Status.OK, cause)


def warning(cause: str, command: str = "", page: str = "") -> Finding:
    """It works, but not as it should, or not for everybody."""
    return Finding(Status.WARNING, cause, command, page)


def failure(cause: str, command: str = "", page: str = "") -> Finding:
    """It does not work."""
    return Finding(Status.FAILURE, cause, command, page)


def unknown(why: str) -> Finding:
    """It could not be looked at, for a reason that another check tells."""
    return Finding(Status.WARNING, f"not checked: {why}")


@dataclass(frozen=True)
class Case:
    """What is examined.

    Attributes:
        settings: those that this process was started with; wrong ones are at their defaults.
        url: origin at which the server is asked, as carriers would ask it.
        visits: asks the server about itself; done once, however many checks want to know.
        wrong: settings that are wrong, by field name: what is wrong about them.
        now: seconds since 1970.
    """

    settings: Settings
    url: str
    visits: Callable[[], Visit] = field(repr=False)
    wrong: Mapping[str, str] = field(default_factory=dict)
    now: Callable[[], float] = time.time

    @property
    def is_public(self) -> bool:
        """Whether the world is meant to call here."""
        return self.settings.is_public_origin

    @property
    def is_sure(self) -> bool:
        """Whether our server answers, under the address that it checks signatures for."""
        return self.visit.report.get("origin") == self.url

    @property
    def visit(self) -> Visit:
        """What the server said about itself."""
        return self.visits()

    def wrong_of(self, names: Collection[str]) -> list[str]:
        """Which of these settings are wrong, as the environment spells them."""
        return [name.upper() for name in names if name in self.wrong]
