"""Domain files by name or path, with errors that name the line and the key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from stm_agent.domain.fields import Spec
from stm_agent.domain.names import domain_name
from stm_agent.domain.spec import (
    BeirCollection,
    DomainSpec,
    InstructSpec,
    MergeSpec,
    MineSpec,
    PythonDocsCollection,
    TrainSpec,
    WordNetCollection,
)
from stm_agent.domain.starts import auto_starts
from stm_agent.errors import ConfigError, DataError
from stm_agent.files import write_atomic

LEARNING_RATE = 5e-4
"""Peak learning rate of LoRA on a ready encoder."""
FORGETTING_BUDGET = 0.05
"""nDCG@10 that a model of a folder may lose on general tasks: it is asked about that folder alone, and the guards show
whether it is still a sound encoder."""
TASK = "Given a query, find the passages that answer it."
"""Task of a domain made of a folder: nothing more is known of its queries."""
_SHIPPED = Path(__file__).resolve().parent
_KEYS = sorted({key for part in Spec.__subclasses__() for key in part.model_fields})


class _Loader(yaml.SafeLoader):
    """YAML in which ``1e-3`` is a number; YAML 1.1 reads it as text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(text: str) -> object:
    """Return what YAML that comes with the package says; ``1e-3`` is a number."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader


def shipped_domains() -> tuple[str, ...]:
    """Return the names of the domains that come with the engine."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.yaml")))


def domain_path(name_or_path: str, workspace: Path) -> Path:
    """Return the file of a domain: a shipped name, a path, or a file of the workspace.

    Raises:
        ConfigError: No domain has this name; the message suggests similar ones.
    """
    if name_or_path in shipped_domains():
        return _SHIPPED / f"{name_or_path}.yaml"
    tried = (Path(name_or_path), workspace / name_or_path, workspace / f"{name_or_path}.yaml")
    for path in tried:
        if path.is_file():
            return path.resolve()
    names = sorted({*shipped_domains(), *(path.stem for path in _own_files(workspace))})
    near = difflib.get_close_matches(Path(name_or_path).stem, names)
    hint = f"did you mean {' or '.join(near)}?" if near else f"shipped: {', '.join(shipped_domains())}; or give a path"
    raise ConfigError(f"no domain '{name_or_path}'; {hint}")


def load_domain(name_or_path: str, workspace: Path) -> DomainSpec:
    """Read and check a domain file.

    Args:
        name_or_path: A shipped name, a path, or a name in the workspace.
        workspace: Where names and relative paths are also looked for.

    Raises:
        ConfigError: The domain does not exist, is not valid YAML, or has an unknown key or an invalid value; the
            message begins with file and line.
    """
    path = domain_path(name_or_path, workspace)
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}; a domain file is UTF-8 YAML") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path} is not a mapping; start from: stm-agent domains new my.yaml")
    _refuse_repeated_keys(node, path)
    try:
        values = _Loader("").construct_document(node)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    try:
        return DomainSpec.model_validate(values, context={"folder": path.parent})
    except ValidationError as error:
        raise ConfigError(_explain(error.errors()[0], node, path)) from error


def domain_of_collection(folder: Path) -> DomainSpec:
    """Make a domain of a BEIR folder; its start is chosen by a race, and its experts are planned from its data.

    Args:
        folder: The BEIR folder; its name, made valid by :func:`~stm_agent.domain.names.domain_name`, becomes the
            domain's.

    Raises:
        DataError: The folder does not exist.
    """
    if not folder.is_dir():
        raise DataError(f"collection folder {folder} does not exist; name a folder in BEIR layout")
    path = folder.resolve()
    first, *others = auto_starts()
    shown = path.name.encode("utf-8", "replace").decode()
    return DomainSpec(
        name=domain_name(path.name),
        description=f"Made from the collection {shown}",
        task=TASK,
        collection=BeirCollection(path=path),
        general=(PythonDocsCollection(documents=200), WordNetCollection(documents=200)),
        backbone=first,
        starts=tuple(others),
        train=TrainSpec(learning_rate=LEARNING_RATE, scale=20.0, embeddings=False),
        mine=MineSpec(documents=0, encoder=None),
        instruct=InstructSpec(reflections=0),
        merge=MergeSpec(methods=("linear", "task-arithmetic", "ties"), forgetting_budget=FORGETTING_BUDGET),
    )


def list_domains(workspace: Path) -> list[dict[str, str]]:
    """Return name, origin and description of the shipped domains and of those in the workspace.

    A file that cannot be used is listed with its error, so that it does not hide the others.
    """
    origins = {"shipped": shipped_domains(), "workspace": [str(path) for path in _own_files(workspace)]}
    rows = []
    for origin, names in origins.items():
        for name in names:
            try:
                about = load_domain(name, workspace).description
            except ConfigError as error:
                about = f"unusable: {error}"
            rows.append({"domain": Path(name).name, "where": origin, "description": about})
    return rows


def dump_domain(spec: DomainSpec) -> str:
    """Return the YAML of a domain with every option, defaults included."""
    text: str = yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)
    return text


def new_domain(file: Path, collection: Path | None) -> Path:
    """Write a domain file: for a BEIR folder, or a copy of the biomedical one with its comments.

    Raises:
        ConfigError: The file exists.
        DataError: The collection's folder does not exist.
    """
    if file.exists():
        raise ConfigError(f"{file} exists; name a new file, nothing is overwritten")
    if collection is None:
        text = (_SHIPPED / "biomedical.yaml").read_text(encoding="utf-8")
    else:
        text = dump_domain(domain_of_collection(collection))
    write_atomic(file, text)
    return file


def _own_files(workspace: Path) -> list[Path]:
    return sorted(workspace.glob("[!.]*.yaml"))


def _refuse_repeated_keys(node: yaml.Node, path: Path) -> None:
    """Raise for a repeated key, of which YAML readers silently use the last."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(item, path)
    elif isinstance(node, yaml.MappingNode):
        seen: set[object] = set()
        for key, value in node.value:
            if key.value in seen:
                raise ConfigError(f"{path}:{key.start_mark.line + 1}: key '{key.value}' is there twice; keep one")
            seen.add(key.value)
            _refuse_repeated_keys(value, path)


def _explain(detail: ErrorDetails, node: yaml.Node, path: Path) -> str:
    """Return one line for pydantic's first error: file, line, key, what is wrong, and the fix."""
    marks = list(_walk(node, detail["loc"]))
    keys = [str(key) for _, key in marks if key is not None]
    location, name = f"{path}:{marks[-1][0]}", ".".join(keys)
    kind, message = detail["type"], detail["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(keys[-1], _KEYS, n=1)
        return f"{location}: unknown key '{name}'; {f'did you mean {near[0]}?' if near else 'remove it'}"
    if kind == "missing":
        return f"{location}: key '{'.'.join([*keys, str(detail['loc'][-1])])}' is missing; add it"
    if kind == "value_error":
        return f"{location}: {message}"
    if kind.startswith("union_tag"):
        return f"{location}: '{name}' needs a kind: beir, hpo, mteb, python-docs or wordnet"
    return f"{location}: '{name}' is {_shown(detail['input'])}; {message[0].lower()}{message[1:]}"


def _shown(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _walk(node: yaml.Node, loc: Sequence[int | str]) -> Iterator[tuple[int, int | str | None]]:
    """Yield (line, key) along a pydantic location as far as the file has it; tags of unions are skipped."""
    yield node.start_mark.line + 1, None
    for key in loc:
        if isinstance(node, yaml.MappingNode):
            entry = next(((name, value) for name, value in node.value if name.value == str(key)), None)
            if entry is not None:
                node = entry[1]
                yield entry[0].start_mark.line + 1, key
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            yield node.start_mark.line + 1, key
