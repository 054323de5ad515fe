"""Suites of official MTEB tasks, each with its split and subset, and STM's instructions for its twelve."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from stm_agent.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class SuiteTask:
    """One task of a suite.

    Attributes:
        name: MTEB's name.
        split: Judged split.
        subset: Subset; ``default`` if the task has only one.
        instruction: What the suite's authors put in front of its queries; empty: nothing.
        group: Tasks of one group count as one in the mean; empty: a task of its own.
    """

    name: str
    split: str = "test"
    subset: str = "default"
    instruction: str = ""
    group: str = ""

    @property
    def label(self) -> str:
        """The task's name in reports, with its subset if it has several."""
        return self.name if self.subset == "default" else f"{self.name} {self.subset}"


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Tasks that are scored together.

    Attributes:
        name: What users call it.
        description: For people.
        tasks: In the order of the report.
        passage: Instruction in front of passages; empty: none.
    """

    name: str
    description: str
    tasks: tuple[SuiteTask, ...]
    passage: str = ""


_BEST = "Given a question, retrieve relevant documents that best answer the question"
_PROFESSIONAL = "Given a question by a medical professional, retrieve relevant passages that best answer the question"
_CLAIM = "Given a claim, retrieve arguments/documents that support or refute the claim"

# arXiv 2602.04731, section 4.5; instructions from configs/eval_datasets.yaml of TIO-IKIM/STM, the split of CUREv1 from
# published results of its baselines.
_STM_PAPER = (
    SuiteTask(name="FeedbackQARetrieval", instruction=_PROFESSIONAL),
    SuiteTask(name="MedicalQARetrieval", instruction=_PROFESSIONAL),
    SuiteTask(name="CUREv1", split="all", subset="en", instruction=_BEST),
    SuiteTask(name="PublicHealthQA", subset="english", instruction=_PROFESSIONAL),
    SuiteTask(name="NFCorpus", instruction=_BEST),
    SuiteTask(name="TRECCOVID", instruction="Given a query on COVID-19, retrieve documents that answer the query"),
    SuiteTask(
        name="SciFact",
        instruction="Given a scientific claim, retrieve documents that support or refute the claim",
    ),
    SuiteTask(
        name="SCIDOCS",
        instruction="Given a scientific paper title, retrieve paper abstracts that are cited by the given paper",
    ),
    SuiteTask(name="NanoFEVERRetrieval", split="train", instruction=_CLAIM),
    SuiteTask(name="ArguAna", instruction=_CLAIM),
    SuiteTask(
        name="NanoQuoraRetrieval",
        split="train",
        instruction="Given a question, retrieve semantically similar questions",
    ),
    SuiteTask(name="FiQA2018", instruction=_BEST),
)

_PUBLIC_HEALTH = ("arabic", "chinese", "english", "french", "korean", "russian", "spanish", "vietnamese")
_MEDICAL = (
    *(SuiteTask(name="CUREv1", split="all", subset=language, group="CUREv1") for language in ("en", "es", "fr")),
    *(SuiteTask(name=name) for name in ("NFCorpus", "TRECCOVID", "TRECCOVID-PL", "SciFact", "SciFact-PL")),
    SuiteTask(name="MedicalQARetrieval"),
    *(SuiteTask(name="PublicHealthQA", subset=language, group="PublicHealthQA") for language in _PUBLIC_HEALTH),
    SuiteTask(name="CmedqaRetrieval", split="dev"),
)

_FORUMS = (
    *("Android", "Gaming", "English", "Gis", "Mathematica", "Physics"),
    *("Programmers", "Stats", "Tex", "Unix", "Webmasters", "Wordpress"),
)
_BEIR = (
    *(
        SuiteTask(name=name)
        for name in ("TRECCOVID", "NFCorpus", "NQ", "HotpotQA", "FiQA2018", "ArguAna", "Touche2020")
    ),
    *(SuiteTask(name=f"CQADupstack{forum}Retrieval", group="CQADupstack") for forum in _FORUMS),
    *(SuiteTask(name=name) for name in ("QuoraRetrieval", "DBPedia", "SCIDOCS", "FEVER", "ClimateFEVER", "SciFact")),
    SuiteTask(name="MSMARCO", split="dev"),
)

_NANO = (
    *("ArguAna", "ClimateFever", "DBPedia", "FEVER", "FiQA2018", "HotpotQA", "MSMARCO"),
    *("NFCorpus", "NQ", "Quora", "SCIDOCS", "SciFact", "Touche2020"),
)
_NANO_BEIR = tuple(SuiteTask(name=f"Nano{name}Retrieval", split="train") for name in _NANO)

SUITES: Mapping[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(
            name="stm-paper",
            description="the twelve tasks of STM (arXiv 2602.04731) with its instructions: seven medical, five general",
            tasks=_STM_PAPER,
            passage="Represent this passage",
        ),
        Suite(
            name="mteb-medical",
            description="the retrieval tasks of MTEB(Medical, v1) in all their languages; CUREv1 with its split 'all'",
            tasks=_MEDICAL,
        ),
        Suite(name="beir", description="BEIR; the forums of CQADupstack count as one task", tasks=_BEIR),
        Suite(name="nanobeir", description="NanoBEIR: small samples of BEIR's corpora and queries", tasks=_NANO_BEIR),
    )
}


def find_suite(name: str) -> Suite:
    """Return a suite by name.

    Raises:
        ConfigError: There is none; the message names them all.
    """
    if name in SUITES:
        return SUITES[name]
    near = difflib.get_close_matches(name, SUITES, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(SUITES)}"
    raise ConfigError(f"no suite is called '{name}'; {hint}")
