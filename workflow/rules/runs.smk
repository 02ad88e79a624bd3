# One generic rule per stage. What a run is told stands in its plan file; its identity is in its path, so
# nothing here knows a method, a data set or an experiment. `tee` outlives a signal to the whole group, and so does
# the shell of a training, so that it can save a checkpoint and say so before the job ends.

RUN = "results/runs/{role}/{run}/run.json"
LOG = "results/logs/{role}/{run}.log"
BENCHMARK = "results/benchmarks/{role}/{run}.tsv"

# Of a run that several jobs share (`resources: {shards: N}`): what says that it was begun, and that a part is done.
# The last job deletes both (edgebench.stages.parts).
BEGUN = "results/runs/{role}/{run}/work/begun"
PART = "results/runs/{role}/{run}/work/{part}.json"


wildcard_constraints:
    run=r"[^/]+-[0-9a-f]{10}",
    part=r"[0-9]+of[0-9]+",


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
    # All cores do it, which are not to be had any more once trainings have begun.
    priority: 20
    conda:
        "../../envs/edgebench.yaml"
    threads: cores
    resources:
        **asked("fetch"),
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
    threads: cores
    resources:
        **asked("train"),
    params:
        edgebench=launcher,
        spec=lambda wildcards: run_of(wildcards).spec_file,
        note=not_shared,
    message:
        "Training {wildcards.run}.{params.note}"
    shell:
        "trap stopped=1 TERM; "
        "{params.edgebench} run {params.spec} --threads {threads} 2>&1 | (trap '' TERM INT; exec tee {log}) || {{ "
        # SLURM shall end the job that it told to stop: only then does it know that it ran out of time or is to be
        # queued again. Its second signal ends the sleep.
        'status=$?; [ -z "${{stopped:-}}" ] || [ -z "${{SLURM_JOB_ID:-}}" ] || sleep 900; exit $status; }}'


rule predict_begin:
    input:
        inputs_of,
    output:
        BEGUN,
    log:
        "results/logs/{role}/{run}/begin.log",
    wildcard_constraints:
        role=bench.roles("predict"),
    conda:
        "../../envs/edgebench.yaml"
    params:
        edgebench=EDGEBENCH,
        spec=lambda wildcards: run_of(wildcards).spec_file,
    message:
        "Beginning {wildcards.run}, which several jobs share."
    shell:
        "{params.edgebench} run {params.spec} --part begin 2>&1 | (trap '' TERM INT; exec tee {log})"


rule predict_part:
    input:
        inputs_of,
        begun=ancient(BEGUN),
    output:
        PART,
    log:
        "results/logs/{role}/{run}/{part}.log",
    benchmark:
        "results/benchmarks/{role}/{run}/{part}.tsv"
    wildcard_constraints:
        role=bench.roles("predict"),
    conda:
        "../../envs/edgebench.yaml"
    threads: cores
    resources:
        **asked("predict"),
    params:
        edgebench=EDGEBENCH,
        spec=lambda wildcards: run_of(wildcards).spec_file,
    message:
        "Predicting part {wildcards.part} of {wildcards.run}."
    shell:
        "{params.edgebench} run {params.spec} --threads {threads} --part {wildcards.part} 2>&1 | (trap '' TERM INT; exec tee {log})"


rule predict:
    input:
        inputs_of,
        parts=parts_of,
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
    threads: cores
    resources:
        **asked("predict"),
    params:
        edgebench=EDGEBENCH,
        spec=lambda wildcards: run_of(wildcards).spec_file,
        part=lambda wildcards: "--part gather" if run_of(wildcards).parts else "",
        note=not_shared,
    message:
        "Predicting with {wildcards.run}.{params.note}"
    shell:
        "{params.edgebench} run {params.spec} --threads {threads} {params.part} 2>&1 | (trap '' TERM INT; exec tee {log})"


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
    threads: cores
    resources:
        **asked("evaluate"),
    params:
        edgebench=EDGEBENCH,
        spec=lambda wildcards: run_of(wildcards).spec_file,
        note=not_shared,
    message:
        "Scoring {wildcards.run}.{params.note}"
    shell:
        "{params.edgebench} run {params.spec} --threads {threads} 2>&1 | (trap '' TERM INT; exec tee {log})"
