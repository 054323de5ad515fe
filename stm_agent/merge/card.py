"""The model card: recipe, scores, data, licences and the command that made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from stm_agent.assets.pull import find_asset
from stm_agent.backbone.embedded import SCHEME
from stm_agent.domain.beir import SYNTHETIC_NOTE
from stm_agent.domain.collection import Collection
from stm_agent.domain.spec import DomainSpec, ExpertSpec
from stm_agent.merge.query_start import INCUMBENT
from stm_agent.merge.recipe import SUM, MethodOptions

FRONT_MATTER = ("---", "library_name: sentence-transformers", "pipeline_tag: sentence-similarity", "---")
"""What the Hub reads of a card."""
MAPPED = "The vectors of queries pass through a linear map that was trained on train queries; those of passages do not."


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
    measured_on: str = "the search half of dev",
    mapped: bool = False,
) -> str:
    """Return the card of a merged model as Markdown.

    Args:
        name: Title.
        domain: What the experts were trained for, and how.
        weights: Expert -> weight; empty: the model is the start itself.
        dev: nDCG@10 on ``measured_on``; None: not measured.
        general: The same on the general tasks.
        sources: Data and models with their licences.
        command: What makes the model again.
        method: How the experts are merged.
        synthetic: Splits whose queries an LLM wrote.
        trained: Experts that are not as the domain lists them, such as those of weak slices.
        measured_on: The dev queries of ``dev``, in words.
        mapped: Whether a linear map follows on the vectors of queries.
    """
    score = f"nDCG@10 on {measured_on}{', which are synthetic' if 'dev' in synthetic else ''}: {_number(dev)}"
    lines = [
        *(*FRONT_MATTER, "", f"# {name}", ""),
        *(f"A retriever for: {domain.task.rstrip('.')}.", ""),
        *_recipe(domain, weights, trained, method, mapped=mapped),
        "",
        f"{score}; on the general guard: {_number(general)}. Test scores are in the run's report.",
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


def _recipe(
    domain: DomainSpec,
    weights: Mapping[str, float],
    trained: Mapping[str, ExpertSpec],
    method: MethodOptions,
    *,
    mapped: bool,
) -> list[str]:
    """Return what the model is made of, and how the experts were trained."""
    after = ["", MAPPED] if mapped else []
    if not weights:
        as_it_is = "" if mapped else " as it is"
        return [f"The start{as_it_is}: {domain.backbone.summary}. No expert is merged into it.", *after]
    train, how = domain.train, "linearly, exactly" if method == SUM else f"by {method.summary}"
    return [
        f"Backbone {domain.backbone.summary}. LoRA rank {train.lora_rank}, alpha {train.lora_alpha}; experts merged "
        f"{how}:",
        "",
        "| expert | weight | sources | steps | loss | learning rate | batch |",
        "|---|---|---|---|---|---|---|",
        *_rows(domain, weights, trained),
        *_teacher_note(domain),
        *after,
    ]


def _rows(domain: DomainSpec, weights: Mapping[str, float], trained: Mapping[str, ExpertSpec]) -> list[str]:
    listed = {expert.name: expert for expert in domain.experts}
    rows = []
    for name, weight in weights.items():
        if name == INCUMBENT:
            rows.append(f"| {INCUMBENT} | {weight:.2f} | the model that encodes the passages | | | | |")
            continue
        # "NAME LABEL@ROUND": the label of a variant follows a space, the number of a later round an @.
        spec = trained.get(name) or listed[name.split("@")[0].split(" ")[0].rstrip("+")]
        rate, batch = spec.learning_rate or domain.train.learning_rate, spec.batch_size or domain.train.batch_size
        sources = ", ".join(spec.sources)
        rows.append(f"| {name} | {weight:.2f} | {sources} | {spec.steps} | {spec.loss} | {rate:g} | {batch} |")
    return rows


def sources_of(
    domain: DomainSpec, collection: Collection, writers: Mapping[str, str] = MappingProxyType({})
) -> list[str]:
    """Return the data and models that a model was made from, each with its licence.

    ``writers`` has role -> name of each LLM that wrote or judged training texts.
    """
    models = {"backbone": domain.backbone.model}
    models |= {role: name for expert in domain.experts for role, name in domain.models_of(expert).items()}
    lines = [f"{collection.source} ({collection.licence})"]
    lines += [f"{role} {name} ({_licence(name, 'its own card')})" for role, name in models.items()]
    terms = "its own card, and its provider's terms for what it writes"
    return lines + [f"{role} {name} ({_licence(name, terms)})" for role, name in writers.items()]


def _licence(model: str, otherwise: str) -> str:
    if not model.startswith(SCHEME):
        return f"licence: see {otherwise}"
    return find_asset(model.removeprefix(SCHEME)).licence


def _teacher_note(domain: DomainSpec) -> list[str]:
    learners = [expert.name for expert in domain.experts if expert.teacher_weight]
    if not learners:
        return []
    return ["", f"Experts {', '.join(learners)} also learnt from the vectors of {domain.train.teacher}."]


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"
