"""Actions on data and their mix, in a run: relabel, another mix, an expert for a slice, an optimised program."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.data import Pair
from stm_agent.domain.spec import DomainSpec, ExpertSpec
from stm_agent.files import read_json, read_jsonl
from stm_agent.llm.answer import Messages
from stm_agent.llm.budget import read_spending
from stm_agent.llm.scripted import ScriptedProvider
from stm_agent.loop.actions.data import PrepareData, Relabel, WriteQueries, can_relabel
from stm_agent.loop.actions.mix import ChangeMix, mixed, mixes_of
from stm_agent.loop.actions.program import OptimizeProgram, improvable
from stm_agent.loop.actions.slice import AddExpert, weak_slices
from stm_agent.loop.actions.training import ContinueTraining, TrainExpert
from stm_agent.loop.auditing import auditor_key
from stm_agent.loop.context import RunContext
from stm_agent.loop.costs import workload_of
from stm_agent.loop.options import Options
from stm_agent.loop.prepare import open_context
from stm_agent.loop.round_trip_probe import ProbedPairs
from stm_agent.loop.runs import RunFolder
from stm_agent.loop.slice_pairs import pairs_like
from stm_agent.loop.state import RatedModel, State
from stm_agent.loop.training_data import TrainingData
from stm_agent.mine.evidence import Found
from stm_agent.synthesize.program_text import ProgramText
from stm_agent.testing.tiny import _SIGNS
from stm_agent.traces import read_traces

PLAIN = {clinical: plain for plain, clinical in _SIGNS.items()}
BETTER = "Say it in plain words."


def answers(messages: Messages) -> str:
    """Write as the instructions say; the reflection knows better instructions."""
    if "You improve the instructions" in messages[0]["content"]:
        return f"```\n{BETTER}\n```"
    *_, (clinical, place) = re.findall(r"A finding of (.*) the (\w+)\.", messages[-1]["content"])
    return f"relief {PLAIN[clinical]} {place}" if BETTER in messages[0]["content"] else f"something {len(clinical)}"


@pytest.fixture
def context(tiny_domain: DomainSpec, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunContext]:
    monkeypatch.setattr(ScriptedProvider, "named", classmethod(lambda cls, name: cls(answers)))
    expert = {"name": "plain", "sources": ["train"], "steps": 4, "negatives": {"mined": 1}}
    synthesize = tiny_domain.synthesize.model_copy(update={"queries": 16, "attempts": 1, "proposals": 2})
    spec = tiny_domain.model_copy(
        update={
            "experts": (ExpertSpec.model_validate(expert),),
            "synthesize": synthesize,
            "loop": tiny_domain.loop.model_copy(update={"probe_steps": 0, "bootstrap": 200}),
        }
    )
    run = RunFolder(workspace / "runs", spec.name, {"programs": {"queries": {}}})
    options, runs = Options(generator="scripted:words", seed=0), workspace / "runs"
    with open_context(spec, options, run, workspace=workspace, runs=runs, observer=lambda event: None) as opened:
        yield opened
    run.close()


def started(context: RunContext) -> State:
    none = Instruction.none(context.backbone.open().model.prompts)
    rating = context.rate(context.backbone, none)
    return State.start(RatedModel(label="backbone", model=context.backbone, instruction=none, rating=rating))


def test_a_search_of_a_program_leaves_most_of_the_budget_to_what_is_written(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    reflections = 0

    def endless(messages: Messages) -> str:
        nonlocal reflections
        if "You improve the instructions" not in messages[0]["content"]:
            return answers(messages)
        reflections += 1
        return f"```\nWrite it in way number {reflections}.\n```"

    monkeypatch.setattr(ScriptedProvider, "named", classmethod(lambda cls, name: cls(endless)))
    spec = context.spec.synthesize.model_copy(update={"proposals": 60})
    context.spec = context.spec.model_copy(update={"synthesize": spec})
    base = started(context)

    def within(calls: int) -> int:
        context.generator, context.reflection = (
            replace(access, calls=calls) for access in (context.generator, context.reflection)
        )
        before = read_spending(context.run.llm_ledger).calls
        OptimizeProgram().run(context, base)
        return read_spending(context.run.llm_ledger).calls - before

    assert within(100) == 0, "a share of 30 calls cannot compare two programs"
    (stored,) = (context.run.folder / "program_searches").iterdir()
    assert "its share of what is left is 30" in read_json(stored)["reason"]
    stored.unlink()
    paid = within(400)
    assert 60 <= paid <= 0.3 * 400 + 24, "proposing ends at half of the share, and writing at all of it"
    assert any("proposing for queries" in warning for warning in context.warnings)


def test_a_further_batch_of_queries_is_compared_with_earlier_ones(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def more(*arguments: Any) -> ProbedPairs:
        asked.append(arguments[-1])
        return ProbedPairs((), compared=1)

    monkeypatch.setattr("stm_agent.loop.actions.data.more_written_queries", more)
    pair = Pair("written:x", "relief sore ear", "A finding of otalgia in the ear.", "written", "x")
    state = replace(started(context), training_data=TrainingData(written=(pair,)))
    after = WriteQueries(queries=4).run(context, state)
    assert asked == [(pair,)]
    assert after.considered == state.considered + 1, "a change that a probe compared is counted"


@pytest.mark.timeout(1500)
def test_data_are_relabelled_mixed_and_sliced_and_a_program_is_improved(context: RunContext) -> None:
    base = started(context)
    work = workload_of(context)

    # A program first: the winner writes what is written later.
    assert improvable(context) == ["queries"]
    action = OptimizeProgram()
    assert action.estimate(work, base).calls > 50
    state = action.run(context, base)
    assert not context.failures
    winner = ProgramText.of(state.programs["queries"], "query")
    assert winner.instructions == {"self": BETTER}
    assert action.key(state) != action.key(base)
    calls = len(read_jsonl(context.run.llm_ledger))
    assert action.run(context, base).programs == state.programs, "a repeated run reads what the search gave"
    assert len(read_jsonl(context.run.llm_ledger)) == calls

    state = PrepareData().run(context, state)
    state = WriteQueries(queries=16).run(context, state)
    assert state.training_data is not None
    written = state.training_data.written
    assert written and all(pair.query.startswith("relief ") for pair in written)

    trials = {trial["trial"]: trial for trial in read_traces(context.run.traces)}
    (wrote,) = {row["trial"] for row in read_jsonl(context.run.folder / "ledger.jsonl") if row["event"] == "written"}
    assert trials[wrote]["origin"] == "search"
    assert trials[trials[wrote]["parent"]]["origin"] == "reflection", "why a text was written leads to the search"

    # The same pairs with the written ones among them.
    spec = context.spec.experts[0]
    assert mixes_of(spec, state.training_data) == ["with-written"]
    mix = ChangeMix(expert="plain", mix="with-written")
    mixed_state = mix.run(context, state)
    (expert,) = mixed_state.experts
    assert expert.spec is not None
    assert expert.spec.sources == ("train", "written")
    (entry,) = [row for row in read_jsonl(context.run.folder / "ledger.jsonl") if row["event"] == "expert"]
    assert entry["sources"] == ["train", "written"]
    assert entry["pairs"] == len(written) + len(context.data.sources["train"])
    longer = ContinueTraining(expert=expert.name).run(context, mixed_state)
    assert longer.experts[-1].spec is not None
    assert longer.experts[-1].spec.sources == ("train", "written"), "it keeps its mix"

    # The newest model's scores are other evidence than the start's.
    trained = mixed_state.taking(expert.rated)
    assert not can_relabel(context.spec, replace(trained, provisional=base.base))
    assert can_relabel(context.spec, trained)
    relabelled = Relabel().run(context, trained)
    assert relabelled.training_data is not None
    newest = trained.provisional
    assert relabelled.training_data.auditor == auditor_key((newest.model, newest.instruction))
    assert not can_relabel(context.spec, relabelled), "nothing is audited twice by one model"
    assert Relabel().key(trained) == Relabel().key(relabelled)

    # An expert for queries that are like those of a weak slice.
    slices = weak_slices(context, trained)
    sliced = AddExpert(by="length", slice="short").run(context, trained)
    assert all(isinstance(offered, AddExpert) for offered in slices)
    assert [row.name for row in sliced.experts][-1] == "slice-length-short"
    pairs = context.data.sources["train"]
    short = pairs_like(context, pairs, "length", "short")
    assert 0 < len(short) < len(pairs)
    assert max(len(pair.query) for pair in short) < max(len(pair.query) for pair in pairs)
    assert {len(pairs_like(context, pairs, "BM25", name)) for name in ("findable", "not-findable")} != {0}
    assert not context.failures


def test_a_mix_keeps_the_number_of_negatives_and_needs_data() -> None:
    negatives: Any = {"mined": 1, "synthetic": 2}
    spec = ExpertSpec.model_validate({"name": "e", "sources": ["train", "written"], "steps": 9, "negatives": negatives})
    for mix in ("mined-alone", "half-written"):
        assert mixed(spec, mix).hard_negatives == 3
    assert mixed(spec, "half-written").negatives.synthetic_share == 0.5
    assert mixed(spec, "more-written").source_weights == {"written": 2.0}
    assert mixed(mixed(spec, "more-written"), "less-written").source_weights == {"written": 1.0}
    assert mixes_of(spec, None) == mixes_of(spec, TrainingData()) == []
    queries = ExpertSpec(name="q", sources=("train",), steps=9, side="query")
    assert mixes_of(queries, TrainingData()) == []


def test_what_was_found_is_known_by_its_texts_and_relabelled_pairs_make_other_data(context: RunContext) -> None:
    none = Found(negatives={}, doubtful={}, relevant={}, written={})
    assert none.digest == Found(negatives={"p": ()}, doubtful={}, relevant={}, written={}).digest
    (pair, *_) = context.data.sources["train"]
    assert TrainingData(relabelled=(pair,)).digest != TrainingData().digest
    assert TrainExpert(expert="plain").to_json()["start"] == "listed"
