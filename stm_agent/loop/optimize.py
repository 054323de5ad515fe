"""One run of the closed loop: data, instruction, experts, merge, and then test, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import ConfigError
from stm_agent.files import read_json
from stm_agent.loop.context import Rating, RunContext, hold_out_test, load_domain_data
from stm_agent.loop.data import prepare_training_data
from stm_agent.loop.events import Observer, silent
from stm_agent.loop.experts import Expert, train_all
from stm_agent.loop.final import finish
from stm_agent.loop.gates import gate
from stm_agent.loop.instructing import improve_instruction
from stm_agent.loop.ledger import RunFolder
from stm_agent.loop.merging import Merged, merge_experts
from stm_agent.stage import StageStore


@dataclass(frozen=True)
class Options:
    """What a user sets for one call; everything but the paths is part of the run's identity.

    Attributes:
        seed: Seed of batches, bootstrap and search; None takes the domain's first.
        rounds: Passes through the levers; None takes the domain's.
        generator: LiteLLM name of the LLM that writes.
        reflection: LiteLLM name of the LLM that reflects on instructions; None is the generator.
        api_base: Base URL of an OpenAI-compatible server; None is the provider's own.
        budget_usd: Hard ceiling on LLM money; None is no ceiling.
        budget_minutes: No new lever is started after this many minutes; None is no ceiling.
        controls: Also train all sources in one adapter on the same number of steps.
        run_id: Name of the run folder; None derives it from the config.
    """

    seed: int | None = None
    rounds: int | None = None
    generator: str = "embedded:smollm2-135m"
    reflection: str | None = None
    api_base: str | None = None
    budget_usd: float | None = None
    budget_minutes: float | None = None
    controls: bool = False
    run_id: str | None = None


@dataclass
class Incumbent:
    """The best model so far: what a challenger has to beat."""

    rating: Rating
    instruction: Instruction
    merged: Merged | None = None


def optimize(
    spec: DomainSpec, options: Options, *, workspace: Path, runs: Path, observer: Observer = silent
) -> dict[str, Any]:
    """Run the loop to its report; an interrupted run goes on where it stopped.

    Args:
        spec: The domain.
        options: The user's flags.
        workspace: Folder with ``programs/`` and ``prompts/``.
        runs: Folder that holds run folders, stages and caches.
        observer: Is told what happens.

    Returns:
        The report, as stored in ``runs/<id>/report.json``.

    Raises:
        StmAgentError: Anything a user can mend; the run folder is left whole.
    """
    seed = spec.seeds[0] if options.seed is None else options.seed
    rounds = spec.loop.rounds if options.rounds is None else options.rounds
    if rounds < 1:
        raise ConfigError(f"--rounds {rounds} does no work; use 1 or more")
    run = RunFolder(runs, spec.name, _identity(spec, options, seed, rounds), options.run_id)
    try:
        if run.report.exists():
            observer({"kind": "note", "name": "run", "text": f"run {run.id} is finished; this is its report"})
            return dict(read_json(run.report))
        context = open_context(spec, options, seed, run, workspace=workspace, runs=runs, observer=observer)
        try:
            with context.memory:
                return _walk(context, options, rounds)
        finally:
            context.generator.close()
            context.reflection.close()
    finally:
        run.close()


def _identity(spec: DomainSpec, options: Options, seed: int, rounds: int) -> Mapping[str, object]:
    return {
        "domain": spec.model_dump(mode="json"),
        "seed": seed,
        "rounds": rounds,
        "generator": options.generator,
        "reflection": options.reflection or options.generator,
        "controls": options.controls,
    }


def open_context(
    spec: DomainSpec,
    options: Options,
    seed: int,
    run: RunFolder,
    *,
    workspace: Path,
    runs: Path,
    observer: Observer,
) -> RunContext:
    """Gather data, models and doors of a run."""
    from stm_agent.evaluate.cache import EmbeddingCache
    from stm_agent.llm.budget import Budget
    from stm_agent.llm.open import open_client
    from stm_agent.workspace import program_path

    store = StageStore(runs / ".stages")
    store.clean()
    observer({"kind": "stage", "name": "prepare", "text": f"building the collections of domain {spec.name}"})
    material, guards = load_domain_data(spec, workspace)
    material, firewall = hold_out_test(material, run.folder / "firewall.jsonl")
    budget = Budget(usd=options.budget_usd, minutes=options.budget_minutes, calls=None)
    ledger = run.folder / "llm.jsonl"

    def client(model: str) -> Any:  # noqa: ANN401 - the client's class would import litellm's types here
        return open_client(
            model,
            cache=runs / ".cache" / "llm",
            ledger=ledger,
            budget=budget,
            api_base=options.api_base,
            temperature=spec.synthesize.temperature,
            max_tokens=spec.synthesize.max_tokens,
        )

    generator = client(options.generator)
    same = options.reflection in (None, options.generator)
    return RunContext(
        spec=spec,
        seed=seed,
        run=run,
        store=store,
        cache=EmbeddingCache(runs / ".cache" / "vectors"),
        budget=budget,
        observer=observer,
        data=material,
        guards=guards,
        firewall=firewall,
        generator=generator,
        reflection=generator if same else client(str(options.reflection)),
        program=program_path(workspace, spec.synthesize.program),
        workspace=workspace,
    )


def _walk(context: RunContext, options: Options, rounds: int) -> dict[str, Any]:
    with context.timed("rate", "scoring the untouched backbone on dev"):
        encoder = context.encoder()
        none = Instruction.none(encoder.model.prompts)
        base = context.rate(encoder, none)
    context.run.ledger.record("base", dev=base.domain.ndcg_at_10, general=base.general)
    incumbent = Incumbent(base, none)
    experts: list[Expert] = []
    for round_ in range(1, rounds + 1):
        if context.budget.exhausted and experts:
            context.note("loop", f"round {round_} not started: the budget is used up")
            break
        context.run.ledger.record("round", number=round_)
        incumbent = _round(context, incumbent, base, experts, round_)
    return finish(context, base, experts, incumbent.merged, incumbent.instruction, controls=options.controls)


def _round(context: RunContext, incumbent: Incumbent, base: Rating, experts: list[Expert], round_: int) -> Incumbent:
    """Pass once through the levers; ``experts`` grows, the incumbent changes only when a gate says so."""
    training_data = prepare_training_data(context, _miner(context, incumbent))
    delta = incumbent.merged.delta if incumbent.merged else None
    instruction = improve_instruction(context, context.encoder(delta), incumbent.instruction, round_, model="incumbent")
    experts.extend(train_all(context, training_data, instruction, round_))
    merged = merge_experts(context, experts, base, instruction)
    if context.spec.merge.instructions:
        merged, instruction = _instruct_merge(context, merged, instruction, round_)
    verdict = gate(merged.rating.domain, incumbent.rating.domain, context.spec.loop, context.seed)
    kept = verdict.kept and merged.allowed
    reason = verdict.reason if merged.allowed else "refused: it forgets more than the budget"
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in merged.weights.items() if weight)
    context.decide("merge", f"round {round_}: merge ({weights}) {reason}", kept=kept, weights=merged.weights)
    return Incumbent(merged.rating, instruction, merged) if kept else incumbent


def _instruct_merge(
    context: RunContext, merged: Merged, instruction: Instruction, round_: int
) -> tuple[Merged, Instruction]:
    """Search the instruction once more, for the merge: its experts may have learnt to do without, or with another."""
    encoder = context.encoder(merged.delta)
    found = improve_instruction(context, encoder, instruction, round_, model="merge")
    if found == instruction:
        return merged, instruction
    return replace(merged, rating=context.rate(encoder, found)), found


def _miner(context: RunContext, incumbent: Incumbent) -> Any:  # noqa: ANN401 - an Encoder, built late
    """Return the encoder that mines: the domain's own choice at first, the incumbent once there is one."""
    from stm_agent.evaluate.baselines import static_encoder

    if incumbent.merged is not None:
        return context.encoder(incumbent.merged.delta)
    return static_encoder(context.spec.mine.encoder) if context.spec.mine.encoder else context.encoder()
