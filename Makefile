# make train | make test: from a bare machine (python3.11 or newer, make) to the result.

SHELL := /bin/bash
PYTHON ?= $(firstword $(shell command -v python3.11 python3.12 python3.13 python3))
VENV := .venv
BIN := $(VENV)/bin

OLDEST := .venv-oldest
TESTS ?= tests
PROCESSES ?= logical
PYTEST = -m pytest --numprocesses $(PROCESSES) --dist worksteal

COPIED := analysis layers models tests training pyproject.toml $(wildcard *.py)
REDUCED := tests/layers tests/ops tests/models/test_lenet.py tests/models/test_alexnet.py \
	tests/models/test_googlenet.py tests/models/test_zfnet.py

.PHONY: help train tour test test-slow test-without-kernels test-without-numba test-oldest lint

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 12

train: $(VENV)/installed  ## set up, then train LeNet-5 with our own layers on handwritten digits
	$(BIN)/python train.py

tour: $(VENV)/installed  ## run every command of docs/chapter.md: one page of what they print and draw
	$(BIN)/python docs/tour.py --output tour

test: $(VENV)/installed-dev  ## set up, then run the tests
	$(BIN)/python $(PYTEST)
	TRITON_INTERPRET=1 $(BIN)/python $(PYTEST) tests/triton  # the kernels of a GPU, on a CPU

test-slow: $(VENV)/installed-dev  ## what takes minutes: runs that are killed, several processes, memory measured
	$(BIN)/python -m pytest -m slow

test-without-kernels: $(VENV)/installed-dev  ## the functional tests, in a copy without layers/kernels/
	rm -rf build/without-kernels && mkdir -p build/without-kernels
	cp -r $(COPIED) build/without-kernels
	rm -r build/without-kernels/layers/kernels
	cd build/without-kernels && ../../$(BIN)/python $(PYTEST) $(REDUCED)

test-without-numba: $(VENV)/installed-dev  ## the functional tests, in a copy that finds no numba
	rm -rf build/without-numba && mkdir -p build/without-numba
	cp -r $(COPIED) build/without-numba
	echo 'raise ImportError("No module named numba")' > build/without-numba/numba.py
	cd build/without-numba && ../../$(BIN)/python $(PYTEST) -W "ignore:numba cannot" $(REDUCED)

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
