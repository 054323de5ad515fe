"""A program's text is searched on a ladder: ratings, probes, LoRA runs and the gate; a kill costs no second payment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import ConfigError, DataError
from stm_agent.files import read_jsonl
from stm_agent.llm.answer import Messages
from stm_agent.llm.scripted import ScriptedProvider
from stm_agent.loop.events import silent
from stm_agent.loop.options import Options
from stm_agent.loop.program_gepa import read_instructions
from stm_agent.loop.program_options import ProgramOptions
from stm_agent.loop.program_search import optimize_program
from stm_agent.loop.runs import run_state
from stm_agent.synthesize.program_text import ProgramText
from stm_agent.testing.tiny import _SIGNS
from stm_agent.traces import read_traces

PLAIN = {clinical: plain for plain, clinical in _SIGNS.items()}
BETTER = "Say it in plain words."


class Calls:
    """A generator that writes as its instructions say, and a reflection that knows better; counts its calls."""

    def __init__(self, better: str = BETTER) -> None:
        self.better, self.count = better, 0

    def __call__(self, messages: Messages) -> str:
        self.count += 1
        if "You improve the instructions" in messages[0]["content"]:
            return f"Certainly!\n```\n{self.better}\n```"
        if "proposed_instruction" in messages[-1]["content"]:
            return f"[[ ## proposed_instruction ## ]]\n{self.better}\n\n[[ ## completed ## ]]"
        *_, (clinical, place) = re.findall(r"A finding of (.*) the (\w+)\.", messages[-1]["content"])
        if BETTER in messages[0]["content"]:
            return f"my {place} is {PLAIN[clinical]}"
        # It finds no passage, and teaches nothing.
        return f"something general number {len(clinical)}"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    answers = Calls()
    monkeypatch.setattr(ScriptedProvider, "named", classmethod(lambda cls, name: cls(answers)))
    return answers


def search(spec: DomainSpec, workspace: Path, **changes: Any) -> dict[str, Any]:
    spec = spec.model_copy(update={"synthesize": spec.synthesize.model_copy(update={"attempts": 1})})
    target = changes.pop("target", workspace / "programs" / "better.py")
    sizes = {"proposals": 4, "examples": 6, "queries": 40, "probes": 2, "finalists": 2, "lora_steps": 40}
    llm = Options(generator="scripted:words", seed=0, budget_calls=changes.pop("calls", None))
    options = ProgramOptions(llm=llm, **{**sizes, **changes})
    return optimize_program(spec, options, workspace=workspace, runs=workspace / "runs", target=target, observer=silent)


def test_a_better_text_is_found_accepted_and_written(tiny_domain, workspace, calls):
    report = search(tiny_domain, workspace)
    first, *others = report["candidates"]
    best = max(others, key=lambda row: row["lora"] or 0)
    assert best["probe"] > first["probe"] and best["lora"] > first["lora"]
    assert report["accepted"], report["reason"]
    text = ProgramText.of(Path(report["written"]), "query")
    assert text.instructions == {"self": BETTER}
    assert report["probe"]["candidates"] >= 2

    run = workspace / "runs" / report["run"]
    assert run_state(run) == "finished"
    trials = {trial["trial"]: trial for trial in read_traces(run / "traces.jsonl")}
    assert trials[first["trial"]]["origin"] == "workspace"
    won = trials[best["trial"]]
    assert won["accepted"] and won["reason"].startswith("accepted")
    assert won["text"].startswith(BETTER)
    written = [trial for trial in trials.values() if trial["origin"] == "reflection"]
    assert written[0]["messages"] and written[0]["answer"].startswith("Certainly!")
    assert written[0]["shown"][0]["why"], "the reflection saw why queries were bad"
    assert written[0]["parent"] == first["trial"]
    reasons = [row["reason"] for row in read_jsonl(run / "traces.jsonl") if row["event"] == "decision"]
    assert any(reason.startswith("dropped") for reason in reasons)
    assert any(reason.startswith("kept") for reason in reasons)

    paid = calls.count
    assert search(tiny_domain, workspace)["written"] == report["written"], "a finished search is not repeated"
    (run / "program.json").unlink()
    Path(report["written"]).unlink()
    again = search(tiny_domain, workspace)
    assert calls.count == paid, "a search that was killed at its end pays nothing twice"
    assert again["candidates"] == report["candidates"]


def test_nothing_is_written_where_no_candidate_is_better(tiny_domain, workspace, calls):
    calls.better = "Say it as before."
    report = search(tiny_domain, workspace, queries=10, lora_steps=2)
    assert not report["accepted"]
    assert report["written"] is None
    assert not (workspace / "programs" / "better.py").exists()


def test_mipro_proposes_to_the_same_ladder(tiny_domain, workspace, calls):
    report = search(tiny_domain, workspace, optimizer="mipro", proposals=2, queries=8, lora_steps=2)
    trials = read_traces(workspace / "runs" / report["run"] / "traces.jsonl")
    proposed = [trial for trial in trials if trial["origin"] == "mipro"]
    assert BETTER in {trial["text"].splitlines()[0] for trial in proposed}
    first, best = report["candidates"][:2]
    assert best["rating"] > first["rating"]


def passages(messages: Messages) -> str:
    """Write passages near the query only with better instructions."""
    system, last = messages[0]["content"], messages[-1]["content"]
    if "You improve the instructions" in system:
        return f"```\n{BETTER}\n```"
    if BETTER not in system:
        return f"A note on the weather and the roads of town number {sum(map(ord, last))}."
    *_, (clinical, place) = re.findall(r"A finding of (.*) the (\w+)\.", last)
    other = next(sign for sign in PLAIN if sign != clinical)
    if "Level: highly relevant" in last:
        return f"A report of {clinical} the {place} today."
    return f"A report of {other} the {place}" + (" and its neighbours." if "Level: related" in last else " and more.")


def judgements(messages: Messages) -> str:
    """Grade everything alike, or with better instructions by whether query and passage name one sign and place."""
    system, last = messages[0]["content"], messages[-1]["content"]
    if "You improve the instructions" in system:
        return f"```\n{BETTER}\n```"
    if BETTER not in system:
        return "grade 2: perhaps"
    query = re.findall(r"Query: (.*)", last)[-1].split()
    clinical, place = re.findall(r"A finding of (.*) the (\w+)\.", last)[-1]
    return "grade 3: it answers" if {PLAIN[clinical], place} <= set(query) else "grade 0: another finding"


@pytest.mark.parametrize("program", ["hard_negatives", "graded"])
def test_programs_that_write_passages_climb_the_same_ladder(tiny_domain, workspace, monkeypatch, program):
    monkeypatch.setattr(ScriptedProvider, "named", classmethod(lambda cls, name: cls(passages)))
    sizes = {"proposals": 2, "examples": 4, "queries": 8, "probes": 1, "finalists": 1, "lora_steps": 4}
    report = search(tiny_domain, workspace, program=program, **sizes)
    first, *others = report["candidates"]
    assert first["pairs"] > 0
    assert all(0.0 <= row["rating"] <= 1.0 for row in report["candidates"])
    assert [row for row in others if row["probe"] is not None]
    if program == "hard_negatives":
        assert max(row["rating"] for row in others) > first["rating"]
    assert report["probe"]["kind"] == "lora"
    trials = read_traces(workspace / "runs" / report["run"] / "traces.jsonl")
    assert "nearness to the query" in next(trial for trial in trials if trial["shown"])["shown"][0]["why"]


def test_a_judge_is_optimised_on_known_positives_and_tested_on_others(tiny_domain, workspace, monkeypatch):
    monkeypatch.setattr(ScriptedProvider, "named", classmethod(lambda cls, name: cls(judgements)))
    report = search(tiny_domain, workspace, program="judge", proposals=2, examples=6, queries=16)
    assert report["accepted"], report["reason"]
    before, after = report["held_out"]["means"]
    assert before == 0.5 < after
    assert "held out" in report["reason"]
    assert ProgramText.of(Path(report["written"]), "judgement").instructions == {"predict": BETTER}


def test_a_judge_is_a_part_of_the_rating(tiny_domain, workspace, calls, monkeypatch):
    scripts = {"words": calls, "strict": lambda messages: "grade 0: it leads elsewhere"}
    monkeypatch.setattr(ScriptedProvider, "named", classmethod(lambda cls, name: cls(scripts[name])))
    report = search(tiny_domain, workspace, judge="scripted:strict", queries=8, examples=4, lora_steps=2)
    assert {row["rating"] for row in report["candidates"]} == {0.0}


def test_calls_are_capped_over_generator_and_reflection(tiny_domain, workspace, calls):
    sizes = {"queries": 8, "examples": 4, "lora_steps": 2, "calls": 25}
    search(tiny_domain, workspace, **sizes)
    assert calls.count <= 25


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"calls": 3}, "--budget-calls 3 cannot compare two programs"),
        ({"optimizer": "luck"}, "use gepa or mipro"),
        ({"program": "planner"}, "plans runs; use 'stm-agent loop optimize-planner'"),
        ({"judge": "scripted:words"}, "would judge its own texts; name another LLM, or allow it with --judge-own-text"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_paid(tiny_domain, workspace, calls, changes, message):
    with pytest.raises(ConfigError, match=message):
        search(tiny_domain, workspace, **changes)
    assert calls.count == 0


def test_a_generator_that_writes_nothing_usable_ends_with_the_reasons(tiny_domain, workspace, monkeypatch):
    refusing = ScriptedProvider(lambda messages: "I'm sorry, but I can't help with that.")
    monkeypatch.setattr(ScriptedProvider, "named", classmethod(lambda cls, name: refusing))
    with pytest.raises(DataError, match=r"no usable query for 3 passages \(3 refusal\); try another --generator"):
        search(tiny_domain, workspace, examples=2, queries=3)


def test_a_file_that_exists_is_not_overwritten(tiny_domain, workspace, calls):
    with pytest.raises(ConfigError, match="nothing is overwritten"):
        search(tiny_domain, workspace, target=workspace / "programs" / "queries.py")
    assert calls.count == 0


@pytest.mark.parametrize(
    "answer",
    ["```\nWrite it.\n```", "Sure:\n```text\nWrite it.\n```\nDone.", "<think>hm</think>Write it.", "```Write it.```"],
)
def test_instructions_are_read_out_of_an_answer(answer: str):
    assert read_instructions(answer) == "Write it."
