"""Merge any adapters or models, also those of other tools, into a folder that any library can load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from stm_agent.backbone.embedded import SCHEME
from stm_agent.backbone.prompts import passage_prompt
from stm_agent.domain.spec import BackboneSpec
from stm_agent.errors import CheckFailed, ConfigError
from stm_agent.files import read_json, remove_partial, whole_folder, write_atomic, write_json
from stm_agent.merge.delta import LoraDelta, load_delta, save_delta
from stm_agent.merge.interface import Delta
from stm_agent.merge.mergekit import mergekit_yaml
from stm_agent.merge.modules import check_same_modules, settings_of
from stm_agent.merge.recipe import Recipe, merge
from stm_agent.merge.weights import StateDictReader, WeightDelta, left_out, write_merged

ADAPTER = "adapter_config.json"


class MergedFolder(TypedDict):
    """A merge of folders that was written.

    Attributes:
        model: The folder.
        method: How it was merged.
        weights: Expert -> weight.
        exact_adapter: Whether the merge is one LoRA adapter too.
    """

    model: str
    method: str
    weights: dict[str, float]
    exact_adapter: bool


def merge_folders(
    experts: Sequence[Path],
    recipe: Recipe,
    output: Path,
    *,
    backbone: BackboneSpec | None,
    base: str | None,
) -> MergedFolder:
    """Merge expert folders into ``output``: adapters into a sentence-transformers folder, models into their format.

    The folder also gets ``recipe.json``, ``mergekit.yaml`` and, if that is exact, the merge as one LoRA adapter in
    ``adapter/``.

    Args:
        experts: Folders of adapters, or of full models.
        recipe: How they are merged.
        output: The folder to write; it must not exist.
        backbone: The model that the adapters belong to; None: the one they name.
        base: The base model instead; full models need it for methods on deltas.

    Raises:
        ConfigError: A folder is missing, differs from the others in kind, base, pooling or prompts, or the base is
            unknown.
        CheckFailed: The written folder gives other vectors than the model had before saving.
    """
    adapters = are_adapters(experts)
    if output.exists():
        raise ConfigError(f"{output} exists; name a new folder, nothing is overwritten")
    remove_partial(output.absolute().parent, output.name)
    with whole_folder(output.absolute()) as made:
        if adapters:
            spec = adapters_backbone(backbone, base, experts)
            exact = _merge_adapters(experts, recipe, spec, made)
            write_recipe(made, recipe, experts, spec)
        else:
            exact, root = False, _merge_models(experts, recipe, base, made)
            write_recipe(made, recipe, experts, root)
    weights = dict(zip(map(str, experts), recipe.weights, strict=True))
    return {"model": str(output), "method": recipe.method, "weights": weights, "exact_adapter": exact}


def write_recipe(folder: Path, recipe: Recipe, experts: Sequence[Path], base: BackboneSpec | str) -> None:
    """Write ``recipe.json`` and ``mergekit.yaml`` into a merged model's folder.

    Args:
        folder: The model's folder.
        recipe: What was merged.
        experts: Adapters of a backbone, or full models of a base.
        base: That backbone, or that base's name.
    """
    names, notes = [str(expert) for expert in experts], []
    root = base if isinstance(base, str) else base.model
    if isinstance(base, BackboneSpec):
        names = [f"{root}+{name}" for name in names]
        if base.layers or root.startswith(SCHEME):
            notes.append(f"the base is {base.summary}: mergekit needs it as a folder of its own")
    write_atomic(folder / "mergekit.yaml", mergekit_yaml(recipe, names, root, notes=notes))
    write_json(folder / "recipe.json", {"experts": list(map(str, experts)), "base": root, **recipe.model_dump()})


def are_adapters(experts: Sequence[Path]) -> bool:
    """Return whether experts are adapters; otherwise they are full models.

    Raises:
        ConfigError: A folder is missing, or some are adapters and some are models.
    """
    for folder in experts:
        if not folder.is_dir():
            raise ConfigError(f"expert folder {folder} does not exist; name a folder of an adapter or a model")
    adapters = [(folder / ADAPTER).is_file() for folder in experts]
    if any(adapters) and not all(adapters):
        model, adapter = experts[adapters.index(False)], experts[adapters.index(True)]
        raise ConfigError(f"{model} is a model and {adapter} an adapter; merge one kind")
    return all(adapters)


def adapters_backbone(backbone: BackboneSpec | None, base: str | None, adapters: Sequence[Path]) -> BackboneSpec:
    """Return the backbone of adapters: the one given, the domain's, or the one that all of them name.

    Raises:
        ConfigError: The adapters name several bases, or none.
    """
    if base:
        return backbone.model_copy(update={"model": base}) if backbone else BackboneSpec(model=base)
    named = [read_json(adapter / ADAPTER).get("base_model_name_or_path") for adapter in adapters]
    bases = {name: adapter for adapter, name in zip(adapters, named, strict=True) if name}
    if len(bases) > 1:
        each = " and ".join(f"{adapter} names the base {name}" for name, adapter in list(bases.items())[:2])
        raise ConfigError(f"{each}; merge adapters of one base, and if it is the same one, name it with --base")
    if backbone is not None:
        return backbone
    if not named[0]:
        raise ConfigError(f"adapter {adapters[0]} does not name its base model; name it with --base or --domain")
    return BackboneSpec(model=named[0])


def _merge_adapters(experts: Sequence[Path], recipe: Recipe, spec: BackboneSpec, folder: Path) -> bool:
    """Write the merged model; return whether it was also written as one adapter."""
    from stm_agent.backbone.load import load_backbone
    from stm_agent.merge.export import export_merged

    delta = merge([load_delta(expert) for expert in experts], recipe)
    settings = settings_of(experts)
    model = load_backbone(settings.onto(spec) if settings else spec)
    saved = settings.prompts if settings else model.prompts
    own = {name: text for name, text in saved.items() if text}
    all_prompts = {"query": "", **own, "document": passage_prompt(own)}
    export_merged(model, delta, folder, prompts=all_prompts, card=merge_card(_names(experts), recipe, spec.summary))
    if isinstance(delta, LoraDelta):
        save_delta(delta, folder / "adapter", base=spec.model)
        return True
    return False


def _merge_models(experts: Sequence[Path], recipe: Recipe, base: str | None, folder: Path) -> str:
    """Write the merged model; return the base's name."""
    from stm_agent.backbone.embedded import resolve_model

    if base is None and (recipe.method != "linear" or recipe.base_weight or recipe.scale != 1):
        raise ConfigError(f"{recipe.method} merges what experts add to a base; name the base with --base")
    models = [StateDictReader(expert) for expert in experts]
    for model in models:
        # Reading the names first gives a folder without weights its own message.
        _ = model.files
    check_same_modules(experts)
    # A mean of models is the first one plus the mean of what the others add to it.
    root = StateDictReader(Path(resolve_model(base))) if base else models[0]
    if not root.folder.is_dir():
        raise ConfigError(f"full models are merged from folders, and '{base}' is not one; download it first")
    without = left_out([root, *models])
    merged = merge([WeightDelta(model, root, without) for model in models], recipe)
    write_merged(root, merged, folder)
    _check_written(folder, root, merged)
    _check_loads(folder)
    write_atomic(folder / "README.md", merge_card(_names(experts), recipe, str(root.folder)))
    return base or str(experts[0])


def _check_written(folder: Path, root: StateDictReader, merged: Delta) -> None:
    """Read the first, a middle and the last weight back, and compare them with the merge computed again.

    Raises:
        CheckFailed: A weight differs.
    """
    written, names = StateDictReader(folder), sorted(merged.shapes)
    for name in (names[0], names[len(names) // 2], names[-1]):
        wanted = root.tensor(name).clone()
        merged.add_to(wanted, name)
        gap = float((written.tensor(name).float() - wanted.float()).abs().max())
        if gap:
            raise CheckFailed("reload", gap, f"{name} was not written as it was merged; do not use {folder.name}")


def _check_loads(folder: Path) -> None:
    """Load a written sentence-transformers folder and check that its vectors are finite and independent of padding."""
    import numpy as np

    from stm_agent.backbone.checks import check_padding_invariance, vectors
    from stm_agent.backbone.load import load_model

    if not (folder / "modules.json").is_file():
        return
    model = load_model(str(folder))
    if not np.isfinite(vectors(model)).all():
        raise CheckFailed("finite-vectors", float("nan"), "the merged model gives NaN; look at its experts")
    check_padding_invariance(model)


def _names(experts: Sequence[Path]) -> list[str]:
    return [folder.name for folder in experts]


def merge_card(experts: Sequence[str], recipe: Recipe, base: str, command: str = "stm-agent merge") -> str:
    """Return the card of a merge that has no scores, as Markdown.

    Args:
        experts: Names of the experts.
        recipe: How they are merged.
        base: What they are merged onto, in words.
        command: The command that wrote the model.
    """
    rows = [f"| {name} | {weight:g} |" for name, weight in zip(experts, recipe.weights, strict=True)]
    options = recipe.model_dump(exclude={"method", "weights"}, exclude_defaults=True)
    described = "".join(f", {name} {value}" for name, value in options.items())
    head = ["---", "library_name: sentence-transformers", "---", "", "# Merged model", ""]
    table = ["| expert | weight |", "|---|---|", *rows, ""]
    return "\n".join(
        [*head, f"Base {base}; method {recipe.method}{described}.", "", *table, f"Made by `{command}`.", ""]
    )
