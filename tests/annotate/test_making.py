"""Entries that are finished without a query: those of an AIANO import, and those from before a block held it."""

from __future__ import annotations

import json

import pytest

from stm_agent.testing.annotate import client, person

TEXT = "Employment contract: notice is three months."


def aiano(name="Question", *questions):
    """Return a dataset file of AIANO's with an entry for each question, each with marked evidence."""
    row = {"id": 7, "name": name, "type": "text", "label": name, "aiConfig": {}}
    level = {"id": "level_1", "name": "RELEVANT", "color": "#2b6cb0"}
    field = {"id": "field_1", "name": "text", "type": "text", "isDocument": True}
    config = {"tags": [], "annotationLevels": [level], "aianoBlocks": [row], "dataset": {"fields": [field]}}
    document = {"id": "doc-1", "text": TEXT}
    mark = {"text": "contract", "start": 11, "end": 19, "documentId": "doc-1", "annotationLevel": "RELEVANT"}
    entries = [
        {
            "id": number,
            "entryName": f"Entry {number}",
            "entryNotes": "",
            "aianoBlocks": {name: question},
            "highlights": [{**mark, "id": f"h{number}", "annotationLevelId": "level_1", "document": document}],
            "documents": [document],
            "metadata": {},
        }
        for number, question in enumerate(questions, 1)
    ]
    project = {"id": "1", "name": "P", "description": "", "config": config}
    return {"metadata": {"format": "structured-annotation-dataset"}, "project": project, "entries": entries}


@pytest.fixture
def ada(small):
    person(small, "Ada", "admin")
    return client(small, "Ada")


def send(ada, whole):
    answer = ada.post("/projects/import", files={"file": ("in.json", json.dumps(whole))})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_finished_entries_of_an_aiano_import_become_queries_and_exports_find_them(ada):
    made = send(ada, aiano("Question", "How long is notice?", "What is agreed?", ""))
    assert (made["queries"], made["highlights_without_text"]) == (2, 0)
    assert made["skipped"] == {"this entry's query is empty; write one first": 1}
    place = f"/projects/{made['key']}"
    assert {row["text"] for row in ada.get(f"{place}/queries").json()} == {"How long is notice?", "What is agreed?"}
    assert len(ada.get(f"{place}/export/qrels").text.splitlines()) == 2
    assert ada.get(f"{place}/export/beir").is_success


def test_entries_become_queries_at_one_press_once_a_block_holds_the_query(ada):
    made = send(ada, aiano("What they ask", "How long is notice?"))
    place = f"/projects/{made['key']}"
    assert ada.get(f"{place}/entries/queries").json() == {"waiting": 1, "block": None}
    assert ada.post(f"{place}/entries/queries").status_code == 422
    (block,) = made["schema"]["blocks"]
    schema = {**made["schema"], "blocks": [{**block, "role": "query"}]}
    assert ada.patch(place, json={"version": made["version"], "changes": {"schema": schema}}).is_success
    assert ada.get(f"{place}/entries/queries").json() == {"waiting": 1, "block": "What they ask"}
    assert ada.post(f"{place}/entries/queries").json() == {"queries": 1, "skipped": {}}
    assert ada.get(f"{place}/entries/queries").json()["waiting"] == 0
    assert ada.post(f"{place}/entries/queries").json() == {"queries": 0, "skipped": {}}
