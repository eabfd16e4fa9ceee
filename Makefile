# `make repro` sets up and runs the pipeline, `make test` sets up and runs the tests; `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

# The Keras blog's own recipe, whatever params.yaml says. Its level 3 draws a new view every epoch; here ten views,
# one of them plain, take turns, and mirroring draws the flips anew.
BLOG := backbone=VGG16 image_size=150 fit=squash preprocessing=rescale \
  subsample.train=1000 subsample.validation=400 subsample.folds=0 subsample.fold=1 subsample.order=archive \
  small_cnn.class_weights=false top.class_weights=false finetune.class_weights=false \
  small_cnn.image_size=150 'small_cnn.filters=[32,32,64]' small_cnn.first_stride=1 small_cnn.batch_norm=false \
  small_cnn.pooling=flatten small_cnn.units=64 small_cnn.mirror=false small_cnn.dropout=0.5 small_cnn.l1=0 small_cnn.l2=0 \
  small_cnn.optimizer=rmsprop small_cnn.lr=0.001 small_cnn.momentum=0 small_cnn.schedule=constant \
  small_cnn.ema=0 small_cnn.label_smoothing=0 small_cnn.mixup=0 \
  small_cnn.batch_size=16 small_cnn.epochs=50 small_cnn.patience=0 \
  small_cnn.augmentation.flip=true small_cnn.augmentation.shear=0.2 small_cnn.augmentation.zoom=0.2 \
  small_cnn.augmentation.rotation=0 small_cnn.augmentation.shift=0 small_cnn.augmentation.colour=0 \
  activations.views=10 activations.crops=1 \
  activations.augmentation.flip=true activations.augmentation.shear=0.2 activations.augmentation.zoom=0.2 \
  activations.augmentation.rotation=0 activations.augmentation.shift=0 activations.augmentation.colour=0 \
  top.views=1 top.pooling=flatten top.scaling=false top.units=256 top.dropout=0.5 top.l1=0 top.l2=0 \
  top.optimizer=rmsprop top.lr=0.001 top.momentum=0 top.schedule=constant top.ema=0 top.label_smoothing=0 top.mixup=0 \
  top.batch_size=16 top.epochs=50 top.patience=0 \
  'finetune.unfreeze=[block5]' finetune.views=null finetune.mirror=true finetune.block_pace=1 \
  finetune.dropout=0.5 finetune.l1=0 finetune.l2=0 \
  finetune.optimizer=sgd finetune.lr=0.0001 finetune.momentum=0.9 finetune.schedule=constant \
  finetune.ema=0 finetune.label_smoothing=0 finetune.mixup=0 \
  finetune.batch_size=16 finetune.epochs=50 finetune.patience=0

# Where params.yaml saves time, this doesn't.
ACCURATE := image_size=288 small_cnn.image_size=112 small_cnn.epochs=80 small_cnn.dropout=0.5 \
  small_cnn.augmentation.zoom=0.25 small_cnn.augmentation.rotation=10 small_cnn.augmentation.colour=0.2 \
  activations.crops=5 finetune.epochs=2 finetune.lr=0.00001 finetune.dropout=0.7

# DVC's part for each kind of remote that is set, where it needs one: s3, ssh, gs or azure.
SCHEMES = $(firstword $(subst ://, ,$(URL))) $(shell sed -n 's|^ *url = *\([a-z0-9]*\)://.*|\1|p' .dvc/config .dvc/config.local 2>&-)
PLUGINS = $(patsubst requirements/%.in,$(BIN)/.%,$(wildcard $(patsubst %,requirements/%.in,$(filter s3 ssh gs azure,$(sort $(SCHEMES))))))

.PHONY: help repro back blog accurate seeds folds views sizes ideas sweep search experiments check publish bench test test-browser test-slow table plots remote push pull check-lock report pull-repro comment clean lock

help: ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

COMMANDS := $(BIN)/predict $(BIN)/submit
REPRO := python -m tools.repro $(if $(SOURCE),--source $(SOURCE)) $(if $(PHOTOS),--photos "$(PHOTOS)")

repro: $(BIN)/.run $(COMMANDS) $(PLUGINS) ## set up, choose where photos come from, run the pipeline, show the results
	@$(REPRO) $(SET)

back: $(BIN)/.run ## go back to before the last run, own edits included; UNDO=1: and forth again
	@python -m tools.back $(if $(UNDO),--undo)

blog: $(BIN)/.run ## the same with the Keras blog's own recipe
	@$(REPRO) $(BLOG)

accurate: $(BIN)/.run ## the same with a recipe that takes more time, for accuracy
	@$(REPRO) $(ACCURATE)

seeds: $(BIN)/.run ## both recipes from five seeds, splits redrawn: mean and spread (some three hours)
	@python -m tools.seeds $(SET)
	@python -m tools.seeds --to metrics/seeds.json $(ACCURATE) $(SET)

folds: $(BIN)/.run ## 5-fold cross-validation over training and validation photos: mean and spread
	@python -m tools.seeds --folds $(or $(FOLDS),5) $(SET)

views: $(BIN)/.run ## what 1, 2, 4 and 8 augmented views bring and cost (half an hour)
	@python -m tools.views

sizes: $(BIN)/.run ## accuracy against the number of training photos: metrics/sizes.svg
	@python -m tools.sizes

ideas: $(BIN)/.run ## how far each of some 30 ideas goes, by validation photos
	@python -m tools.ideas

sweep: $(BIN)/.run ## experiments side by side: SET="finetune.lr=1e-5,1e-4 finetune.dropout=0.3,0.5" JOBS=2
	@test -n "$(SET)" || { echo 'make sweep SET="finetune.lr=1e-5,1e-4 finetune.dropout=0.3,0.5"' >&2; exit 1; }
	@python -m tools.sweep $(if $(JOBS),-j $(JOBS)) $(foreach change,$(SET),-S '$(change)')

experiments: $(BIN)/.run ## show them, the best first: validation results, seconds, and the params in which they differ
	@python -m tools.experiments

search: $(BIN)/.run ## look for better params with Optuna, for MINUTES (60)
	@python -m tools.search --minutes $(or $(MINUTES),60)

check: $(BIN)/.run ## look a folder of your own photos over before a long run: PHOTOS=~/pictures
	@test -n "$(PHOTOS)" || { echo 'make check PHOTOS=~/pictures' >&2; exit 1; }
	@python -m tools.check "$(PHOTOS)"

publish: $(BIN)/.run $(COMMANDS) ## after an experiment: the classifier's files, gallery, heat maps, near-duplicates, card
	@dvc repro publish/dvc.yaml

bench: $(BIN)/.run ## how fast it is, beside the blog's scripts and the machine's ceiling (half an hour)
	@python -m tools.bench

test: $(BIN)/.test ## set up and run the tests
	@python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-browser: $(BIN)/.test $(BIN)/.browser ## the page of plots in a real browser, which comes from npm
	@python -m pytest -m browser

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
report: $(BIN)/.run ## write what this branch changes against BASE (main) into report/report.md, with pictures
	@python -m tools.report "$(BASE)"

# What .github/workflows/report.yml runs besides.
pull-repro: $(BIN)/.run $(PLUGINS)
	@test -z "$$(dvc remote list)" || dvc repro --pull --allow-missing

comment: $(BIN)/.run
	@python -m tools.comment "$(NUMBER)" "$(PICTURES)"

clean: ## remove what runs and downloads left; DVC's cache, .venv and the choice of a source stay
	git clean -fdqX data models metrics
	rm -rf .cache/downloads .cache/memo .cache/training .pytest_cache dvc_plots report

lock: ## pin the dependencies anew, for every platform, from requirements/*.in
	$(PYTHON) -m venv .cache/uv && .cache/uv/bin/pip install --quiet uv
	for name in run test browser npm s3 ssh gs azure; do .cache/uv/bin/uv pip compile --quiet --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-annotate requirements/$$name.in -o requirements/$$name.txt || exit 1; done

# From any folder; -P: a folder's own `tools` is not taken for ours.
$(COMMANDS): Makefile | $(BIN)/.run
	@printf '#!/bin/sh\nPYTHONPATH="%s" exec "%s/python" -P -m tools.%s "$$@"\n' "$(CURDIR)" "$(CURDIR)/$(BIN)" $(@F) > $@
	@chmod +x $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "TensorFlow needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }  # half made, it would pass for whole next time

$(BIN)/.%: requirements/%.txt | $(BIN)/python
	@$(BIN)/python tools/install.py $<
	@touch $@
