# The course's commands. Each is `python -m helpers <command>` in a virtual environment made here; a conda
# environment (environment.yml) needs no make, only those commands.
PYTHON ?= python3
PROFILE ?= quick
DATASET ?= auto
MODEL ?= resnet20
SEED ?= 0
WEIGHTS ?= course
NETWORKS ?= trained
EPS ?= 8/255
GRID ?= sweeps/smoke.yml
CORES ?=
JOBS ?=
WORKERS ?= 2

VENV := .venv
VENV_SWEEP := .venv-sweep
RUN := $(VENV)/bin/python -m helpers
PYTEST := $(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
PARAMETERS := --profile "$(PROFILE)" --dataset "$(DATASET)" --model "$(MODEL)" --seed "$(SEED)" --weights "$(WEIGHTS)" --eps "$(EPS)"

# Otherwise make would silently ignore a misspelt variable, and run with other parameters than the ones asked for.
KNOWN := PYTHON PROFILE DATASET MODEL SEED WEIGHTS NETWORKS EPS GRID CORES JOBS WORKERS
UNKNOWN := $(filter-out $(KNOWN),$(foreach word,$(MAKEOVERRIDES),$(if $(findstring =,$(word)),$(firstword $(subst =, ,$(word))))))
ifneq ($(UNKNOWN),)
$(error there is no parameter $(UNKNOWN); there are $(KNOWN))
endif

.PHONY: help report check test test-all static coverage lab full weights networks search bench audit sweep cost exercises record verify clean
.DEFAULT_GOAL := help

help: ## list these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10
	@echo "parameters: PROFILE=smoke|quick|full DATASET=auto|cifar10|patches10 MODEL=resnet20|sepreresnet56|efficientnet_b0 SEED=0 WEIGHTS=course|tf2cv|none|file EPS=8/255"
	@echo "of report and full: JOBS=2 (notebooks side by side); of full: NETWORKS=trained|shipped; of sweep and cost: GRID=sweeps/smoke.yml CORES=2; of the tests: WORKERS=2"

report: $(VENV)/installed ## run all notebooks, write report/index.html and report.pdf
	$(RUN) report $(PARAMETERS) --networks "$(NETWORKS)" $(if $(JOBS),--jobs "$(JOBS)")

full: $(VENV)/installed ## the same at the paper's scale; resumes where it was stopped
	$(RUN) report $(PARAMETERS) --profile full --networks "$(NETWORKS)" $(if $(JOBS),--jobs "$(JOBS)")

check: static ## the fast checks: style, types, imports, and every test that trains nothing and runs no notebook
	$(PYTEST) -m "not deep and not slow"

test: static $(VENV_SWEEP)/installed ## check, and each kind of deep test once: notebooks, networks, a sweep, the browser
	$(PYTEST) -m "not slow"

test-all: static $(VENV_SWEEP)/installed ## every test
	$(PYTEST)

static: $(VENV)/installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/basedpyright --level error

coverage: static $(VENV_SWEEP)/installed ## the lines that the tests reach (all tests)
	$(PYTEST) --cov --cov-report=term --record-durations

lab: $(VENV)/installed ## open the notebooks in JupyterLab
	$(RUN) lab

weights: $(VENV)/installed ## train a base classifier (MODEL, DATASET, SEED) and put it into weights/
	$(RUN) weights --dataset "$(if $(filter auto,$(DATASET)),cifar10,$(DATASET))" --model "$(MODEL)" --seed "$(SEED)"

networks: $(VENV)/installed ## train a full run's networks (MODEL, DATASET, SEED), a part at a time, and put them into weights/
	$(RUN) networks --dataset "$(if $(filter auto,$(DATASET)),cifar10,$(DATASET))" --model "$(MODEL)" --seed "$(SEED)"

search: $(VENV)/installed ## train the autoencoders of notebook 03 (MODEL, DATASET, SEED) and put them into weights/
	$(RUN) search all --dataset "$(if $(filter auto,$(DATASET)),cifar10,$(DATASET))" --model "$(MODEL)" --seed "$(SEED)"

bench: $(VENV)/installed-test ## measure speeds beside other libraries, write figures/benchmarks.json
	$(RUN) bench --dataset "$(DATASET)" --model "$(MODEL)"

audit: $(VENV)/installed ## measure each way in which the released code departs from the paper, write figures/audit.json
	$(RUN) audit $(PARAMETERS)

sweep: $(VENV)/installed $(VENV_SWEEP)/installed ## run a grid of jobs (GRID); resumes where it was stopped
	$(RUN) sweep "$(GRID)" $(if $(CORES),--cores "$(CORES)")

cost: $(VENV)/installed $(VENV_SWEEP)/installed ## measure what a sweep's steps cost, write figures/cost.json
	$(RUN) cost --model "$(MODEL)" $(if $(CORES),--cores "$(CORES)")

exercises: $(VENV)/installed ## write the student notebooks (notebooks/exercises) from notebooks/solutions
	$(RUN) exercises

record: $(VENV)/installed ## copy the finished report's notebooks, figures and results into the tree
	$(RUN) record

verify: $(VENV)/installed ## check that the shipped weights still give the recorded numbers, for MODEL or for all
	$(RUN) verify $(if $(filter file,$(origin MODEL)),,--model "$(MODEL)")

clean: ## remove artifacts/ and report/ (not .venv, not weights/)
	rm -rf artifacts report

# Installed once for each state of the lock files. An unfinished environment has no stamp, so it is completed.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || \
	  { echo "error: Python 3.11 or 3.12 is needed; name one with PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed requirements-test.lock
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-test.lock
	@touch $@

# Snakemake and its plugins, apart from the course's packages: it only starts the course's command lines.
$(VENV_SWEEP)/installed: requirements-sweep.lock | $(VENV)/bin/python
	$(VENV)/bin/python -m venv $(VENV_SWEEP)
	$(VENV_SWEEP)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-sweep.lock
	@touch $@
