"""The data lever with a generator: queries, negatives and graded passages of one round, and their rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from stm_agent.domain.build import build_collection
from stm_agent.domain.spec import DomainSpec, ExpertSpec
from stm_agent.inspect.data import data_rows
from stm_agent.llm.budget import Spending, read_spending
from stm_agent.llm.scripted import ScriptedProvider
from stm_agent.loop.data import pairs_of, prepare_training_data
from stm_agent.loop.data_jobs import first_miner, queries_job
from stm_agent.loop.options import Options
from stm_agent.loop.prepare import open_context
from stm_agent.loop.report import _writing
from stm_agent.loop.report_rows import Writing
from stm_agent.loop.runs import RunFolder

NEGATIVES = {"mined": 1, "synthetic": 2}


@pytest.mark.timeout(120)
def test_one_round_writes_queries_negatives_and_graded_passages(tiny_domain: DomainSpec, workspace: Path) -> None:
    experts = (
        ExpertSpec.model_validate({"name": "w", "sources": ["written"], "steps": 1}),
        ExpertSpec.model_validate(
            {"name": "l", "sources": ["train"], "steps": 1, "loss": "listwise", "related": 2, "negatives": NEGATIVES}
        ),
    )
    synthesize = tiny_domain.synthesize.model_copy(update={"queries": 6, "pairs": 2, "graded": 3})
    spec = tiny_domain.model_copy(update={"experts": experts, "synthesize": synthesize})
    runs = workspace / "runs"
    run = RunFolder(runs, spec.name, {"test": "written"})
    options = Options(generator="scripted:numbered")
    with open_context(spec, options, run, workspace=workspace, runs=runs, observer=lambda event: None) as context:
        data = prepare_training_data(context, first_miner(spec))
        again = prepare_training_data(context, first_miner(spec))
        graded = pairs_of(context, experts[1], data)
        assert "test" not in context.data.collection.splits
        job = queries_job(
            spec,
            workspace,
            context.data,
            {},
            first_miner(spec),
            context.generator,
            seed=0,
            cache=context.cache,
        )
        test = build_collection(spec.collection, workspace).splits["test"].queries.values()
        assert all(job.held.has(query) for query in test), "nor may a written query be one of test"
    assert again.written == data.written, "nothing is written twice"
    assert 0 < len(data.written) <= 6
    # The script gives nearly the same text twice, and the second one is refused.
    assert {len(row) for row in data.synthetic.values()} == {1}
    assert sum(bool(pair.related) for pair in graded) == 3
    run.close()
    rows = data_rows(run.folder)
    assert {row["stage"] for row in rows} == {"queries", "negatives", "graded", "mined"}
    assert sum(row["stage"] == "negatives" for row in rows) == 4
    assert all(row["program_trial"] for row in rows if row["stage"] in ("queries", "negatives"))


@pytest.mark.timeout(120)
def test_a_salvaged_stage_and_the_whole_one_cost_together_what_was_paid(
    tiny_domain: DomainSpec, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = ScriptedProvider.named

    def priced(name: str) -> ScriptedProvider:
        provider = named(name)
        provider.usd = 0.01
        return provider

    monkeypatch.setattr(ScriptedProvider, "named", priced)
    expert = ExpertSpec.model_validate({"name": "w", "sources": ["written"], "steps": 1})
    synthesize = tiny_domain.synthesize.model_copy(update={"queries": 8, "pairs": 0})
    spec = tiny_domain.model_copy(update={"experts": (expert,), "synthesize": synthesize})
    runs = workspace / "runs"

    def cost(calls: int | None) -> tuple[Writing, Spending]:
        run = RunFolder(runs, spec.name, {"test": "costs"})
        options = Options(generator="scripted:numbered", budget_calls=calls)
        with open_context(spec, options, run, workspace=workspace, runs=runs, observer=lambda event: None) as context:
            prepare_training_data(context, first_miner(spec))
            writing, spent = _writing(context)["queries"], read_spending(run.llm_ledger)
        run.close()
        return writing, spent

    for ceiling in (3, None):
        writing, spent = cost(ceiling)
        assert (writing["calls"], writing["usd"]) == (spent.calls, pytest.approx(spent.usd))
        assert writing["tokens"] == spent.prompt_tokens + spent.completion_tokens > 0
    assert writing["asked"] == 8, "the whole stage is counted, not the salvaged one too"
