"""The kinds of collection a domain file can name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

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
    """A training set beside the train split of a collection; ``path`` or ``by`` says where it comes from.

    Attributes:
        name: What experts call it.
        path: JSONL or Parquet file, or a folder of the ``datasets`` library, with sentence-transformers' columns:
            ``anchor`` or ``query``, ``positive``, ``negative``, ``negative_1`` ..., ``score``; relative to the domain
            file. None: the source is a part of train.
        by: Field of the documents (of ``metadata`` in ``corpus.jsonl``, or beside ``text``) that cuts train. None: no.
        values: Values of that field whose documents' pairs are this source; empty: the source's name.
        min_score: Pairs of a graded set with a higher score are positives, the others negatives.
    """

    name: Name
    path: RelativePath | None = None
    by: str | None = None
    values: tuple[str, ...] = ()
    min_score: Real = 0.0

    @model_validator(mode="after")
    def _one_origin(self) -> SourceSpec:
        if (self.path is None) == (self.by is None):
            raise ValueError(f"source '{self.name}' needs either a path or a field to cut train by")
        return self


class BeirCollection(Spec):
    """A folder in BEIR layout.

    Attributes:
        path: The folder; in a domain file relative to that file.
        name: Name in reports; None: the folder's.
        sources: Training sets beside its train split, which is source ``train``.
    """

    kind: Literal["beir"] = "beir"
    path: RelativePath
    name: str | None = None
    sources: tuple[SourceSpec, ...] = ()

    @property
    def source_names(self) -> tuple[str, ...]:
        """Names of all training sources."""
        return ("train", *(source.name for source in self.sources))

    @model_validator(mode="after")
    def _names_are_unique(self) -> BeirCollection:
        names = (*self.source_names, "written")
        repeated = [name for name in names if names.count(name) > 1]
        if repeated:
            raise ValueError(f"source '{repeated[0]}' is there twice; train and written are there already")
        return self


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


class MtebCollection(Spec):
    """A retrieval task by its MTEB name, fetched from the Hub by mteb.

    Attributes:
        name: MTEB's task name, for example ``SciFact``.
        train_split: Split with training pairs; None: none.
        dev_split: Split the levers are scored on; a task without it gives a part of its train split.
        test_split: Split scored once, at the end.
    """

    source_names: ClassVar[tuple[str, ...]] = ("train",)
    kind: Literal["mteb"] = "mteb"
    name: Name
    train_split: str | None = None
    dev_split: str = "dev"
    test_split: str = "test"


CollectionSpec = Annotated[
    BeirCollection | HpoCollection | PythonDocsCollection | WordNetCollection | MtebCollection,
    Field(discriminator="kind"),
]
