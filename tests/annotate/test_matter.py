"""Reading, finding, drafting, agreeing: what the tool does with texts."""

from __future__ import annotations

import csv
import datetime
import json
import threading
from itertools import combinations

import krippendorff
import numpy as np
import pytest
from datasets import Dataset
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import fleiss_kappa

from stm_agent.annotate import agreeing, answers, drafting, finding, spelling
from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.reading import read_documents, usable
from stm_agent.annotate.report import Report
from stm_agent.annotate.schema import Block, DocumentField, InputSource, Level, ProjectSchema
from stm_agent.annotate.templates import TEMPLATES
from stm_agent.errors import DataError
from stm_agent.evaluate.bm25 import Bm25Index

SCHEMA = ProjectSchema(
    fields=(DocumentField(id="t", name="text", content=True), DocumentField(id="y", name="year", type="number"))
)


def taken(path, schema=SCHEMA):
    report = Report()
    return list(usable(read_documents(path), schema, report, set())), report


def test_every_kind_of_file_keeps_every_field(tmp_path):
    row = {"Document_Id": "d1", "text": "héllo", "Contract_Type": "x", "Tags": ["a"], "year": 3}
    (tmp_path / "a.json").write_text(json.dumps([row]), encoding="utf-8")
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n\n", encoding="utf-8-sig")
    (tmp_path / "a.csv").write_text('id,text,note\nd1,"two\nlines",x\n')
    beir = tmp_path / "beir"
    beir.mkdir()
    (beir / "corpus.jsonl").write_text(json.dumps({"_id": "d1", "title": "T", "text": "x", "url": "u"}))
    Dataset.from_list([{"id": 7, "text": "x", "extra": {"a": 1}}]).save_to_disk(str(tmp_path / "hf"))
    kept = {key: value for key, value in row.items() if key != "Document_Id"}
    assert taken(tmp_path / "a.json")[0] == taken(tmp_path / "a.jsonl")[0] == [("d1", kept)]
    assert taken(tmp_path / "a.csv")[0] == [("d1", {"text": "two\nlines", "note": "x"})]
    assert taken(beir)[0] == [("d1", {"title": "T", "text": "x", "url": "u"})]
    assert taken(tmp_path / "hf")[0] == [("7", {"text": "x", "extra": {"a": 1}})]


def test_rows_that_cannot_be_taken_are_counted_with_their_reason(tmp_path):
    rows = [
        {"id": "a", "text": "one"},
        {"id": "a", "text": "again"},
        {"text": "nameless"},
        {"id": "b", "text": "  "},
        {"id": "c", "text": "x", "year": "long ago"},
        {"id": "d", "text": "nul \x00"},
        "text alone",
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    found, report = taken(tmp_path / "a.json")
    assert [key for key, _ in found] == ["a"]
    reasons = " ".join(report.skipped)
    for told in (
        "already exists",
        "no id",
        "no text in text",
        "'year' that is not a number",
        "NUL",
        "not a JSON object",
    ):
        assert told in reasons
    assert report.examples[0] == "a.json:2: has an id that already exists"


def test_cells_of_a_table_are_read_as_the_schema_has_them(tmp_path):
    kinds = {"year": "number", "open": "boolean", "tags": "array", "more": "object", "day": "date"}
    fields = [DocumentField(id=name, name=name, type=kind) for name, kind in kinds.items()]
    schema = ProjectSchema(fields=(DocumentField(id="t", name="text", content=True), *fields))
    rows = [
        ["id", "text", *kinds],
        ["a", "one\u2028line", "1999", "Yes", '["x"]', '{"a": 1}', "2020-01-02"],
        ["b", "x", "", "", "", "", ""],
        ["c", "x", "long ago", "", "", "", ""],
        ["d", "x", "", "maybe", "", "", ""],
        ["e", "x", "nan", "", "", "", ""],
        ["f", "x", "", "", "", "", "", "a cell too many"],
    ]
    with (tmp_path / "a.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)
    found, report = taken(tmp_path / "a.csv", schema)
    values = {"year": 1999, "open": True, "tags": ["x"], "more": {"a": 1}, "day": "2020-01-02"}
    assert found[0] == ("a", {"text": "one\u2028line", **values})
    assert [key for key, _ in found] == ["a", "b"]
    told = " ".join(report.skipped)
    assert all(reason in told for reason in ("not a number", "not a boolean", "more cells than the header"))
    assert report.skipped["has a 'year' that is not a number"] == 2


def test_a_data_set_keeps_its_days_and_what_json_has_not_is_told(tmp_path):
    day = datetime.date(2020, 1, 2)
    Dataset.from_list([{"id": "a", "text": "x", "day": day}]).save_to_disk(str(tmp_path / "days"))
    assert taken(tmp_path / "days")[0] == [("a", {"text": "x", "day": "2020-01-02"})]
    Dataset.from_list([{"id": "a", "text": "x", "raw": b"\xff"}]).save_to_disk(str(tmp_path / "bytes"))
    found, report = taken(tmp_path / "bytes")
    assert not found
    assert report.examples == ["bytes:1: holds a bytes, which JSON cannot hold; drop that column"]


def test_json_that_is_too_deep_is_told(tmp_path):
    deep = "[" * 200_000
    (tmp_path / "a.json").write_text(deep)
    (tmp_path / "a.jsonl").write_text(deep + "\n")
    with pytest.raises(DataError, match="not valid JSON"):
        taken(tmp_path / "a.json")
    assert taken(tmp_path / "a.jsonl")[1].skipped == {"is not valid JSON": 1}


def test_files_that_are_none_are_told(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    (tmp_path / "y.json").write_bytes(b"[\xff]")
    (tmp_path / "z.pdf").write_text("")
    (tmp_path / "empty").mkdir()
    for name, told in [
        ("x.json", "not a JSON array"),
        ("y.json", "not UTF-8"),
        ("z.pdf", "not a .json"),
        ("none", "not exist"),
        ("empty", "neither"),
    ]:
        with pytest.raises(DataError, match=told):
            taken(tmp_path / name)


TEXTS = {
    "d1": "Fever is a raised body temperature",
    "d2": "Cough with fever in children",
    "d3": "A red rash on the skin",
}
FIELDS = {"d1": {"year": 2001}, "d2": {"year": 1999}, "d3": {"year": 2001}}
CORPUS = finding.Corpus(TEXTS, FIELDS, Bm25Index(TEXTS))


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        ("fever", {"d1", "d2"}),
        ('"body temperature"', {"d1"}),
        ("fever -children", {"d1"}),
        ("fever year:1999", {"d2"}),
        ("year:2001", {"d1", "d3"}),
        ("", set()),
        ('fever "', {"d1", "d2"}),
    ],
)
def test_operators(typed, keys):
    assert {key for key, _ in CORPUS.bm25(finding.read_query(typed), 10)} == keys


def test_a_large_project_being_indexed_keeps_no_other_waiting():
    finder = finding.Finder()
    begun, go = threading.Event(), threading.Event()

    def slow():
        begun.set()
        assert go.wait(20)
        return TEXTS, FIELDS

    made = []
    askers = [
        threading.Thread(target=lambda: made.append(finder.corpus("large", 1, slow)), daemon=True) for _ in range(2)
    ]
    for one in askers:
        one.start()
    assert begun.wait(20)
    small = finder.corpus("small", 1, lambda: (TEXTS, FIELDS))
    assert small.bm25(finding.read_query("rash"), 1)[0][0] == "d3"
    go.set()
    for one in askers:
        one.join(20)
    assert made[0] is made[1], "who asks meanwhile waits for the same index"
    newer = finder.corpus("large", 2, lambda: (TEXTS, FIELDS))
    assert newer is not made[0]
    assert finder.corpus("small", 1, lambda: pytest.fail("it is kept")) is small


def test_a_snippet_says_where_the_words_are_and_is_never_markup():
    text = "x " * 200 + "<script>fever()</script> is Feverish " + "y " * 200
    shown = spelling.snippet(text, "fever")
    assert [shown["text"][start:end] for start, end in shown["hits"]] == ["fever", "Feverish"]
    assert shown["cut"] == (True, True)
    assert "<script>" in shown["text"], "it is text; who shows it shows it as text"


def test_fusion_is_of_ranks():
    fused = finding.fuse([[("a", 9.0), ("b", 1.0)], [("b", 0.2), ("c", 0.1)]], 3)
    assert [key for key, _ in fused] == ["b", "a", "c"]
    assert fused[0][1] == pytest.approx(1 / 62 + 1 / 61)


QA = TEMPLATES["qa"]
ANSWER = QA.blocks[1]


def test_an_llm_is_sent_the_inputs_with_document_ids():
    evidence = [drafting.Evidence("d1", "a raised\ntemperature", "relevant")]
    chat = drafting.compose(
        QA, ANSWER, values={"question": "what is fever?"}, evidence=evidence, fields={}, system="Be brief."
    )
    assert chat[0] == {"role": "system", "content": f"Be brief.\n\n{ANSWER.prompt}"}
    assert chat[1]["content"] == "Question:\nwhat is fever?\n\nEvidence:\n[d1] (Relevant) a raised temperature"


def test_a_required_input_that_is_empty_is_named():
    with pytest.raises(Invalid, match="needs 'Evidence' first"):
        drafting.compose(QA, ANSWER, values={"question": "x"}, evidence=[], fields={})
    with pytest.raises(Invalid, match="people only"):
        drafting.compose(QA, QA.blocks[0], values={}, evidence=[], fields={})


def test_solo_sends_the_prompt_alone():
    solo = Block(id="s", name="Idea", mode="solo", prompt="Think of a question.")
    assert drafting.compose(QA, solo, values={}, evidence=[], fields={}) == [
        {"role": "user", "content": "Think of a question."}
    ]


@pytest.mark.parametrize(
    ("kind", "answer", "value"),
    [
        ({"type": "select", "options": ("yes", "no")}, "I say no.", "no"),
        ({"type": "multiselect", "options": ("a1", "b2", "c3")}, "b2 and a1", ["a1", "b2"]),
        ({"type": "boolean"}, "yes, it is", True),
        ({"type": "number"}, "3.5 apples", 3.5),
        ({"type": "date"}, "2026-01-02 it was", "2026-01-02"),
        ({"type": "text"}, " one\ntwo ", "one two"),
    ],
)
def test_an_answer_is_read_as_the_blocks_type(kind, answer, value):
    assert answers.fitted(Block.model_validate({"id": "b", "name": "B", **kind}), answer) == value


def test_an_answer_of_another_type_is_refused():
    with pytest.raises(Invalid, match="not a number"):
        answers.fitted(Block(id="b", name="B", type="number"), "many")
    with pytest.raises(Invalid, match="no grade"):
        answers.read_grade(TEMPLATES["judging"], "perhaps 17")
    assert answers.read_grade(TEMPLATES["judging"], "Grade: 2.") == 2


@pytest.mark.parametrize(
    ("old", "new", "far"), [("kitten", "sitting", 3), ("", "abc", 3), ("same", "same", 0), ("ab", "ba", 2)]
)
def test_edit_distance(old, new, far):
    assert drafting.edit_distance(old, new) == far
    assert drafting.edit_distance(new, old) == far


def test_agreement_is_the_libraries_number_with_an_interval():
    draws = np.random.default_rng(0)
    first = draws.integers(0, 4, 80)
    second = np.where(draws.random(80) < 0.7, first, draws.integers(0, 4, 80))
    grades = {str(n): {"a": int(x), "b": int(y)} for n, (x, y) in enumerate(zip(first, second, strict=True))}
    found = {one.name: one for one in agreeing.agreement(grades)}
    assert found["raw"].value == pytest.approx((first == second).mean())
    assert found["cohen"].value == pytest.approx(cohen_kappa_score(first, second))
    alpha = krippendorff.alpha(reliability_data=np.array([first, second], float), level_of_measurement="ordinal")
    assert found["alpha"].value == pytest.approx(alpha)
    for one in found.values():
        assert one.low < one.value < one.high
    assert agreeing.confusion(grades, "a", "b")[0, 0] == int(((first == 0) & (second == 0)).sum())
    assert agreeing.bias(grades, "a", "b") == pytest.approx((second - first).mean())


def grades_of(raters, overlap, items=300):
    """Grades of a team: each item by some of its people, who often say what is so."""
    draws = np.random.default_rng(1)
    grades = {}
    for item in range(items):
        truth = int(draws.integers(0, 4))
        chosen = draws.choice(list(raters), overlap, replace=False)
        grades[str(item)] = {str(who): truth if draws.random() < 0.7 else int(draws.integers(0, 4)) for who in chosen}
    return grades


@pytest.mark.parametrize("overlap", [2, 3])
def test_agreement_of_a_team_is_of_the_items_that_count(overlap):
    grades = grades_of("abcde", overlap)
    # Somebody from elsewhere judged a single item: they make nothing undefined.
    alone = {**grades, "alone": {"z": 3}}
    found = {one.name: one for one in agreeing.agreement(alone)}
    assert found == {one.name: one for one in agreeing.agreement(grades)}
    counts = np.array([np.bincount(list(by.values()), minlength=4) for by in grades.values()])
    assert found["fleiss"].value == pytest.approx(fleiss_kappa(counts))
    assert found["fleiss"].items == len(grades)
    told = np.array([[by.get(name, np.nan) for by in grades.values()] for name in "abcde"])
    alpha = krippendorff.alpha(reliability_data=told, level_of_measurement="ordinal")
    assert found["alpha"].value == pytest.approx(alpha)
    pairs = agreeing.pairs(alone)
    assert [(pair.first, pair.second) for pair in pairs] == list(combinations("abcde", 2))
    for pair in pairs:
        both = [(by[pair.first], by[pair.second]) for by in grades.values() if {pair.first, pair.second} <= by.keys()]
        assert pair.kappa.value == pytest.approx(cohen_kappa_score(*zip(*both, strict=True)))
        assert pair.kappa.low < pair.kappa.value < pair.kappa.high
        assert pair.kappa.items == sum(pair.confusion.values()) == len(both)
        assert pair.confusion[0, 0] == both.count((0, 0))
    weighted = sum(pair.kappa.value * pair.kappa.items for pair in pairs) / sum(pair.kappa.items for pair in pairs)
    assert found["cohen"].value == pytest.approx(weighted)
    assert found["cohen"].low < found["cohen"].value < found["cohen"].high


def test_fleiss_is_of_the_items_with_the_commonest_number_of_grades():
    two, three = grades_of("abcd", 2, items=50), grades_of("abcd", 3, items=80)
    mixed = {**{f"two {item}": by for item, by in two.items()}, **three}
    found = {one.name: one for one in agreeing.agreement(mixed)}
    counts = np.array([np.bincount(list(by.values()), minlength=4) for by in three.values()])
    assert found["fleiss"].value == pytest.approx(fleiss_kappa(counts))
    assert (found["fleiss"].items, found["raw"].items) == (80, 130)


def test_two_with_one_item_in_common_are_no_pair():
    grades = {"x": {"a": 1, "b": 0}, "y": {"a": 1, "c": 1}, "z": {"a": 0, "c": 0}}
    (pair,) = agreeing.pairs(grades)
    assert (pair.first, pair.second, pair.kappa.value) == ("a", "c", pytest.approx(1.0))
    assert {one.name: one for one in agreeing.agreement(grades)}["cohen"].items == 2


def test_agreement_that_is_not_defined_is_none():
    alone = {one.name: one.value for one in agreeing.agreement({"x": {"a": 1}})}
    assert set(alone.values()) == {None}
    same = {one.name: one.value for one in agreeing.agreement({str(n): {"a": 1, "b": 1} for n in range(5)})}
    assert (same["raw"], same["cohen"], same["alpha"]) == (1.0, None, None)
    three = {str(n): {"a": n % 2, "b": n % 2, "c": n % 2} for n in range(6)}
    assert {one.name: one.value for one in agreeing.agreement(three)}["fleiss"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ({"blocks": [{"id": "a", "name": "A", "type": "select"}]}, "needs options"),
        ({"blocks": [{"id": "a", "name": "A"}, {"id": "a", "name": "B"}]}, "twice"),
        ({"levels": [{"id": "a", "name": "A", "colour": "red", "score": 1}]}, "colour"),
        ({"blocks": [{"id": "a", "name": "A", "purple": 1}]}, "purple"),
    ],
)
def test_a_schema_that_cannot_be_is_named(broken, told):
    from stm_agent.annotate.services.projects import read_schema

    with pytest.raises(Invalid, match=told):
        read_schema(broken)


def test_levels_and_sources_are_referred_to_by_id():
    level = Level(id="x", name="X", colour="#000000", score=1)
    block = Block(id="b", name="B", mode="human", prompt="p", inputs=(InputSource(kind="annotation", ref="x"),))
    assert ProjectSchema(levels=(level,), blocks=(block,)).content_fields == ("text",)
