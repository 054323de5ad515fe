"""``stm-agent optimize --preset``: plan or run a whole experiment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stm_agent.cli.output import emit, page_writer, show_steps
from stm_agent.cli.threads import raising_threads, threads_chooser

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from stm_agent.domain.preset import PresetSizes
    from stm_agent.loop.events import Observer
    from stm_agent.loop.options import Options
    from stm_agent.loop.presets import PresetRun


@dataclass(frozen=True, kw_only=True)
class PresetArguments:
    """Flags that only a preset has.

    Attributes:
        name: The preset, or one of its models: ``paper/gemma-2b``.
        data_dir: Folder in the Hub's layout; None: the Hub.
        collection: BEIR folder in place of the preset's collection; None: that one.
        tflops: Sustained speed of a GPU, for the plan.
        dollars: Price of an hour of it.
    """

    name: str
    data_dir: Path | None
    collection: Path | None
    tflops: float
    dollars: float


def optimize_preset(
    arguments: PresetArguments,
    options: Options,
    workspace: Path,
    observer: Observer,
    *,
    generator_given: bool,
    dry_run: bool,
) -> Callable[[bool], None]:
    """Plan a preset, or run it; return what prints the result, as JSON or as text."""
    from stm_agent.domain.preset import load_preset
    from stm_agent.loop.presets import run_preset, with_preset
    from stm_agent.workspace import runs_folder

    preset = load_preset(arguments.name)
    options = with_preset(options, preset, generator_given=generator_given)
    if dry_run:
        from stm_agent.loop.preset_plan import GpuRates, plan_preset

        rates = GpuRates(tflops=arguments.tflops, dollars=arguments.dollars)
        steps = plan_preset(
            preset,
            options,
            workspace,
            rates,
            data_dir=arguments.data_dir,
            collection=arguments.collection,
            sizes=_sizes(arguments.collection, preset.sizes),
        )
        return lambda as_json: show_steps(steps, as_json)
    done = run_preset(
        preset,
        options,
        workspace=workspace,
        runs=runs_folder(workspace),
        data_dir=arguments.data_dir,
        collection=arguments.collection,
        observer=raising_threads(observer),
        before_work=threads_chooser(observer),
        after_work=page_writer(observer),
    )
    return lambda as_json: emit(done, _tables(done), as_json)


def _sizes(collection: Path | None, usual: PresetSizes) -> PresetSizes:
    """Return the sizes of the user's collection, which is read and not encoded; without one the preset's."""
    if collection is None:
        return usual
    from stm_agent.domain.build import build_domain_data
    from stm_agent.domain.spec import BeirCollection
    from stm_agent.loop.estimate import passage_tokens

    data = build_domain_data(BeirCollection(path=collection), Path())
    splits = data.collection.splits
    return usual.model_copy(
        update={
            "documents": len(data.collection.documents),
            "queries": sum(len(split.queries) for name, split in splits.items() if name != "train"),
            "passage_tokens": passage_tokens(data),
        }
    )


def _tables(done: list[PresetRun]) -> RenderableType:
    from rich.console import Group

    from stm_agent.cli.evaluate import suite_table
    from stm_agent.inspect.report import report_table

    parts: list[RenderableType] = []
    for run in done:
        parts.append(report_table(run["report"]))
        if run["suite"] is not None:
            parts.append(suite_table(run["suite"]))
    return Group(*parts)
