"""The kinds of collection a domain file can name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from stm_agent.domain.fields import Name, OpenShare, Positive, Spec


class BeirCollection(Spec):
    """A folder in BEIR layout.

    Attributes:
        path: The folder; in a domain file relative to that file.
        name: Name in reports; None: the folder's.
    """

    sources: ClassVar[tuple[str, ...]] = ("train",)
    kind: Literal["beir"] = "beir"
    path: Path
    name: str | None = None

    @field_validator("path")
    @classmethod
    def _relative_to_the_file(cls, path: Path, info: ValidationInfo) -> Path:
        folder: Path = (info.context or {}).get("folder", Path())
        return folder / path


class HpoCollection(Spec):
    """Human Phenotype Ontology: a patient's words -> the clinical definition, split by term.

    Attributes:
        documents: Definitions in the corpus; those of dev and test terms are always in it.
        test_share: Share of the terms with layperson synonyms that is test.
        dev_share: The same for dev.
        parent_grade: Grade of a parent term's definition; 0: parents are not relevant.
    """

    sources: ClassVar[tuple[str, ...]] = ("lay", "clinical")
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
    """The running Python's standard library: a docstring's summary line -> the rest of the docstring.

    Attributes:
        documents: Docstrings in the corpus, at most.
    """

    sources: ClassVar[tuple[str, ...]] = ()
    kind: Literal["python-docs"] = "python-docs"
    documents: Positive = 600


class MtebCollection(Spec):
    """A retrieval task by its MTEB name, fetched from the Hub by mteb.

    Attributes:
        name: MTEB's task name, for example ``SciFact``.
        train_split: Split with training pairs; None: none.
        dev_split: Split the levers are scored on; a task without it gives a part of its train split.
        test_split: Split scored once, at the end.
    """

    sources: ClassVar[tuple[str, ...]] = ("train",)
    kind: Literal["mteb"] = "mteb"
    name: Name
    train_split: str | None = None
    dev_split: str = "dev"
    test_split: str = "test"


CollectionSpec = Annotated[
    BeirCollection | HpoCollection | PythonDocsCollection | MtebCollection, Field(discriminator="kind")
]
