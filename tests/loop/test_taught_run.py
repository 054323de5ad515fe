"""A run whose experts learn from a teacher's scores."""

from __future__ import annotations

import json
from itertools import pairwise
from types import SimpleNamespace

import pytest

from stm_agent.domain.collection import Collection, Split
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import BeirCollection, DomainSpec, TeacherSpec
from stm_agent.files import read_json, write_json
from stm_agent.llm.options import LlmOptions
from stm_agent.loop.estimate import calls_line, dollars
from stm_agent.loop.optimize import optimize
from stm_agent.loop.options import Options
from stm_agent.loop.teaching import _judged_pairs
from stm_agent.testing.chat_server import ChatServer


@pytest.mark.usefixtures("proof_in_this_process")
def test_a_run_trains_on_teacher_scores(tiny_domain, workspace, tmp_path):
    values = tiny_domain.model_dump(mode="json")
    taught = {"name": "taught", "sources": ["train"], "steps": 25, "loss": "distil", "candidates": 3}
    values |= {"experts": [taught], "teach": {"encoders": [], "bm25": 1.0, "candidates": 6}, "general": []}
    values["loop"]["probe_steps"] = 0
    options = Options(generator="scripted:numbered")
    report = optimize(DomainSpec.model_validate(values), options, workspace=workspace, runs=tmp_path / "runs")
    assert "expert taught" in report["rows"]
    (teaching,) = (tmp_path / "runs" / ".stages").glob("teach-*")
    pairs = read_json(teaching / "counts.json")["pairs"]
    (training,) = (tmp_path / "runs" / ".stages").glob("train-*")
    about = read_json(training / "expert.json")
    assert about["rows"] == pairs > 0
    assert about["skipped"] == {}


@pytest.mark.usefixtures("proof_in_this_process")
def test_a_run_trains_on_the_scores_of_its_own_triplets_and_asks_no_teacher(tiny_domain, workspace, tmp_path):
    from stm_agent.domain.build import build_domain_data

    pairs = build_domain_data(tiny_domain.collection, workspace).sources["train"]
    rows = [
        {"anchor": f"{pair.query} again", "positive": pair.positive, "negative": other.positive, "score": [7, 2]}
        for pair, other in pairwise(pairs)
        if pair.positive != other.positive
    ]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    values = tiny_domain.model_dump(mode="json")
    values["collection"]["sources"] = [{"name": "own", "path": str(tmp_path / "own.jsonl")}]
    taught = {"name": "taught", "sources": ["own"], "steps": 25, "loss": "distil", "candidates": 1}
    values |= {"experts": [taught], "general": []}
    values["loop"]["probe_steps"] = 0
    options = Options(generator="scripted:numbered")
    report = optimize(DomainSpec.model_validate(values), options, workspace=workspace, runs=tmp_path / "runs")
    assert "expert taught" in report["rows"]
    assert not list((tmp_path / "runs" / ".stages").glob("teach-*"))
    assert any(f"{len(rows):,} pairs have scores of their own" in note for note in report["notes"])
    (training,) = (tmp_path / "runs" / ".stages").glob("train-*")
    assert read_json(training / "expert.json")["rows"] == len(rows)


def judged(tiny_domain, **teach):
    """The domain with one expert that learns from an LLM's grades."""
    values = tiny_domain.model_dump(mode="json")
    taught = {"name": "taught", "sources": ["train"], "steps": 25, "loss": "distil", "candidates": 3}
    teacher = {"scores": "judge:openai/judge", "encoders": [], "bm25": 1.0, "candidates": 3, "judged": 48, **teach}
    values |= {"experts": [taught], "teach": teacher, "general": []}
    values["loop"]["probe_steps"] = 0
    values["instruct"]["reflections"] = 0
    return DomainSpec.model_validate(values)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("proof_in_this_process")
def test_a_run_learns_from_the_grades_of_an_llm_within_its_calls(tiny_domain, workspace, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    runs = tmp_path / "runs"
    with ChatServer() as server:
        server.answers = ["grade 2: a part of it", "no idea", "grade 3: it answers"]
        options = Options(generator="openai/writer", api_base=server.url, price_in=1.0, price_out=1.0)
        report = optimize(judged(tiny_domain), options, workspace=workspace, runs=runs)
        asked = len(server.bodies)
    assert 12 < asked <= 48
    assert {body["model"] for body in server.bodies} == {"judge"}
    (stage,) = (runs / ".stages").glob("teach-*")
    counts = read_json(stage / "counts.json")
    assert counts["pairs"] == 12, "as many whole lists of four passages as the calls allow"
    lines = "\n".join([*report["notes"], *report["warnings"]])
    assert "teach: 12 of 72 pairs are graded by openai/judge (teach: judged: 48)" in lines
    assert f"teach: {counts['judge']['written']} of {counts['judge']['asked']} judgements usable; 1 no grade" in lines
    assert "expert taught" in report["rows"]
    assert "openai/judge" in (runs / report["run"] / "model" / "README.md").read_text()


def test_the_calls_of_a_judge_are_told_with_their_price_before_the_run(tiny_domain):
    spec, options = judged(tiny_domain, scores="judge:scripted:numbered"), Options(generator="scripted:numbered")
    assert calls_line(spec, options, 100) == "up to 48 LLM calls by scripted:numbered"
    priced = Options(generator="scripted:numbered", price_in=1e6, price_out=0.0)
    assert "a teacher's grades 48 calls of scripted:numbered for 16800.0000 USD" in dollars(spec, priced, 100)
    other = judged(tiny_domain, scores="judge:scripted:planner")
    assert "nobody knows the price of scripted:planner" in dollars(other, priced, 100), "a price is that of one model"
    plain = other.model_copy(update={"experts": (other.experts[0].model_copy(update={"loss": "infonce"}),)})
    assert calls_line(plain, options, 100) == "no LLM calls", "nobody learns from it"


@pytest.mark.parametrize(
    ("judge", "own_text", "written_by", "graded"),
    [
        ("scripted:numbered", False, "", ["train"]),
        ("scripted:numbered", True, "", ["train", "written"]),
        ("scripted:planner", False, "", ["train", "written"]),
        ("scripted:planner", False, "scripted:planner", ["written"]),
        ("scripted:planner", False, "unknown", ["written"]),
        ("scripted:planner", False, "scripted:other", ["train", "written"]),
    ],
)
def test_no_llm_grades_for_queries_that_it_wrote_unless_the_user_says_so(tmp_path, judge, own_text, written_by, graded):
    if written_by not in ("", "unknown"):
        write_json(tmp_path / "written.json", {"generator": written_by})
    train = Split("train", {"q": "asked"}, {"q": {"d": 1}}, synthetic=bool(written_by))
    lines = []
    context = SimpleNamespace(
        spec=SimpleNamespace(
            collection=BeirCollection(path=tmp_path), teach=TeacherSpec(scores=f"judge:{judge}", own_text=own_text)
        ),
        workspace=tmp_path,
        data=SimpleNamespace(collection=Collection("c", (), {"train": train}, "", "")),
        generator=SimpleNamespace(options=LlmOptions(model="scripted:numbered")),
        note=lambda name, text: lines.append(text),
        warn=lambda name, text: lines.append(text),
    )
    pairs = (Pair("q:d", "asked", "p", "train", "q"), Pair("w", "a written one", "p", "written", "w"))
    chosen = _judged_pairs(context, pairs, LlmOptions(model=judge))
    assert sorted(pair.source for pair in chosen) == graded
    assert bool(lines) == (len(graded) == 1)
    assert all("own_text allows it" in line for line in lines)
