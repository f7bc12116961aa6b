"""nginx in front of several servers: deploy/nginx.conf, with the places of one test in it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests import servers
from tests.conftest import PROJECT
from tests.phone import certificates

CONFIGURATION = PROJECT / "deploy" / "nginx.conf"
Changes = Sequence[tuple[str, str]]
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def configuration(
    folder: Path,
    port: int,
    behind: Sequence[int],
    *,
    tls: bool = False,
    changes: Changes = (),
) -> Path:
    """Writes deploy/nginx.conf, moved to ``port`` of loopback and to ``folder``, where its logs lie, too.

    Args:
        behind: ports of the servers.
        tls: https on ``port``, with a certificate for ``localhost`` in ``folder``.
        changes: more (text, other text), each of which must be there.
    """
    text = CONFIGURATION.read_text()
    certificate, key = certificates.files(folder)
    paths = "".join(f"{name}_temp_path {folder}/{name}; " for name in TEMPORARY)
    upstream = "".join(f"server 127.0.0.1:{each} max_fails=0; " * 2 for each in behind)
    for old, new in (
        ("user www-data;", ""),
        ("pid /run/nginx.pid;", f"pid {folder}/nginx.pid;"),
        ("worker_processes auto;", "worker_processes 1;"),
        ("worker_rlimit_nofile 65536;", ""),
        ("worker_connections 16384;", "worker_connections 1024;"),
        ("http {", f"http {{ {paths}"),
        ("/var/log/nginx/", f"{folder}/"),
        ("server 127.0.0.1:5001 max_fails=0;\n        server 127.0.0.1:5001 max_fails=0;", upstream),
        ("listen 80;", f"listen 127.0.0.1:{servers.free_port()};"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{port}{' ssl' * tls};"),
        ("server_name voice.example.com;", "server_name localhost;"),
        ("/etc/letsencrypt/live/voice.example.com/fullchain.pem", str(certificate)),
        ("/etc/letsencrypt/live/voice.example.com/privkey.pem", str(key)),
        *changes,
    ):
        assert old in text, f"{CONFIGURATION.name} has no {old!r} any more"
        text = text.replace(old, new)
    path = folder / "nginx.conf"
    path.write_text(text)
    return path


def command(configured: Path, *arguments: str) -> list[str]:
    """nginx with this configuration."""
    program = servers.find_program("nginx") or servers.find_program("/usr/sbin/nginx")
    assert program, "no nginx here; `make test` says how to get it"
    return [program, "-p", str(configured.parent), "-c", str(configured), "-e", "stderr", *arguments]


@contextmanager
def nginx(
    folder: Path,
    port: int,
    behind: Sequence[int],
    *,
    tls: bool = False,
    changes: Changes = (),
) -> Iterator[str]:
    """Runs on ``port`` of loopback with servers behind it, which need not be there yet; its URL."""
    configured = configuration(folder, port, behind, tls=tls, changes=changes)
    process = subprocess.Popen(command(configured, "-g", "daemon off;"), stderr=subprocess.DEVNULL)
    try:
        servers.wait_until(lambda: servers.answers(port), "no nginx")
        yield f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
    finally:
        servers.stop(process)


def redirecting_port(folder: Path) -> int:
    """Where plain http is sent to https from."""
    found = re.search(r"listen 127\.0\.0\.1:(\d+);", (folder / "nginx.conf").read_text())
    assert found
    return int(found[1])
