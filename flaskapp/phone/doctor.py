"""What is wrong with an installation: every check side by side, each with a time in which it must be done.

    checks(settings)                    all of them
    checks(settings, only=CHEAP)        those that a page may ask for again and again

Nothing is changed and nothing is paid for: no call is placed, no session is given sound.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from urllib.parse import urlsplit

from flaskapp.config import Settings
from flaskapp.phone.checks import carriers, clock, engine, here, public, stores
from flaskapp.phone.checks.finding import Case, Finding, Status, failure, ok, unknown
from flaskapp.phone.checks.visit import Visit, pay_a_visit
from flaskapp.redaction import HIDDEN, SHORTEST_SECRET

#: Longer than a check's own questions may take: it is the check that says what does not answer.
WITHIN_S = 30.0
SETTINGS = "settings"


@dataclass(frozen=True)
class Check:
    """One thing that is looked at.

    Attributes:
        look: gives its findings; ``needs``: settings without which it makes no sense.
        is_cheap: asks this machine, Redis and the database only, and computes nothing: a server may do it.
    """

    name: str
    look: Callable[[Case], Finding]
    needs: tuple[str, ...] = ()
    is_cheap: bool = False


CHECKS = (
    Check("secrets", here.secrets, is_cheap=True),
    Check("libraries", here.libraries),
    Check("agent", here.agent, ("agent_file",)),
    Check("tools", here.tools, ("tools", "agent_file")),
    Check("disk", here.disk, is_cheap=True),
    Check("redis", stores.redis, ("redis_url",), is_cheap=True),
    Check("background", stores.background, ("redis_url",), is_cheap=True),
    Check("database", stores.database, ("database_url",), is_cheap=True),
    Check("migrations", stores.migrations, ("database_url",), is_cheap=True),
    Check("engine", engine.engine, ("openai_base_url", "azure_openai_endpoint", "localai_url")),
    Check("clock", clock.clock),
    Check("address", public.address, ("flask_base_url",)),
    Check("server", public.server),
    Check("worker", public.worker),
    Check("proxy", public.proxy, ("trusted_proxies",)),
    Check("signature", public.signature, ("flask_base_url", "twilio_account_sid")),
    Check("websocket", public.websocket, ("flask_base_url", "twilio_account_sid")),
    Check("twilio", carriers.twilio, ("twilio_account_sid", "twilio_api_base_url", "flask_base_url")),
    Check("exotel", carriers.exotel, ("exotel_api_key", "exotel_allowed_ips", "flask_base_url")),
)
NAMES = (SETTINGS, *(each.name for each in CHECKS))
CHEAP = (SETTINGS, *(each.name for each in CHECKS if each.is_cheap))


def checks(
    settings: Settings,
    *,
    url: str = "",
    wrong: Mapping[str, str] = MappingProxyType({}),
    only: Collection[str] = NAMES,
    now: Callable[[], float] = time.time,
    within_s: float = WITHIN_S,
) -> list[Finding]:
    """Look at everything, or at ``only`` some things, and say what was found; raises nothing.

    Args:
        url: origin at which the server is asked; else FLASK_BASE_URL, else where this machine serves.
        wrong: what is wrong with settings, by field name (``config.examined``); told first.
        now: seconds since 1970.
        within_s: so long all of it may take.
    """
    case = _case(settings, url, wrong, now)
    told = [failure(line, f"{name.upper()}=...").of(SETTINGS) for name, line in wrong.items()]
    if not told and SETTINGS in only:
        told = [ok("all understood").of(SETTINGS)]
    asked = [_Asked(each, case) for each in CHECKS if each.name in only]
    until = time.monotonic() + within_s
    found = [each.finding(until) for each in asked]
    hidden = _secrets(settings)
    return [_without(hidden, each) for each in (*told, *found)]


def verdict(findings: Collection[Finding]) -> Status:
    """The worst of all."""
    worst = max(findings, key=lambda each: list(Status).index(each.status), default=None)
    return worst.status if worst else Status.OK


def served_at(settings: Settings) -> str:
    """Where this machine would serve."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - asked, not bound
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _case(settings: Settings, url: str, wrong: Mapping[str, str], now: Callable[[], float]) -> Case:
    origin = url or settings.flask_base_url or served_at(settings)
    return Case(settings, origin, _Once(lambda: pay_a_visit(settings, origin, now)), wrong, now)


def _secrets(settings: Settings) -> list[str]:
    """What no finding may show: secrets, and the passwords in addresses."""
    addresses = (settings.redis_url, settings.database_url, settings.call_webhook_url)
    found = [*settings.secrets().values(), *(urlsplit(each).password or "" for each in addresses)]
    return sorted((each for each in found if len(each) >= SHORTEST_SECRET), key=len, reverse=True)


def _without(secrets: Iterable[str], finding: Finding) -> Finding:
    """Whatever a library says of an error: none of these."""
    for each in secrets:
        finding = replace(finding, cause=finding.cause.replace(each, HIDDEN))
    return finding


class _Once:
    """Asks when it is first asked, and has everybody wait for the one answer."""

    def __init__(self, ask: Callable[[], Visit]) -> None:
        self._ask, self._lock = ask, threading.Lock()
        self._answer: Visit | None = None

    def __call__(self) -> Visit:
        with self._lock:
            if self._answer is None:
                self._answer = self._ask()
            return self._answer


class _Asked:
    """A check at work, in a thread that nobody waits for longer than agreed."""

    def __init__(self, check: Check, case: Case) -> None:
        self._check, self._case = check, case
        self._finding: Finding | None = None
        self._thread = threading.Thread(target=self._look, name=f"doctor-{check.name}", daemon=True)
        self._thread.start()

    def finding(self, until: float) -> Finding:
        """What it found, if it is done by then."""
        self._thread.join(max(until - time.monotonic(), 0.0))
        found = self._finding or failure("No answer in time: what it asks hangs")
        return found.of(self._check.name)

    def _look(self) -> None:
        if wrong := self._case.wrong_of(self._check.needs):
            self._finding = unknown(f"{', '.join(wrong)} is wrong")
            return
        try:
            self._finding = self._check.look(self._case)
        except Exception as error:  # the check's own fault must not hide what the others found
            self._finding = failure(f"The check itself failed: {type(error).__name__}: {error}")
