"""What another page makes a browser send changes nothing: its origin is compared, and its token is missing."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stm_agent.annotate.api.app import PREFIX
from stm_agent.testing.annotate import client, fill, page_client
from stm_agent.testing.browser import CHROMIUM, enter, port_of, serving

ENTRIES = f"{PREFIX}/projects/signs/entries"
ATTACK = """
<script>
const form = new FormData();
form.append("file", new Blob(['{"_id": "evil", "text": "planted"}']), "evil.jsonl");
const how = { method: "POST", mode: "no-cors", credentials: "include" };
const ask = (path, body) => fetch(`http://team.example:PORT${path}`, { ...how, body });
Promise.allSettled([
  ask("/api/v1/projects/signs/import", form),
  ask("/api/v1/projects/signs/undeal"),
  ask("/api/v1/projects/signs/entries"),
  ask("/session/refresh"),
]).then(() => { document.title = "sent"; });
</script>
"""


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://testserver"}, 201),
        ({"origin": "HTTP://TESTSERVER:80"}, 201),
        ({"referer": "http://testserver/some/page"}, 201),
        ({"origin": "http://testserver:8000"}, 403),
        ({"origin": "http://sub.testserver"}, 403),
        ({"origin": "http://testserver.evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "null", "referer": "http://testserver/"}, 403),
        ({"origin": "http://testserver", "sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://[", "sec-fetch-site": "same-origin"}, 403),
        ({}, 403),
    ],
)
def test_a_cookie_counts_for_the_tools_own_origin_alone(small, headers, status):
    fill(small)
    page = page_client(small, "Bo")
    del page.headers["origin"]
    answer = page.post(ENTRIES, headers=headers)
    assert answer.status_code == status, answer.text
    assert page.get(f"{PREFIX}/me", headers=headers).status_code == 200, "what changes nothing needs no origin"


@pytest.mark.parametrize("token", ["", "0" * 64, None])
def test_a_changing_request_with_a_cookie_needs_its_token(small, token):
    fill(small)
    page = page_client(small, "Bo")
    right = page.headers.pop("x-csrf-token")
    headers = {} if token is None else {"x-csrf-token": token}
    for method, path in (("POST", ENTRIES), ("POST", "/session/refresh"), ("DELETE", "/session")):
        answer = page.request(method, path, headers=headers)
        assert (answer.status_code, answer.headers["x-csrf-token"]) == (403, "required")
    assert page.post(ENTRIES, headers={"x-csrf-token": right}).status_code == 201


def test_the_token_changes_with_the_login_and_is_in_no_cookie(small):
    fill(small)
    page = page_client(small, "Bo")
    before = page.headers["x-csrf-token"]
    assert before not in str(dict(page.cookies))
    assert page.post("/session/refresh").status_code == 200
    assert page.post(ENTRIES).status_code == 403
    mode = page.get("/session")
    assert mode.headers["cache-control"] == "no-store"
    assert mode.json()["csrf"] not in ("", before)
    assert page.post(ENTRIES, headers={"x-csrf-token": mode.json()["csrf"]}).status_code == 201


def test_no_other_page_logs_a_browser_in(small):
    fill(small)
    page = page_client(small, "Bo")
    page.cookies.clear()
    login = {"json": {"name": "Cy", "password": "password-of-Cy"}}
    assert page.post("/session", headers={"origin": "http://testserver:1"}, **login).status_code == 403
    assert page.post("/session", headers={"x-csrf-token": ""}, **login).status_code == 200


def test_a_client_with_a_bearer_token_needs_neither(small):
    fill(small)
    bo = client(small, "Bo")
    assert bo.post("/projects/signs/entries", headers={"origin": "http://elsewhere.example"}).status_code == 201


@contextmanager
def another_port(html):
    """Serve a page on another port of the same host; yield the port."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)")
def test_a_page_of_another_port_changes_nothing_over_plain_http(small, browser):
    fill(small)
    ada = client(small, "Ada")
    assert ada.post("/projects/signs/deal").json()["dealt"] > 0
    before = ada.get("/projects/signs/progress").json()
    with serving(small) as url:
        team = url.replace("127.0.0.1", "team.example")
        page = enter(browser, team, "Ada")
        with another_port(ATTACK.replace("PORT", str(port_of(url)))) as port:
            other = page.context.new_page()
            other.goto(f"http://team.example:{port}/")
            other.wait_for_function("document.title === 'sent'")
        assert ada.get("/projects/signs/documents").json()["total"] == 3
        assert ada.get("/projects/signs/entries").json() == []
        assert ada.get("/projects/signs/progress").json() == before
        made = page.evaluate(
            """async () => {
              const { api } = await import("/static/api.js");
              return (await api.post("projects/signs/entries")).version;
            }"""
        )
        assert made == 1, "the tool's own page still works"
        page.context.close()
