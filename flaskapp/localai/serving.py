"""The server's life: port taken, workers warmed, signals awaited, everything put away."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket

from aiohttp import web

from flaskapp.localai import ears, voice
from flaskapp.localai.server import create_server
from flaskapp.localai.session import Desk
from flaskapp.localai.timings import Timings
from flaskapp.localai.workers import WorkerLost, Workers

log = logging.getLogger(__name__)

_EARS = 2  # processes: as many turns are understood at once
_VOICES = 1  # speaking takes milliseconds
_SHUTDOWN_S = 2.0


class CannotServe(RuntimeError):
    """The server cannot start; the message is for the operator."""


async def serve(host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        CannotServe: the port is taken, or a worker cannot start.
    """
    stopping = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopping.set)
    bound = _bind(host, port)  # before the models load: a taken port is told at once
    workers = (Workers("ears", _EARS, ears.warm_up), Workers("voice", _VOICES, voice.warm_up))
    try:
        if await _warm(workers, stopping):
            await _answer(bound, workers, stopping)
    finally:
        bound.close()
        for each in workers:
            each.close()
    log.info("localai stopped")


async def _warm(workers: tuple[Workers, ...], stopping: asyncio.Event) -> bool:
    """Wait for the workers; False if the server is to stop before they are warm."""
    warm = asyncio.gather(*(each.ready() for each in workers))
    stop = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait((warm, stop), return_when=asyncio.FIRST_COMPLETED)
        if not warm.done():
            return False
        await warm
    except WorkerLost as error:
        raise CannotServe(f"{error} before it was ready") from error
    finally:
        stop.cancel()
        warm.cancel()
    return True


async def _answer(bound: socket.socket, workers: tuple[Workers, ...], stopping: asyncio.Event) -> None:
    hearing, speaking = workers
    desk = Desk(ears.Ears(hearing), voice.Voice(speaking), Timings())
    runner = web.AppRunner(create_server(desk), access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        await web.SockSite(runner, bound).start()
        log.info("this is a stand-in: pocketsphinx ears, an espeak-ng voice, a scripted mind; no AI model")
        print(f"localai listening on {_address(bound)}/v1", flush=True)
        await stopping.wait()
    finally:
        await runner.cleanup()


def _bind(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise CannotServe(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return bound


def _address(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
