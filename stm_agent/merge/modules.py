"""The parts of a sentence-transformers folder that experts must share: everything but the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypedDict, get_args

from stm_agent.domain.spec import BackboneSpec
from stm_agent.errors import ConfigError
from stm_agent.files import folder_hash, read_json

MODULES = "modules.json"
POOLINGS: tuple[str, ...] = get_args(get_args(BackboneSpec.model_fields["pooling"].annotation)[0])


@dataclass(frozen=True)
class Settings:
    """How texts become vectors, as saved with adapters.

    Attributes:
        pooling: How token vectors become one vector.
        max_length: Number of tokens of a text that are read; None if the folder does not say.
        prompts: Prompt by name.
    """

    pooling: str
    max_length: int | None
    prompts: Mapping[str, str]

    def onto(self, spec: BackboneSpec) -> BackboneSpec:
        """Return a backbone that has these settings unless it sets its own."""
        own = {"pooling": spec.pooling or self.pooling, "max_length": spec.max_length or self.max_length}
        return spec.model_copy(update=own)


def check_same_modules(folders: Sequence[Path]) -> None:
    """Check that models differ only in their networks' weights, since nothing else is merged.

    Modules are compared as they are once loaded, so that a checkpoint of an older version and its fine-tune agree.

    Raises:
        ConfigError: They differ in their modules, a module's configuration or weights, or their prompts.
    """
    first = _shared_parts(folders[0])
    for folder in folders[1:]:
        other = _shared_parts(folder)
        names = first.keys() | other.keys()
        if different := sorted(name for name in names if first.get(name) != other.get(name)):
            raise ConfigError(
                f"{folders[0]} and {folder} differ in {different[0]}, and only networks are merged; "
                "give models that share it"
            )


def settings_of(experts: Sequence[Path]) -> Settings | None:
    """Return the settings of adapters that were saved as sentence-transformers folders; None for plain adapters.

    Raises:
        ConfigError: Their settings differ, or they have modules or a pooling that cannot be kept.
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


class _ModelConfig(TypedDict, total=False):
    """What is read here of ``config_sentence_transformers.json``."""

    prompts: dict[str, str] | None
    similarity_fn_name: str | None


def _config(folder: Path) -> _ModelConfig:
    path = folder / "config_sentence_transformers.json"
    config: _ModelConfig = read_json(path) if path.is_file() else {}
    return config


def _shared_parts(folder: Path) -> dict[str, object]:
    """Return the parts that must be equal, by a name for messages."""
    if not (folder / MODULES).is_file():
        return {MODULES: None}
    modules = read_json(folder / MODULES)
    parts: dict[str, object] = {MODULES: [module["type"].rsplit(".", 1)[-1] for module in modules]}
    config = _config(folder)
    # An empty prompt is none, and cosine is what sentence-transformers takes without a similarity.
    parts["its prompts"] = {name: text for name, text in (config.get("prompts") or {}).items() if text}
    parts["its similarity_fn_name"] = config.get("similarity_fn_name") or "cosine"
    for module in modules[1:]:
        parts[f"module {module['path']}"] = _as_loaded(folder, module["type"], module["path"])
    return parts


def _as_loaded(folder: Path, kind: str, path: str) -> object:
    """Return configuration and weights of a module as sentence-transformers loads it; of a foreign one its files."""
    if not kind.startswith("sentence_transformers."):
        return folder_hash(folder / path) if (folder / path).is_dir() else None
    from sentence_transformers.util import import_module_class

    loader: Any = import_module_class(kind)
    module = loader.load(str(folder), subfolder=path, local_files_only=True)
    # float32 holds every value of the shorter types.
    digests = {
        name: sha256(weight.detach().cpu().float().numpy().tobytes()).hexdigest()
        for name, weight in module.state_dict().items()
    }
    return [module.get_config_dict(), digests]
