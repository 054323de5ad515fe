"""Whatever a request holds, the answer is a result or a 4xx problem that says what is wrong, on both databases."""

from __future__ import annotations

import json

import pytest
from fastapi.testclient import TestClient

from stm_agent.annotate.api.app import PREFIX, build_app
from stm_agent.testing.annotate import client, fill

ODD = (None, True, -1, 10**30, 1.5, "", "x" * 400, "a\x00b", "<script>", [], ["x"], [None], [[]], {}, {"a": {"b": []}})
EVIDENCE = {"key": "e", "document": "d1", "field": "text", "start": 0, "end": 3, "level": "relevant"}


def told(answer):
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        assert answer.json()["title"]
    return answer


def requests(entry, draft_block="answer"):
    """Every writing request with a body that works; parts of it are made odd below."""
    place = "/projects/signs"
    changes = {"name": "n", "notes": "n", "values": {"question": "q"}, "state": "draft", "evidence": [EVIDENCE]}
    project = {"name": "Signs", "description": "", "guidelines": "", "tags": ["t"], "overlap": 1, "archived": False}
    schema = {"fields": [{"id": "text", "name": "text"}], "levels": [], "blocks": [{"id": "b", "name": "b"}]}
    return [
        ("POST", "/projects", {"name": "New", "description": "d", "tags": ["t"], "template": "qa", "schema": None}),
        ("PATCH", place, {"version": 1, "changes": {**project, "schema": schema}}),
        ("POST", f"{place}/duplicate", {"name": "Other"}),
        ("POST", f"{place}/members", {"name": "Bo"}),
        ("POST", f"{place}/documents", {"documents": [["k", {"text": "t"}]]}),
        ("PATCH", f"{place}/tags/d1", {"add": ["t"], "remove": []}),
        ("PATCH", f"{place}/entries/{entry}", {"version": 1, "changes": changes}),
        ("POST", f"{place}/entries/{entry}/undo", {"version": 1}),
        ("POST", f"{place}/entries/{entry}/redo", {"version": 1}),
        ("POST", f"{place}/entries/{entry}/query", {"split": "dev"}),
        ("POST", f"{place}/entries/{entry}/drafts", {"block": draft_block, "document": "d1"}),
        ("POST", f"{place}/queries", {"text": "t", "answer": "a", "split": "dev", "key": "k"}),
        ("PATCH", f"{place}/queries/q1", {"version": 1, "changes": {"text": "t", "answer": "a", "split": "dev"}}),
        ("PUT", f"{place}/queries/q1/judgements/d1", {"grade": 1, "version": 0, "note": "n"}),
        ("PUT", f"{place}/queries/q1/final/d1", {"grade": 1, "note": "n"}),
        ("PUT", f"{place}/queries/q1/done", {"done": True}),
        ("POST", f"{place}/runs", {"retrievers": ["bm25"], "depth": 5}),
        ("PUT", f"{place}/doubts/none", {"answer": "negative", "version": 1}),
        ("POST", f"{place}/doubts", {"run": "none", "most": 3}),
        ("POST", "/invitations", {"role": "annotator", "project": "signs"}),
        ("PATCH", "/people/Bo", {"role": "annotator", "active": True}),
        ("POST", "/join", {"token": "t", "name": "n", "password": "long enough it is"}),
        ("POST", "/refresh", {"refresh_token": "t"}),
        (
            "PUT",
            "/llms",
            {"name": "l", "model": "m", "api_base": None, "key": "k", "system_prompt": "", "default": True},
        ),
    ]


def odder(value):
    """Yield a body with each of its parts, at any depth, in turn replaced by something odd."""
    yield from ODD
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from ({**value, name: odd} for odd in odder(inner))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from ([*value[:place], odd, *value[place + 1 :]] for odd in odder(inner))


def test_a_body_with_odd_parts_is_never_a_fault_of_the_server(tool):
    fill(tool, "qa")
    ada = client(tool, "Ada")
    entry = ada.post("/projects/signs/entries").json()["key"]
    tried = 0
    for method, path, body in requests(entry):
        for odd in odder(body):
            told(ada.request(method, path, json=odd))
            tried += 1
    assert tried > 1000
    assert ada.get("/projects/signs").status_code == 200
    assert ada.get("/people").status_code == 200
    told(ada.get("/projects/signs/export/archive"))


def test_an_odd_question_is_never_a_fault_of_the_server(tool, project):
    ada = client(tool, "Ada")
    odd = [
        "",
        "-1",
        "1e9",
        "99999999999999999999",
        "x" * 400,
        "a\x00b",
        "<b>",
        "%",
        "'; DROP TABLE people; --",
        '"',
        "*",
    ]
    asked = {
        "/projects": ["tag", "archived"],
        "/projects/signs/documents": ["offset", "limit", "filter", "sort", "tag"],
        "/projects/signs/search": ["q", "k", "mode", "model"],
        "/projects/signs/entries": ["mine", "limit", "offset"],
        "/projects/signs/queries/q1/pool": ["depth"],
        "/projects/signs/drafts": ["entry"],
    }
    for path, names in asked.items():
        for name in names:
            values = [
                *odd,
                *(f"{field}{how}{one}" for field in ("year", "gone", "te'x\"t") for how in "=~<" for one in odd),
            ]
            for value in values if name == "filter" else odd:
                told(ada.get(path, params={"q": "fever", name: value}))
    for one in (text for text in odd if "\x00" not in text):
        for path in ("documents", "entries", "queries", "export", "drafts", "tags", "doubts"):
            told(ada.get(f"/projects/signs/{path}/{one.replace('%', '%25')}"))
    assert told(ada.get("/projects/signs")).status_code == 200


@pytest.mark.parametrize(
    "body", ["{", "[1, NaN]", '{"name": NaN}', '{"name": "\\ud800"}', '"text"', "", "\x00", '{"name": 1e999}']
)
def test_a_body_that_is_no_json_or_holds_what_no_database_keeps_is_a_problem(tool, project, body):
    ada = client(tool, "Ada")
    for method, path in (("POST", "/projects"), ("POST", "/projects/signs/queries"), ("PUT", "/llms")):
        answer = told(ada.request(method, path, content=body, headers={"content-type": "application/json"}))
        assert answer.status_code == 422


def test_numbers_that_no_json_has_and_broken_letters_do_not_come_in_with_documents(tool, project):
    ada = client(tool, "Ada")
    for value in ("NaN", "Infinity", '"\\ud800"', '"a\\u0000b"', '{"deep": ["\\ud800"]}', '{"a\\u0000": 1}'):
        body = f'{{"documents": [["new", {{"text": "t", "odd": {value}}}]]}}'
        answer = ada.post("/projects/signs/documents", content=body, headers={"content-type": "application/json"})
        assert told(answer).status_code == 422
    assert ada.get("/projects/signs/documents").json()["total"] == 3


def test_no_such_place_and_no_such_method_are_problems_too(small):
    fill(small)
    app = TestClient(build_app(small), base_url="http://testserver" + PREFIX)
    assert told(app.get("/nowhere")).status_code == 401
    assert told(client(small, "Bo").get("/nowhere")).status_code == 404
    assert told(app.delete("/login")).status_code == 405


def test_script_and_html_in_documents_stay_text(tool, project):
    ada = client(tool, "Ada")
    text = "<script>alert(1)</script> & <img src=x onerror=alert(2)>"
    ada.post("/projects/signs/documents", json={"documents": [["<b>id</b>", {"text": text}]]})
    answer = ada.get("/projects/signs/documents/<b>id</b>")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["fields"]["text"] == text
    (hit,) = ada.get("/projects/signs/search", params={"q": "alert"}).json()
    assert hit["snippet"]["text"] == json.loads(json.dumps(text))
