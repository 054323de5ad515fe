"""The pages on loopback: nobody without the token, no other host, nothing but pages of runs, live."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from stm_agent.files import append_jsonl
from stm_agent.inspect.ui import COOKIE, Ui, build_app
from stm_agent.testing.run_folder import FakeRun

HERE = "http://127.0.0.1:8000"


@pytest.fixture
def ui(tmp_path: Path) -> Ui:
    FakeRun().write(tmp_path / "fake-0")
    FakeRun(state="interrupted").write(tmp_path / "<b>run")
    return Ui(tmp_path)


def test_the_token_goes_into_a_cookie_and_out_of_the_address(ui):
    client = TestClient(build_app(ui), base_url=HERE, follow_redirects=False)
    answer = client.get("/", params={"token": ui.token})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "SameSite=strict" in answer.headers["set-cookie"]
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("path", ["/", "/runs/fake-0", "/?token=wrong"])
def test_nobody_reads_without_the_token(ui, path):
    answer = TestClient(build_app(ui), base_url=HERE).get(path)
    assert answer.status_code == 403
    assert "fake-0" not in answer.text


def test_another_host_name_is_refused(ui):
    client = TestClient(build_app(ui), base_url="http://evil.example:8000", cookies={COOKIE: ui.token})
    assert client.get("/").status_code == 421


def test_list_and_pages(ui):
    client = TestClient(build_app(ui), base_url=HERE, cookies={COOKIE: ui.token})
    index = client.get("/")
    assert "&lt;b&gt;run" in index.text
    assert "<b>run" not in index.text
    assert "0.4800 test" in index.text
    assert index.headers["refresh"] == "15"
    page = client.get("/runs/fake-0")
    assert "Content-Security-Policy" in page.text
    assert "refresh" not in page.headers, "it is finished"
    assert client.get("/runs/none").status_code == 404
    assert client.get("/runs/../../etc/passwd").status_code == 404
    assert client.post("/runs/fake-0").status_code == 405


def test_page_is_made_again_only_when_the_run_has_new_lines(ui):
    first, _ = ui.page("fake-0")
    assert ui.page("fake-0")[0] is first
    ledger = ui.runs / "fake-0" / "ledger.jsonl"
    append_jsonl(
        ledger, {"schema": 2, "event": "note", "name": "x", "text": "new", "time": "2026-01-01T10:00:00+00:00"}
    )
    assert ui.page("fake-0")[0] is not first


def test_a_service_manager_that_stops_it_sees_no_failure(tmp_path):
    FakeRun().write(tmp_path / "runs" / "fake-0")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "programs").mkdir()
    command = [sys.executable, "-m", "stm_agent", "ui", "--workspace", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served:
        assert served.stdout is not None
        try:
            address = served.stdout.readline().strip()
            assert httpx.get(address, follow_redirects=True, timeout=60).status_code == 200
        finally:
            served.terminate()
        assert served.wait(timeout=60) == 0
