"""Nobody gets less than the start as it comes: it is exported at its own length, and a model below it is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.collection import Split
from stm_agent.domain.load import domain_of_collection
from stm_agent.domain.spec import BackboneSpec, DomainSpec
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.evaluate.metrics import Scores
from stm_agent.evaluate.scoring import ScoredTask
from stm_agent.files import read_jsonl
from stm_agent.loop import confirming, own_length
from stm_agent.loop.confirming import confirm
from stm_agent.loop.ledger import Ledger
from stm_agent.loop.looks import Look
from stm_agent.loop.optimize import optimize
from stm_agent.loop.options import Options
from stm_agent.loop.own_length import at_own_length, refusal, share_vectors
from stm_agent.loop.ready_rows import plan_row, ready_rows
from stm_agent.loop.state import START, RatedModel, State
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.merge.job import Rating
from stm_agent.testing.pico import pico_checkpoint
from stm_agent.testing.tiny import tiny_beir

OWN, READ = 32, 16
DOCUMENTS = {"short": "pain in the knee", "other": "water boils", "long": "how does the heart move blood " * 8}
SPLIT = Split("dev", {"q": "a question"}, {"q": {"long": 1}})


@pytest.fixture
def start(tmp_path: Path) -> BackboneSpec:
    """A ready encoder that reads 32 tokens by itself, and 16 in a run."""
    return BackboneSpec(model=str(pico_checkpoint(tmp_path / "start", max_length=OWN)), max_length=READ)


def rated(model: AdaptedModel, label: str = START, instruction: str = "") -> RatedModel:
    rating = Rating(Scores(0.5, 0.0, 0.0, {"q": 0.5}), 0.5)
    return RatedModel(label=label, model=model, instruction=Instruction(query=instruction), rating=rating)


@pytest.fixture
def process(tmp_path: Path, start: BackboneSpec) -> Callable[..., Any]:
    """Return what begins a process of a run in which models have the nDCG@10 that it is given."""

    def begin(
        untouched: float = 0.5, confirmed: float = 0.5, *, asked: int | None = None, left: float = 0.0, **more: Any
    ) -> Any:
        scored: list[tuple[str, str]] = []
        warnings, notes, decisions = list[str](), list[str](), list[tuple[str, bool]]()

        def score(model: AdaptedModel, task: ScoredTask, instruction: Instruction) -> Scores:
            scored.append((task.name, "own" if model.backbone.max_length is None else "run"))
            plain = model.backbone.max_length is None and not model.adapters and not instruction.query
            return Scores(untouched if plain else confirmed, 0.0, 0.0, {})

        context = SimpleNamespace(
            spec=SimpleNamespace(backbone=start, baseline=None, loop=SimpleNamespace(search_documents=2000)),
            backbone=AdaptedModel(start),
            plan=SimpleNamespace(asked={start.model: asked}),
            cache=tmp_path / "vectors",
            clock=SimpleNamespace(working=contextlib.nullcontext),
            documents=DOCUMENTS,
            accept=SimpleNamespace(split=SPLIT),
            rankings=lambda split, dense: iter(()),
            run=SimpleNamespace(ledger=Ledger(tmp_path / "ledger.jsonl")),
            attempt=lambda lever: contextlib.nullcontext([]),
            timed=lambda name, text: contextlib.nullcontext(),
            seconds_left=lambda: left,
            score=score,
            warn=lambda name, text: warnings.append(text),
            note=lambda name, text: notes.append(text),
            decide=lambda lever, text, kept: decisions.append((text, kept)),
            scored=scored,
            warnings=warnings,
            notes=notes,
            decisions=decisions,
        )
        vars(context).update(more)
        return context

    return begin


def trained(start: BackboneSpec) -> RatedModel:
    """A model of a run, whose adapter nobody opens here."""
    return rated(AdaptedModel(start, (Path("adapter"),), (1.0,)), label="merge (a 1.00)")


def comparisons(folder: Path) -> list[dict[str, Any]]:
    return [entry for entry in read_jsonl(folder / "ledger.jsonl") if entry["event"] == own_length.EVENT]


def test_a_model_below_the_untouched_start_is_refused_with_both_numbers_and_the_way_on(
    process: Callable[..., Any], start: BackboneSpec, tmp_path: Path
) -> None:
    context = process(untouched=0.61, confirmed=0.58)
    assert refusal(context, rated(AdaptedModel(start)), trained(start)).startswith("refused")
    (warning,) = context.warnings
    for part in (
        "merge (a 1.00) is refused",
        "0.5800",
        "0.6100",
        "16 tokens",
        "its own 32",
        "more minutes",
        "max_length",
    ):
        assert part in warning
    (entry,) = comparisons(tmp_path)
    assert (entry["untouched"], entry["confirmed"], entry["refused"]) == (0.61, 0.58, True)
    assert (entry["passages"], entry["queries"], entry["own"], entry["read"]) == (3, 1, OWN, READ)
    again = process(untouched=0.61, confirmed=0.58)
    assert refusal(again, rated(AdaptedModel(start)), trained(start))
    assert len(comparisons(tmp_path)) == 1, "a resumed run repeats it and records nothing new"


@pytest.mark.parametrize("untouched", [0.58, 0.4])
def test_a_model_that_is_not_below_is_taken_without_a_word(
    process: Callable[..., Any], start: BackboneSpec, tmp_path: Path, untouched: float
) -> None:
    context = process(untouched=untouched, confirmed=0.58)
    assert refusal(context, rated(AdaptedModel(start)), trained(start)) == ""
    assert context.scored == [(own_length.TASK, "own"), (own_length.TASK, "run")]
    assert context.warnings == []
    assert [entry["refused"] for entry in comparisons(tmp_path)] == [False]


@pytest.mark.parametrize("kind", ["asked", "no plan", "own length", "longer", "untouched"])
def test_nothing_is_compared_where_the_start_would_read_no_more(
    process: Callable[..., Any], start: BackboneSpec, kind: str
) -> None:
    length = {"own length": OWN, "longer": 2 * OWN}.get(kind, READ)
    start = start.model_copy(update={"max_length": length})
    context = process(0.9, 0.1, asked=READ if kind == "asked" else None, backbone=AdaptedModel(start))
    context.spec.backbone = start
    if kind == "no plan":
        context.plan = None
    base = rated(AdaptedModel(start))
    assert refusal(context, base, base if kind == "untouched" else trained(start)) == ""
    assert context.scored == []


def test_a_start_that_cannot_be_scored_at_its_own_length_costs_the_comparison_only(
    process: Callable[..., Any], start: BackboneSpec
) -> None:
    def fails(*args: object) -> Scores:
        raise MemoryError

    context = process(attempt=lambda lever: contextlib.suppress(MemoryError), score=fails)
    assert refusal(context, rated(AdaptedModel(start)), trained(start)) == ""


def test_only_the_untouched_start_of_a_plan_is_exported_at_its_own_length(
    process: Callable[..., Any], start: BackboneSpec
) -> None:
    base, model = rated(AdaptedModel(start)), trained(start)
    assert at_own_length(process(), base).model.backbone.max_length is None
    assert at_own_length(process(), base).rating == base.rating
    assert at_own_length(process(), model) is model
    assert at_own_length(process(asked=READ), base) is base, "a length that the user asked for stays"


def ended(context: Any, state: State, monkeypatch: pytest.MonkeyPatch) -> State:
    """Return the state after a confirmation whose look confirms."""
    monkeypatch.setattr(confirming, "confirmed_before", lambda context, besides: None)
    monkeypatch.setattr(confirming, "take_look", lambda context, state, *models, what: (Look(True, "confirmed"), state))
    return confirm(context, state)


def test_a_refused_model_is_rolled_back_and_its_confirmation_is_not_kept(
    process: Callable[..., Any], start: BackboneSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, model = rated(AdaptedModel(start)), trained(start)
    context = process(untouched=0.61, confirmed=0.58)
    state = ended(context, State.start(base).taking(model), monkeypatch)
    assert (state.confirmed, state.provisional, state.tested) == (base, base, True)
    ((text, kept),) = context.decisions
    assert not kept
    assert "refused, since the untouched start is above it" in text
    better = process(untouched=0.5, confirmed=0.58)
    assert ended(better, State.start(base).taking(model), monkeypatch).confirmed == model
    assert [kept for _, kept in better.decisions] == [True]


def test_a_model_that_was_refused_before_is_refused_in_a_continued_run_too(
    process: Callable[..., Any], start: BackboneSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, context = rated(AdaptedModel(start)), process(untouched=0.61, confirmed=0.58)
    monkeypatch.setattr(confirming, "confirmed_before", lambda context, besides: trained(start))
    assert confirm(context, State.start(base)).confirmed == base
    better = process(untouched=0.5, confirmed=0.58)
    assert confirm(better, State.start(base)).confirmed == trained(start)


def test_an_instruction_that_helps_only_the_shortened_start_is_given_up(
    process: Callable[..., Any], start: BackboneSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = rated(AdaptedModel(start))
    instructed = rated(AdaptedModel(start), label="backbone, instruction 'Find it'", instruction="Find it")
    state = replace(State.start(base), confirmed=instructed, provisional=instructed)
    context = process(untouched=0.61, confirmed=0.6)
    assert ended(context, state, monkeypatch).confirmed == base
    assert context.scored == [(own_length.TASK, "own")] * 2, "both as they would be exported"
    assert ended(process(untouched=0.6, confirmed=0.61), state, monkeypatch).confirmed == instructed


def test_texts_that_fit_the_shorter_length_are_not_encoded_again(
    process: Callable[..., Any], start: BackboneSpec
) -> None:
    context, texts = process(), [*DOCUMENTS.values()]
    plain = at_own_length(context, rated(AdaptedModel(start)))
    assert share_vectors(context, plain, texts) == texts, "nothing is stored yet"
    EmbeddingCache(context.cache).encode(context.backbone.open(), texts)
    assert share_vectors(context, plain, texts) == [DOCUMENTS["long"]]
    cache, whole = EmbeddingCache(context.cache), plain.model.open()
    np.testing.assert_allclose(cache.encode(whole, texts), whole.encode(texts), atol=1e-5)
    assert cache.misses == 1


def test_the_row_of_the_untouched_start_is_left_out_only_if_its_minutes_are_missing(
    process: Callable[..., Any], start: BackboneSpec
) -> None:
    base = rated(AdaptedModel(start))
    state = replace(State.start(base), confirmed=trained(start))
    late = process(untouched=0.5, confirmed=0.58, left=-5.0)
    refusal(late, base, trained(start))
    row = plan_row(late, state)
    assert (row.name, row.scored) == ("untouched start", False)
    (note,) = late.notes
    for part in ("32 tokens", "the run 16", "0.0 are left", "over 3 passages", "0.5000", "the model 0.5800"):
        assert part in note
    assert "the exported model" not in note
    assert list(ready_rows(late, state, row)) == []
    early = process(left=float("inf"))
    row = plan_row(early, state)
    assert (row.scored, early.notes) == (True, [])
    ((name, model, _),) = ready_rows(early, state, row)
    assert (name, model) == ("untouched start", AdaptedModel(start.model_copy(update={"max_length": None})))
    assert plan_row(process(left=-5.0), state).scored, "a resumed run keeps the row that it began"


def test_a_row_whose_vectors_are_all_there_needs_no_minutes(process: Callable[..., Any], start: BackboneSpec) -> None:
    context, state = process(left=-5.0), State.start(rated(AdaptedModel(start)))
    whole = at_own_length(context, state.base).model.open()
    EmbeddingCache(context.cache).encode(whole, [*DOCUMENTS.values()])
    assert plan_row(context, state).scored


def test_a_note_says_if_the_exported_start_has_no_row(process: Callable[..., Any], start: BackboneSpec) -> None:
    context = process(left=-5.0)
    assert not plan_row(context, State.start(rated(AdaptedModel(start)))).scored
    assert "row merged is that of the start with 16 tokens" in context.notes[0]


def test_a_run_at_the_own_length_of_its_start_has_it_as_base(process: Callable[..., Any], start: BackboneSpec) -> None:
    start = start.model_copy(update={"max_length": OWN})
    context = process(left=-5.0, backbone=AdaptedModel(start))
    context.spec.backbone = start
    row = plan_row(context, State.start(rated(AdaptedModel(start))))
    assert (row.name, row.scored, context.notes) == ("base", True, [])


@pytest.fixture
def shortened(tmp_path: Path) -> DomainSpec:
    """The domain of a folder whose start reads 128 tokens by itself, and 64 by plan; training changes nothing."""
    spec = domain_of_collection(tiny_beir(tmp_path / "folder"))
    return spec.model_copy(
        update={
            "backbone": BackboneSpec(model=str(pico_checkpoint(tmp_path / "ready", max_length=128))),
            "starts": (),
            "baseline": None,
            "general": (),
            "train": spec.train.model_copy(update={"batch_size": 8, "learning_rate": 1e-30}),
            "loop": spec.loop.model_copy(update={"bootstrap": 300, "query_map": False}),
        }
    )


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("proof_in_this_process")
def test_a_run_that_confirms_nothing_exports_the_start_as_it_came(shortened: DomainSpec, workspace: Path) -> None:
    from sentence_transformers import SentenceTransformer

    options = Options(generator="scripted:numbered")
    report = optimize(shortened, options, workspace=workspace, runs=workspace / "runs")
    folder = workspace / "runs" / report["run"]
    assert report["model_label"] == START
    assert SentenceTransformer(str(folder / "model"), device="cpu").max_seq_length == 128
    assert report["untouched"] == "untouched start"
    assert report["rows"]["untouched start"]["ndcg_at_10"] == report["rows"]["merged"]["ndcg_at_10"]
    card = (folder / "model" / "README.md").read_text()
    assert "default length" in card
    assert "with 64 tokens of each text" in card


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("proof_in_this_process")
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_confirmed_model_is_compared_once_and_only_one_above_the_start_is_exported(
    shortened: DomainSpec, workspace: Path, monkeypatch: pytest.MonkeyPatch, penalty: float
) -> None:
    compare = own_length._compare

    def worse(*args: Any) -> Any:
        compared = compare(*args)
        confirmed = compared["confirmed"] - penalty
        return {**compared, "confirmed": confirmed, "refused": confirmed < compared["untouched"]}

    monkeypatch.setattr(own_length, "_compare", worse)
    train = shortened.train.model_copy(update={"learning_rate": 0.01})
    spec = shortened.model_copy(update={"train": train, "baseline": shortened.backbone.model})
    options = Options(generator="scripted:numbered")
    report = optimize(spec, options, workspace=workspace, runs=workspace / "runs")
    folder = workspace / "runs" / report["run"]
    (entry,) = comparisons(folder)
    assert (entry["own"], entry["read"], entry["refused"]) == (128, 64, penalty > 0)
    assert (report["model_label"] == START) is entry["refused"]
    assert [line for line in report["warnings"] if "is refused and the start kept" in line][:1] == (
        [line for line in report["warnings"] if line.startswith("confirmation: ")]
    )
    assert bool([line for line in report["warnings"] if line.startswith("confirmation: ")]) is entry["refused"]
    # The baseline is the start: one row of it, at its own length.
    assert report["untouched"] == spec.baseline
    row, merged = report["rows"][spec.baseline], report["rows"]["merged"]
    assert (row["ndcg_at_10"] == merged["ndcg_at_10"]) is entry["refused"]
    assert merged["ndcg_at_10"] >= row["ndcg_at_10"]
