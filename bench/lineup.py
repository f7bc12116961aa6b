"""Who runs side by side, by name: how each is started, and beside whom it speaks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rig import Load
from subjects import PROJECT, RELAYS, Engine, Subject, alone, product, relay, stream_to

PEERS_PYTHON = PROJECT / ".venv-peers" / "bin" / "python"


@dataclass(frozen=True)
class Place:
    """Where subjects are started, and until when they run.

    ``core`` is theirs, ``beside`` their databases'; None: wherever there is room.
    """

    stack: ExitStack
    folder: Path
    load: Load
    core: int | None
    beside: int | None

    @property
    def plain(self) -> Engine:
        return Engine(self.load.engine)

    @property
    def tls(self) -> Engine:
        return Engine(self.load.engine_tls, self.load.ca_file)


def _product(place: Place, name: str, **ways: bool | int) -> Subject:
    return product(  # type: ignore[arg-type]
        *(place.stack, place.folder, place.plain, place.core),
        name=name,
        has_redis=True,
        redis_core=place.beside,
        **ways,
    )


def _product_over_tls(place: Place) -> Subject:
    return product(
        place.stack,
        place.folder,
        place.tls,
        place.core,
        name="product over TLS",
        floor="floor over TLS",
        has_redis=True,
        redis_core=place.beside,
    )


def _floor(place: Place, name: str, engine: Engine) -> Subject:
    command = [sys.executable, str(RELAYS / "floor.py"), "{port}"]
    return relay(place.stack, place.folder, engine, place.core, name, command, floor=name)


def _fastapi(place: Place) -> Subject:
    serve = ["-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning"]
    # What a requirements file that says `uvicorn` brings; the faster parts are here for the floor.
    slow = ["--loop", "asyncio", "--http", "h11", "--app-dir", str(RELAYS), "fastapi_sample:app"]
    command = [sys.executable, *serve, *slow]
    return relay(place.stack, place.folder, place.plain, place.core, "FastAPI sample", command)


def _plain_flask(place: Place) -> Subject:
    serve = ["-k", "gevent", "-b", "127.0.0.1:{port}", "--no-control-socket", "plain_flask:app"]
    command = [sys.executable, "-m", "gunicorn", *serve]
    return relay(place.stack, place.folder, place.plain, place.core, "plain Flask", command, forks=True)


def _pipecat(place: Place) -> Subject:
    command = [str(PEERS_PYTHON), str(RELAYS / "pipecat_peer.py"), "{port}"]
    subject = relay(place.stack, place.folder, place.plain, place.core, "Pipecat", command)
    # It resamples all sound, twice each way, and sends at the ear's pace: frames keep no numbers.
    return replace(subject, stream=partial(stream_to, "/media-stream", "twilio, counted"), is_paced=True)


LINEUP: dict[str, Callable[[Place], Subject]] = {
    "product": lambda place: _product(place, "product"),
    "product over TLS": _product_over_tls,
    "product, Exotel": lambda place: _product(place, "product, Exotel", is_exotel=True),
    "product, two workers": lambda place: _product(place, "product, two workers", workers=2),
    "product, idle calls": lambda place: _product(place, "product, idle calls"),
    "product, disturbed": lambda place: _product(place, "product, disturbed", is_disturbed=True),
    "floor": lambda place: _floor(place, "floor", place.plain),
    "floor over TLS": lambda place: _floor(place, "floor over TLS", place.tls),
    "FastAPI sample": _fastapi,
    "plain Flask": _plain_flask,
    "Pipecat": _pipecat,
    "load alone": lambda place: alone(place.plain),
}

#: Who speaks in turns with whom. The product hangs up on a line that brings nothing for 15 s, so it has
#: one neighbour at a time; the others wait as long as they are let.
GROUPS = (
    ("product", "floor"),
    ("product over TLS", "floor over TLS"),
    ("product, Exotel", "floor"),
    ("FastAPI sample", "plain Flask", "floor", "load alone"),
)
QUICK_GROUPS = (("product", "floor", "load alone"),)
PEERS = ("Pipecat", "floor")


def groups(quick: bool) -> tuple[tuple[str, ...], ...]:
    """Pipecat only where it is asked for: its environment is large, and made by scripts/peers.sh."""
    if quick:
        return QUICK_GROUPS
    return (*GROUPS, PEERS) if has_peers() else GROUPS


def has_peers() -> bool:
    return os.environ.get("BENCH_PEERS") == "1"
