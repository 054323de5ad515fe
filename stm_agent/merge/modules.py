"""What of a sentence-transformers folder is beside the network: pooling, dense modules, prompts. Experts share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from stm_agent.domain.spec import BackboneSpec
from stm_agent.errors import ConfigError
from stm_agent.files import folder_hash, read_json

MODULES = "modules.json"
POOLINGS: tuple[str, ...] = get_args(get_args(BackboneSpec.model_fields["pooling"].annotation)[0])
MATTERS = ("prompts", "similarity_fn_name")


@dataclass(frozen=True)
class Settings:
    """How adapters' own folders say texts become vectors.

    Attributes:
        pooling: How token vectors become one vector.
        max_length: Tokens of a text that are read; None where the folder does not say.
        prompts: Prompt by name.
    """

    pooling: str
    max_length: int | None
    prompts: Mapping[str, str]

    def onto(self, spec: BackboneSpec) -> BackboneSpec:
        """Return a backbone with these settings where it says nothing."""
        own = {"pooling": spec.pooling or self.pooling, "max_length": spec.max_length or self.max_length}
        return spec.model_copy(update=own)


def check_same_modules(folders: Sequence[Path]) -> None:
    """Check that models differ in nothing but their networks' weights: only these are merged.

    Raises:
        ConfigError: They differ in their modules, a module's configuration or weights, or their prompts.
    """
    first = _beside(folders[0])
    for folder in folders[1:]:
        other = _beside(folder)
        if odd := sorted(name for name in first.keys() | other.keys() if first.get(name) != other.get(name)):
            raise ConfigError(
                f"{folders[0]} and {folder} differ in {odd[0]}, and only networks are merged; give models that share it"
            )


def settings_of(experts: Sequence[Path]) -> Settings | None:
    """Return what adapters that were saved as sentence-transformers folders say; None for plain adapters.

    Raises:
        ConfigError: They say different things, or have modules or a pooling that cannot be kept.
    """
    saved = [folder for folder in experts if (folder / MODULES).is_file()]
    if not saved:
        return None
    check_same_modules(experts)
    from sentence_transformers.sentence_transformer.modules import Pooling

    folder = saved[0]
    modules = read_json(folder / MODULES)
    kinds = {module["type"].rsplit(".", 1)[-1]: module for module in modules}
    if "Pooling" not in kinds or kinds.keys() - {"Transformer", "Pooling", "Normalize"}:
        raise ConfigError(f"{folder} has modules {', '.join(kinds)}; adapters with transformer and pooling are merged")
    pooling = Pooling.load(str(folder / kinds["Pooling"]["path"])).get_config_dict()["pooling_mode"]
    if pooling not in POOLINGS:
        raise ConfigError(f"{folder} pools by {pooling}; {', '.join(POOLINGS)} can be kept")
    text = folder / kinds["Transformer"]["path"] / "sentence_bert_config.json"
    length = read_json(text).get("max_seq_length") if text.is_file() else None
    return Settings(pooling, length, _config(folder).get("prompts") or {})


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config_sentence_transformers.json"
    return dict(read_json(path)) if path.is_file() else {}


def _beside(folder: Path) -> dict[str, Any]:
    """Return what must be alike, by a name for it."""
    if not (folder / MODULES).is_file():
        return {MODULES: None}
    modules = read_json(folder / MODULES)
    found: dict[str, Any] = {MODULES: [module["type"].rsplit(".", 1)[-1] for module in modules]}
    found |= {f"its {name}": _config(folder).get(name) for name in MATTERS}
    for module in modules[1:]:
        place = folder / module["path"]
        found[f"module {module['path']}"] = folder_hash(place) if place.is_dir() else None
    return found
