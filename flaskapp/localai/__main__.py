"""The command line of the local speech server."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import logging
import sys

_NEEDED = ("aiohttp", "numpy", "soxr", "pocketsphinx", "espeakng_loader")
_DESCRIPTION = (
    "An OpenAI-compatible speech server for this machine, without account or network. "
    "It is a stand-in: pocketsphinx ears, an espeak-ng voice and a scripted mind."
)


def main() -> int:
    options = _arguments().parse_args()
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"localai needs {', '.join(missing)}: pip install -r requirements-local.txt",
            file=sys.stderr,
        )
        return 1
    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    from flaskapp.localai.serving import CannotServe, serve

    try:
        asyncio.run(serve(options.host, options.port))
    except CannotServe as error:
        print(f"localai: {error}", file=sys.stderr)
        return 1
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flaskapp.localai", description=_DESCRIPTION)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=5055, help="port to listen on (5055); 0 takes a free one")
    parser.add_argument(
        "--log-level", default="info", choices=["debug", "info", "warning", "error"], help="(info)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
