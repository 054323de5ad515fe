"""The model card: recipe, scores, data, licences and the command that made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from stm_agent.assets.pull import find_asset
from stm_agent.backbone.embedded import SCHEME
from stm_agent.domain.collection import SYNTHETIC_NOTE, Collection
from stm_agent.domain.spec import DomainSpec, ExpertSpec
from stm_agent.merge.query_start import INCUMBENT
from stm_agent.merge.recipe import SUM, MethodOptions


def model_card(
    *,
    name: str,
    domain: DomainSpec,
    weights: Mapping[str, float],
    dev: float | None,
    general: float | None,
    sources: Sequence[str],
    command: str,
    method: MethodOptions = SUM,
    synthetic: Sequence[str] = (),
    trained: Mapping[str, ExpertSpec] = MappingProxyType({}),
) -> str:
    """Return the card of a merged model as Markdown.

    Args:
        name: Title.
        domain: What the model was made for.
        weights: Name of each expert -> its weight.
        dev: nDCG@10 on dev; None: unknown.
        general: The same on the general tasks.
        sources: A line about each source and its licence.
        command: The command that made it.
        method: How the experts are merged.
        synthetic: Splits whose queries an LLM wrote.
        trained: Experts that the domain does not list, such as those of weak slices.
    """
    train = domain.train
    experts = {expert.name: expert for expert in domain.experts}
    rows = []
    for expert_name, weight in weights.items():
        if expert_name == INCUMBENT:
            rows.append(f"| {INCUMBENT} | {weight:.2f} | the model that encodes the passages | |")
            continue
        # "NAME LABEL@ROUND": the label of a variant follows a space, the number of a later round an @.
        spec = trained.get(expert_name) or experts[expert_name.split("@")[0].split(" ")[0].rstrip("+")]
        rows.append(f"| {expert_name} | {weight:.2f} | {', '.join(spec.sources)} | {spec.steps} |")
    lines = [
        "---",
        "library_name: sentence-transformers",
        "pipeline_tag: sentence-similarity",
        "---",
        "",
        f"# {name}",
        "",
        f"A retriever for: {domain.task.rstrip('.')}.",
        "",
        f"Backbone {domain.backbone.summary}. LoRA rank {train.lora_rank}, "
        f"alpha {train.lora_alpha}; experts merged {'linearly, exactly' if method == SUM else f'by {method.summary}'}:",
        "",
        "| expert | weight | sources | steps |",
        "|---|---|---|---|",
        *(rows or ["| none | | | |"]),
        "",
        *_teacher_note(domain),
        f"nDCG@10 on {'synthetic ' if 'dev' in synthetic else ''}dev: {_number(dev)}; on the general guard: "
        f"{_number(general)}. Test scores are in the run's report.",
        "",
        *([f"The queries of {' and '.join(synthetic)} are synthetic: {SYNTHETIC_NOTE}.", ""] if synthetic else []),
        "Data and licences:",
        "",
        *(f"- {source}" for source in sources),
        "",
        f"Made by `{command}`. Load it with `SentenceTransformer(folder)`; use `encode_query` and `encode_document`.",
        "",
    ]
    return "\n".join(lines)


def sources_of(domain: DomainSpec, collection: Collection) -> list[str]:
    """Return the data and models that a model was made from, each with its licence."""
    models = {role: name for expert in domain.experts for role, name in domain.models_of(expert).items()}
    lines = [f"{collection.source} ({collection.licence})"]
    return lines + [f"{role} {name} ({_licence(name)})" for role, name in models.items()]


def _licence(model: str) -> str:
    if not model.startswith(SCHEME):
        return "licence: see its own card"
    return find_asset(model.removeprefix(SCHEME)).licence


def _teacher_note(domain: DomainSpec) -> list[str]:
    learners = [expert.name for expert in domain.experts if expert.teacher_weight]
    if not learners:
        return []
    return [f"Experts {', '.join(learners)} also learnt from the vectors of {domain.train.teacher}.", ""]


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"
