"""What runs would cost before they are started."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from edgebench.plan.runs import all_gpus, is_pinned

if TYPE_CHECKING:
    from rich.console import RenderableType

Spec = Mapping[str, Any]
Basis = Literal["measured", "declared", "measured and declared", ""]


@dataclass(frozen=True)
class RunCost:
    """What one run would cost, and where that number comes from."""

    hours: float
    gpu_hours: float
    disk_mb: float
    vram_gb: float
    basis: Literal["measured", "declared"]


@dataclass(frozen=True)
class RoleCost:
    """The runs of one role; hours and disk count the runs still to do.

    Attributes:
        role: What the runs are for (`pretrain`, `predict`, ...).
        to_do: Runs without a record.
        done: Runs with one.
        hours: Run time added up, as if one run followed the other.
        gpu_hours: Run time times GPUs.
        disk_mb: What the runs leave on disk, MB.
        vram_gb: Largest GPU memory any of them needs, GiB.
        basis: Where the hours come from; empty when nothing is left to do.
    """

    role: str
    to_do: int
    done: int
    hours: float
    gpu_hours: float
    disk_mb: float
    vram_gb: float
    basis: Basis


@dataclass(frozen=True)
class PaperCost:
    """The runs that the tables of one paper need; what papers share counts for each of them.

    Attributes:
        paper: Name of the paper, or `all` for everything once.
        to_do: Runs without a record.
        done: Runs with one.
        hours: Run time added up, as if one run followed the other.
        gpu_hours: Run time times GPUs.
        disk_mb: What the runs leave on disk besides downloads, MB.
        download_mb: What is still to be fetched, as far as its size is known, MB.
        unknown: Downloads whose size is not known.
    """

    paper: str
    to_do: int
    done: int
    hours: float
    gpu_hours: float
    disk_mb: float
    download_mb: float
    unknown: int


@dataclass(frozen=True)
class Terms:
    """A data set or a released checkpoint that the runs need, and on which terms.

    Attributes:
        megabytes: Size of the download; None where it is not known.
        gate: What the person must do first; empty for nothing.
        pinned: Whether the definition admits one content only.
        here: Whether it was fetched already.
    """

    name: str
    title: str
    licence: str
    terms: str
    megabytes: float | None
    gate: str
    pinned: bool
    here: bool = False


@dataclass(frozen=True)
class Estimate:
    """Cost of a list of runs, and what they need from elsewhere.

    Attributes:
        roles: By role, in the order in which they first appear.
        papers: By paper, and at last everything once.
        shared: Runs that several papers need.
        elapsed_hours: Least time from the first start to the last end, with machines enough for all runs and all jobs
            that share a run: that of the longest chain of runs that wait for one another.
    """

    roles: list[RoleCost]
    papers: list[PaperCost]
    shared: int
    datasets: list[Terms]
    checkpoints: list[Terms]
    elapsed_hours: float

    @property
    def gpu_hours(self) -> float:
        """GPU-hours of everything still to do."""
        return sum(role.gpu_hours for role in self.roles)

    @property
    def hours(self) -> float:
        """Run time of everything still to do, one run after the other."""
        return sum(role.hours for role in self.roles)

    @property
    def disk_mb(self) -> float:
        """What everything still to do leaves on disk, MB, downloads included."""
        return sum(role.disk_mb for role in self.roles)


def estimate(
    specs: Iterable[Spec], records: Sequence[Spec], papers: Mapping[str, Collection[str]] | None = None
) -> Estimate:
    """Cost of `specs`, each id counted once.

    Args:
        specs: Run specs of the plan.
        records: `run.json` of finished runs, on this machine or pulled. A run whose id is among them is done;
            the others are what the cost of similar runs is measured on.
        papers: Ids of the runs that each paper's tables need.
    """
    unique = {spec["id"]: spec for spec in specs}
    finished = {record["id"] for record in records} & unique.keys()
    alike: dict[tuple[Any, ...], list[Spec]] = {}
    for record in records:
        alike.setdefault(_kind(record), []).append(record)
    costs = {id: run_cost(spec, alike.get(_kind(spec), [])) for id, spec in unique.items() if id not in finished}
    by_role: dict[str, list[str]] = {}
    for id, spec in unique.items():
        by_role.setdefault(spec["role"], []).append(id)
    papers = papers or {}
    needed = Counter(id for ids in papers.values() for id in ids)
    return Estimate(
        roles=[_role(role, ids, costs) for role, ids in by_role.items()],
        papers=[_paper(paper, ids, unique, costs) for paper, ids in {**papers, "all": list(unique)}.items()],
        shared=sum(needed[id] > 1 for id in unique),
        datasets=_terms(unique.values(), "dataset", finished),
        checkpoints=_terms(unique.values(), "checkpoint", finished),
        elapsed_hours=_longest_chain(unique, costs),
    )


def _longest_chain(specs: Mapping[str, Spec], costs: Mapping[str, RunCost]) -> float:
    """Hours of the longest chain of runs that are still to do."""
    ends: dict[str, float] = {}

    def end(id: str) -> float:
        if id not in costs:
            return 0.0
        if id not in ends:
            jobs = (specs[id].get("resources") or {}).get("shards", 1)
            before = map(end, (specs[id].get("input_ids") or {}).values())
            ends[id] = max(before, default=0.0) + costs[id].hours / jobs
        return ends[id]

    return max(map(end, costs), default=0.0)


def _role(role: str, ids: list[str], costs: Mapping[str, RunCost]) -> RoleCost:
    found = [costs[id] for id in ids if id in costs]
    bases = sorted({cost.basis for cost in found}, reverse=True)
    return RoleCost(
        role=role,
        to_do=len(found),
        done=len(ids) - len(found),
        hours=sum(cost.hours for cost in found),
        gpu_hours=sum(cost.gpu_hours for cost in found),
        disk_mb=sum(cost.disk_mb for cost in found),
        vram_gb=max((cost.vram_gb for cost in found), default=0.0),
        basis=" and ".join(bases),  # type: ignore[arg-type]
    )


def _paper(paper: str, ids: Collection[str], specs: Mapping[str, Spec], costs: Mapping[str, RunCost]) -> PaperCost:
    to_do = [id for id in ids if id in costs]
    fetches = [specs[id] for id in to_do if specs[id]["stage"] == "fetch"]
    sizes = [download_bytes(each) for each in fetches]
    return PaperCost(
        paper=paper,
        to_do=len(to_do),
        done=len(ids) - len(to_do),
        hours=sum(costs[id].hours for id in to_do),
        gpu_hours=sum(costs[id].gpu_hours for id in to_do),
        disk_mb=sum(costs[id].disk_mb for id in to_do if specs[id]["stage"] != "fetch"),
        download_mb=sum(size for size in sizes if size is not None) / 1e6,
        unknown=sum(size is None for size in sizes),
    )


def download_bytes(spec: Spec) -> int | None:
    """Size of what a fetch run brings from elsewhere; 0 for what edgebench draws, None where nobody knows."""
    definition = spec.get("dataset") or spec.get("checkpoint") or {}
    if (definition.get("source") or {}).get("draw"):
        return 0
    size: int | None = definition.get("bytes")
    return size


def run_cost(spec: Spec, records: Sequence[Spec]) -> RunCost:
    """Cost of one run: measured when a record of the same role, method and scale exists, else as declared.

    A measured cost is the median over those records, scaled by the work: samples seen (steps x batch x
    accumulation) for training, images for the rest.
    """
    resources = spec.get("resources") or {}
    on_gpu = resources.get("gpus", 0) > 0
    alike = [
        record
        for record in records
        if _kind(record) == _kind(spec)
        and record.get("seconds") is not None
        # A run that made do without a GPU says nothing about one that asks for it.
        and ((record.get("gpu_seconds") or 0) > 0) == on_gpu
    ]
    disk, vram = float(resources.get("disk_mb", 0)), float(resources.get("vram_gb", 0))
    if not alike:
        hours = float(resources.get("minutes", 0)) / 60
        return RunCost(hours, hours * all_gpus(resources), disk, vram, "declared")
    factors = [_ratio(work(spec), work(record)) for record in alike]
    seconds = median(record["seconds"] * factor for record, factor in zip(alike, factors, strict=True))
    gpu_seconds = median(
        (record.get("gpu_seconds") or 0) * factor for record, factor in zip(alike, factors, strict=True)
    )
    return RunCost(seconds / 3600, gpu_seconds / 3600, disk, vram, "measured")


def _kind(run: Spec) -> tuple[Any, ...]:
    settings = run.get("settings") or {}
    fetched = (settings.get("dataset") or settings.get("checkpoint")) if run.get("stage") == "fetch" else None
    return run.get("stage"), run.get("role"), settings.get("method"), run.get("scale"), fetched


def work(run: Spec) -> float | None:
    """How much a run has to do: samples for training, images otherwise; None when neither is known."""
    settings = run.get("settings") or {}
    if run.get("stage") == "train" and settings.get("steps"):
        return float(settings["steps"] * settings.get("batch", 1) * settings.get("accumulate", 1))
    if run.get("n_images"):
        return float(run["n_images"])
    images = ((run.get("dataset") or {}).get("images") or {}).get(settings.get("split"))
    known = [count for count in (images, settings.get("limit")) if count]
    return float(min(known)) if known else None


def _ratio(mine: float | None, theirs: float | None) -> float:
    return mine / theirs if mine and theirs else 1.0


def _terms(specs: Iterable[Spec], kind: Literal["dataset", "checkpoint"], finished: Collection[str]) -> list[Terms]:
    definitions = {spec[kind]["name"]: spec[kind] for spec in specs if spec.get(kind)}
    fetched = [spec for spec in specs if spec["stage"] == "fetch" and spec["id"] in finished]
    here = {spec[kind]["name"] for spec in fetched if spec.get(kind)}
    return [
        Terms(
            name=name,
            title=each.get("title", name),
            licence=each.get("licence", "not stated"),
            terms=each.get("terms", "not stated"),
            megabytes=each["bytes"] / 1e6 if each.get("bytes") else None,
            gate={
                "accept": f"Accept these terms first: `edgebench fetch {name} --accept-terms`.",
                "manual": f"Get the files yourself, then: `edgebench fetch {name} --accept-terms --mirror FOLDER`.",
            }.get(each.get("gate", "none"), ""),
            pinned=(kind == "dataset" and not each.get("source", {}).get("archives")) or is_pinned(each),
            here=name in here,
        )
        for name, each in definitions.items()
    ]


def render(estimated: Estimate) -> RenderableType:
    """The estimate as tables for the terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    costs = Table(title="Runs", title_justify="left", box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    costs.add_column("role", no_wrap=True)
    for name in ("to do", "done", "hours", "GPU-hours", "GPU memory", "disk"):
        costs.add_column(name, justify="right")
    costs.add_column("basis")
    for role in estimated.roles:
        costs.add_row(
            Text(role.role), str(role.to_do), str(role.done), hours(role.hours), hours(role.gpu_hours),
            f"{role.vram_gb:.0f} GiB" if role.vram_gb else "–", megabytes(role.disk_mb), role.basis or "–",
        )  # fmt: skip
    costs.add_section()
    costs.add_row(
        "all", str(sum(role.to_do for role in estimated.roles)),
        str(sum(role.done for role in estimated.roles)),
        hours(estimated.hours), hours(estimated.gpu_hours), "", megabytes(estimated.disk_mb), "",
    )  # fmt: skip
    lines: list[RenderableType] = []
    if estimated.elapsed_hours:
        least = hours(estimated.elapsed_hours)
        lines.append(f"At least {least} hours from start to end, where all that may run side by side does so.")
    if len(estimated.papers) > 2:
        lines += [_by_paper(estimated.papers), Text(_shared(estimated), "dim")]
    if gated := [each.name for each in (*estimated.datasets, *estimated.checkpoints) if each.gate and not each.here]:
        lines.append(Text(f"You are needed first, to accept terms or to get files: {', '.join(gated)} (see below)."))
    for title, needed in (("Data sets", estimated.datasets), ("Released checkpoints", estimated.checkpoints)):
        if needed:
            lines += ["", Text(title, style="italic")]
        for each in needed:
            size = f", {megabytes(each.megabytes)}" if each.megabytes is not None else ", size not known"
            size += ", here already" if each.here else ""
            head = Text.assemble((each.name, "bold"), f": {each.title}{size}. Licence: {each.licence}.")
            lines += [head, Padding(Text(f"{each.terms} {each.gate}".strip()), (0, 0, 0, 4))]
            if not each.pinned:
                reason = "not pinned: its owners may change it; when it is fetched, the lines that pin it are printed."
                lines.append(Padding(Text(reason), (0, 0, 0, 4)))
    return Group(costs, *lines)


def _by_paper(papers: list[PaperCost]) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    shown = Table(title="Papers", title_justify="left", box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    shown.add_column("paper", no_wrap=True)
    for name in ("to do", "done", "hours", "GPU-hours", "disk", "downloads"):
        shown.add_column(name, justify="right")
    for each in papers:
        if each.paper == "all":
            shown.add_section()
        unknown = f" and {each.unknown} of unknown size" if each.unknown else ""
        shown.add_row(
            each.paper, str(each.to_do), str(each.done), hours(each.hours), hours(each.gpu_hours),
            megabytes(each.disk_mb), megabytes(each.download_mb) + unknown,
        )  # fmt: skip
    return shown


def _shared(estimated: Estimate) -> str:
    """What tells why the papers add up to more than everything."""
    if not estimated.shared:
        return "No run serves more than one paper."
    runs = "1 run serves" if estimated.shared == 1 else f"{estimated.shared} runs serve"
    return f"{runs} more than one paper: each paper counts them, the last line counts them once."


def hours(number: float) -> str:
    """Hours with as many digits as people need."""
    return "–" if number == 0 else f"{number:.3f}" if number < 0.1 else f"{number:.1f}"


def megabytes(size: float) -> str:
    """A size in MB in the unit that people would use."""
    return f"{size / 1e6:.1f} TB" if size >= 1e6 else f"{size / 1e3:.1f} GB" if size >= 1e3 else f"{size:.0f} MB"
