"""Requests that another page makes a browser send: refused by their origin, and by a token that page cannot read.

A browser sends a cookie with every request to a host, whatever page or port asks for it, so a cookie alone does not say
that the tool's own page sent a request (OWASP, "Cross-Site Request Forgery Prevention"). Clients that send a bearer
token have nothing to prove: no other page can make a browser send one.
"""

from __future__ import annotations

import hmac
from urllib.parse import SplitResult, urlsplit

from starlette.requests import Request

from stm_agent.annotate.api.common import SESSION, bearer_of, cookie
from stm_agent.annotate.faults import Forged

HEADER = "x-csrf-token"
SAFE = ("GET", "HEAD", "OPTIONS")
PORTS = {"http": 80, "https": 443}
LOGIN = "/session"
"""The page's login, in a cookie or about to be in one."""


def csrf_token(session: str | None) -> str:
    """Return the token that goes with a session cookie, empty where there is none; it reveals nothing of the cookie."""
    return hmac.new(session.encode(), b"csrf", "sha256").hexdigest() if session else ""


def check_source(request: Request) -> None:
    """Require of a changing request with a cookie, and of a login, that the tool's own page sent it.

    Raises:
        Forged: Its origin is another one or unknown, or it lacks the token of its cookie.
    """
    session = request.cookies.get(cookie(request, SESSION))
    path = str(request.scope["path"])
    logs_in = path == LOGIN or path.startswith(f"{LOGIN}/")
    if request.method in SAFE or bearer_of(request) or not (session or logs_in):
        return
    if not _same_origin(request):
        raise Forged("another page sent this request; use the tool's own page, or an API token")
    sent = request.headers.get(HEADER, "")
    if not hmac.compare_digest(sent.encode(), csrf_token(session).encode()):
        raise Forged("the page's login has changed; load the page again, or use an API token")


def _same_origin(request: Request) -> bool:
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    source = request.headers.get("origin") or request.headers.get("referer") or ""
    try:
        page = urlsplit(source)
        return _address(page, page.scheme) == _address(urlsplit(f"//{request.headers.get('host', '')}"), page.scheme)
    except ValueError:
        return False


def _address(place: SplitResult, scheme: str) -> tuple[str, int]:
    """Return host and port; a host that is missing equals no other.

    Raises:
        ValueError: The host is missing, or the port is not a number.
    """
    if not place.hostname or scheme not in PORTS:
        raise ValueError("no address")
    return place.hostname, place.port or PORTS[scheme]
