# Every target makes .venv first when it is missing, or older than the files that describe it; nothing else to install.
PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Only what is written on the command line counts: some shells keep their own PROMPT in the environment.
ifeq ($(origin PROMPT),command line)
export PROMPT
PROMPT_OPTION := --prompt "$$PROMPT"
endif

# Scripts in an environment that was moved or copied still point to the old folder: such a one is made anew.
MADE_HERE := $(shell grep -sF "$(CURDIR)/$(VENV)" $(VENV)/pyvenv.cfg)
ifeq ($(MADE_HERE),)
.PHONY: $(READY)
endif

.DEFAULT_GOAL := help
.PHONY: help run serve test train bench lint fmt

IN_TRAINING := --input-dir training/input --output-dir training/output --models-dir training/models

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(READY) ## draw a picture into output/; PROMPT="a red apple" names another, ARGS adds options
	$(BIN)/mezzotint run workflows/text_to_image.json --output-dir output $(PROMPT_OPTION) $(ARGS)

serve: $(READY) ## start the server
	$(BIN)/mezzotint serve $(ARGS)

# Two files of tests at a time: many wait for a server or another process.
test: $(READY) ## run the tests; ARGS="-k cache" chooses
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

# Stopped, it goes on where it was.
train: $(READY) ## train the embedded model anew, in training/: hours
	test -d training/input/emoji || $(BIN)/python -m pip install -q -c constraints.txt resvg-py
	test -d training/input/emoji || $(BIN)/python tools/build_emoji_dataset.py training/input
	mkdir -p training/models
	$(BIN)/mezzotint run workflows/train_autoencoder.json $(IN_TRAINING) $(ARGS)
	$(BIN)/mezzotint run workflows/train_embedded_model.json $(IN_TRAINING) $(ARGS)

bench: $(READY) ## measure, print and write docs/benchmarks.md
	$(BIN)/python -m bench $(ARGS)

lint: $(READY) ## check style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

fmt: $(READY) ## mend style and format where a tool can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Two makes at once: the second waits here, then finds the environment ready. The lock goes when its process does.
LOCKED := import fcntl, subprocess, sys; lock = open("$(VENV).lock", "w"); fcntl.flock(lock, fcntl.LOCK_EX); sys.exit(subprocess.call(sys.argv[1:], close_fds=False))
RECENT := import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Mezzotint needs Python 3.11 or newer, and $(PYTHON) is %d.%d. Name a newer one: make PYTHON=python3.12 ..." % sys.version_info[:2])

ifndef INSIDE_LOCK
$(READY): pyproject.toml setup.py constraints.txt
	@command -v "$(PYTHON)" >/dev/null || { echo 'Mezzotint needs Python 3.11 or newer, and "$(PYTHON)" was not found. Name one: make PYTHON=/path/to/python ...' >&2; exit 1; }
	@"$(PYTHON)" -c '$(RECENT)'
	@"$(PYTHON)" -c '$(LOCKED)' $(MAKE) --no-print-directory INSIDE_LOCK=1 $(READY)
else
$(READY): pyproject.toml setup.py constraints.txt
	@echo 'Setting up $(VENV) (several minutes the first time: PyTorch is large) ...'
	@$(if $(MADE_HERE),$(BIN)/python -m pip --version >/dev/null 2>&1 ||) "$(PYTHON)" -m venv --clear $(VENV)
	@rm -f $@
	$(BIN)/python -m pip install --disable-pip-version-check --no-input -c constraints.txt setuptools
	$(BIN)/python -m pip install --disable-pip-version-check --no-input -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@
endif
