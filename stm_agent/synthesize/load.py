"""Load a workspace's DSPy program, and find out in one line what is wrong with it."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from stm_agent.errors import ConfigError, first_line, raised_as

if TYPE_CHECKING:
    import dspy


PLAIN, STRUCTURED = "build", "build_structured"
"""Functions of a program's file: the program for every model, and one with several typed outputs for capable ones."""


def load_program(path: Path, output: str | None = None, *, structured: bool = False) -> dspy.Module:
    """Load the DSPy program of a file that defines ``build() -> dspy.Module``.

    Args:
        path: The Python file.
        output: Output field that the program must have, or its :func:`list_field`, if it says what it has; None: any.
        structured: Use ``build_structured()`` instead, if the file defines it.

    Raises:
        ConfigError: The file is missing, imports what is not installed, fails, or builds no such program.
    """
    import dspy

    if not path.is_file():
        raise ConfigError(f"program {path} does not exist; 'stm-agent init DIR' writes the shipped ones")
    module = _execute(path)
    name = STRUCTURED if structured and hasattr(module, STRUCTURED) else PLAIN
    build = getattr(module, name, None)
    if not callable(build):
        raise ConfigError(f"program {path} defines no function {name}(); add one that returns a dspy.Module")
    with raised_as(lambda error: ConfigError(f"program {path} cannot be built: {_line(error)}; correct {name}()")):
        program = build()
    if not isinstance(program, dspy.Module):
        raise ConfigError(f"program {path}: {name}() returns {type(program).__name__}; return a dspy.Module")
    fields = output_fields(program)
    if output is not None and fields and not {output, list_field(output)} & set(fields):
        raise ConfigError(
            f"program {path} has no output field '{output}' (it has {', '.join(fields)}); add or rename one"
        )
    return program


def may_be_structured(structured: str, model: str) -> bool:
    """Return whether a model may be asked for several typed outputs, by ``SynthesizeSpec.structured``."""
    from stm_agent.llm.adapter import is_small

    return structured == "always" or (structured == "auto" and not is_small(model))


def has_both(path: Path) -> bool:
    """Return whether a program's file has a plain program beside the one with typed outputs."""
    module = _execute(path)
    return hasattr(module, PLAIN) and hasattr(module, STRUCTURED)


def list_field(output: str) -> str:
    """Return the name of the field that holds a list of an output: the plural of its name."""
    return f"{output[:-1]}ies" if output.endswith("y") else f"{output}s"


def output_fields(program: dspy.Module) -> tuple[str, ...]:
    """Return the output fields of a program that is one predictor; empty: a module of its own, known when it runs."""
    signature = _own_signature(program)
    return () if signature is None else tuple(signature.output_fields)


def accepted_inputs(program: dspy.Module, inputs: Mapping[str, str], path: Path) -> dict[str, str]:
    """Return the inputs that a program takes; it may leave out any.

    Raises:
        ConfigError: The program needs an input that there is not.
    """
    signature = _own_signature(program)
    if signature is not None:
        wanted, needed = set(signature.input_fields), set(signature.input_fields)
    else:
        # DSPy warns of each plain look at this method, as if it were called.
        forward = object.__getattribute__(program, "forward")
        parameters = inspect.signature(forward).parameters.values()
        if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            return dict(inputs)
        wanted = {parameter.name for parameter in parameters}
        needed = {parameter.name for parameter in parameters if parameter.default is inspect.Parameter.empty}
    if missing := sorted(needed - set(inputs)):
        raise ConfigError(
            f"program {path} needs the input '{missing[0]}'; it is given {', '.join(inputs)}: use these names"
        )
    return {name: value for name, value in inputs.items() if name in wanted}


def _own_signature(program: dspy.Module) -> Any:  # noqa: ANN401 - DSPy's signatures are made at run time
    """Return the signature of a program that is one predictor, as ``dspy.Predict`` and ``dspy.ChainOfThought`` are."""
    import dspy

    if isinstance(program, dspy.Predict):
        return program.signature
    return program.predict.signature if isinstance(program, dspy.ChainOfThought) else None


def _execute(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"workspace_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"program {path} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    with raised_as(lambda error: _not_loaded(path, error)):
        spec.loader.exec_module(module)
    return module


def _not_loaded(path: Path, error: BaseException) -> ConfigError:
    if isinstance(error, ModuleNotFoundError):
        return ConfigError(
            f"program {path} imports '{error.name}', which is not installed; install it or remove the import"
        )
    return ConfigError(f"program {path} cannot be loaded: {_line(error)}; correct the file")


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)[:200]}" if str(error).strip() else type(error).__name__
