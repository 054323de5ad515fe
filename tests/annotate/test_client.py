"""The Python client speaks to a real server and raises the tool's own errors."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import uvicorn

from stm_agent.annotate.api.app import build_app
from stm_agent.annotate.client import Client
from stm_agent.annotate.faults import Invalid, NotFound, Stale, Unauthorised
from stm_agent.annotate.tool import open_tool

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def address(tmp_path):
    tool = open_tool(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(build_app(tool), host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}", tool.token
    server.should_exit = True
    thread.join(10)
    tool.close()


def test_a_collection_is_made_and_judged_by_script(address, tmp_path):
    url, token = address
    with Client(url, token=token) as client:
        project = client.create_project("Scripted")
        told = client.add_documents(
            project, [("a/1", {"text": "fever"}), ("b", {"text": "cough"}), ("b", {"text": "x"})]
        )
        assert told == {"added": 2, "repeated": ["b"]}
        query = client.create_query(project, "hot")
        assert client.judge(project, query, "a/1", grade=3)["version"] == 1
        with pytest.raises(Stale) as clash:
            client.judge(project, query, "a/1", grade=0)
        assert clash.value.current == {"grade": 3, "version": 1}
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
