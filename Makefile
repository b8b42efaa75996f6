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
SYSTEM ?= single_step
CORES ?=
JOBS ?=
FRESH ?=
WORKERS ?= 2

VENV := .venv
# It keeps or makes the environments. Only a Python that was named has to be the one in them.
INSTALL := $(PYTHON) install.py $(if $(filter file,$(origin PYTHON)),,--exact)
RUN := $(VENV)/bin/python -m helpers
PYTEST := $(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
PARAMETERS := --profile "$(PROFILE)" --dataset "$(DATASET)" --model "$(MODEL)" --seed "$(SEED)" --weights "$(WEIGHTS)" --eps "$(EPS)"

# Otherwise make would silently ignore a misspelt variable, and run with other parameters than the ones asked for.
KNOWN := PYTHON PROFILE DATASET MODEL SEED WEIGHTS NETWORKS EPS GRID SYSTEM CORES JOBS FRESH WORKERS
UNKNOWN := $(filter-out $(KNOWN),$(foreach word,$(MAKEOVERRIDES),$(if $(findstring =,$(word)),$(firstword $(subst =, ,$(word))))))
ifneq ($(UNKNOWN),)
$(error there is no parameter $(UNKNOWN); there are $(KNOWN))
endif

.PHONY: installed installed-test installed-sweep installed-peers help report slides check test test-all static coverage lab full weights networks search bench autoattack audit sweep cost exercises record verify clean
.DEFAULT_GOAL := help

help: ## list these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10
	@echo "parameters: PROFILE=smoke|quick|full DATASET=auto|cifar10|patches10 MODEL=resnet20|sepreresnet56|efficientnet_b0 SEED=0 WEIGHTS=course|tf2cv|none|file EPS=8/255"
	@echo "of report and full: JOBS=2 (notebooks side by side), FRESH=1 (run again what would run just as before); of full: NETWORKS=trained|shipped; of sweep and cost: GRID=sweeps/smoke.yml CORES=2; of autoattack: SYSTEM=single_step; of the tests: WORKERS=2"

report: installed ## run all notebooks, write report/index.html and report.pdf
	$(RUN) report $(PARAMETERS) --networks "$(NETWORKS)" $(if $(JOBS),--jobs "$(JOBS)") $(if $(FRESH),--fresh)

full: installed ## the same at the paper's scale; resumes where it was stopped
	$(RUN) report $(PARAMETERS) --profile full --networks "$(NETWORKS)" $(if $(JOBS),--jobs "$(JOBS)") $(if $(FRESH),--fresh)

slides: installed ## write the slides of the class of 90 minutes, report/slides.html
	$(RUN) slides

check: static ## the fast checks: style, types, imports, and every test that trains nothing and runs no notebook
	$(PYTEST) -m "not deep and not slow"

test: static installed-sweep ## check, and each kind of deep test once: notebooks, networks, a sweep, the browser
	$(PYTEST) -m "not slow"

test-all: static installed-sweep ## every test
	$(PYTEST)

static: installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/basedpyright --level error

coverage: static installed-sweep ## the lines that the tests reach (all tests)
	$(PYTEST) --cov --cov-report=term --record-durations

lab: installed ## open the notebooks in JupyterLab
	$(RUN) lab

weights: installed ## train a base classifier (MODEL, DATASET, SEED) and put it into weights/
	$(RUN) weights --dataset "$(if $(filter auto,$(DATASET)),cifar10,$(DATASET))" --model "$(MODEL)" --seed "$(SEED)"

networks: installed ## train a full run's networks (MODEL, DATASET, SEED), a part at a time, and put them into weights/
	$(RUN) networks --dataset "$(if $(filter auto,$(DATASET)),cifar10,$(DATASET))" --model "$(MODEL)" --seed "$(SEED)"

search: installed ## train the autoencoders of notebooks 03, 03b (MODEL, DATASET, SEED) and put them into weights/
	$(RUN) search all --dataset "$(if $(filter auto,$(DATASET)),cifar10,$(DATASET))" --model "$(MODEL)" --seed "$(SEED)"

bench: installed-test installed-peers ## measure speeds beside other libraries, write figures/benchmarks.json
	$(RUN) bench --dataset "$(DATASET)" --model "$(MODEL)"

autoattack: installed installed-peers ## AutoAttack on a network of notebook 07 (SYSTEM), here and in PyTorch
	$(RUN) autoattack "$(SYSTEM)" --model "$(MODEL)"

audit: installed ## measure each way in which the released code departs from the paper, write figures/audit.json
	$(RUN) audit $(PARAMETERS)

sweep: installed-sweep ## run a grid of jobs (GRID); resumes where it was stopped
	$(RUN) sweep "$(GRID)" $(if $(CORES),--cores "$(CORES)")

cost: installed-sweep ## measure what a sweep's steps cost, write figures/cost.json
	$(RUN) cost --model "$(MODEL)" $(if $(CORES),--cores "$(CORES)")

exercises: installed ## write the student notebooks (notebooks/exercises) from notebooks/solutions
	$(RUN) exercises

record: installed ## copy the finished report's notebooks, figures and results into the tree
	$(RUN) record

verify: installed ## check that the shipped weights still give the recorded numbers, for MODEL or for all
	$(RUN) verify $(if $(filter file,$(origin MODEL)),,--model "$(MODEL)")

clean: ## remove artifacts/ and report/ (not .venv, not weights/)
	rm -rf artifacts report

installed:
	@$(INSTALL) course

installed-test:
	@$(INSTALL) test

installed-sweep: installed
	@$(INSTALL) sweep

installed-peers:
	@$(INSTALL) peers
