"""What an LLM is asked for a block, and what became of its draft.

AIANO's three modes: a plain block asks nobody, ``solo`` sends the block's prompt alone, ``human`` sends what the person
chose as well, each piece of evidence with its document's id, so that an answer can cite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.schema import Block, InputSource, ProjectSchema

LONGEST_FIELD = 8000
"""Characters of a document's field that are sent, at most; the cut is shown."""
JUDGE = (
    "You judge how well a passage answers a query for a search engine. Grades:\n{grades}\n"
    "Answer with the number of the grade alone."
)


@dataclass(frozen=True)
class Evidence:
    """One piece of evidence as it is sent."""

    document: str
    text: str
    level: str


def compose(
    schema: ProjectSchema,
    block: Block,
    *,
    values: Mapping[str, object],
    evidence: Sequence[Evidence],
    fields: Mapping[str, object],
    system: str = "",
) -> list[dict[str, str]]:
    """Return the chat of a block.

    Args:
        schema: The project's.
        block: The block to draft.
        values: The entry's values, by block.
        evidence: The entry's evidence.
        fields: Fields of the document that is open.
        system: The LLM's own system prompt, in front of the block's.

    Raises:
        Invalid: The block has no LLM, no prompt, or a required input that is empty.
    """
    if block.mode == "plain":
        raise Invalid(f"block '{block.name}' is filled in by people only")
    if not block.prompt.strip():
        raise Invalid(f"block '{block.name}' has no prompt; an administrator can write one")
    if block.mode == "solo":
        chat = [{"role": "user", "content": block.prompt}]
        return [{"role": "system", "content": system}, *chat] if system else chat
    parts = []
    for source in block.inputs:
        if closed := _closed(schema, source):
            if source.required:
                raise Invalid(
                    f"block '{block.name}' needs field '{closed}', which must not go to an LLM; allow it first"
                )
            continue
        label, text = _input(schema, source, values, evidence, fields)
        if not text.strip():
            if source.required:
                raise Invalid(f"block '{block.name}' needs '{label}' first")
            continue
        parts.append(f"{label}:\n{text}")
    told = "\n\n".join(part for part in (system, block.prompt) if part)
    return [{"role": "system", "content": told}, {"role": "user", "content": "\n\n".join(parts) or "(no input)"}]


def _closed(schema: ProjectSchema, source: InputSource) -> str | None:
    """Return the name of a source that is a field which may not go to an LLM."""
    closed = {field.id: field.name for field in schema.fields if not field.ai_input}
    return closed.get(source.ref) if source.kind == "field" else None


def _input(
    schema: ProjectSchema,
    source: InputSource,
    values: Mapping[str, object],
    evidence: Sequence[Evidence],
    fields: Mapping[str, object],
) -> tuple[str, str]:
    """Return the label and the text of a source."""
    match source.kind:
        case "block":
            block = next(block for block in schema.blocks if block.id == source.ref)
            return source.label or block.name, _said(block, values.get(source.ref, ""))
        case "field":
            name = next(field.name for field in schema.fields if field.id == source.ref)
            text = str(fields.get(name, ""))
            return source.label or name, text if len(text) <= LONGEST_FIELD else f"{text[:LONGEST_FIELD]} [...]"
        case "annotation":
            return _evidence_input(schema, source, evidence)


def _evidence_input(schema: ProjectSchema, source: InputSource, evidence: Sequence[Evidence]) -> tuple[str, str]:
    names = {level.id: level.name for level in schema.levels}
    chosen = [one for one in evidence if not source.ref or one.level == source.ref]
    lines = [f"[{one.document}] ({names.get(one.level, one.level)}) {' '.join(one.text.split())}" for one in chosen]
    return source.label or names.get(source.ref, "Evidence"), "\n".join(lines)


def _said(block: Block, value: object) -> str:
    if isinstance(value, bool):
        return block.yes if value else block.no
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)


def judge_chat(schema: ProjectSchema, query: str, passage: str) -> list[dict[str, str]]:
    """Return the chat that asks for a grade of a passage."""
    grades = "\n".join(
        f"{level.score}: {level.name}. {level.help}" for level in sorted(schema.levels, key=lambda one: one.score)
    )
    return [
        {"role": "system", "content": JUDGE.format(grades=grades)},
        {"role": "user", "content": f"Query: {query}\n\nPassage: {passage[:LONGEST_FIELD]}"},
    ]


def edit_distance(old: str, new: str) -> int:
    """Return the Levenshtein distance of two texts."""
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.distance(old, new)
