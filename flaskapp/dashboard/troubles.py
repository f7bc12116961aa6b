"""A page's errors: in a browser a page, too; for everybody else what all errors are."""

from __future__ import annotations

from typing import NoReturn

from flask import Blueprint, Response, make_response, render_template, request
from werkzeug.exceptions import HTTPException, NotFound

from flaskapp.problems import headers_of, known


def add_troubles(dashboard: Blueprint) -> None:
    """For all pages, and for addresses under theirs that there are none at."""
    dashboard.register_error_handler(HTTPException, told)
    dashboard.add_url_rule("/<path:_>", "no_page", no_page)


def told(error: HTTPException) -> Response:
    """What is wrong, and the way back."""
    if request.accept_mimetypes.best_match(["application/problem+json", "text/html"]) != "text/html":
        return known(error)
    page = make_response(render_template("dashboard/trouble.html", error=error), error.code or 500)
    page.headers.extend(headers_of(error))
    return page


def no_page(_: str) -> NoReturn:
    """There is nothing there."""
    raise NotFound("There is no such page.")
