"""The API: calls as they are remembered, for an operator's own programs.

What an answer looks like is in ``shapes.py``, which address gives it in ``endpoints.py``; ``openapi.json``
is made of both by ``make openapi``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask


def register_api(app: Flask) -> None:
    """Adds ``/api/...`` and ``/openapi.json``, for the operator."""
    from flaskapp.api.serving import build_blueprint

    app.register_blueprint(build_blueprint())
