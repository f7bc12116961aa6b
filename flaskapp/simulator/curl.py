"""``flask phone curl``: the curl line that sends what Twilio would send, signed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from flaskapp.simulator.twilio import signature


def curl_line(url: str, fields: Mapping[str, str], auth_token: str | None) -> str:
    """A POST of these form fields, shell-quoted; with a token it carries the signature."""
    words = ["curl", "-X", "POST", url]
    if auth_token:
        words += ["-H", f"{signature.HEADER}: {signature.sign(auth_token, url, fields)}"]
    for name, value in fields.items():
        words += ["--data-urlencode", f"{name}={value}"]
    return shlex.join(words)
