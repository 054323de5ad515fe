"""A stranger's request is answered before its body is read, and a large body holds up nobody."""

from __future__ import annotations

import asyncio
import importlib
import json
import pkgutil
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fastapi.testclient import TestClient

from stm_agent.annotate import api
from stm_agent.annotate.api import limits, parsing, problems
from stm_agent.annotate.api.app import PREFIX, build_app
from stm_agent.testing.annotate import client, fill
from stm_agent.testing.browser import serving

JSON = [(b"content-type", b"application/json")]
FORM = [(b"content-type", b"multipart/form-data; boundary=x")]


def answer_unread(app, path, headers):
    """Return the status and the title of a POST whose body is never to be read."""
    sent = []

    async def receive():
        raise AssertionError("the body was read")

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"testserver"), *headers],
        "server": ("testserver", 80),
        "client": ("127.0.0.1", 1),
        "scheme": "http",
        "root_path": "",
    }
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])["title"]


@pytest.mark.parametrize("path", ["projects/signs/import", "projects/import", "projects/signs/qrels", "projects"])
def test_a_stranger_is_refused_before_the_body_is_read(small, path):
    fill(small)
    app = build_app(small)
    for headers in (FORM, JSON, [*FORM, (b"authorization", b"Bearer nobody")]):
        status, _ = answer_unread(app, f"{PREFIX}/{path}", [*headers, (b"content-length", b"190000000")])
        assert status == 401


@pytest.mark.parametrize("path", ["login", "refresh", "join"])
def test_an_open_route_refuses_a_large_body_unread(small, path):
    app = build_app(small)
    for headers in (FORM, JSON):
        status, title = answer_unread(app, f"{PREFIX}/{path}", [*headers, (b"content-length", b"60000000")])
        assert (status, title) == (413, "the request is larger than 16 kB")


def test_a_body_without_a_length_is_counted_on_an_open_route(small):
    app = TestClient(build_app(small))
    answer = app.post(f"{PREFIX}/login", content=iter([b'{"name": "', b"x" * 20_000]), headers=dict([*JSON]))
    assert answer.status_code == 413


def test_only_an_administrator_sends_large_bodies(small, monkeypatch):
    fill(small)
    monkeypatch.setattr(limits, "JSON", 1000)
    ada, bo = client(small, "Ada"), client(small, "Bo")
    rows = {"documents": [["big", {"text": "x" * 2000}]]}
    assert ada.post("/projects/signs/documents", json=rows).status_code == 201
    assert bo.post("/projects/signs/documents", json=rows).status_code == 413
    upload = {"file": ("d.jsonl", b'{"_id": "other", "text": "%s"}' % (b"x" * 2000))}
    assert ada.post("/projects/signs/import", files=upload).json()["added"] == 1
    assert bo.post("/projects/signs/import", files=upload).status_code == 413
    assert ada.patch("/projects/signs", json={"version": 1, "changes": {"guidelines": "x" * 2000}}).status_code == 413


def test_large_json_is_parsed_and_checked_in_a_thread(small, monkeypatch):
    fill(small)
    ada, threads = client(small, "Ada"), []
    check = parsing.unstorable

    def recorded(value):
        threads.append(threading.current_thread().name)
        return check(value)

    monkeypatch.setattr(parsing, "unstorable", recorded)
    rows = {"documents": [["big", {"text": "x" * parsing.SMALL}]]}
    assert ada.post("/projects/signs/documents", json=rows).status_code == 201
    assert threads and all("AnyIO worker" in name for name in threads)
    odd = {"documents": [["odd", {"text": "\0" + "x" * parsing.SMALL}]]}
    answer = ada.post("/projects/signs/documents", json=odd)
    assert (answer.status_code, answer.json()["title"]) == (422, "the request holds a NUL character")


def test_people_work_while_somebody_sends_60_mb_to_the_login(small):
    fill(small)
    with serving(small) as url:
        token = httpx.post(f"{url}api/v1/login", json={"name": "Bo", "password": "password-of-Bo"}).json()
        headers = {"authorization": f"Bearer {token['access_token']}"}
        bo = httpx.Client(base_url=f"{url}api/v1", headers=headers, timeout=60)

        def flood(_):
            pieces = (b" " * 1_000_000 for _ in range(60))
            try:
                kind = {"content-type": "application/json"}
                return httpx.post(f"{url}api/v1/login", content=pieces, headers=kind, timeout=60)
            except httpx.TransportError:
                # The server may close the connection before it has read everything.
                return None

        with ThreadPoolExecutor(2) as crowd, bo:
            floods = crowd.map(flood, range(2))
            entry = bo.post("/projects/signs/entries").json()
            for version in range(1, 6):
                path, changes = f"/projects/signs/entries/{entry['key']}", {"notes": f"note {version}"}
                assert bo.patch(path, json={"version": version, "changes": changes}).status_code == 200
            assert all(answer is None or answer.status_code == 413 for answer in floods)


def test_every_route_of_the_api_parses_its_body_in_a_thread(small):
    modules = [importlib.import_module(f"{api.__name__}.{part.name}") for part in pkgutil.iter_modules(api.__path__)]
    routers = [module.router for module in modules if hasattr(module, "router")]
    routes = [
        route
        for router in [*routers, build_app(small).router]
        for route in router.routes
        if hasattr(route, "body_field")
    ]
    assert len(routes) > 60
    assert all(isinstance(route, parsing.BodyRoute) for route in routes)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("projects/signs/jobs/drafts", {"block": "answer", "documents": [1, 2, 3]}),
        ("projects/signs/jobs/drafts", {"block": "answer", "entries": [1, 2, 3]}),
        ("projects/signs/jobs/grades", {"queries": [1, 2, 3]}),
        ("projects/signs/runs", {"retrievers": [1, 2, 3]}),
        ("projects/signs/documents", {"documents": [1, 2, 3]}),
        ("projects/signs/deal", {"people": [1, 2, 3], "filters": []}),
        ("projects", {"name": "New", "tags": [1, 2, 3]}),
    ],
)
def test_of_a_list_of_wrong_values_the_first_alone_is_reported(small, path, body, monkeypatch):
    # A body of 8 MB holds four million of them, and the event loop would stand still until all are reported.
    fill(small, "qa")
    counts = []
    told = problems._unreadable
    monkeypatch.setattr(problems, "_unreadable", lambda request, error: counts.append(error) or told(request, error))
    answer = client(small, "Ada").post(f"/{path}", json=body)
    assert answer.status_code == 422
    assert len([error for error in counts[0].errors() if error["type"] != "literal_error"]) == 1


def test_a_body_of_unknown_keys_is_refused_before_each_becomes_an_error(small):
    fill(small)
    answer = client(small, "Bo").post("/projects/signs/entries", json={f"key {number}": 1 for number in range(101)})
    assert (answer.status_code, "101 keys" in answer.json()["title"]) == (422, True)
