"""The plan of a run: which start is adapted, at which length, and which experts a user's own data can train in time.

A domain file that lists experts keeps them; of a folder everything follows from the data, the machine and the minutes.
The plan is stored before anything is trained, so that a resumed run continues with the same one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from stm_agent.domain.data import DomainData
from stm_agent.domain.spec import BackboneSpec, DomainSpec
from stm_agent.errors import BackboneError, ConfigError
from stm_agent.evaluate.corpus import storage_line
from stm_agent.files import read_json, sha256_text, write_json
from stm_agent.loop.context import RunContext
from stm_agent.loop.estimate import memory, model_size
from stm_agent.loop.fused_teacher import NOT_MEASURED, FusedTeacher
from stm_agent.loop.lengths import FittedStart, fit_length, with_encoding
from stm_agent.loop.recipes import plan_experts
from stm_agent.loop.run_plan import RunPlan, Speed
from stm_agent.loop.starting import fit_to_start, fused_teacher, race_seconds, race_starts
from stm_agent.merge.adapted import AdaptedModel

PASSAGES, QUERIES = 64, 128
"""Texts that are encoded to measure the machine."""

PLAN = "plan.json"
"""File of a run's folder with its plan."""


def settle_plan(context: RunContext) -> RunPlan | None:
    """Decide what a domain leaves open, once a run; the context's domain is the planned one afterwards.

    Returns:
        None if the domain leaves nothing open.

    Raises:
        BackboneError: No start can be loaded.
        ConfigError: The minutes are too few to train anything.
    """
    spec = context.spec
    if not spec.starts and not spec.planned and with_encoding(spec, context.data)[0].backbone == context.own_backbone:
        return None
    path, asked = context.run.folder / PLAN, _asked(spec)
    if path.is_file():
        plan = RunPlan.from_json(read_json(path))
    else:
        with context.clock.working():
            plan = _new_plan(context, asked)
        write_json(path, plan.to_json())
    context.failures += [failure for failure in plan.failures if failure not in context.failures]
    context.spec = plan.spec
    for reason in plan.reasons:
        context.note("plan", reason)
    return replace(plan, asked=asked)


def _asked(spec: DomainSpec) -> dict[str, int | None]:
    """Return start -> length that its user asked for; None: none."""
    return {start.model: start.max_length for start in (spec.backbone, *spec.starts)}


def _new_plan(context: RunContext, asked: Mapping[str, int | None]) -> RunPlan:
    spec, length_reasons = with_encoding(context.spec, context.data)
    context.spec = spec
    minutes, lost_before = _limit(context.minutes), len(context.failures)
    if spec.planned:
        with suppress(BackboneError):  # a start that cannot be loaded is the race's to report
            size, vectors = model_size(spec.backbone, spec.train), spec.backbone.vectors
            line, enough = memory(context.data, size, vectors)
            (context.note if enough else context.warn)("plan", f"memory: {line}")
            if stored := storage_line(len(context.data.collection.documents), size.dimension, vectors):
                context.note("plan", stored)
    if spec.starts and spec.planned:
        refuse_too_few_minutes(spec, context.data, minutes, asked)
    start, race = race_starts(context) if spec.starts else (spec.backbone, ())
    fitted = fit_to_start(spec, start, context.own_backbone)
    plan = RunPlan(spec=fitted)
    if spec.planned:
        # On a slow machine the race takes a good part of the minutes.
        spent = context.clock.seconds() / 60
        teacher = partial(fused_teacher, context)
        plan = _planned(fitted, context.data, minutes=minutes, asked=asked, spent=spent, teacher=teacher)
    failures = tuple(context.failures[lost_before:])
    raced = spec if race else None
    return replace(plan, race=race, reasons=(*length_reasons, *plan.reasons), failures=failures, raced=raced)


def refuse_too_few_minutes(spec: DomainSpec, data: DomainData, minutes: float, asked: Mapping[str, int | None]) -> None:
    """Refuse minutes that are too few for every start, before they race; takes a few seconds if one fits.

    Args:
        spec: The planned domain.
        data: The domain's.
        minutes: For the whole run.
        asked: Start -> length that its user asked for; None: the plan's, which may be shortened.

    Raises:
        ConfigError: The minutes are too few even with the fastest start.
    """
    refused: list[Speed] = []
    for start in (spec.backbone, *spec.starts):
        candidate = spec.model_copy(update={"backbone": start})
        try:
            fitted = _fitted(candidate, data, minutes=minutes, asked=asked)
        except BackboneError:
            # The race reports it.
            continue
        race = race_seconds(data, [*refused, fitted.speed])
        try:
            plan_experts(candidate, data, minutes=minutes, speed=fitted.speed, race=race)
        except ConfigError:
            refused.append(fitted.speed)
        else:
            return
    if refused:
        # Raises the error, with the minutes that are enough for the fastest start and a race of all of them.
        fastest = max(refused, key=lambda speed: speed.passages)
        plan_experts(spec, data, minutes=minutes, speed=fastest, race=race_seconds(data, refused))


def dry_plan(spec: DomainSpec, data: DomainData, *, minutes: float | None) -> RunPlan:
    """Return the plan of a domain that leaves its experts and lengths open, with its first start; nothing is stored.

    All starts are measured, since their race takes minutes of the run; the seconds that this takes are not counted.

    Args:
        spec: The domain with its starts.
        data: The domain's.
        minutes: For the whole run; None: no ceiling.

    Raises:
        BackboneError: The first start cannot be loaded.
        ConfigError: The minutes are too few to train anything.
    """
    if not spec.planned:
        return RunPlan(spec=spec)
    asked = _asked(spec)
    spec, reasons = with_encoding(spec, data)
    race = race_seconds(data, _racing_speeds(spec, data))
    plan = _planned(spec, data, minutes=_limit(minutes), asked=asked, race=race, teacher=lambda start: NOT_MEASURED)
    return replace(plan, reasons=(*reasons, *plan.reasons))


def _limit(minutes: float | None) -> float:
    return math.inf if minutes is None else minutes


def _racing_speeds(spec: DomainSpec, data: DomainData) -> Iterator[Speed]:
    """Yield the speeds of the starts that race; of one start alone, none."""
    for start in (spec.backbone, *spec.starts) if spec.starts else ():
        with suppress(BackboneError):  # the race leaves it out
            yield measured_speed(start, data)


def _planned(
    spec: DomainSpec,
    data: DomainData,
    *,
    minutes: float,
    asked: Mapping[str, int | None],
    spent: float = 0.0,
    race: float = 0.0,
    teacher: Callable[[BackboneSpec], FusedTeacher],
) -> RunPlan:
    fitted = _fitted(spec, data, minutes=minutes, asked=asked, spent=spent + race / 60)
    spec = spec.model_copy(update={"backbone": fitted.spec})
    spec, reasons = plan_experts(
        spec, data, minutes=minutes, speed=fitted.speed, spent=spent, race=race, teacher=teacher(fitted.spec)
    )
    return RunPlan(spec=spec, reasons=(*filter(None, [fitted.reason]), *reasons), speed=fitted.speed)


def _fitted(
    spec: DomainSpec, data: DomainData, *, minutes: float, asked: Mapping[str, int | None], spent: float = 0.0
) -> FittedStart:
    """Return the backbone of a domain at the length that its user asked for, or else at one that the minutes allow."""
    if asked.get(spec.backbone.model):
        return FittedStart(spec=spec.backbone, speed=measured_speed(spec.backbone, data))
    return fit_length(spec, data, minutes=minutes, measure=measured_speed, spent=spent)


def measured_speed(start: BackboneSpec, data: DomainData) -> Speed:
    """Measure how fast a start encodes passages and queries on this machine; takes a few seconds."""
    encoder = AdaptedModel(start).open()
    texts = list(data.collection.texts.values())
    queries = [text for split in data.collection.splits.values() for text in split.queries.values()]

    def rate(texts: Sequence[str], count: int) -> float:
        chosen = sorted(texts, key=sha256_text)[:count]
        # The first forward allocates memory; it is not measured.
        encoder.encode(chosen[:4])
        began = time.monotonic()
        encoder.encode(chosen)
        return len(chosen) / max(time.monotonic() - began, 1e-6)

    passages = rate(texts, PASSAGES)
    return Speed(passages=passages, queries=rate(queries, QUERIES) if queries else passages)
