"""A text is cut shorter only if the corpus would otherwise take too many of the minutes to encode."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stm_agent.domain.data import DomainData
from stm_agent.domain.load import domain_of_collection
from stm_agent.domain.sources import judged_domain_data
from stm_agent.domain.spec import BackboneSpec, DomainSpec, ExpertSpec
from stm_agent.loop import lengths, planning
from stm_agent.loop.lengths import SHORTEST, fit_length, with_encoding
from stm_agent.loop.run_plan import Speed
from stm_agent.testing.tiny import tiny_beir, tiny_collection


def speed_of(tokens_a_second: float) -> Callable[[BackboneSpec, DomainData], Speed]:
    """A machine whose time rises with the length."""
    return lambda start, data: Speed(passages=tokens_a_second / (start.max_length or 512), queries=tokens_a_second / 8)


@pytest.fixture(autouse=True)
def no_mixed_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """The models of these tests do not exist; the Hub would be asked for them several times."""
    monkeypatch.setattr(lengths, "mixed_pays", lambda name: False)


@pytest.fixture
def spec(tmp_path: Path) -> DomainSpec:
    spec = domain_of_collection(tiny_beir(tmp_path / "folder"))
    return spec.model_copy(update={"general": (), "starts": (), "backbone": BackboneSpec(model="m", max_length=256)})


@pytest.fixture
def data() -> DomainData:
    return judged_domain_data(tiny_collection())


def test_a_fast_machine_keeps_the_length_that_the_passages_need(spec: DomainSpec, data: DomainData) -> None:
    fitted = fit_length(spec, data, minutes=10, measure=speed_of(1_000_000))
    assert (fitted.spec, fitted.reason) == (spec.backbone, None)


def test_a_slow_machine_reads_fewer_tokens_and_says_so(spec: DomainSpec, data: DomainData) -> None:
    tokens = 256 * len(data.collection.documents) / 250
    fitted = fit_length(spec, data, minutes=10, measure=speed_of(tokens))
    assert fitted.spec.max_length == 128
    assert fitted.reason is not None
    assert "max_length 128 instead of 256" in fitted.reason
    assert fitted.speed == speed_of(tokens)(fitted.spec, data)


def test_no_text_is_cut_below_the_shortest_length(spec: DomainSpec, data: DomainData) -> None:
    fitted = fit_length(spec, data, minutes=1, measure=speed_of(1.0))
    assert fitted.spec.max_length == SHORTEST


@pytest.mark.parametrize("races", [True, False])
def test_starts_that_race_for_listed_experts_get_the_length_of_the_texts(
    spec: DomainSpec, data: DomainData, races: bool
) -> None:
    expert = ExpertSpec(name="e", sources=("train",), steps=1)
    starts = (BackboneSpec(model="other", max_length=48),) if races else ()
    listed = spec.model_copy(
        update={"experts": (expert,), "backbone": BackboneSpec(model="m", dtype="float32"), "starts": starts}
    )
    settled, reasons = with_encoding(listed, data)
    assert settled.backbone.max_length == (64 if races else None)
    assert [start.max_length for start in settled.starts] == ([48] if races else [])
    assert any(reason.startswith("max_length 64") for reason in reasons) is races


def test_a_length_that_its_user_asked_for_stays(
    spec: DomainSpec, data: DomainData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "measured_speed", speed_of(256 * len(data.collection.documents) / 60))
    assert planning.dry_plan(spec, data, minutes=30).spec.backbone.max_length == 256
