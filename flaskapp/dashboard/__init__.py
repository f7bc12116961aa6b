"""The dashboard: an operator's pages, under ``/dashboard``.

A page is a module with ``add_pages(dashboard)``, named in ``build_dashboard``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Blueprint, Flask


def register_dashboard(app: Flask) -> None:
    """The pages, unless FLASKAPP_DASHBOARD=0."""
    from flaskapp.dashboard.docs_page import build_docs

    if app.extensions["settings"].flaskapp_dashboard:
        app.register_blueprint(build_dashboard())
        app.register_blueprint(build_docs())


def register_home(app: Flask) -> None:
    """``/`` leads to the board; for our own app: others have something else there."""
    from flask import redirect, url_for

    if app.extensions["settings"].flaskapp_dashboard:
        app.add_url_rule("/", "home", lambda: redirect(url_for("dashboard.board")))


def build_dashboard() -> Blueprint:
    """All pages with what they are made of: templates, and files that browsers may keep."""
    from flask import Blueprint

    from flaskapp.dashboard import board, call_page, dress, login, phone_page
    from flaskapp.dashboard.troubles import add_troubles
    from flaskapp.dashboard.words import add_words

    dashboard = Blueprint(
        "dashboard", __name__, url_prefix="/dashboard", template_folder="templates", static_folder=None
    )
    dress.dress(dashboard)
    add_words(dashboard)
    add_troubles(dashboard)
    for page in (board, call_page, login, phone_page):
        page.add_pages(dashboard)
    return dashboard
