# Tables, figures and the report. A table or figure carries the identity of what it shows; it is made again
# when the plan says something else, never because of a time stamp.


wildcard_constraints:
    scale="|".join(bench.names("scales")),
    table="|".join(bench.names("experiments")),
    figure="|".join(FIGURES),


rule table:
    input:
        inputs_of_table,
        plan=lambda wildcards: plan_of_table(
            wildcards, "results/tables/{scale}/{table}.json"
        ),
    output:
        csv="results/tables/{scale}/{table}.csv",
        md="results/tables/{scale}/{table}.md",
        tex="results/tables/{scale}/{table}.tex",
        html=report(
            "results/tables/{scale}/{table}.html",
            caption="../captions/caption.rst",
            category=lambda wildcards: category(table_of(wildcards)),
            subcategory="Tables",
            labels=lambda wildcards: labels(table_of(wildcards)),
        ),
        record="results/tables/{scale}/{table}.json",
    log:
        "results/logs/table/{scale}/{table}.log",
    benchmark:
        "results/benchmarks/table/{scale}/{table}.tsv"
    conda:
        "../../envs/edgebench.yaml"
    resources:
        **asked("table"),
    params:
        EDGEBENCH,  # without names: the report lists parameters that have one
        lambda wildcards: caption(table_of(wildcards)),
    message:
        "Making the table {wildcards.table} at scale {wildcards.scale}."
    shell:
        "{params[0]} table {input.plan} 2>&1 | (trap '' TERM INT; exec tee {log})"


rule figure:
    input:
        inputs_of_table,
        plan=lambda wildcards: plan_of_table(
            wildcards, "results/figures/{scale}/{table}-{figure}.png"
        ),
    output:
        report(
            "results/figures/{scale}/{table}-{figure}.png",
            caption="../captions/caption.rst",
            category=lambda wildcards: category(table_of(wildcards)),
            subcategory="Figures",
            labels=lambda wildcards: labels(table_of(wildcards), wildcards.figure),
        ),
    log:
        "results/logs/figure/{scale}/{table}-{figure}.log",
    benchmark:
        "results/benchmarks/figure/{scale}/{table}-{figure}.tsv"
    conda:
        "../../envs/edgebench.yaml"
    resources:
        **asked("figure"),
    params:
        EDGEBENCH,
        lambda wildcards: caption(table_of(wildcards), wildcards.figure),
    message:
        "Drawing {wildcards.figure} of {wildcards.table} at scale {wildcards.scale}."
    shell:
        "{params[0]} figure {wildcards.figure} {input.plan} 2>&1 | (trap '' TERM INT; exec tee {log})"


rule tables:
    input:
        files_of(bench.config.scale, "files"),


rule figures:
    input:
        files_of(bench.config.scale, "figure_files"),


rule report_page:
    input:
        lambda wildcards: files_of(wildcards.scale, "files")(wildcards),
        lambda wildcards: files_of(wildcards.scale, "figure_files")(wildcards),
    output:
        "results/report/{scale}{paper}.html",
    log:
        "results/logs/report/{scale}{paper}.log",
    wildcard_constraints:
        paper="|-[a-z0-9_]+",  # without one, all papers
    conda:
        "../../envs/edgebench.yaml"
    params:
        snakemake=f"{quote(sys.executable)} -m snakemake --snakefile {quote(workflow.main_snakefile)}",
        style=quote(f"{workflow.basedir}/workflow/captions/report.css"),
        config=same_config,
        edgebench=EDGEBENCH,
        collected="results/report/.part-{scale}{paper}.html",
    message:
        "Collecting the report {output}."
    shell:
        "({params.snakemake} --nolock --config {params.config} --report {params.collected} --report-stylesheet {params.style}"
        " -- {input} && {params.edgebench} page {params.collected} {output}) 2>&1 | (trap '' TERM INT; exec tee {log})"


rule report:
    input:
        lambda wildcards: explained(lambda: plan_of(bench.config.scale).pages),


rule demo:
    input:
        files_of("demo", "files"),
        files_of("demo", "figure_files"),
        "results/report/demo.html",
    message:
        "Done. Open results/report/demo.html, or read the tables below results/tables/demo."
