"""What a project asks of its annotators: document fields, annotation levels and blocks, as one frozen value.

A schema is stored with its project as JSON and may be edited later. Everything is referred to by ``id``, never by name,
so a renamed field, level or block keeps what people wrote under it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

FieldType = Literal["text", "number", "date", "boolean", "array", "object"]
BlockType = Literal["text", "longtext", "select", "multiselect", "boolean", "number", "date"]
Mode = Literal["plain", "solo", "human"]
Role = Literal["query", "answer", "note"]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
Colour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]


class Frozen(BaseModel):
    """A value whose unknown keys are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DocumentField(Frozen):
    """One field of a document and how it is used.

    Attributes:
        name: Key in the imported documents; every other key is kept too, unseen.
        required: A document without it is reported at import and skipped.
        ai_input: Blocks may send it to an LLM.
        content: It is text to read, search and select evidence in.
        metadata: It is shown beside the text.
        output: It goes into exports of annotations.
    """

    id: Id
    name: str = Field(min_length=1, max_length=200)
    type: FieldType = "text"
    description: str = ""
    required: bool = False
    ai_input: bool = False
    content: bool = False
    metadata: bool = False
    output: bool = True


class Level(Frozen):
    """A grade of relevance, for evidence and for judgements alike. Higher scores are more relevant; 0 is not."""

    id: Id
    name: str = Field(min_length=1, max_length=100)
    colour: Colour
    score: int = Field(ge=0, le=100)
    help: str = ""


class InputSource(Frozen):
    """What a block sends to the LLM.

    Attributes:
        kind: ``block`` (another block's value), ``annotation`` (evidence of a level, or of all), ``field`` (of the
            selected document).
        ref: Id of the block, the level (empty: all) or the field.
        required: Without it the block cannot be drafted, and says so.
    """

    kind: Literal["block", "annotation", "field"]
    ref: str = ""
    label: str = ""
    required: bool = False


class Block(Frozen):
    """A question asked of the annotator, in one of AIANO's three modes.

    Attributes:
        mode: ``plain`` (no LLM), ``solo`` (the LLM sees the prompt alone), ``human`` (it sees the inputs as well).
        role: What the value is to the loop: the query's text, its answer, or only a note.
        prompt: System prompt of the block.
        llm: Name of an LLM the administrator set up; empty is the default one.
        temperature: Sampling temperature of this block.
        max_tokens: Longest answer of this block.
    """

    id: Id
    name: str = Field(min_length=1, max_length=200)
    type: BlockType = "text"
    mode: Mode = "plain"
    role: Role = "note"
    placeholder: str = ""
    description: str = ""
    required: bool = False
    options: tuple[str, ...] = ()
    yes: str = "Yes"
    no: str = "No"
    prompt: str = ""
    llm: str = ""
    temperature: float = Field(default=0.7, ge=0, le=2)
    max_tokens: int = Field(default=512, ge=1, le=32_768)
    inputs: tuple[InputSource, ...] = ()

    @model_validator(mode="after")
    def _options(self) -> Block:
        if self.type in ("select", "multiselect") and not self.options:
            raise ValueError(f"block '{self.name}' needs options to choose from; add some")
        return self


class ProjectSchema(Frozen):
    """Everything that shapes a project's screens."""

    fields: tuple[DocumentField, ...] = ()
    levels: tuple[Level, ...] = ()
    blocks: tuple[Block, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> ProjectSchema:
        for kind, items in (("field", self.fields), ("level", self.levels), ("block", self.blocks)):
            _unique(kind, (item.id for item in items))
            _unique(f"{kind} name", (item.name for item in items))
        known = {
            "field": {item.id for item in self.fields},
            "annotation": {item.id for item in self.levels} | {""},
            "block": {item.id for item in self.blocks},
        }
        for block in self.blocks:
            for source in block.inputs:
                if source.ref not in known[source.kind] or source.ref == block.id:
                    raise ValueError(f"block '{block.name}' reads {source.kind} '{source.ref}', which does not exist")
        return self

    @property
    def content_fields(self) -> tuple[str, ...]:
        """Names of the fields that are read and searched; ``text`` where none is marked."""
        return tuple(field.name for field in self.fields if field.content) or ("text",)


def _unique(kind: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{kind} '{name}' is used twice; give each its own")
        seen.add(name)
