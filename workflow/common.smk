# Glue between the plan and the rules: where a run stands, what it needs, what it asks of the machine.
# All logic lives in edgebench.plan, the only part of edgebench that the workflow imports.
import json
import sys
from pathlib import Path
from shlex import quote

from edgebench.errors import EdgebenchError
from edgebench.plan.captions import caption, category, labels
from edgebench.plan.cluster import NAMES, OF_REPORTS, launch, request
from edgebench.plan.freshness import leave_the_future, plan_input
from edgebench.plan.tables import FIGURES
from edgebench.plan.workbench import Workbench
from snakemake.exceptions import WorkflowError

EDGEBENCH = f"{quote(sys.executable)} -m edgebench"


def explained(function, *arguments):
    """Call `function`; a mistake in the definitions is shown as one message without a traceback."""
    try:
        return function(*arguments)
    except EdgebenchError as error:
        raise WorkflowError(str(error)) from None


bench = explained(Workbench, Path(workflow.basedir), dict(config))
explained(bench.check_overrides)
own_cluster = explained(lambda: bench.cluster)


def plan_of(scale):
    return explained(bench.plan, scale)


def run_of(wildcards):
    return explained(bench.find_run, wildcards.run)


def inputs_of(wildcards):
    """Records of the runs that a run needs. Their age means nothing: their identity is in their path.

    What a finished run was made from may lie elsewhere, and when it is brought for another run, this one stays.
    """
    run = run_of(wildcards)
    bench.write_spec(run)
    finished = Path(run.record).exists()
    needed = [each.record for each in run.inputs.values()]
    leave_the_future(needed)
    return [ancient(each) for each in needed if not finished or Path(each).exists()]


def table_of(wildcards):
    return explained(bench.find_table, wildcards.scale, wildcards.table)


def inputs_of_table(wildcards):
    """Records of the runs that a table opens, or one of its figures."""
    opened = [run.record for run in table_of(wildcards).reads(wildcards.get("figure"))]
    leave_the_future(opened)
    return [ancient(record) for record in opened]


def plan_of_table(wildcards, output):
    """The table's plan file; newer than the output exactly when the output shows something else."""
    table = table_of(wildcards)
    path, changed = explained(plan_input, table, Path(output.format(**wildcards)))
    if changed:
        explained(bench.require_trained, table.reads(wildcards.get("figure")))
    return path if changed else ancient(path)


def job_resources(wildcards):
    """What a job asks for: one that does a whole run, a part of it, or gathers its parts."""
    return run_of(wildcards).job_resources("part" in wildcards.keys())


def parts_of(wildcards):
    """Markers of the jobs that share a run; none where one job does all of it."""
    run = run_of(wildcards)
    return [f"{run.folder}/work/{part}.json" for part in run.parts]


def cores(wildcards):
    return job_resources(wildcards)["cpus"]


def asked(stage):
    """What jobs of a stage ask of the machine or the cluster; time and memory grow when a job is tried again."""
    defaults = dict(workflow.resource_settings.default_resources or {})
    words = None if stage == "fetch" else bench.config.cluster

    def asks(name):
        def ask(wildcards, attempt):
            run = run_of(wildcards) if "run" in wildcards.keys() else None
            of_job = (run.role, job_resources(wildcards)) if run else ("", OF_REPORTS)
            amount = explained(request, words, own_cluster, stage, *of_job, attempt)[
                name
            ]
            # A rule's own resource, even none, would hide what --default-resources says.
            default = defaults.get(name)
            return getattr(default, "raw", default) if amount is None else amount

        return ask

    return {name: asks(name) for name in NAMES}


def not_shared(wildcards):
    """What is said of a run that is made here although others may be pulled."""
    return " It is not shared." if bench.config.checkpoints == "auto" else ""


def launcher(wildcards):
    """How a training is started: as one process, or as one per GPU where the plan asks for several."""
    explained(bench.require_trained, [run_of(wildcards)])
    return launch(EDGEBENCH, run_of(wildcards).resources, own_cluster.warn_seconds)


def files_of(scale, kind):
    """All tables or figures that a scale makes without being asked for one by name, of one paper where one is named."""
    return lambda wildcards: [
        file
        for table in explained(
            plan_of(scale).targets, wildcards.get("paper", "").removeprefix("-")
        )
        for file in getattr(table, kind)
    ]


def same_config(wildcards):
    """What the command line set, for another call of snakemake at the scale of a page."""
    given = {**config, "scale": wildcards.scale}
    return " ".join(quote(f"{key}={json.dumps(value)}") for key, value in given.items())


plan_of(
    bench.config.scale
)  # mistakes in the definitions are told before any work is planned
