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

    ``synthetic`` names the splits whose queries an LLM wrote; ``trained`` has the experts that are not as the domain
    lists them, such as those of weak slices.
    """
    train = domain.train
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
        *(_rows(domain, weights, trained) or ["| none | | | |"]),
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


def _rows(domain: DomainSpec, weights: Mapping[str, float], trained: Mapping[str, ExpertSpec]) -> list[str]:
    listed = {expert.name: expert for expert in domain.experts}
    rows = []
    for name, weight in weights.items():
        if name == INCUMBENT:
            rows.append(f"| {INCUMBENT} | {weight:.2f} | the model that encodes the passages | |")
            continue
        # "NAME LABEL@ROUND": the label of a variant follows a space, the number of a later round an @.
        spec = trained.get(name) or listed[name.split("@")[0].split(" ")[0].rstrip("+")]
        rows.append(f"| {name} | {weight:.2f} | {', '.join(spec.sources)} | {spec.steps} |")
    return rows


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
