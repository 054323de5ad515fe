"""The model card: recipe, scores, data, licences and the command that made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stm_agent.domain.spec import DomainSpec


def model_card(
    *,
    name: str,
    domain: DomainSpec,
    weights: Mapping[str, float],
    dev: float | None,
    general: float | None,
    sources: Sequence[str],
    command: str,
) -> str:
    """Return the card of a merged model as Markdown."""
    backbone, train = domain.backbone, domain.train
    experts = {expert.name: expert for expert in domain.experts}
    rows = []
    for name_, weight in weights.items():
        spec = experts[name_.split("@")[0]]
        rows.append(f"| {name_} | {weight:.2f} | {', '.join(spec.sources)} | {spec.steps} |")
    lines = [
        "---",
        "library_name: sentence-transformers",
        "pipeline_tag: sentence-similarity",
        "---",
        "",
        f"# {name}",
        "",
        f"A retriever for: {domain.task}.",
        "",
        f"Backbone {backbone.model}, {backbone.layers or 'all'} layers, {backbone.attention} attention, "
        f"{backbone.pooling} pooling, {backbone.max_length} tokens. LoRA rank {train.lora_rank}, "
        f"alpha {train.lora_alpha}; experts merged linearly, exactly:",
        "",
        "| expert | weight | sources | steps |",
        "|---|---|---|---|",
        *(rows or ["| none | | | |"]),
        "",
        *_taught(domain),
        f"nDCG@10 on dev: {_number(dev)}; on the general guard: {_number(general)}. "
        "Test scores are in the run's report.",
        "",
        "Data and licences:",
        "",
        *(f"- {source}" for source in sources),
        "",
        f"Made by `{command}`. Load it with `SentenceTransformer(folder)`; use `encode_query` and `encode_document`.",
        "",
    ]
    return "\n".join(lines)


def _taught(domain: DomainSpec) -> list[str]:
    taught = [expert.name for expert in domain.experts if expert.teacher_weight]
    if not taught:
        return []
    return [f"Experts {', '.join(taught)} also learnt from the vectors of {domain.train.teacher}.", ""]


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"
