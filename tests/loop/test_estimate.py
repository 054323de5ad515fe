"""What a run takes is known before anything is spent: dollars by stage, disk and memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from stm_agent.domain.audit_spec import AuditSpec
from stm_agent.domain.collection import Document
from stm_agent.domain.data import DomainData
from stm_agent.domain.load import load_domain
from stm_agent.domain.sources import judged_domain_data
from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import ConfigError
from stm_agent.loop import estimate
from stm_agent.loop.estimate import disk, dollars, llm_calls, memory, model_size, passage_tokens
from stm_agent.loop.options import Options
from stm_agent.loop.plan import plan
from stm_agent.loop.recipes import plan_experts
from stm_agent.loop.run_plan import Speed
from stm_agent.machine import Machine
from stm_agent.testing.tiny import tiny_collection


@pytest.fixture
def data() -> DomainData:
    return judged_domain_data(tiny_collection())


def test_dollars_are_calls_times_the_users_price(tiny_domain: DomainSpec, data: DomainData) -> None:
    tokens = passage_tokens(data)
    million = Options(generator="scripted:numbered", price_in=1e6, price_out=0.0)
    prompt = sum(calls.number * calls.prompt_tokens for calls in llm_calls(tiny_domain, tokens))
    assert f"{prompt:.4f} USD together" in dollars(tiny_domain, million, tokens)
    twice = million.__class__(**{**vars(million), "rounds": 2})
    assert f"{2 * prompt:.4f} USD together" in dollars(tiny_domain, twice, tokens), "every round pays"


def test_the_embedded_generator_costs_nothing_and_an_unknown_price_is_not_zero(tiny_domain: DomainSpec) -> None:
    assert "0.0000 USD together" in dollars(tiny_domain, Options(), 100)
    unknown = dollars(tiny_domain, Options(generator="scripted:numbered"), 100)
    assert "nobody knows the price of scripted:numbered; name it with --price-in" in unknown
    assert "together" not in unknown


def test_the_reflecting_llm_has_its_own_price(tiny_domain: DomainSpec) -> None:
    line = dollars(tiny_domain, Options(reflection="scripted:other"), 100)
    assert "instructions 1 calls of scripted:other" in line
    assert "nobody knows the price of scripted:other" in line


def test_disk_grows_with_the_corpus_and_with_experts(tiny_domain: DomainSpec, data: DomainData) -> None:
    size = model_size(tiny_domain.backbone, tiny_domain.train)
    assert size.adapter > 0

    def total(spec: DomainSpec) -> float:
        return float(disk(spec, data, estimate.ModelSize(dimension=10**6, weights=2**30, adapter=2**30)).split()[1])

    fewer = tiny_domain.model_copy(update={"experts": tiny_domain.experts[:1]})
    assert total(tiny_domain) > total(fewer) > 0


def test_memory_that_the_machine_lacks_is_known(
    tiny_domain: DomainSpec, data: DomainData, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = model_size(tiny_domain.backbone, tiny_domain.train)
    line, enough = memory(data, size)
    assert enough
    assert f"for {len(data.collection.documents):,} passages" in line
    monkeypatch.setattr(estimate, "this_machine", lambda: Machine(cores=1, memory_gib=0.0, gpu=None))
    assert not memory(data, size)[1]


def test_the_plan_of_a_domain_file_has_its_dollars_and_loads_nothing(tmp_path: Path) -> None:
    steps = plan(load_domain("biomedical", tmp_path), tmp_path, Options())
    (line,) = [step["what"] for step in steps if step["stage"] == "dollars"]
    assert "written queries 64 calls of embedded:smollm2-135m for 0.0000 USD" in line


def test_rows_of_a_plan_do_not_repeat_their_names(tiny_domain: DomainSpec, workspace: Path) -> None:
    planned = tiny_domain.model_copy(update={"experts": ()})
    rows = plan(planned, workspace, Options(generator="scripted:numbered", budget_minutes=30))
    said = {row["stage"]: row["what"] for row in rows}
    for name in ("disk", "memory", "dollars"):
        assert not said[name].startswith(name)
    assert said["disk"].startswith("about ") and " GiB: vectors " in said["disk"]
    # The instruction search of this domain reflects once.
    assert said["round 1"] == "up to 1 LLM call by scripted:numbered"
    silent = planned.model_copy(update={"instruct": planned.instruct.model_copy(update={"reflections": 0})})
    rows = plan(silent, workspace, Options(generator="scripted:numbered", budget_minutes=30))
    assert {row["stage"]: row["what"] for row in rows}["round 1"] == "no LLM calls"


def test_300000_passages_are_told_with_time_and_memory_before_they_are_encoded(tiny_domain: DomainSpec) -> None:
    tiny = tiny_collection()
    many = tuple(Document(f"n{number}", "", f"a short passage with number {number}") for number in range(300_000))
    data = judged_domain_data(dataclasses.replace(tiny, documents=(*tiny.documents, *many)))
    line, _ = memory(data, estimate.ModelSize(dimension=384, weights=90 * 2**20, adapter=2**20))
    number = float(line.split()[1])
    assert f"for {300_000 + len(tiny.documents):,} passages" in line
    # 300,000 vectors of 384 floats are 0.43 GiB.
    assert 0.9 < number < 4
    planned = tiny_domain.model_copy(update={"experts": ()})
    with pytest.raises(
        ConfigError, match=r"to encode 300,\d+ passages takes \d+\.\d on this machine; set --budget-minutes"
    ):
        plan_experts(planned, data, minutes=30, speed=Speed(passages=60.0, queries=400.0))


def test_the_judge_of_an_audit_is_in_the_dollars(tiny_domain: DomainSpec) -> None:
    judged = tiny_domain.model_copy(update={"audit": AuditSpec(judge="scripted:judge", judged=8)})
    line = dollars(judged, Options(generator="scripted:numbered"), 100)
    assert "an audit's grades 32 calls of scripted:judge" in line, "candidates and known positives, mined and written"
    off = judged.model_copy(update={"audit": AuditSpec(judge="scripted:judge", judged=8, enabled=False)})
    assert "grades" not in dollars(off, Options(generator="scripted:numbered"), 100)
