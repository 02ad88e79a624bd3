"""Model cards, generated from records: what weights are, what made them, how good they are, under which terms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgebench.errors import ConfigError, DataError
from edgebench.files import sha256_file
from edgebench.plan.reading import read_yaml
from edgebench.plan.workbench import Workbench
from edgebench.report.columns import column_title, number
from edgebench.report.lineage import Finished, upstream, users

Map = dict[str, Any]

WEIGHTS = "weights.safetensors"
BACKBONE = "pretrained"
"""The input of a training whose network stays part of what is trained, unlike the weights that another starts from."""
# Identifiers of the hub, for licences that our definitions name in words.
_HUB_LICENCES = {
    "Apache-2.0": "apache-2.0",
    "MIT": "mit",
    "CC0": "cc0-1.0",
    "CC BY-NC-SA 3.0": "cc-by-nc-sa-3.0",
    "CC BY-NC-SA 4.0": "cc-by-nc-sa-4.0",
    "CreativeML Open RAIL-M": "creativeml-openrail-m",
    "CreativeML Open RAIL++-M": "openrail++",
}
# By method: the paper, what the network does, and the command for photographs.
_METHODS: dict[str, tuple[str, str, str]] = {
    "memo": ("MEMO", "edges by masked edge prediction", "edgebench predict memo PHOTO --weights {} -o edges"),
    "diffdis": ("DiffDIS", "masks of foreground in one step", "edgebench predict diffdis PHOTO --weights {} -o masks"),
    "trace": ("TRACE", "instance edges in one step", "edgebench predict trace PHOTO --weights {} -o edges"),
    "trace_backbone": (
        "TRACE",
        "a small diffusion transformer whose self-attention is read",
        "edgebench predict trace PHOTO --stage1 --backbone {} -o edges",
    ),
    "mask2former": ("TRACE", "panoptic segments, trained on TRACE's refined masks", ""),
}


def model_card(record: Map, runs: Mapping[str, Finished], bench: Workbench, folder: Path | None = None) -> str:
    """The card of a finished training as Markdown with the hub's metadata.

    Args:
        record: Its `run.json`.
        runs: Finished runs by id: what it was made from, and the evaluations that used it.
        bench: The definitions, for titles, terms and citations.
        folder: Its folder, to name size and digest of the weights.

    Raises:
        DataError: it is no training.
    """
    from huggingface_hub import ModelCardData
    from jinja2 import Environment, PackageLoader, StrictUndefined

    if record.get("stage") != "train":
        raise DataError(
            f"{record.get('label')}: is a run of stage '{record.get('stage')}'; only trainings have model cards. "
            f"results/index.tsv lists the runs of stage train."
        )
    settings = record["settings"]
    method = settings["method"].removesuffix("_released")
    paper, does, command = _METHODS.get(method, (method, method, ""))
    chain = list(upstream(record, runs))
    sources = _sources(chain, bench)
    trainings = [record, *(run.record for run in chain if run.record.get("stage") == "train")]
    begun_from = {id for each in trainings for id in (each.get("inputs") or {}).values()}
    numbers = _numbers(record["id"], runs, bench)
    columns = list(dict.fromkeys(each["column"] for each in numbers))
    data = ModelCardData(
        model_name=record["label"],
        library_name="edgebench",
        pipeline_tag="image-segmentation",
        tags=["edgebench", paper.lower(), *([f"scale-{record['scale']}"] if record["scale"] else [])],
        base_model=[each["hub"] for each in sources if each["hub"] and each["id"] in begun_from] or None,
        datasets=[each["name"] for each in sources if each["kind"] == "dataset"] or None,
        metrics=columns or None,
        eval_results=[_result(each) for each in numbers] or None,
        **_licence(sources),
    )
    file = folder / WEIGHTS if folder else None
    environment = Environment(
        loader=PackageLoader("edgebench.report"),
        autoescape=False,  # Markdown
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["column_title"] = column_title
    body = environment.get_template("card.md.j2").render(
        label=record["label"],
        warning=_warning(record, bench),
        what=f"{paper}: {does}.",
        command=command.format(WEIGHTS),
        file={"size": file.stat().st_size, "sha256": sha256_file(file)} if file and file.is_file() else None,
        columns=columns,
        rows=_rows(numbers, columns),
        facts=_facts(record),
        settings=[(name, _plain(value)) for name, value in settings.items()],
        chain=[_made_from(each) for each in chain],
        terms=sources,
        citations=_citations(paper, sources, bench),
    )
    return f"---\n{data.to_yaml()}\n---\n\n{body}"


def _sources(chain: list[Finished], bench: Workbench) -> list[Map]:
    """Data sets and checkpoints that a run goes back to, with their terms."""
    found = []
    for run in chain:
        settings = run.record.get("settings") or {}
        if run.record.get("stage") != "fetch":
            continue
        kind = "dataset" if settings.get("dataset") else "checkpoint"
        name = settings[kind]
        try:
            definition = (bench.dataset(name) if kind == "dataset" else bench.checkpoint(name)).model_dump()
        except ConfigError:  # its definition was removed since
            definition = {"title": name, "licence": "not known any more", "terms": "", "citation": "none"}
        hub = (definition.get("source") or {}).get("hub") or {}
        keys = ("title", "licence", "terms", "citation")
        found.append(
            {
                "kind": kind,
                "name": name,
                "id": run.record["id"],
                "hub": hub.get("repo"),
                **{key: definition[key] for key in keys},
            }
        )
    return found


def _licence(sources: list[Map]) -> Map:
    """The licence for the metadata: the one of everything that the weights derive from, else `other`."""
    names = {each["licence"] for each in sources}
    if len(names) == 1 and (known := _HUB_LICENCES.get(next(iter(names)))):
        return {"license": known}
    return {"license": "other", "license_name": "terms-of-data-and-weights", "license_link": "#terms"}


def _predictions(id: str, runs: Mapping[str, Finished]) -> list[Finished]:
    """Predictions with the weights, also as the backbone of other weights, and what was predicted from these."""
    built = [each.record["id"] for each in users(id, runs, "train") if each.record["inputs"].get(BACKBONE) == id]
    found: dict[str, Finished] = {}
    waiting = [id, *built]
    while waiting:
        new = {each.record["id"]: each for each in users(waiting.pop(0), runs, "predict")}
        waiting += [each for each in new if each not in found]
        found |= new
    return list(found.values())


def _numbers(id: str, runs: Mapping[str, Finished], bench: Workbench) -> list[Map]:
    """Every column of every evaluation of what the weights predicted."""
    found = []
    for predict in _predictions(id, runs):
        for evaluation in users(predict.record["id"], runs, "evaluate"):
            try:
                scores = json.loads((bench.root / evaluation.folder / "scores.json").read_text())
                columns, images = dict(scores["columns"]), scores["n_images"]
            except (OSError, ValueError, KeyError, TypeError):
                continue  # `edgebench status` names damaged runs
            chosen = evaluation.record["settings"]
            found += [
                {
                    "run": predict.record["label"],
                    "id": evaluation.record["id"],
                    "data": f"{chosen['dataset']}, {chosen['split']}",
                    "dataset": chosen["dataset"],
                    "split": chosen["split"],
                    "images": images,
                    "column": column,
                    "value": float(value),
                }
                for column, value in columns.items()
            ]
    return found


def _rows(numbers: list[Map], columns: list[str]) -> list[Map]:
    """The numbers as a table: a row for each run, a cell for each of `columns`."""
    found: dict[tuple[Any, ...], dict[str, float]] = {}
    for each in numbers:
        found.setdefault((each["run"], each["data"], each["images"]), {})[each["column"]] = each["value"]
    return [
        {"run": run, "data": data, "images": images, "cells": [number(values.get(each), each) for each in columns]}
        for (run, data, images), values in found.items()
    ]


def _result(entry: Map) -> Any:
    from huggingface_hub import EvalResult

    return EvalResult(
        task_type="image-segmentation",
        dataset_type=entry["dataset"],
        dataset_name=entry["dataset"],
        dataset_split=entry["split"],
        metric_type=entry["column"],
        metric_name=f"{column_title(entry['column'])} ({entry['run']})",
        metric_value=entry["value"],
        metric_config=f"run {entry['id']}, {entry['images']} images",
    )


def _warning(record: Map, bench: Workbench) -> str:
    """What keeps weights of a small scale from being taken for the paper's."""
    scale = record.get("scale")
    if not scale or scale == "paper":
        return ""
    title = f" ({bench.scale(scale).title})" if scale in bench.names("scales") else ""
    return f"Trained at scale '{scale}'{title}: neither the network nor its numbers are those of the paper."


def _facts(record: Map) -> list[tuple[str, str]]:
    machine, code = record.get("machine") or {}, record.get("code") or {}
    hours = f"{record['seconds'] / 3600:.2f} hours"
    gpus = f", {record['gpu_seconds'] / 3600:.2f} GPU-hours" if record.get("gpu_seconds") else ""
    facts = [
        ("Run", f"`{record['role']}/{record['label']}-{record['id']}`, version {record['version']} of its method"),
        ("Seed", _plain(record.get("seed"))),
        ("Time", f"{hours}{gpus}, begun {record.get('start', 'at an unknown time')}"),
        ("Hardware", f"{machine.get('gpu') or machine.get('cpu')}, {machine.get('cores')} cores"),
        ("Memory", f"{record.get('peak_memory_mb')} MB at most"),
        ("Images", _plain(record.get("n_images"))),
        ("Parameters", _plain(record.get("parameters"))),
        ("Parameters trained", _plain(record.get("trained_parameters"))),
        ("Loss at the end", _plain(record.get("loss"))),
        ("Code", f"edgebench {code.get('edgebench')}, revision {code.get('git')}, digest {code.get('fingerprint')}"),
        ("Libraries", ", ".join(f"{name} {version}" for name, version in (code.get("libraries") or {}).items())),
    ]
    if record.get("source_sha256"):
        facts.insert(1, ("Converted from", f"{record['checkpoint']}, SHA-256 `{record['source_sha256']}`"))
    return [(name, value) for name, value in facts if value not in ("–", "")]


def _made_from(run: Finished) -> str:
    record = run.record
    what = "what was fetched" if record["stage"] == "fetch" else f"{record['role']}, {record['settings']['method']}"
    return f"`{Path(run.folder).name}`: {what}"


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|")


def _citations(paper: str, sources: list[Map], bench: Workbench) -> list[str]:
    """The paper's, as CITATION.cff states it, and those of data and weights."""
    cff = bench.root / "CITATION.cff"
    references = read_yaml(cff).get("references", []) if cff.is_file() else []
    own = [_reference(each) for each in references if str(each.get("title", "")).startswith(paper)]
    return list(dict.fromkeys([*own, *(each["citation"].strip() for each in sources if each["citation"] != "none")]))


def _reference(entry: Map) -> str:
    authors = ", ".join(
        f"{each.get('given-names', '')} {each.get('family-names', '')}".strip() for each in entry.get("authors", [])
    )
    pages = f", pages {entry['start']}-{entry['end']}" if entry.get("start") and entry.get("end") else ""
    return f"{authors}. {entry['title']}. {entry.get('collection-title', '')} {entry.get('year', '')}{pages}."
