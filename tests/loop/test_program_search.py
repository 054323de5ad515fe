"""A program's text is searched on a ladder: ratings, probes, LoRA runs and the gate; a kill costs no second payment."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stm_agent.cli.synthesize_text import search_text
from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import ConfigError, DataError, GenerationError
from stm_agent.files import read_jsonl
from stm_agent.llm.answer import Messages
from stm_agent.llm.scripted import ScriptedProvider
from stm_agent.loop.events import silent
from stm_agent.loop.options import Options
from stm_agent.loop.program_gepa import read_instructions
from stm_agent.loop.program_mipro import stand_in
from stm_agent.loop.program_options import ProgramOptions
from stm_agent.loop.program_search import optimize_program
from stm_agent.loop.program_trials import Rollout
from stm_agent.loop.runs import run_state
from stm_agent.synthesize.feedback import Rating
from stm_agent.synthesize.load import load_program
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


class Endless(Calls):
    """The same with a reflection that always knows another text; from a call on, the key is refused."""

    refused_after: int | None = None

    def __call__(self, messages: Messages) -> str:
        if self.refused_after is not None and self.count >= self.refused_after:
            raise GenerationError("scripted:words refuses the API key")
        self.better = f"{BETTER} This is attempt {self.count}."
        return super().__call__(messages)


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> Endless:
    answers = Endless()
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


def test_mipro_searches_demonstrations_too(tiny_domain, workspace, calls):
    report = search(tiny_domain, workspace, optimizer="mipro", proposals=5, queries=8, lora_steps=2)
    trials = read_traces(workspace / "runs" / report["run"] / "traces.jsonl")
    texts = [ProgramText.of(Path(trial["program"]), "query") for trial in trials if trial["origin"] == "mipro"]
    shown = [text.demonstrations["self"] for text in texts if text.demonstrations["self"]]
    assert shown and max(map(len, shown)) <= 3
    assert {field for demos in shown for demo in demos for field in demo} == {"task", "passage", "query"}
    assert any(not text.demonstrations["self"] for text in texts), "none is a choice too"
    paid = calls.count
    (workspace / "runs" / report["run"] / "program.json").unlink()
    again = search(tiny_domain, workspace, optimizer="mipro", proposals=5, queries=8, lora_steps=2)
    assert (calls.count, again["candidates"]) == (paid, report["candidates"]), "nothing is paid twice"


def test_what_a_candidate_wrote_well_is_bootstrapped_as_its_demonstration():
    import dspy

    trials = SimpleNamespace(
        examples={"good": "of gout", "bad": "of ears"},
        inputs=lambda name: {"task": "t", "passage": trials.examples[name]},
        kind=SimpleNamespace(output="query"),
    )
    seen = []

    def rate(text: ProgramText, name: str) -> Rollout:
        seen.append(text)
        score = 1.0 if name == "good" else 0.2
        rating = Rating(score=score, round_trip=True, overlap=0.0, feedback="")
        return Rollout(example=name, texts=(f"query {trials.examples[name]}",), rating=rating)

    program = load_program(Path(__file__).parents[2] / "programs" / "queries.py")
    module = stand_in(program, trials, {"self": "query"}, rate)
    names = [dspy.Example(name=name).with_inputs("name") for name in ("bad", "good")]
    foreign = dspy.Example(name="", task="t", passage="p", query="q").with_inputs("name")
    bootstrap = dspy.BootstrapFewShot(
        metric=lambda example, prediction, trace=None: prediction.score,
        metric_threshold=0.5,
        max_bootstrapped_demos=2,
        max_labeled_demos=0,
    )
    made = bootstrap.compile(module, trainset=[foreign, *names])
    (demo,) = made.predictors()[0].demos
    assert (demo["passage"], demo["query"]) == ("of gout", "query of gout")
    made(name="bad")
    assert seen[-1].demonstrations == {"self": ({"task": "t", "passage": "of gout", "query": "query of gout"},)}


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


FEW = {"proposals": 6, "examples": 4, "queries": 8, "probes": 1, "finalists": 1, "lora_steps": 2}


def test_a_search_that_a_ceiling_ended_says_so_and_continues_with_a_higher_one(tiny_domain, workspace, endless):
    ended = search(tiny_domain, workspace, calls=40, **FEW)
    assert "its share of --budget-calls" in ended["ended"]["reasons"][0]
    assert ended["ended"]["limits"] == {"usd": None, "calls": 40, "minutes": None}
    assert any("proposing ended early" in warning for warning in ended["warnings"])
    assert "a higher ceiling continues the search" in search_text(ended)
    paid, traces = endless.count, workspace / "runs" / ended["run"] / "traces.jsonl"
    trials = len(read_traces(traces))
    assert search(tiny_domain, workspace, calls=40, **FEW) == ended
    assert search(tiny_domain, workspace, calls=30, **FEW) == ended
    assert endless.count == paid <= 40, "there is nothing more to spend"
    whole = search(tiny_domain, workspace, calls=4000, target=workspace / "programs" / "other.py", **FEW)
    assert whole["run"] == ended["run"]
    assert whole["ended"] is None
    assert endless.count > paid
    assert len(read_traces(traces)) > trials
    assert search(tiny_domain, workspace, calls=5000, target=workspace / "programs" / "other.py", **FEW) == whole


@pytest.mark.parametrize("after", [2, 13, 22, 34])
def test_a_refused_key_costs_no_candidate_and_the_same_command_continues(tiny_domain, workspace, endless, after):
    endless.refused_after = after
    with pytest.raises(GenerationError, match="refuses the API key"):
        search(tiny_domain, workspace, **FEW)
    (run,) = (workspace / "runs").glob("program-*")
    assert run_state(run) == "interrupted"
    endless.refused_after = None
    report = search(tiny_domain, workspace, **FEW)
    assert report["ended"] is None
    reasons = [row["reason"] for row in read_jsonl(run / "traces.jsonl") if row["event"] == "decision"]
    assert not any("refuses" in reason for reason in reasons)


def test_a_judge_that_is_away_rates_nothing(tiny_domain, workspace, endless, monkeypatch):
    judged = 0

    def judge(messages: Messages) -> str:
        nonlocal judged
        judged += 1
        if 6 < judged < 1000:
            raise GenerationError("scripted:strict cannot be reached")
        return "grade 3: it fits"

    scripts = {"words": endless, "strict": judge}
    monkeypatch.setattr(ScriptedProvider, "named", classmethod(lambda cls, name: cls(scripts[name])))
    with pytest.raises(GenerationError, match="cannot be reached"):
        search(tiny_domain, workspace, judge="scripted:strict", **FEW)
    judged = 1000
    report = search(tiny_domain, workspace, judge="scripted:strict", **FEW)
    assert max(row["rating"] for row in report["candidates"]) > 0.5


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
