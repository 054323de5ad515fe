"""The kinds of collection a domain file can name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from stm_agent.domain.fields import Name, OpenShare, Positive, Real, Spec


def _in_folder(path: Path, info: ValidationInfo) -> Path:
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / path


RelativePath = Annotated[Path, AfterValidator(_in_folder)]
"""A path that is relative to the domain file."""

FrozenDocuments = Annotated[int, Field(strict=True, ge=2, le=600)]
"""Documents of a task that comes with the package, which has 600."""


class SourceSpec(Spec):
    """A training set beside the train split of a collection.

    It comes from a file (``path``), from the Hub (``hub``), from the train split of another collection
    (``collection``), or is a part of the collection's own train split (``by`` alone).

    Attributes:
        name: What experts call it.
        path: JSONL or Parquet file, or a folder of the ``datasets`` library, with sentence-transformers' columns:
            ``anchor`` or ``query``, ``positive``, ``negative``, ``negative_1`` ..., ``score``; relative to the domain
            file.
        hub: Name of a data set on the Hub, with the same columns.
        subset: Its configuration; None: the only one.
        split: Its split.
        revision: Its commit; None: the newest.
        collection: Another collection, of which only the train pairs are used. Its passages join the pool that
            negatives are mined from; nothing is scored on it.
        by: What cuts the set: a column of its rows; of the own train split, a field of the documents (of ``metadata``
            in ``corpus.jsonl``, or beside ``text``). None: all of it.
        values: Values of that field whose pairs are this source; empty: the source's name.
        min_score: Pairs of a graded set with a higher score are positives, the others negatives.
    """

    name: Name
    path: RelativePath | None = None
    hub: Annotated[str, Field(min_length=1)] | None = None
    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    collection: TrainingCollection | None = None
    by: str | None = None
    values: tuple[str, ...] = ()
    min_score: Real = 0.0

    @property
    def wanted(self) -> frozenset[str]:
        """Values of the field ``by``."""
        return frozenset(self.values or (self.name,))

    @model_validator(mode="after")
    def _one_origin(self) -> SourceSpec:
        origins = [self.path, self.hub, self.collection]
        if sum(origin is not None for origin in origins) > 1 or not any((*origins, self.by)):
            raise ValueError(f"source '{self.name}' needs one of path, hub and collection, or a field to cut train by")
        if self.collection is not None and self.by is not None:
            raise ValueError(f"source '{self.name}': by cuts a training set or the own train split, not a collection")
        if getattr(self.collection, "sources", ()):
            raise ValueError(f"source '{self.name}': a collection that is a source cannot have sources of its own")
        return self


class _WithSources(Spec):
    """A collection whose train split is source ``train``.

    Attributes:
        sources: Training sets beside it.
    """

    sources: tuple[SourceSpec, ...] = ()

    @property
    def source_names(self) -> tuple[str, ...]:
        """Names of all training sources."""
        return ("train", *(source.name for source in self.sources))

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = (*self.source_names, "written")
        repeated = [name for name in names if names.count(name) > 1]
        if repeated:
            raise ValueError(f"source '{repeated[0]}' is there twice; train and written are there already")
        return self


class BeirCollection(_WithSources):
    """A folder in BEIR layout.

    Attributes:
        path: The folder; in a domain file relative to that file.
        name: Name in reports; None: the folder's.
        sources: Training sets beside its train split, which is source ``train``.
    """

    kind: Literal["beir"] = "beir"
    path: RelativePath
    name: str | None = None


class HpoCollection(Spec):
    """Human Phenotype Ontology: a patient's words -> the clinical definition, split by term.

    Attributes:
        documents: Definitions in the corpus; those of dev and test terms are always in it.
        test_share: Share of the terms with layperson synonyms that is test.
        dev_share: The same for dev.
        parent_grade: Grade of a parent term's definition; 0: parents are not relevant.
    """

    source_names: ClassVar[tuple[str, ...]] = ("lay", "clinical")
    kind: Literal["hpo"] = "hpo"
    documents: Positive = 2000
    test_share: OpenShare = 0.15
    dev_share: OpenShare = 0.07
    parent_grade: Annotated[int, Field(strict=True, ge=0, le=1)] = 0

    @model_validator(mode="after")
    def _leaves_training_terms(self) -> HpoCollection:
        if self.test_share + self.dev_share >= 1:
            raise ValueError("test_share and dev_share leave no term for training; make their sum less than 1")
        return self


class PythonDocsCollection(Spec):
    """Docstrings of Python's standard library: a summary line -> the rest; the same on every Python.

    Attributes:
        documents: Docstrings in the corpus.
    """

    source_names: ClassVar[tuple[str, ...]] = ()
    kind: Literal["python-docs"] = "python-docs"
    documents: FrozenDocuments = 600


class WordNetCollection(Spec):
    """Common nouns and verbs of WordNet 3.0: the words of a sense -> its definition.

    Attributes:
        documents: Definitions in the corpus.
    """

    source_names: ClassVar[tuple[str, ...]] = ()
    kind: Literal["wordnet"] = "wordnet"
    documents: FrozenDocuments = 600


FrozenCollection = PythonDocsCollection | WordNetCollection
"""A task that comes with the package."""


class MtebCollection(_WithSources):
    """A retrieval task by its MTEB name, fetched from the Hub by mteb, or read from a folder.

    Attributes:
        name: MTEB's task name, for example ``SciFact``.
        subset: Language or other part of a task that has several; None: the only one.
        train_split: Split with training pairs; None: none.
        dev_split: Split the levers are scored on; a task without it gives a part of its train split.
        test_split: Split scored once, at the end.
        data_dir: Folder with data sets in the Hub's layout (``data_dir/owner/name``), relative to the domain file;
            None: the Hub.
        sources: Training sets beside its train split, which is source ``train``.
    """

    kind: Literal["mteb"] = "mteb"
    name: Name
    subset: Annotated[str, Field(min_length=1)] | None = None
    train_split: str | None = None
    dev_split: str = "dev"
    test_split: str = "test"
    data_dir: RelativePath | None = None


TrainingCollection = Annotated[BeirCollection | HpoCollection | MtebCollection, Field(discriminator="kind")]
"""A collection that can be a source."""
SourceSpec.model_rebuild()

CollectionSpec = Annotated[
    BeirCollection | HpoCollection | PythonDocsCollection | WordNetCollection | MtebCollection,
    Field(discriminator="kind"),
]
