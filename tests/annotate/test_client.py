"""The Python client speaks to a real server and raises the tool's own errors."""

from __future__ import annotations

import contextlib
import inspect
import re

import httpx
import pytest

from stm_agent.annotate.client import Client
from stm_agent.annotate.faults import AnnotateError, Invalid, NotFound, Stale, Unauthorised
from stm_agent.annotate.tool import open_tool
from stm_agent.testing.browser import serving

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def address(tmp_path):
    tool = open_tool(tmp_path)
    with serving(tool) as url:
        yield url.partition("/?")[0], tool.token
    tool.close()


def test_a_collection_is_made_and_judged_by_script(address, tmp_path):
    url, token = address
    with Client(url, token=token) as client:
        project = client.create_project("Scripted")
        told = client.add_documents(
            project, [("a/1", {"text": "fever"}), ("b", {"text": "cough"}), ("b", {"text": "x"})]
        )
        assert (told["added"], told["skipped"]) == (2, {"has an id that already exists": 1})
        query = client.create_query(project, "hot", answer="a fever")
        assert client.judge(project, query, "a/1", grade=3)["version"] == 1
        with pytest.raises(Stale) as clash:
            client.judge(project, query, "a/1", grade=0)
        assert clash.value.current == {"grade": 3, "note": "", "version": 1}
        assert client.judge(project, query, "a/1", grade=2, version=1)["grade"] == 2
        assert [row["document"] for row in client.pool(project, query)] == ["a/1"]
        assert client.search(project, "cough")[0]["key"] == "b"
        entry = client.begin_entry(project)
        assert client.save_entry(project, entry["key"], version=1, notes="n")["notes"] == "n"
        assert client.export(project, "qrels", tmp_path / "q").read_text() == f"{query} 0 a/1 2\n"
        with pytest.raises(Invalid, match="no export"):
            client.export(project, "pdf", tmp_path / "x")
        with pytest.raises(NotFound, match="no project"):
            client.pool("gone", query)
        assert client.agreement(project)["people"][0]["value"] is None
    with Client(url, token=token + "x") as client, pytest.raises(Unauthorised):
        client.projects()


def test_there_is_a_method_for_every_operation_of_the_api(address, tmp_path):
    """Each public method is called with something of the right kind; what it asked is held against OpenAPI."""
    url, token = address
    asked = set()
    known = {}
    spec = httpx.get(f"{url}/api/v1/openapi.json").json()
    for path, methods in spec["paths"].items():
        pattern = re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path) + "$")
        known.update({(method.upper(), pattern): path for method in methods})

    def note(request):
        path = request.url.raw_path.decode().partition("?")[0]
        found = [
            place for (method, pattern), place in known.items() if method == request.method and pattern.match(path)
        ]
        assert found, f"{request.method} {path} is not in the API"
        asked.add((request.method, min(found, key=lambda place: place.count("{"))))

    (tmp_path / "f.json").write_text("[]")
    given = {"documents": [], "path": tmp_path / "f.json", "output": tmp_path / "o", "version": 1, "grade": 1}
    given |= {"retrievers": ["bm25"], "tags": []}
    with Client(url, token=token) as client:
        client._http.event_hooks["request"] = [note]
        for name, method in inspect.getmembers(client, inspect.ismethod):
            if name.startswith("_"):
                continue
            wanted = inspect.signature(method).parameters.values()
            needed = [one for one in wanted if one.default is one.empty and one.kind is not one.VAR_KEYWORD]
            with contextlib.suppress(AnnotateError):
                list(method(**{one.name: given.get(one.name, "x") for one in needed}) or ())
    missing = set(known.values()) - {path for _, path in asked} - {"/api/v1/login", "/api/v1/refresh"}
    assert missing == set()
    lost = {(method, place) for (method, _), place in known.items()} - asked
    assert {place for _, place in lost} <= {"/api/v1/login", "/api/v1/refresh"}


def test_a_login_that_grew_old_is_renewed(tmp_path, address):
    url, token = address
    with Client(url, token=token) as client:
        invited = client.invite(role="annotator")
    with Client(url) as client:
        client.join(invited, "Bo", "long enough it is")
        assert client._refresh is not None
    calls = []

    def server(request):
        calls.append(request.url.path)
        if request.url.path.endswith("/refresh"):
            return httpx.Response(200, json={"access_token": "new", "refresh_token": "next"})
        fresh = request.headers["authorization"] == "Bearer new"
        return httpx.Response(200, json=[]) if fresh else httpx.Response(401, json={"title": "expired"})

    client = Client("http://tool")
    client._http = httpx.Client(base_url="http://tool/api/v1", transport=httpx.MockTransport(server))
    client._keep({"access_token": "old", "refresh_token": "one"})
    assert client.projects() == []
    assert calls == ["/api/v1/projects", "/api/v1/refresh", "/api/v1/projects"]
    assert client._refresh == "next"


def test_a_draft_is_read_as_it_comes():
    sent = []

    class Slow(httpx.SyncByteStream):
        def __iter__(self):
            # A draft may hold U+2028, which is not the end of a line.
            done = 'event: done\ndata: {"answer": "a\u2028b"}\n\n'.encode()
            for one in (b'event: piece\ndata: {"text": "a"}\n\n', done[:30], done[30:]):
                sent.append(one)
                yield one

    def server(request):
        if request.headers["authorization"] != "Bearer good":
            return httpx.Response(401, json={"title": "the token is unknown"})
        return httpx.Response(200, stream=Slow())

    client = Client("http://tool", token="good")  # noqa: S106 - no password
    client._http = httpx.Client(
        base_url="http://tool/api/v1", transport=httpx.MockTransport(server), headers=client._http.headers
    )
    stream = client.stream_draft("p", "e", "b")
    assert next(stream) == ("piece", {"text": "a"})
    assert len(sent) == 1
    assert list(stream) == [("done", {"answer": "a\u2028b"})]
    assert client.draft("p", "e", "b") == {"answer": "a\u2028b"}
    client._http.headers["authorization"] = "Bearer bad"
    with pytest.raises(Unauthorised, match="unknown"):
        client.draft("p", "e", "b")
