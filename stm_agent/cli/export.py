"""``stm-agent export``: the model of a run in another format, scored before it is called done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from stm_agent.cli.deploy_names import RunOrModel, product_of, require
from stm_agent.cli.output import JsonFlag, emit
from stm_agent.cli.runs import Place


def export(
    run: RunOrModel,
    kind: Annotated[
        Literal["onnx", "openvino", "int8", "fp16", "bf16", "gguf"], typer.Option("--format", help="Format to write.")
    ],
    output: Annotated[Path | None, typer.Option(help="New folder (default: exports/FORMAT in the run).")] = None,
    max_loss: Annotated[float, typer.Option(help="Largest loss of nDCG@10 on dev.", min=0)] = 0.005,
    collection: Annotated[
        Path | None, typer.Option(help="BEIR folder whose dev split is scored (default: the run's own).")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads to compute with (default: the idle cores).", min=1)
    ] = None,
    workspace: Place = None,
    as_json: JsonFlag = False,
) -> None:
    """Export a run's model, score it on dev against the run's number, and print size, speed and loss.

    Prompts, pooling, normalisation and a side of queries stay as they are. An export that loses more than --max-loss
    is refused, and nothing is left of it. "stm-agent serve FOLDER" serves it.

    Example: stm-agent export last --format int8
    """
    from stm_agent.backbone.threads import choose_threads, set_threads
    from stm_agent.deploy.exporting import export_model
    from stm_agent.deploy.formats import FORMATS
    from stm_agent.errors import ConfigError
    from stm_agent.workspace import find_workspace, runs_folder

    require(FORMATS[kind].modules, FORMATS[kind].extra, f"--format {kind}")
    product = product_of(run, workspace)
    if output is None and product.run is None:
        raise ConfigError(f"{product.name} has no run to write into; give --output FOLDER")
    target = output or Path(str(product.run)) / "exports" / kind
    target.parent.mkdir(parents=True, exist_ok=True)
    set_threads(threads or choose_threads()[0])
    cache = runs_folder(find_workspace(workspace)) / ".cache" / "vectors"
    result = export_model(product, kind, target, max_loss=max_loss, collection=collection, cache=cache)
    ledger = "" if result["ledger_dev"] is None else f", the run's {result['ledger_dev']:.4f}"
    text = (
        f"{kind} in {result['folder']}\n"
        f"dev nDCG@10  {result['dev']:.4f} (float32 {result['source_dev']:.4f}{ledger}); loss {result['loss']:+.4f}\n"
        f"vectors      smallest cosine with the original's {result['smallest_cosine']:.4f}\n"
        f"size         {result['bytes'] / 2**20:.1f} MiB (float32 {result['source_bytes'] / 2**20:.1f})\n"
        f"speed        {result['texts_per_second']:.0f} passages a second "
        f"(float32 {result['source_texts_per_second']:.0f})"
    )
    emit(result, text, as_json)
