# make train | make test: from a bare machine (python3.11 or newer, make) to the result.

SHELL := /bin/bash
PYTHON ?= $(firstword $(shell command -v python3.11 python3.12 python3.13 python3))
VENV := .venv
BIN := $(VENV)/bin

OLDEST := .venv-oldest
TESTS ?= tests

.PHONY: help train test test-oldest lint

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 12

train: $(VENV)/installed  ## set up, then train LeNet-5 with our own layers on handwritten digits
	$(BIN)/python train.py

test: $(VENV)/installed-dev  ## set up, then run the tests
	$(BIN)/python -m pytest

test-oldest: $(OLDEST)/installed  ## the tests (or TESTS=...) with the oldest releases that requirements.txt allows
	$(OLDEST)/bin/python -m pytest -o filterwarnings=default $(TESTS)

lint: $(VENV)/installed-dev  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The stamps make a second call install nothing, until the requirements change.
$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: requirements.txt | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	touch $@

# Every ">=" of requirements.txt is read as "==".  What these packages need is new, and warns of what
# they do; so no warning is an error there.
$(OLDEST)/installed: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv --clear $(OLDEST)
	sed -n 's/>=/==/p' $< > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/pip install --quiet --disable-pip-version-check \
		$(addprefix -r ,$^) --constraint $(OLDEST)/constraints.txt
	touch $@
