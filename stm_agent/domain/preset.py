"""Presets: whole experiments that come with the package, as a domain file with its models, sizes, LLMs and suite."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, JsonValue

from stm_agent.domain.collection_spec import BeirCollection, MtebCollection
from stm_agent.domain.fields import Count, Name, Positive, PositiveReal, Spec, Switch
from stm_agent.domain.load import read_yaml
from stm_agent.domain.spec import DomainSpec
from stm_agent.errors import ConfigError, DataError
from stm_agent.hub_faults import download_line

_FOLDER = Path(__file__).resolve().parent / "presets"
_HUB_NAME = re.compile(r"(?:cross-encoder:)?([\w.-]+/[\w.-]+)")
BMRETRIEVER = "BMRetriever/biomed_retrieval_dataset"
"""The set of the Hub whose four parts STM trains on."""


class DecoderShape(Spec):
    """Sizes of a decoder, from which its parameters follow.

    Attributes:
        layers: Its layers.
        hidden: Length of a token's vector.
        intermediate: Width of the feed-forward part, which has three matrices.
        heads: Attention heads.
        key_heads: Heads of keys and of values.
        head_size: Length of a head's vector.
        vocabulary: Tokens that have an embedding.
    """

    layers: Positive
    hidden: Positive
    intermediate: Positive
    heads: Positive
    key_heads: Positive
    head_size: Positive
    vocabulary: Positive

    @property
    def _matrices(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of the linear parts of one layer: queries, keys, values, output, and feed-forward."""
        queries, keys = self.heads * self.head_size, self.key_heads * self.head_size
        wide = (self.hidden, self.intermediate)
        return ((self.hidden, queries), (self.hidden, keys), (self.hidden, keys), (queries, self.hidden), *3 * (wide,))

    @property
    def computing(self) -> int:
        """Parameters of the matrices that every token is multiplied with; embeddings are only looked up."""
        return self.layers * sum(rows * columns for rows, columns in self._matrices)

    @property
    def parameters(self) -> int:
        """Parameters of layers and embeddings; norms, under a thousandth of them, are left out."""
        return self.computing + self.vocabulary * self.hidden

    def adapter(self, rank: int) -> int:
        """Return the parameters of a LoRA adapter of all linear parts."""
        return self.layers * rank * sum(rows + columns for rows, columns in self._matrices)


class PresetModel(Spec):
    """One model of a preset; each is a run of its own.

    Attributes:
        name: What users call it: ``--preset paper/NAME``.
        model: Its name on the Hub.
        batch_size: Pairs a step.
        learning_rate: Peak of the schedule.
        shape: Its sizes, for the plan.
    """

    name: Name
    model: str
    batch_size: Annotated[int, Field(strict=True, ge=2)]
    learning_rate: PositiveReal
    shape: DecoderShape


class PresetSizes(Spec):
    """Sizes of the collection, for a plan that reads no data.

    Attributes:
        documents: Passages of the corpus.
        queries: Queries of dev and test.
        passage_tokens: Tokens of a passage, on average.
        query_tokens: The same of a query.
    """

    documents: Positive
    queries: Positive
    passage_tokens: Positive
    query_tokens: Positive


class Preset(Spec):
    """An experiment.

    Attributes:
        name: What users call it.
        description: For people.
        models: A run each.
        pairs: Source -> its pairs, for experts whose steps follow from one pass over them.
        sizes: Of the collection, for the plan.
        generator: LLM that writes.
        reflection: LLM that reflects on instructions; None: the generator.
        suite: Official tasks that each exported model is scored on; None: none.
        suite_instructions: Whether the suite's instructions are used there, in place of the model's own prompts.
        controls: Whether the controls are trained too.
        domain: The domain file, without name, model, batch size and learning rate.
    """

    name: Name
    description: str
    models: Annotated[tuple[PresetModel, ...], Field(min_length=1)]
    pairs: dict[str, Count]
    sizes: PresetSizes
    generator: str
    reflection: str | None = None
    suite: str | None = None
    suite_instructions: Switch = False
    controls: Switch = False
    domain: dict[str, JsonValue]

    def domain_of(self, model: PresetModel, data_dir: Path | None = None, collection: Path | None = None) -> DomainSpec:
        """Return the domain of one model's run.

        Args:
            model: One of the preset's.
            data_dir: Folder with models, data sets and training files, in the Hub's layout (``data_dir/owner/name``);
                what it lacks comes from the Hub. None: the Hub, and files of the current folder.
            collection: A BEIR folder that takes the place of the preset's collection; None: that one.
        """
        raw: dict[str, Any] = dict(self.domain)
        raw["name"] = f"{self.name}-{model.name}"
        raw["description"] = self.description
        raw["backbone"] = {"model": model.model, **raw.get("backbone", {})}
        rates = {"batch_size": model.batch_size, "learning_rate": model.learning_rate}
        raw["train"] = {**raw.get("train", {}), **rates}
        raw["experts"] = [self._with_steps(expert, model.batch_size) for expert in raw["experts"]]
        if collection is not None:
            raw["collection"] = BeirCollection(path=collection.absolute()).model_dump(exclude_none=True)
        placed = raw if data_dir is None else _in_folder(raw, data_dir.absolute())
        return DomainSpec.model_validate(placed, context={"folder": (data_dir or Path()).absolute()})

    def _with_steps(self, expert: Mapping[str, Any], batch_size: int) -> dict[str, Any]:
        pairs = sum(self.pairs.get(source, 0) for source in expert["sources"])
        return {"steps": max(1, math.ceil(pairs / batch_size)), **expert}


def presets() -> tuple[str, ...]:
    """Return the names of the presets."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def load_preset(name: str) -> Preset:
    """Return a preset; ``NAME/MODEL`` keeps one of its models.

    Raises:
        ConfigError: No preset has this name, or it lacks the model; the message names those there are.
    """
    wanted, _, model = name.partition("/")
    if wanted not in presets():
        near = difflib.get_close_matches(wanted, presets(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(presets())}"
        raise ConfigError(f"no preset is called '{wanted}'; {hint}")
    preset = Preset.model_validate(read_yaml((_FOLDER / f"{wanted}.yaml").read_text(encoding="utf-8")))
    if not model:
        return preset
    chosen = tuple(each for each in preset.models if each.name == model)
    if not chosen:
        names = ", ".join(f"{wanted}/{each.name}" for each in preset.models)
        raise ConfigError(f"preset {wanted} has no model '{model}'; there are {names}")
    return preset.model_copy(update={"models": chosen})


def require_training_files(spec: DomainSpec) -> None:
    """Check that the training files of a preset's domain are there.

    Raises:
        DataError: One is missing; the message says what it is and where it comes from.
    """
    for source in getattr(spec.collection, "sources", ()):
        if source.path is not None and not source.path.exists():
            folder = source.path.parent.parent / BMRETRIEVER
            raise DataError(
                f"{source.path} is missing: rows of anchor, positive and negative, a part of {BMRETRIEVER}, which was "
                f"cut by a rule that STM does not state; {download_line(BMRETRIEVER, None, str(folder))}, then cut it"
            )


def _in_folder(value: object, data_dir: Path) -> object:
    """Return a domain file with every model and data set that the folder has read from there."""
    if isinstance(value, dict):
        inside = {key: _in_folder(part, data_dir) for key, part in value.items()}
        if value.get("kind") == MtebCollection.model_fields["kind"].default:
            inside["data_dir"] = str(data_dir)
        return inside
    if isinstance(value, list | tuple):
        return [_in_folder(part, data_dir) for part in value]
    if isinstance(value, str) and (found := _HUB_NAME.fullmatch(value)) and (data_dir / found[1]).is_dir():
        return value.replace(found[1], str(data_dir / found[1]))
    return value
