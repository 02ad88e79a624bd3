# make setup   install into .venv (Python 3.11 and a C compiler are all that is needed)
# make demo    tables and figures of all three papers on drawn scenes, minutes on two cores
# make test    all tests but these:
# make test-cluster    on a real SLURM that they bring up (as root on Debian; else they skip)
# make test-faults     kills every stage at random moments, fills disks, damages files (SEED=0 KILLS=240)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORES ?= 2
SEED ?= 0
KILLS ?= 240
STAMP := $(VENV)/.installed

.PHONY: setup demo test test-cluster test-faults lint bench clean

setup: $(STAMP)

# Torch first: the lock would otherwise pull the largest build that the index offers.
$(STAMP): envs/requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' || \
		{ echo "edgebench needs Python 3.11 or newer; name it: make setup PYTHON=python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' envs/requirements.lock)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r envs/requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: setup
	@$(BIN)/snakemake demo --cores $(CORES) --quiet rules
	@$(BIN)/edgebench show results/tables/demo

test: setup
	@$(BIN)/python -m pytest -n $(CORES) --dist worksteal

test-cluster: setup
	$(BIN)/python -m pytest tests/cluster

test-faults: setup
	@$(BIN)/python -m pytest tests/faults -n $(CORES) --dist worksteal --fault-seed $(SEED) --kills $(KILLS) \
		--fault-report results/faults.json

lint: setup
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/ruff format --check src tests benchmarks docs
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

bench: setup
	$(BIN)/python benchmarks/bench_edges.py
	$(BIN)/python benchmarks/bench_masks.py
	$(BIN)/python benchmarks/bench_memo.py
	$(BIN)/python benchmarks/bench_diffdis.py
	$(BIN)/python benchmarks/bench_panoptic.py
	$(BIN)/python benchmarks/bench_objects.py
	$(BIN)/python benchmarks/bench_trace.py
	$(BIN)/python benchmarks/bench_trace_backbones.py
	$(BIN)/python benchmarks/bench_refine.py
	$(BIN)/python benchmarks/bench_unsupervised.py
	$(BIN)/python benchmarks/bench_shards.py
	$(BIN)/python benchmarks/bench_workflow.py

clean:
	rm -rf $(VENV) .snakemake results/runs results/plan results/logs results/benchmarks
