"""Starts the app with its local companions on this machine: `python -m flaskapp.local run|demo`."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flaskapp.children import Child, ChildFailed
from flaskapp.config import INSTANCE, PROJECT, Settings, load_settings
from flaskapp.engine_settings import EngineSettings
from flaskapp.phone.audio import read_wav
from flaskapp.phone.errors import AudioError, ConfigurationError
from flaskapp.store import audio_parts

HOST = "127.0.0.1"
SPEECH_READY = r"^localai listening on (http://\S+)"
SPEECH_PATIENCE_S = 120.0
APP_PATIENCE_S = 60.0
MADE = ("call.wav", "transcript.json", "report.json")
DEMO_DATABASE = INSTANCE / "demo.sqlite3"
# Where the simulated carrier keeps its recordings, for a server and a caller who have no account.
SIMULATED_API = "http://127.0.0.1:5055"
# Of the user's own .env: a demo call is answered here, in public to nobody, and kept apart.
SET_ASIDE = (
    *("TWILIO_PHONE_NUMBER", "TWILIO_API_BASE_URL", "FLASK_BASE_URL", "DASHBOARD_PASSWORD"),
    *("TRUSTED_PROXIES", "REDIS_URL"),
)


class CannotStart(Exception):
    """What is missing or in the way, in one line with its remedy."""


def run() -> int:
    """Serves until stopped, on 127.0.0.1 and PORT."""
    wanted = {"LOCAL": "1", "HOST": HOST, "WEB_CONCURRENCY": "1"}
    settings = load_settings(wanted)
    wanted |= trial_of(settings)
    if not _is_free(settings.port):
        raise CannotStart(
            f"Port {settings.port} on {HOST} is taken: stop what listens there,"
            f" or use another, as in PORT={settings.port + 1} make run"
        )
    with _running(settings, wanted, INSTANCE / "logs", show=True) as (app, _):
        keeps = settings.record_calls or "RECORD_CALLS" in wanted
        print(_what_next(settings, keeps), flush=True)
        while app.is_running():
            time.sleep(0.2)
        raise app.failure("ended by itself")


def trial_of(settings: Settings) -> dict[str, str]:
    """What a server needs besides, where nobody has an account: calls can be recorded, and listened to."""
    trial = {}
    if not settings.twilio_account_sid:
        trial["TWILIO_API_BASE_URL"] = SIMULATED_API
        if not settings.exotel_api_key:  # else callers are people, who may have to be asked
            trial["RECORD_CALLS"] = "1"
    return {name: value for name, value in trial.items() if name.lower() not in settings.model_fields_set}


def demo() -> int:
    """Places one signed call to the app, shows it, and says with 0 that the caller was answered."""
    began = time.monotonic()
    # Not settings of the app: what the user types behind `make demo`.
    out = Path(os.environ.get("OUT") or INSTANCE / "demo").resolve()
    voice = _wav_arguments(os.environ.get("WAV", ""))
    wanted = _demo_settings(_free_port())
    settings = load_settings(wanted)
    _make_folder(out)
    with _running(settings, wanted, out / "logs", show=False) as (app, environment):
        code = _dial(settings.port, out, voice, environment)
        missing = [name for name in MADE if not (out / name).is_file()]
        if code or missing:
            print(app.failure("answered badly; its log").args[0], file=sys.stderr)
        if missing:
            print(f"The call left no {', '.join(missing)} in {out}", file=sys.stderr)
    took = f"{time.monotonic() - began:.0f} s"
    if not code and not missing:
        print(f"\nThe caller was heard and answered. Listen: {out / 'call.wav'}   (all of it took {took})")
        print(f"The call is kept in {DEMO_DATABASE}")
    return code or bool(missing)


@contextmanager
def _running(
    settings: Settings, wanted: dict[str, str], logs: Path, show: bool
) -> Iterator[tuple[Child, dict[str, str]]]:
    """The app as in production, its database migrated, and a speech server if no engine is configured.

    Yields the app's process, and the environment that it runs in.
    """
    environment = {**os.environ, **wanted, "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1"}
    environment["FLASK_APP"] = "flaskapp.command:app"
    children: list[Child] = []
    try:
        with _bar(2) as comes:
            if settings.engine is None:
                speech = _python(
                    "The local speech server",
                    ["flaskapp.localai", "--port", "0"],
                    environment,
                    logs / "speech.log",
                )
                children.append(speech)
            comes("The database is prepared")
            _migrate(environment)
            comes("The local speech server loads its models" if settings.engine is None else "")
            if settings.engine is None:
                environment["LOCALAI_URL"] = speech.wait_for_line(SPEECH_READY, SPEECH_PATIENCE_S)
        print(f"Engine: {_engine_name(settings.engine)}", flush=True)
        serve = ["gunicorn", "-c", str(PROJECT / "gunicorn.conf.py"), "wsgi:app"]
        with _bar(0 if show else 1) as comes:  # what the app itself has to say must not be drawn over
            comes("The app starts")
            app = _python("The app", serve, environment, None if show else logs / "app.log")
            children.append(app)
            app.wait_until(lambda: _is_healthy(settings.port), APP_PATIENCE_S)
        yield app, environment
    finally:
        for child in reversed(children):
            child.stop()


@contextmanager
def _bar(steps: int) -> Iterator[Callable[[str], None]]:
    """A bar for who sits at a terminal, gone when all is done; it is told what comes next."""
    if not steps or not sys.stderr.isatty():
        yield lambda what: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    bar = Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with bar:
        task, begun = bar.add_task("", total=steps), iter(range(steps + 1))
        yield lambda what: bar.update(task, completed=next(begun), description=what)


def _python(name: str, arguments: list[str], environment: dict[str, str], log: Path | None) -> Child:
    return Child(name, [sys.executable, "-m", *arguments], environment, log)


def _migrate(environment: dict[str, str]) -> None:
    """Says itself what is wrong."""
    command = [sys.executable, "-m", "flaskapp.store.migrate"]
    if subprocess.run(command, env=environment, check=False).returncode:  # noqa: S603 - our own program
        raise SystemExit(1)


def _dial(port: int, out: Path, voice: list[str], environment: dict[str, str]) -> int:
    command = [sys.executable, "-m", "flask", "phone", "dial", f"http://{HOST}:{port}"]
    arguments = ["--require-transcript", "--out", str(out), *voice]
    # The server's log is told apart from the call: only what goes wrong is shown here.
    quiet = environment | {"LOG_LEVEL": "ERROR"}
    return subprocess.run([*command, *arguments], env=quiet, check=False).returncode  # noqa: S603 - our own program


def _demo_settings(port: int) -> dict[str, str]:
    """An account of its own, so that the call is signed and the signature checked."""
    return dict.fromkeys(SET_ASIDE, "") | {
        "LOCAL": "1",
        "HOST": HOST,
        "PORT": str(port),
        "WEB_CONCURRENCY": "1",
        "DATABASE_URL": f"sqlite:///{DEMO_DATABASE}",
        "SECRET_KEY": secrets.token_hex(32),
        "TWILIO_ACCOUNT_SID": f"AC{secrets.token_hex(16)}",
        "TWILIO_AUTH_TOKEN": secrets.token_hex(16),
    }


def _wav_arguments(path: str) -> list[str]:
    if not path:
        return []
    try:
        read_wav(Path(path).read_bytes())
    except FileNotFoundError:
        raise CannotStart(f"WAV={path} does not exist: name a recording of the caller's voice") from None
    except OSError as error:
        raise CannotStart(f"WAV={path} cannot be read ({error.strerror}): name another file") from None
    except AudioError as error:
        raise CannotStart(
            f"WAV={path} is no recording that a caller could play ({error}): name a WAV file"
        ) from None
    return ["--wav", str(Path(path).resolve())]


def _make_folder(out: Path) -> None:
    """Empty of an earlier call's files, so that those found afterwards are this call's."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in MADE:
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise CannotStart(f"OUT={out} cannot be written ({error.strerror}): name another folder") from None


def _engine_name(engine: EngineSettings | None) -> str:
    if engine is None:
        return "the local speech server, a stand-in without account or network"
    return f"{engine.kind}, model {engine.model} at {engine.base_url}"


def _what_next(settings: Settings, keeps: bool) -> str:
    base = f"http://{HOST}:{settings.port}"
    pages = (("talk to it", "/dashboard/phone"), ("live board", "/dashboard/"))
    lines = [
        "",
        f"Answerline is ready at {base}",
        *(f"  {name:<21} {base}{path}" for name, path in pages if settings.flaskapp_dashboard),
        f"  a carrier's webhook   {base}/phone/incoming-call-streaming",
        f"  try a call            .venv/bin/flask phone dial {base}",
        f"  the same, recorded    .venv/bin/flask phone dial {base} --record-path",
        f"  the same, by Exotel   .venv/bin/flask phone dial {base} --carrier exotel --sample-rate 16000",
    ]
    if keeps:
        lines += [_where_kept(settings.audio_dir)]
    lines += ["Requests from this machine need no password. Stop with Ctrl-C.", ""]
    return "\n".join(lines)


def _where_kept(folder: str) -> str:
    """Whether they can be, tried out."""
    try:
        audio_parts.try_out(Path(folder))
    except OSError as error:
        why = error.strerror or error
        return f"Calls are kept without their sound, for AUDIO_DIR={folder} takes none ({why}): name another."
    return f"Calls are kept with their sound in {folder} (RECORD_CALLS=0: without)."


def _is_healthy(port: int) -> bool:
    return _status(f"http://{HOST}:{port}/health") == 200


def _status(url: str) -> int:
    """HTTP status of a GET; 0 if nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - an address of our own
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _stop(number: int, _frame: object) -> None:
    """SIGTERM unwinds like Ctrl-C, so that the children are stopped on the way; a second one is ignored."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


COMMANDS = {"run": run, "demo": demo}


def main(arguments: list[str]) -> int:
    """`run` or `demo`; every problem is told without a traceback."""
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        print("usage: python -m flaskapp.local run|demo", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _stop)
    try:
        return COMMANDS[arguments[0]]()
    except (CannotStart, ConfigurationError, ChildFailed) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.")
        return 0 if arguments == ["run"] else 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
