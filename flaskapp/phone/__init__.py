"""The phone: carriers in, engines out, and the call between them.

from flaskapp.phone import phone_blueprint, init_app
init_app(app)     # an existing Flask app answers calls under /phone
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Blueprint, Flask

    phone_blueprint: Blueprint


def init_app(app: Flask) -> None:
    """Give an app everything that a call needs, and the routes under ``/phone``."""
    from flaskapp import equip

    equip(app)


def __getattr__(name: str) -> Any:
    """The blueprint is made when it is asked for: importing this package costs nothing."""
    if name != "phone_blueprint":
        raise AttributeError(name)
    from flaskapp.phone.routes import build_blueprint

    globals()[name] = build_blueprint()
    return globals()[name]
