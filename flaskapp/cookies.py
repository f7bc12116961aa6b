"""The cookie of an operator who has signed in: out of reach of scripts, foreign pages and plain http."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, has_request_context, request
from flask.sessions import SecureCookieSessionInterface


class OperatorsCookie(SecureCookieSessionInterface):
    """Flask's signed cookie: always HttpOnly and SameSite=Lax, or stricter; Secure wherever https is spoken.

    By the request, not by a setting: the same server may be asked as https://voice.example.com, and through
    a tunnel as http://127.0.0.1:5001, where a browser would not keep a cookie that is Secure.
    """

    def get_cookie_httponly(self, app: Flask) -> bool:
        """No script reads it."""
        return True

    def get_cookie_samesite(self, app: Flask) -> str:
        """Foreign pages may link here, and nothing else."""
        return app.config["SESSION_COOKIE_SAMESITE"] or "Lax"

    def get_cookie_secure(self, app: Flask) -> bool:
        """Whether this answer goes over https, also where a proxy that ends it does not say so."""
        if app.config["SESSION_COOKIE_SECURE"] or not has_request_context():
            return bool(app.config["SESSION_COOKIE_SECURE"])
        public = urlsplit(app.extensions["settings"].flask_base_url)
        return request.is_secure or (public.scheme == "https" and public.netloc == request.host)
