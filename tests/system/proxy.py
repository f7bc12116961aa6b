"""nginx in front of several servers, as a deployment has it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests import servers

NGINX = """
daemon off; worker_processes 1; pid FOLDER/nginx.pid;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy;
  fastcgi_temp_path FOLDER/fastcgi; uwsgi_temp_path FOLDER/uwsgi; scgi_temp_path FOLDER/scgi;
  upstream app { random; SERVERS }
  map $http_upgrade $connection_upgrade { default upgrade; '' close; }
  server {
    listen 127.0.0.1:PORT;
    location / {
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_read_timeout 75s;
      proxy_next_upstream error timeout http_503;
    }
  }
}
"""


@contextmanager
def nginx(folder: Path, port: int, behind: Sequence[int]) -> Iterator[str]:
    """Runs on ``port`` of loopback with servers behind it, which need not be there yet; its URL."""
    program = servers.find_program("nginx") or servers.find_program("/usr/sbin/nginx")
    assert program, "no nginx here; `make test` says how to get it"
    text = NGINX.replace("FOLDER", str(folder)).replace("PORT", str(port))
    text = text.replace("SERVERS", "".join(f"server 127.0.0.1:{each} max_fails=0;" for each in behind))
    (folder / "nginx.conf").write_text(text)
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        servers.wait_until(lambda: servers.answers(port), "no nginx")
        yield f"http://127.0.0.1:{port}"
    finally:
        servers.stop(process)
