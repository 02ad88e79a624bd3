# One generic rule per stage. What a run is told stands in its plan file; its identity is in its path, so
# nothing here knows a method, a data set or an experiment. `tee` outlives a signal to the whole group, so that a
# job can save a checkpoint and say so before it ends.

RUN = "results/runs/{role}/{run}/run.json"
LOG = "results/logs/{role}/{run}.log"
BENCHMARK = "results/benchmarks/{role}/{run}.tsv"


wildcard_constraints:
    run=r"[^/]+-[0-9a-f]{10}",


# Whoever is in the catalogue need not be made, nor what it was made from. DVC is called here alone, never by a job of
# a cluster.
ruleorder: pull > train > predict > evaluate


rule pull:
    output:
        RUN,
    log:
        LOG,
    wildcard_constraints:
        run=bench.pulled(),
    conda:
        "../../envs/edgebench.yaml"
    params:
        edgebench=EDGEBENCH,
    message:
        "Pulling {wildcards.run}."
    shell:
        "{params.edgebench} pull {wildcards.run} 2>&1 | (trap '' TERM INT; exec tee {log})"


rule fetch:
    input:
        inputs_of,
    output:
        RUN,
    log:
        LOG,
    benchmark:
        BENCHMARK
    wildcard_constraints:
        role=bench.roles("fetch"),
    conda:
        "../../envs/edgebench.yaml"
    threads: resource("cpus")
    resources:
        runtime=resource("minutes"),
        mem_mb=resource("mem_gb", 1024),
    params:
        edgebench=EDGEBENCH,
        spec=lambda wildcards: run_of(wildcards).spec_file,
    message:
        "Fetching {wildcards.run}."
    shell:
        "{params.edgebench} run {params.spec} --threads {threads} 2>&1 | (trap '' TERM INT; exec tee {log})"


rule train:
    input:
        inputs_of,
    output:
        RUN,
    log:
        LOG,
    benchmark:
        BENCHMARK
    wildcard_constraints:
        role=bench.roles("train"),
    priority: 10
    conda:
        "../../envs/edgebench.yaml"
    threads: resource("cpus")
    resources:
        runtime=resource("minutes"),
        mem_mb=resource("mem_gb", 1024),
        gpu=gpu_request("gpu"),
        gres=gpu_request("gres"),
    params:
        edgebench=launcher,
        spec=lambda wildcards: run_of(wildcards).spec_file,
        note=not_shared,
    message:
        "Training {wildcards.run}.{params.note}"
    shell:
        "{params.edgebench} run {params.spec} --threads {threads} 2>&1 | (trap '' TERM INT; exec tee {log})"


rule predict:
    input:
        inputs_of,
    output:
        RUN,
    log:
        LOG,
    benchmark:
        BENCHMARK
    wildcard_constraints:
        role=bench.roles("predict"),
    conda:
        "../../envs/edgebench.yaml"
    threads: resource("cpus")
    resources:
        runtime=resource("minutes"),
        mem_mb=resource("mem_gb", 1024),
        gpu=gpu_request("gpu"),
        gres=gpu_request("gres"),
    params:
        edgebench=EDGEBENCH,
        spec=lambda wildcards: run_of(wildcards).spec_file,
        note=not_shared,
    message:
        "Predicting with {wildcards.run}.{params.note}"
    shell:
        "{params.edgebench} run {params.spec} --threads {threads} 2>&1 | (trap '' TERM INT; exec tee {log})"


rule evaluate:
    input:
        inputs_of,
    output:
        RUN,
    log:
        LOG,
    benchmark:
        BENCHMARK
    wildcard_constraints:
        role=bench.roles("evaluate"),
    conda:
        "../../envs/edgebench.yaml"
    threads: resource("cpus")
    resources:
        runtime=resource("minutes"),
        mem_mb=resource("mem_gb", 1024),
    params:
        edgebench=EDGEBENCH,
        spec=lambda wildcards: run_of(wildcards).spec_file,
        note=not_shared,
    message:
        "Scoring {wildcards.run}.{params.note}"
    shell:
        "{params.edgebench} run {params.spec} --threads {threads} 2>&1 | (trap '' TERM INT; exec tee {log})"
