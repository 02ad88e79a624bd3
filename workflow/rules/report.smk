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
            caption="../captions/table.rst",
            category=lambda wildcards: wildcards.table.split("/")[0],
            subcategory="tables",
            labels=lambda wildcards: {
                "table": wildcards.table,
                "scale": wildcards.scale,
            },
        ),
        record="results/tables/{scale}/{table}.json",
    log:
        "results/logs/table/{scale}/{table}.log",
    benchmark:
        "results/benchmarks/table/{scale}/{table}.tsv"
    conda:
        "../../envs/edgebench.yaml"
    params:
        edgebench=EDGEBENCH,
        caption=lambda wildcards: table_of(wildcards).caption,
    message:
        "Making the table {wildcards.table} at scale {wildcards.scale}."
    shell:
        "{params.edgebench} table {input.plan} 2>&1 | (trap '' TERM INT; exec tee {log})"


rule figure:
    input:
        inputs_of_table,
        plan=lambda wildcards: plan_of_table(
            wildcards, "results/figures/{scale}/{table}-{figure}.png"
        ),
    output:
        report(
            "results/figures/{scale}/{table}-{figure}.png",
            caption="../captions/figure.rst",
            category=lambda wildcards: wildcards.table.split("/")[0],
            subcategory="figures",
            labels=lambda wildcards: {
                "figure": wildcards.figure,
                "table": wildcards.table,
                "scale": wildcards.scale,
            },
        ),
    log:
        "results/logs/figure/{scale}/{table}-{figure}.log",
    benchmark:
        "results/benchmarks/figure/{scale}/{table}-{figure}.tsv"
    conda:
        "../../envs/edgebench.yaml"
    params:
        edgebench=EDGEBENCH,
        caption=lambda wildcards: table_of(wildcards).figure_caption(wildcards.figure),
    message:
        "Drawing {wildcards.figure} of {wildcards.table} at scale {wildcards.scale}."
    shell:
        "{params.edgebench} figure {wildcards.figure} {input.plan} 2>&1 | (trap '' TERM INT; exec tee {log})"


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
        "results/report/{scale}.html",
    log:
        "results/logs/report/{scale}.log",
    conda:
        "../../envs/edgebench.yaml"
    params:
        snakemake=f"{quote(sys.executable)} -m snakemake --snakefile {quote(workflow.main_snakefile)}",
    message:
        "Collecting the report of scale {wildcards.scale}."
    shell:
        "{params.snakemake} --nolock --config scale={wildcards.scale} --report {output} -- tables figures 2>&1 | (trap '' TERM INT; exec tee {log})"


rule report:
    input:
        f"results/report/{bench.config.scale}.html",


rule demo:
    input:
        files_of("demo", "files"),
        files_of("demo", "figure_files"),
        "results/report/demo.html",
    message:
        "Done. Open results/report/demo.html, or read the tables below results/tables/demo."
