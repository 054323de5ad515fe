"""Run a preset: the loop for each of its models, and each exported model on the preset's suite."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

from stm_agent.domain.preset import Preset, require_training_files
from stm_agent.domain.spec import DomainSpec
from stm_agent.domain.suites import Suite, find_suite
from stm_agent.errors import ConfigError
from stm_agent.files import write_json
from stm_agent.loop.evaluate_suite import SuiteReport, evaluate_suite, require_data
from stm_agent.loop.events import Observer, silent
from stm_agent.loop.optimize import optimize
from stm_agent.loop.options import Options
from stm_agent.loop.report_rows import Report


class PresetRun(TypedDict):
    """One model's run.

    Attributes:
        model: The model's name in the preset.
        report: The report of its run.
        suite: Its scores on the suite; None: the preset has none, or a collection took the place of its own.
    """

    model: str
    report: Report
    suite: SuiteReport | None


def with_preset(options: Options, preset: Preset, *, generator_given: bool) -> Options:
    """Return the user's flags with the preset's LLMs and controls where the user named none.

    Raises:
        ConfigError: A flag is given that a preset decides.
    """
    if options.starts:
        names = ", ".join(f"{preset.name}/{model.name}" for model in preset.models)
        raise ConfigError(f"--preset names its models; leave out --start, or choose one of them: --preset {names}")
    if options.run_id is not None and len(preset.models) > 1:
        raise ConfigError(f"--run-id names one run and --preset {preset.name} makes {len(preset.models)}; leave it out")
    generator = options.generator if generator_given else preset.generator
    reflection = options.reflection or (None if generator_given else preset.reflection)
    return replace(options, generator=generator, reflection=reflection, controls=options.controls or preset.controls)


def run_preset(
    preset: Preset,
    options: Options,
    *,
    workspace: Path,
    runs: Path,
    data_dir: Path | None = None,
    collection: Path | None = None,
    observer: Observer = silent,
    before_work: Callable[[], None] = lambda: None,
    after_work: Callable[[Path], None] = lambda folder: None,
) -> list[PresetRun]:
    """Run every model of a preset; the same command resumes, and finished runs and scores are read.

    Args:
        preset: The experiment.
        options: The flags, as :func:`with_preset` completes them.
        workspace: Folder with ``programs/`` and ``prompts/``.
        runs: Folder that holds run folders, stages and caches.
        data_dir: Folder with models and data in the Hub's layout; what it lacks comes from the Hub.
        collection: A BEIR folder that takes the place of the preset's collection; the suite is then left out.
        observer: Receives events.
        before_work: Called before a run that is not finished.
        after_work: Called with the folder of each run.

    Raises:
        DataError: Training files, or data of the suite in ``data_dir``, are missing; before anything is trained.
        StopRequested: A stop was asked for.
    """
    suite = find_suite(preset.suite) if preset.suite and collection is None else None
    specs = {model.name: preset.domain_of(model, data_dir, collection) for model in preset.models}
    _require_all(specs.values(), suite, data_dir)
    done: list[PresetRun] = []
    for number, (name, spec) in enumerate(specs.items(), 1):
        observer({"kind": "note", "name": "preset", "text": f"{name}, {number} of {len(specs)}"})
        report = optimize(
            spec,
            options,
            workspace=workspace,
            runs=runs,
            observer=observer,
            before_work=before_work,
            after_work=after_work,
        )
        scores = _scored(preset, report, suite, data_dir, runs, observer) if suite else None
        done.append(PresetRun(model=name, report=report, suite=scores))
    return done


def _require_all(specs: Iterable[DomainSpec], suite: Suite | None, data_dir: Path | None) -> None:
    """Check that what a preset reads from disk is there, before anything is trained."""
    for spec in specs:
        require_training_files(spec)
    if suite:
        require_data(suite, data_dir)


def _scored(
    preset: Preset, report: Report, suite: Suite, data_dir: Path | None, runs: Path, observer: Observer
) -> SuiteReport:
    """Score a run's exported model on the suite, and write that into the run's folder."""
    scores = evaluate_suite(
        report["model"],
        suite,
        data_dir=data_dir,
        runs=runs,
        instructions=preset.suite_instructions,
        progress=lambda text: observer({"kind": "note", "name": "suite", "text": text}),
    )
    write_json(runs / report["run"] / f"suite-{suite.name}.json", scores)
    return scores
