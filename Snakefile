# edgebench: three papers from data to printed table.
#
#   snakemake demo                                  drawn scenes, minutes on two cores, nothing to download
#   snakemake tables --config scale=mini            real data, one GPU for about an hour
#   snakemake --profile slurm                       everything at the papers' settings
#   snakemake results/tables/paper/memo/main_bsds.md    one table
#
# `-n` shows what would run. Experiments are files below config/experiments; no rule changes for a new one.
from snakemake.utils import min_version

min_version("9.27")


report: "workflow/captions/report.rst"


include: "workflow/common.smk"
include: "workflow/rules/runs.smk"
include: "workflow/rules/report.smk"


localrules:
    all,
    fetch,
    pull,
    demo,
    tables,
    figures,
    report,


rule all:
    default_target: True
    input:
        rules.tables.input,
        rules.figures.input,
        rules.report.input,


# The index of finished runs is right after every call, also after one that failed.
onsuccess:
    shell(f"{EDGEBENCH} index || true")


onerror:
    shell(f"{EDGEBENCH} index || true")
