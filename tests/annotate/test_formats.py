"""Files in and out lose nothing: AIANO's two, the archive, TREC, BEIR, mteb, triplets."""

from __future__ import annotations

import copy
import json
import subprocess
import sys

import pytest
from datasets import load_from_disk

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.formats import aiano, archive, trec
from stm_agent.annotate.formats.mteb import task_file
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.services import documents, entries, judging, moving, projects, queries, settling
from stm_agent.domain.beir import read_beir
from stm_agent.errors import DataError
from stm_agent.testing.annotate import fill

TEXT = "The 🫀 of the contract: notice is three months."
LEVEL = {"id": "level_1730", "name": "RELEVANT", "color": "#22c55e", "description": "", "score": 1}
AI = {"temperature": 0.7, "systemPrompt": "Answer.", "maxTokens": 1000, "soloSystemPrompt": "", "inputSources": []}
FIELD = {"id": "field_1730", "name": "text", "type": "text", "required": False, "showForAnnotator": False}
FIELD |= {"includeInFinalDataset": True, "canBeInput": False, "isDocument": True}
MARK = ("key", "document", "field", "start", "end", "level")
MOMENT = "2026-05-07T10:04:24.000Z"


def block(number, name, **more):
    made = {"id": number, "name": name, "type": "text", "label": name, "placeholder": "", "description": ""}
    made |= {"required": False, "options": [], "booleanChoice": "Yes/No", "aiEnabled": False, "soloMode": False}
    return {**made, "aiConfig": copy.deepcopy(AI), "defaultValue": "", **more}


def dataset():
    mark = {"id": "highlight_1778_ab12", "text": "contract", "start": 14, "end": 22, "documentId": "doc-legal-001"}
    mark |= {"annotationLevel": "RELEVANT", "annotationLevelId": 1, "document": {"id": "doc-legal-001", "text": TEXT}}
    about = {"timestamp": MOMENT, "total_annotations": 1, "project_id": "1", "totalHighlights": 1}
    about |= {"totalAianoBlocks": 2, "totalDocuments": 1, "documentIds": ["doc-legal-001"]}
    entry = {
        "id": 12,
        "entryName": "Entry 1",
        "entryNotes": "n",
        "createdAt": MOMENT,
        "updatedAt": None,
        "projectId": 1,
    }
    entry |= {"aianoBlocks": {"Question": "How long is notice?", "Answer": ""}, "highlights": [mark]}
    entry |= {"documents": [{"id": "doc-legal-001", "text": TEXT, "Value": 150000}], "metadata": about}
    config = {
        "tags": [],
        "annotationLevels": [LEVEL],
        "aianoBlocks": [block(7, "Question"), block(8, "Answer", type="textarea", aiEnabled=True)],
    }
    config |= {"dataset": {"fields": [FIELD], "outputFields": [{**FIELD, "databaseId": 3}]}}
    project = {"id": "1", "name": "P", "description": "d", "createdAt": MOMENT, "updatedAt": MOMENT, "config": config}
    meta = {"exportDate": MOMENT, "version": "1.0.0", "format": "structured-annotation-dataset"}
    meta |= {"exportedBy": "AIANO Annotation Tool", "projectId": "1", "projectName": "P", "totalEntries": 1}
    meta |= {"totalDocuments": 4}
    counts = {"totalAnnotationLevels": 1, "totalAianoBlocks": 2, "totalTags": 0, "totalDatasetFields": 1}
    summary = {"totalEntries": 1, "totalDocuments": 4, "totalHighlights": 1, "totalAianoBlocks": 2}
    return {"metadata": meta, "project": project, "statistics": counts, "entries": [entry], "summary": summary}


def project_file():
    source = {"id": "input_1", "type": "aiano_block", "sourceId": "7", "annotationType": "all", "datasetFieldId": ""}
    config = {
        "aiEnabled": True,
        "soloMode": False,
        "aiConfig": AI,
        "required": True,
        "options": None,
        "booleanChoice": None,
    }
    row = {"id": 7, "project_id": 1, "user_id": 1, "block_type": "extraction", "title": "Question", "description": ""}
    row |= {
        "input_sources": {},
        "block_config": {**config, "aiEnabled": False},
        "block_value": "",
        "is_generated": False,
    }
    row |= {"created_at": MOMENT, "updated_at": None}
    choice = {**row, "id": 9, "block_type": "qa", "title": "Topics", "block_config": {**config, "options": ["a", "b"]}}
    choice["input_sources"] = {"0": {**source, "label": "Question", "required": True}}
    mark = {"id": "highlight_2", "text": "🫀", "start": 4, "end": 6, "annotationLevelId": "level_1730"}
    cells = {"7": {"name": "Question", "label": "Question", "type": "text", "value": "Where?", "required": False}}
    cells["9"] = {"name": "Topics", "label": "Topics", "type": "multiselect", "value": ["b"], "required": True}
    data = {"highlights": [{**mark, "documentId": "doc-1"}], "aiano_blocks": cells}
    data["metadata"] = {"timestamp": MOMENT, "total_annotations": 1, "project_id": "1"}
    entry = {"id": 3, "user_id": 1, "project_id": 1, "document_id": 5, "entry_name": "E", "entry_notes": ""}
    entry |= {"created_at": MOMENT, "updated_at": None, "entry_data": data}
    shown = {"id": "1", "name": "Hearts", "description": "", "tags": [{"id": "tag_1", "name": "t", "color": "#3b82f6"}]}
    shown |= {"dataset": {"name": "d", "description": "", "titleField": "display_name", "fields": [FIELD]}}
    shown |= {
        "annotationLevels": [LEVEL],
        "aianoBlocks": [block(7, "Question"), block(9, "Topics", type="multiselect")],
    }
    counts = {"documents": 1, "aianoBlocks": 2, "annotationEntries": 1, "highlights": 0, "qaPairs": 0}
    meta = {"exportDate": MOMENT, "version": "1.0.0", "format": "aiano", "exportedBy": "AIANO Annotation Tool"}
    whole = {"project": shown, "documents": [{"document_id": "doc-1", "text": TEXT, "Custom": ["x"]}]}
    whole |= {"aiano_blocks": [row, choice], "annotation_entries": [entry], "highlights": [], "qa_pairs": []}
    return {**whole, "session": None, "metadata": {**meta, "dataCounts": counts}}


@pytest.mark.parametrize(("made", "kind", "name"), [(dataset, "aiano", "P"), (project_file, "aiano-project", "Hearts")])
def test_aiano_files_come_in_and_go_out_unchanged(small, tmp_path, made, kind, name):
    from stm_agent.testing.annotate import person

    ada = person(small, "Ada", "admin")
    (tmp_path / "in.json").write_text(json.dumps(made()))
    with small.database.writing() as session:
        project, _ = moving.import_aiano(session, ada, tmp_path / "in.json")
        assert project.name == name
        (entry,) = entries.listed(session, ada, project)
        (mark,) = entry["evidence"]
        assert mark["text"] == ("contract" if kind == "aiano" else "🫀"), "AIANO counts UTF-16 units"
        moving.export(session, project, kind, tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == made()


def test_what_was_changed_here_is_changed_in_aianos_file_and_nothing_else(small, tmp_path):
    from stm_agent.testing.annotate import person

    ada = person(small, "Ada", "admin")
    (tmp_path / "in.json").write_text(json.dumps(dataset()))
    with small.database.writing() as session:
        project, _ = moving.import_aiano(session, ada, tmp_path / "in.json")
        entry = entries.find(session, ada, project, "aiano-12")
        entries.save(session, ada, project, entry, {"values": {"b8": "Three months."}}, version=entry.version)
        moving.export(session, project, "aiano", tmp_path / "out.json")
    out, came = json.loads((tmp_path / "out.json").read_text()), dataset()
    assert out["entries"][0]["aianoBlocks"] == {"Question": "How long is notice?", "Answer": "Three months."}
    assert out["entries"][0]["highlights"][0]["start"] == came["entries"][0]["highlights"][0]["start"]
    assert out["project"] == came["project"]
    assert aiano.read(out).schema.blocks[1].mode == "human"


@pytest.mark.parametrize(("made", "kind"), [(dataset, "aiano"), (project_file, "aiano-project")])
def test_tags_of_aianos_file_keep_their_ids_and_colours_beside_new_ones(small, tmp_path, made, kind):
    came = made()
    law = {"id": "tag_1", "name": "law", "color": "#ff0000"}
    old = {"id": "tag_2", "name": "old", "color": "#00ff00"}
    place = came["project"]["config"] if kind == "aiano" else came["project"]
    place["tags"] = [old, law]
    ada, project, _ = brought(small, tmp_path, came)
    assert project.tags == ["old", "law"]
    with small.database.writing() as session:
        row = projects.find(session, ada, project.key)
        projects.edit(session, ada, row, {"tags": ["law", "new"]}, version=row.version)
    told, _ = exported(small, project, kind, tmp_path / "out")
    tags = (told["project"]["config"] if kind == "aiano" else told["project"])["tags"]
    assert tags[0] == law
    assert (tags[1]["name"], tags[1]["color"]) == ("new", "#3b82f6") and tags[1]["id"] not in ("tag_1", "tag_2")
    assert len(tags) == 2


@pytest.mark.parametrize("kind", ["aiano", "aiano-project"])
def test_tags_go_out_as_objects_in_both_of_aianos_files(small, tmp_path, kind):
    fill(small)
    with small.database.reading() as session:
        moving.export(session, projects.find(session, Actor(1, "Ada", "admin"), "signs"), kind, tmp_path / "out")
    told = json.loads((tmp_path / "out").read_text())
    (tag,) = (told["project"]["config"] if kind == "aiano" else told["project"])["tags"]
    assert (tag["name"], tag["color"]) == ("clinic", "#3b82f6") and tag["id"]
    assert aiano.read(told).tags == ("clinic",)


def brought(small, tmp_path, made):
    """Import one of AIANO's files; return the session's project, the person and how many highlights have no place."""
    from stm_agent.testing.annotate import person

    ada = person(small, "Ada", "admin")
    (tmp_path / "in.json").write_text(json.dumps(made))
    with small.database.writing() as session:
        return ada, *moving.import_aiano(session, ada, tmp_path / "in.json")


def exported(small, project, kind, path):
    """Return an export of a project, read back as AIANO's file too."""
    path.unlink(missing_ok=True)
    with small.database.reading() as session:
        moving.export(session, projects.find(session, Actor(1, "Ada", "admin"), project.key), kind, path)
    told = json.loads(path.read_text())
    return told, aiano.read(told)


def test_a_project_file_without_its_documents_comes_in_and_keeps_its_highlights(small, tmp_path):
    made = {**project_file(), "documents": []}
    ada, project, unplaced = brought(small, tmp_path, made)
    assert unplaced["highlights_without_text"] == 1
    assert exported(small, project, "aiano-project", tmp_path / "out")[0] == made
    with small.database.writing() as session:
        row = projects.find(session, ada, project.key)
        entry = entries.find(session, ada, row, "aiano-3")
        assert entry.values["b7"] == "Where?"
        entries.save(session, ada, row, entry, {"notes": "new"}, version=entry.version)
    out, _ = exported(small, project, "aiano-project", tmp_path / "out")
    assert out["annotation_entries"][0]["entry_notes"] == "new"
    assert out["annotation_entries"][0]["entry_data"]["highlights"][0]["id"] == "highlight_2", "kept for the way back"


@pytest.mark.parametrize(("made", "kind"), [(dataset, "aiano-project"), (project_file, "aiano")])
def test_either_file_goes_out_as_the_other(small, tmp_path, made, kind):
    _, project, _ = brought(small, tmp_path, made())
    _, read = exported(small, project, kind, tmp_path / "out")
    (item,) = read.items
    (mark,) = item.marks
    text = read.documents[mark.document]["text"]
    assert text[mark.start : mark.end] == ("contract" if kind == "aiano-project" else "🫀")
    assert {block.name for block in read.schema.blocks} >= {"Question"}


def test_what_came_later_is_in_the_file_and_what_nobody_changed_stays(small, tmp_path):
    ada, project, _ = brought(small, tmp_path, project_file())
    with small.database.writing() as session:
        row = projects.find(session, ada, project.key)
        schema = copy.deepcopy(row.schema)
        schema["levels"].append({"id": "extra", "name": "EXTRA", "colour": "#112233", "score": 3})
        schema["blocks"].append({"id": "why", "name": "Why", "type": "text"})
        projects.edit(session, ada, row, {"schema": schema, "name": "Hearts 2"}, version=row.version)
        documents.add(session, row, [("later", {"text": "A later text."})])
        entry = entries.find(session, ada, row, "aiano-3")
        marks = [
            *({name: one[name] for name in MARK} for one in entries.view(session, entry)["evidence"]),
            {"key": "m2", "document": "later", "field": "text", "start": 2, "end": 7, "level": "extra"},
        ]
        entries.save(session, ada, row, entry, {"evidence": marks, "values": {"why": "so"}}, version=entry.version)
    out, read = exported(small, project, "aiano-project", tmp_path / "out")
    assert (read.name, [level.name for level in read.schema.levels]) == ("Hearts 2", ["RELEVANT", "EXTRA"])
    assert "later" in read.documents
    (item,) = read.items
    assert [mark.level for mark in item.marks] == ["level_1730", "extra"]
    assert "so" in item.values.values()
    assert out["documents"][0] == project_file()["documents"][0]
    assert out["project"]["dataset"]["titleField"] == "display_name", "what only AIANO has stays"


def test_a_renamed_field_keeps_its_texts_and_evidence_on_the_way_to_aiano(small, tmp_path):
    ada, project, _ = brought(small, tmp_path, project_file())
    with small.database.writing() as session:
        row = projects.find(session, ada, project.key, also_archived=True)
        schema = copy.deepcopy(row.schema)
        next(one for one in schema["fields"] if one["name"] == "text")["name"] = "body"
        projects.edit(session, ada, row, {"schema": schema}, version=row.version)
    _, read = exported(small, project, "aiano-project", tmp_path / "out")
    (mark,) = read.items[0].marks
    assert (mark.field, read.documents[mark.document]["body"][mark.start : mark.end]) == ("body", "🫀")
    assert read.items[0].unplaced == ()


@pytest.mark.parametrize("kind", ["aiano", "aiano-project"])
def test_a_field_that_is_called_like_an_id_is_none(small, tmp_path, kind):
    fill(small, "qa")
    rows = [(f"c{number}", {"text": TEXT, "document_id": "parent", "id": "parent"}) for number in (1, 2)]
    ada = Actor(1, "Ada", "admin")
    with small.database.writing() as session:
        row = projects.find(session, ada, "signs")
        documents.add(session, row, rows)
        for key in ("c1", "c2"):
            entry = entries.create(session, ada, row)
            mark = {"document": key, "field": "text", "start": 0, "end": 3, "level": "relevant"}
            entries.save(session, ada, row, entry, {"evidence": [mark]}, version=1)
    _, read = exported(small, row, kind, tmp_path / "out")
    assert {mark.document for item in read.items for mark in item.marks} == {"c1", "c2"}
    assert sum(len(item.unplaced) for item in read.items) == 0


@pytest.mark.parametrize(
    ("made", "part", "key"), [(dataset, "entries", "12"), (project_file, "annotation_entries", "3")]
)
def test_an_aiano_file_with_an_entry_twice_is_refused(made, part, key):
    whole = made()
    whole[part] = whole[part] * 2
    with pytest.raises(DataError, match=f"two entries with the id '{key}'"):
        aiano.read(whole)


def test_a_project_of_ours_keeps_inputs_and_evidence_on_the_way(small, tmp_path):
    fill(small, "qa")
    ada = Actor(1, "Ada", "admin")
    with small.database.writing() as session:
        row = projects.find(session, ada, "signs")
        entry = entries.create(session, ada, row)
        marks = [{"key": "m", "document": "d1", "field": "title", "start": 0, "end": 5, "level": "relevant"}]
        entries.save(session, ada, row, entry, {"evidence": marks}, version=1)
        inputs = ProjectSchema.model_validate(row.schema).blocks[1].inputs
    for kind in ("aiano", "aiano-project"):
        _, read = exported(small, row, kind, tmp_path / "out")
        told = [(one.kind, one.label, one.required) for one in read.schema.blocks[1].inputs]
        assert told == [(one.kind, one.label, one.required) for one in inputs]
        assert [(mark.field, mark.start, mark.end) for mark in read.items[0].marks] == [("title", 0, 5)]


def test_two_blocks_of_one_name_and_a_short_colour_come_in(small, tmp_path):
    made = dataset()
    made["project"]["config"]["annotationLevels"] = [{**LEVEL, "color": "#fa0"}]
    made["project"]["config"]["aianoBlocks"].append(block(9, "Question"))
    _, project, _ = brought(small, tmp_path, made)
    assert [one["name"] for one in project.schema["blocks"]] == ["Question", "Answer", "Question 2"]
    assert project.schema["levels"][0]["colour"] == "#ffaa00"
    assert exported(small, project, "aiano", tmp_path / "out")[0] == made


def test_what_is_no_aiano_file_is_told(tmp_path):
    for odd in ([], {}, {"project": {}}, {"project": {}, "metadata": {"format": "aiano"}}):
        with pytest.raises(DataError, match="AIANO"):
            aiano.read(odd)


def judged(tool):
    fill(tool)
    with tool.database.writing() as session:
        bo, ada = Actor(2, "Bo", "annotator"), Actor(1, "Ada", "admin")
        project = projects.find(session, ada, "signs")
        for query, grades in {"q1": {"d1": 3, "d2": 0, "d3": 1}, "q2": {"d3": 2, "d1": 0}}.items():
            row = queries.find(session, project, query)
            for document, grade in grades.items():
                judging.grade(session, bo, project, row, document, grade)
        queries.save(session, ada, project, queries.find(session, project, "q2"), {"split": "test"}, version=1)
        row = queries.find(session, project, "q1")
        judging.grade(session, Actor(3, "Cy", "annotator"), project, row, "d1", 2)
        settling.adjudicate(session, ada, project, row, "d3", 0)
        project.extra = {"kept": True}
    return tool


def test_an_archive_is_byte_identical_after_a_round_trip(tool, tmp_path):
    from stm_agent.annotate.tool import open_tool
    from stm_agent.testing.annotate import person

    judged(tool)
    with tool.database.writing() as session:
        bo = Actor(2, "Bo", "annotator")
        project = projects.find(session, bo, "signs")
        entry = entries.create(session, bo, project)
        mark = {"document": "d3", "field": "text", "start": 0, "end": 8, "level": "2"}
        entries.save(session, bo, project, entry, {"evidence": [mark], "notes": "ü"}, version=1)
        moving.export(session, project, "archive", tmp_path / "one.zip")
    other = open_tool(tmp_path / "other", team=True)
    ada = person(other, "Someone Else", "admin")
    with other.database.writing() as session:
        made = moving.import_archive(session, ada, archive.unpack((tmp_path / "one.zip").read_bytes()))
        moving.export(session, made, "archive", tmp_path / "two.zip")
        with pytest.raises(Exception, match="already exists"):
            moving.import_archive(session, ada, archive.unpack((tmp_path / "one.zip").read_bytes()))
    other.close()
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with pytest.raises(DataError, match="not a project archive"):
        from stm_agent.annotate.formats.archive import unpack

        unpack(b"PK nonsense")


def test_judgements_go_out_as_qrels_beir_mteb_and_triplets(small, tmp_path):
    judged(small)
    with small.database.writing() as session:
        project = projects.find(session, Actor(1, "Ada", "admin"), "signs")
        for kind in ("qrels", "beir", "mteb", "triplets"):
            moving.export(session, project, kind, tmp_path / kind)
    qrels = trec.read_qrels((tmp_path / "qrels").read_text())
    # The lower median of 3 and 2; adjudicated 0 over 1; judged 0 is a line.
    assert qrels == {"q1": {"d1": 2, "d2": 0, "d3": 0}, "q2": {"d3": 2, "d1": 0}}
    collection = read_beir(tmp_path / "beir")
    assert {name: list(split.queries) for name, split in collection.splits.items()} == {"dev": ["q1"], "test": ["q2"]}
    assert collection.documents[0].title == "Fever"
    rows = load_from_disk(str(tmp_path / "triplets" / "dataset"))
    first = rows[0]
    assert (first["query"], first["grade"], first["split"]) == ("high temperature", 2, "dev")
    assert [text.split()[0] for text in first["negatives"]] == ["Cough", "Rash"]
    code = "from task import *; t = SignsRetrieval(); t.load_data(); print(len(t.dataset['default']['test']['corpus']))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "mteb", capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "3", done.stderr


def test_an_mteb_task_reads_ids_that_begin_with_a_quotation_mark(tmp_path):
    folder = tmp_path / "data" / "qrels"
    folder.mkdir(parents=True)
    texts = {'"quoted': "one", 'whole"': "two", '"both"': "three"}
    rows = "".join(json.dumps({"_id": key, "title": "", "text": text}) + "\n" for key, text in texts.items())
    for name in ("corpus.jsonl", "queries.jsonl"):
        (tmp_path / "data" / name).write_text(rows)
    lines = [f"{query}\t{document}\t1\n" for query in texts for document in texts]
    (folder / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    (tmp_path / "task.py").write_text(task_file("Quotes", "test"))
    code = "import json, task; t = task.QuotesRetrieval(); t.load_data(); "
    code += "print(json.dumps(t.dataset['default']['test']['relevant_docs']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout) == {query: dict.fromkeys(texts, 1) for query in texts}, done.stderr


def test_the_judged_collection_is_evaluated_by_the_engine(small, tmp_path):
    judged(small)
    with small.database.reading() as session:
        project = projects.find(session, Actor(1, "Ada", "admin"), "signs")
        moving.export(session, project, "beir", tmp_path / "beir")
    from stm_agent.loop.evaluate_single import evaluate_model

    assert evaluate_model("bm25", read_beir(tmp_path / "beir"), "dev", runs=tmp_path)["ndcg_at_10"] == 1.0


def test_trec_runs_are_read_and_bad_lines_named():
    tag, run = trec.read_run("q1 Q0 d1 1 2.5 mine\nq1 Q0 d2 2 1.5 mine\n")
    assert (tag, run) == ("mine", {"q1": {"d1": 2.5, "d2": 1.5}})
    for text, told in [
        ("q1 Q0 d1 1 2.5", "line 1 has 5 parts"),
        ("q1 Q0 d1 1 x t", "'x' is not a number"),
        ("q1 Q0 d 1 1 t\nq1 Q0 d 2 0 t", "twice"),
    ]:
        with pytest.raises(DataError, match=told):
            trec.read_run(text)
    with pytest.raises(DataError, match="not an integer"):
        trec.read_qrels("q 0 d x")
    for ids in ({"q 1": {"d": 1}}, {"q": {"d 1": 1}}):
        with pytest.raises(DataError, match="has a space, which qrels cannot hold"):
            trec.write_qrels(ids)


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("signs of fever", "SignsOfFever"),
        ('Who\'s "there"?\n', "WhoSThere"),
        ("3 plagues", "Annotated3Plagues"),
        ("热", "Annotated"),
    ],
)
def test_a_task_of_any_projects_name_is_python(name, task):
    code = task_file(name, "dev")
    compile(code, "task.py", "exec")
    assert f"class {task}Retrieval(AbsTaskRetrieval)" in code
