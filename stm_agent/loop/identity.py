"""Identity of a run: everything that decides its result, part by part, so that differences can be named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import stm_agent
from stm_agent.backbone.identity import source_identity
from stm_agent.domain.source_hash import collection_source_hash
from stm_agent.domain.spec import WRITTEN, DomainSpec
from stm_agent.errors import StmAgentError
from stm_agent.files import content_hash, sha256_file
from stm_agent.job import numeric_versions
from stm_agent.loop.options import Options
from stm_agent.mine.reviewed import FOLDER as REVIEWS
from stm_agent.program_files import program_files
from stm_agent.workspace import program_path, prompt_path

Identity = Mapping[str, Any]
"""Part -> JSON value; nested mappings are compared key by key."""


def run_identity(spec: DomainSpec, options: Options, workspace: Path) -> Identity:
    """Return the identity of a run: domain, data, models, programs, prompts, reviews, versions and flags.

    Ceilings on money and time are not part of it: they decide how far a run gets, not what it computes.

    Raises:
        ConfigError: A program or prompt file is missing.
        DataError: A collection's folder is missing.
        BackboneError: A model cannot be found.
    """
    return {
        # Where jobs run decides how long a run takes, not what it computes.
        "domain": spec.model_dump(mode="json", exclude={"execution"}),
        "data": _data(spec, workspace),
        "models": _models(spec),
        "programs": {name: program_files(program_path(workspace, name)) for name in _programs(spec, options)},
        "prompts": {name: sha256_file(prompt_path(workspace, name)) for name in _prompts(spec)},
        "teacher scores": _teacher_file(spec),
        "reviews": {path.name: sha256_file(path) for path in sorted((workspace / REVIEWS).glob("*.jsonl"))},
        "versions": {"stm-agent": stm_agent.__version__, **numeric_versions()},
        "flags": {
            "seed": options.seed_of(spec),
            "rounds": options.rounds_of(spec),
            "generator": options.llm(spec, options.generator).weights,
            "reflection": options.llm(spec, options.reflection or options.generator).weights,
            "api_base": options.api_base,
            "controls": options.controls,
            # The same starts race with other learning rates if the user, not the file, named them.
            "starts": list(options.starts),
            # Decides the steps of planned experts, and what a policy can afford.
            "minutes": options.budget_minutes if spec.planned or options.policy != "stm" else None,
            **options.search_flags(),
        },
    }


def identity_hash(identity: Identity) -> str:
    """Return the hex SHA-256 of an identity."""
    return content_hash(dict(identity))


def lists_experts(identity: Identity) -> bool:
    """Return whether the domain of a run lists its experts, so that none is planned from the data."""
    return bool(identity.get("domain", {}).get("experts"))


def named_by(identity: Identity, *, planned: bool) -> tuple[str, str]:
    """Return the flag of ``optimize`` that names what a run adapts to, and its value.

    A collection's folder is where it was when the run began. ``planned``: the run has a plan of its own.
    """
    domain: Identity = identity.get("domain", {})
    path = domain.get("collection", {}).get("path")
    if planned and path and not lists_experts(identity):
        return "--collection", str(path)
    return "--domain", str(domain.get("name", ""))


def differences(new: Identity, old: Identity) -> list[str]:
    """Return the differences of two identities, one a line; long values are shortened."""
    flat_new, flat_old = _flat(new), _flat(old)
    lines = []
    for name in sorted({*flat_new, *flat_old}):
        if flat_new.get(name) == flat_old.get(name):
            continue
        before, after = (_shown(flat.get(name), name in flat) for flat in (flat_old, flat_new))
        lines.append(f"{name}: {before} -> {after}")
    return lines


def flat_identity(identity: Identity) -> dict[str, str]:
    """Return path -> value of every part of an identity, as text; long values are shortened."""
    return {name: _shown(value, present=True) for name, value in _flat(identity).items()}


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    """Return path -> value of every leaf; parts of a list that have a name are known by it."""
    if isinstance(value, list | tuple) and value:
        named = all(isinstance(part, Mapping) and "name" in part for part in value)
        value = {part["name"] if named else number: part for number, part in enumerate(value, 1)}
    if isinstance(value, Mapping) and value:
        flat: dict[str, object] = {}
        for key, part in value.items():
            flat |= _flat(part, f"{prefix}.{key}" if prefix else str(key))
        return flat
    return {prefix: value}


def _shown(value: object, present: bool) -> str:
    if not present:
        return "(none)"
    text = str(value)
    is_hash = len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)
    return text[:8] if is_hash else text if len(text) <= 60 else f"{text[:57]}..."


def _data(spec: DomainSpec, workspace: Path) -> dict[str, str]:
    hashes = {"collection": collection_source_hash(spec.collection, workspace)}
    for number, guard in enumerate(spec.general):
        hashes[f"general {number + 1}"] = collection_source_hash(guard, workspace)
    return hashes


def _models(spec: DomainSpec) -> dict[str, str]:
    """Return the identity of each model by its role; a start or a baseline that is missing costs its row alone."""
    identities = {}
    for role, name in _model_names(spec).items():
        try:
            identities[role] = source_identity(name)
        except StmAgentError:
            if role != "baseline" and not spec.starts:
                raise
            identities[role] = f"{name} (not found)"
    return identities


def _model_names(spec: DomainSpec) -> dict[str, str]:
    """Return the name of each model that the domain asks for, by its role."""
    names = {"backbone": spec.backbone.model}
    names |= {f"start {number}": start.model for number, start in enumerate(spec.starts, 2)}
    names |= {role: name for expert in spec.experts for role, name in spec.models_of(expert).items()}
    if spec.mine.encoder:
        names["miner"] = spec.mine.encoder
    if spec.audit.enabled and spec.audit.teacher:
        names |= {f"audit's {role}": name for role, name in spec.audit.teacher.models.items()}
    if spec.baseline:
        names["baseline"] = spec.baseline
    return names


def _teacher_file(spec: DomainSpec) -> str | None:
    """Return the hash of the file of scores that experts learn from; None: no expert does."""
    asked = any(expert.learns_from_scores for expert in spec.experts)
    return sha256_file(spec.teach.file) if asked and spec.teach.file else None


def _programs(spec: DomainSpec, options: Options) -> list[str]:
    negatives = any(expert.negatives.synthetic for expert in spec.experts)
    planner = ["planner"] if options.policy == "planner" else []
    queries = spec.planned or any(WRITTEN in expert.sources for expert in spec.experts)
    graded = bool(spec.synthesize.graded) and any(expert.related for expert in spec.experts)
    # A policy that chooses freely can distil any expert.
    grades = spec.teach.judge if options.policy != "stm" else spec.grading_teacher
    judged = spec.audit.enabled and spec.audit.judge
    wanted = {
        spec.synthesize.program: negatives,
        spec.synthesize.query_program: queries,
        spec.synthesize.graded_program: graded,
        "judge": bool(judged or grades),
    }
    return [*(name for name, asked in wanted.items() if asked), *planner]


def _prompts(spec: DomainSpec) -> list[str]:
    names = [spec.instruct.seeds, spec.instruct.passages, *(expert.prompts for expert in spec.experts)]
    return sorted({name for name in names if name})
