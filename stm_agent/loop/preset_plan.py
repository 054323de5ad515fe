"""What a preset will take before anything is loaded: GPU hours, disk and dollars, from sizes and rates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stm_agent.domain.collection_spec import FrozenCollection
from stm_agent.domain.preset import Preset, PresetModel, PresetSizes
from stm_agent.domain.spec import DomainSpec, NegativeSpec
from stm_agent.domain.suites import Suite, find_suite
from stm_agent.loop.controls import RANDOM_PAIRS
from stm_agent.loop.costs import Rates, Workload
from stm_agent.loop.estimate import GIB, LETTERS_OF_A_TOKEN, ModelSize, llm_dollars, written_bytes
from stm_agent.loop.halves import ACCEPT_SHARE
from stm_agent.loop.instructing import written_candidates
from stm_agent.loop.options import Options
from stm_agent.loop.plan import UNTRIED, plan
from stm_agent.loop.policies.stm import published_order

SUSTAINED_TFLOPS = 300.0
"""Products a second, in 10^12, that encoding and LoRA training sustain on one data-centre GPU in bfloat16: three tenths
of what an H100's data sheet promises."""
DOLLARS_AN_HOUR = 3.0
"""Price of an hour of such a GPU at a cloud provider, about."""
HALF, WHOLE = 2, 4
"""Bytes of a number of the weights on a GPU, and of an adapter or a vector on disk."""


@dataclass(frozen=True, kw_only=True)
class GpuRates:
    """What a GPU gives and costs.

    Attributes:
        tflops: Floating-point operations a second that it sustains, in 10^12.
        dollars: US dollars of an hour.
    """

    tflops: float = SUSTAINED_TFLOPS
    dollars: float = DOLLARS_AN_HOUR

    def seconds(self, model: PresetModel, tokens: float) -> float:
        """Return the seconds in which a model encodes a text of so many tokens."""
        shape = model.shape
        # Every token meets all matrices, and in every layer the keys and the values of all tokens of its text.
        token = 2 * shape.computing + 4 * shape.layers * shape.heads * shape.head_size * tokens
        return tokens * token / (self.tflops * 1e12)


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What one run of a preset takes.

    Attributes:
        hours: Hours of one GPU.
        gib: Disk in GiB.
    """

    hours: float
    gib: float


def plan_preset(
    preset: Preset,
    options: Options,
    workspace: Path,
    rates: GpuRates,
    *,
    data_dir: Path | None = None,
    collection: Path | None = None,
    sizes: PresetSizes | None = None,
) -> list[dict[str, str]]:
    """Return the stages of all runs of a preset with what they take, and the sums; nothing is loaded or fetched.

    Args:
        preset: The experiment.
        options: The user's flags.
        workspace: Folder with ``programs/`` and ``prompts/``.
        rates: What the GPU gives and costs.
        data_dir: See :meth:`~stm_agent.domain.preset.Preset.domain_of`.
        collection: The same.
        sizes: Of that collection; None: the preset's.
    """
    sizes = sizes or preset.sizes
    suite = find_suite(preset.suite) if preset.suite and collection is None else None
    rows: list[dict[str, str]] = []
    needs: list[Needs] = []
    for model in preset.models:
        spec = preset.domain_of(model, data_dir, collection)
        work = _workload(spec, model, workspace, rates, sizes)
        steps = plan(spec, workspace, options, work=work, tokens=sizes.passage_tokens)
        controls = controls_seconds(preset, spec, work) if options.controls else 0.0
        tested = suite_seconds(suite, model, rates, spec.backbone.max_length) if suite else 0.0
        rows.append({"stage": "model", "what": _about_model(model, spec)})
        rows += [step for step in steps if step["stage"] != "dollars"]
        if controls:
            rows.append({"stage": "controls", "what": f"all pairs in one adapter, about {controls:.0f} s"})
        if suite:
            what = f"{suite.name}: {len(suite.tasks)} tasks, about {tested:.0f} s"
            rows.append({"stage": "suite", "what": what})
        seconds = loop_seconds(spec, options, work) + controls + tested
        needs.append(Needs(hours=seconds / 3600, gib=_gib(spec, model, sizes, suite)))
        rows.append({"stage": "needs", "what": f"{needs[-1].hours:.1f} GPU hours, {needs[-1].gib:.1f} GiB of disk"})
        dollars = next(step for step in steps if step["stage"] == "dollars")
    # Calls are stored by what is asked, so runs that ask the same pay once.
    shared = {"stage": "LLM", "what": dollars["what"] + ("; all models share it" if len(needs) > 1 else "")}
    usd = llm_dollars(spec, options, sizes.passage_tokens)
    return [*rows, shared, *_sums(needs, rates, sizes, usd)]


def _sums(needs: list[Needs], rates: GpuRates, sizes: PresetSizes, usd: float | None) -> Iterator[dict[str, str]]:
    hours, gib = sum(need.hours for need in needs), sum(need.gib for need in needs)
    yield {
        "stage": "rates",
        "what": f"{rates.tflops:g} TFLOPS sustained on one GPU (--gpu-tflops), {rates.dollars:g} USD an hour "
        f"(--gpu-price), {sizes.passage_tokens} tokens a passage and {sizes.query_tokens} a query",
    }
    yield {"stage": "GPU hours", "what": f"{hours:.1f}, about"}
    yield {"stage": "disk", "what": f"{gib:.1f} GiB, about, models on the Hub included"}
    gpu = hours * rates.dollars
    both = "the LLM's price is not known" if usd is None else f"{usd:.2f} for the LLM; {gpu + usd:.2f} USD together"
    yield {"stage": "dollars", "what": f"about {gpu:.2f} for GPU hours, at most {both}"}


def _about_model(model: PresetModel, spec: DomainSpec) -> str:
    return (
        f"{model.name}: {spec.backbone.model}, {model.shape.parameters / 1e9:.2f} billion parameters, batch "
        f"{model.batch_size}, learning rate {model.learning_rate:g}"
    )


def _workload(spec: DomainSpec, model: PresetModel, workspace: Path, rates: GpuRates, sizes: PresetSizes) -> Workload:
    longest = spec.backbone.max_length or sizes.passage_tokens
    seeds, framings = written_candidates(workspace, spec.instruct, spec.task)
    return Workload(
        spec=spec,
        # LLM calls wait for another machine, so they take no GPU hours.
        rates=Rates(
            passage=rates.seconds(model, min(sizes.passage_tokens, longest)),
            query=rates.seconds(model, min(sizes.query_tokens, longest)),
            call=0.0,
            dollars=0.0,
        ),
        documents=sizes.documents,
        searched=min(sizes.documents, spec.loop.search_documents or sizes.documents),
        queries=round(sizes.queries * (1 - ACCEPT_SHARE)),
        guard_passages=sum(guard.documents for guard in spec.general if isinstance(guard, FrozenCollection)),
        guard_queries=0,
        pool=min(sizes.documents, spec.mine.documents or sizes.documents),
        instructions=len(seeds),
        framings=len(framings),
    )


def loop_seconds(spec: DomainSpec, options: Options, work: Workload) -> float:
    """Return the seconds of the published order and of the end of a run, on one GPU."""
    order = published_order(spec, options.rounds_of(spec))
    return sum(action.estimate(work, UNTRIED).seconds for action in order) + work.ending.seconds


def controls_seconds(preset: Preset, spec: DomainSpec, work: Workload) -> float:
    """Return the seconds of the controls: as many steps as the experts had, and once more for random pairs if used."""
    plain = spec.model_copy(
        update={
            "merge": spec.merge.model_copy(update={"variants": False}),
            "loop": spec.loop.model_copy(update={"probe_steps": 0}),
        }
    )
    once = replace(work, spec=plain)
    seconds = 0.0
    for expert in spec.experts:
        without = expert.model_copy(update={"negatives": NegativeSpec()})
        seconds += spec.trainings_of(expert) * once.training(without).seconds
    return seconds * (2 if sum(preset.pairs.values()) > RANDOM_PAIRS else 1)


def suite_seconds(suite: Suite, model: PresetModel, rates: GpuRates, max_length: int | None) -> float:
    """Return the seconds to encode a suite's passages, by mteb's statistics; a task without any counts for nothing."""
    total = 0.0
    for task in suite.tasks:
        documents, letters = task_sizes(task.name, task.split, task.subset)
        tokens = letters / LETTERS_OF_A_TOKEN
        total += documents * rates.seconds(model, min(tokens, max_length) if max_length else tokens)
    return total


def task_sizes(name: str, split: str, subset: str) -> tuple[int, float]:
    """Return the passages of an official task and their mean length in letters, as mteb has counted them."""
    from stm_agent.domain.official import find_task

    # mteb types its statistics by kind of task; here they are read as the JSON that they are stored as.
    found: Any = (find_task(name).metadata.descriptive_stats or {}).get(split, {})
    found = found.get("hf_subset_descriptive_stats", {}).get(subset, found)
    texts = found.get("documents_text_statistics")
    if not texts:
        return 0, 0.0
    mean = float(texts["average_text_length"])
    return round(texts["total_text_length"] / mean), mean


def _gib(spec: DomainSpec, model: PresetModel, sizes: PresetSizes, suite: Suite | None) -> float:
    rank = spec.train.lora_rank
    size = ModelSize(
        dimension=model.shape.hidden,
        weights=HALF * model.shape.parameters,
        adapter=WHOLE * model.shape.adapter(rank),
    )
    stages = written_bytes(spec, documents=sizes.documents, asked=sizes.queries, size=size)
    tested = sum(task_sizes(task.name, task.split, task.subset)[0] for task in suite.tasks) if suite else 0
    # The start as it is downloaded, and the vectors of the suite if the fast scorer stores them.
    return (sum(stages.values()) + size.weights + tested * size.dimension * WHOLE) / GIB
