"""Where the operator signs in and out."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Blueprint, Response, abort, make_response, redirect, render_template, request, url_for
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import TooManyRequests

from flaskapp.access import (
    check_same_origin,
    form_token,
    has_form_token,
    is_foreign_page,
    is_local,
    is_password,
    operators_session,
    settings,
    sign_in,
    sign_out,
)

LONGEST_PASSWORD = 1000
WRONG = "That is not the password."
NOBODY = (
    "DASHBOARD_PASSWORD is not set, so nobody can sign in: only this machine is served. Set it and restart."
)


def add_pages(dashboard: Blueprint) -> None:
    """``/dashboard/login`` and ``/dashboard/logout``; templates have ``csrf_token()`` for their forms."""
    dashboard.context_processor(lambda: {"csrf_token": form_token})
    dashboard.add_url_rule("/login", "login", login)
    dashboard.add_url_rule("/login", "signing_in", signing_in, methods=["POST"])
    dashboard.add_url_rule("/logout", "logout", logout, methods=["POST"])


def login() -> Response:
    """The form, unless whoever asks is let in already."""
    if settings().dashboard_password is None and not is_local():
        return _form(NOBODY, 403)
    if is_local() or operators_session() is not None:
        return _onwards()
    return _form("", 200)


def signing_in() -> Response:
    """The password is right: a session, and back to where he came from. Else the form again, and why."""
    if is_foreign_page():
        abort(403, "Pages of other origins may not sign in.")
    if settings().dashboard_password is None:
        return _form(NOBODY, 403)
    try:
        is_right = is_password(request.form.get("password", "")[:LONGEST_PASSWORD])
    except TooManyRequests as error:
        refused = _form(error.description or "", 429)
        refused.headers.extend((name, value) for name, value in error.get_headers() if name != "Content-Type")
        return refused
    if not is_right:
        refused = _form(WRONG, 401)
        refused.www_authenticate = WWWAuthenticate("session", {"realm": "Answerline operator"})
        return refused
    sign_in()
    return _onwards()


def logout() -> Response:
    """The session ends, here and in every copy of its cookie."""
    check_same_origin()
    if operators_session() is not None and not has_form_token():
        abort(403, "The form's csrf_token is missing, or another session's. Load the page again.")
    sign_out()
    return make_response(redirect(url_for("dashboard.login"), 303))


def _form(wrong: str, status: int) -> Response:
    can_sign_in = settings().dashboard_password is not None
    page = render_template(
        "dashboard/login.html", wrong=wrong, wanted=_wanted(), can_sign_in=can_sign_in, status=status
    )
    return make_response(page, status)


def _onwards() -> Response:
    return make_response(redirect(_wanted() or url_for("dashboard.board"), 303))


def _wanted() -> str:
    """The page of ours that he was on his way to; empty where that is no page of ours."""
    wanted = request.values.get("next", "")
    try:
        parts = urlsplit(wanted)
    except ValueError:
        return ""
    is_ours = not parts.scheme and not parts.netloc and wanted.startswith("/")
    # Browsers take a backslash for a slash, and leave out what does not print: "/\n/host" is "//host".
    return (
        wanted
        if is_ours and not wanted.startswith("//") and "\\" not in wanted and wanted.isprintable()
        else ""
    )
