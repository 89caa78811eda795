# The two commands of a new machine are `make demo` and `make test`; each does its own set-up.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Two workers: a test that starts TensorFlow uses a core by itself.
WORKERS ?= 2

.PHONY: demo refused test test-slow lint types bench install-postgres clean

$(READY): setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip "setuptools>=69"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[run,postgres,dev]'
	touch $@

# The main job: 336,776 flights from CSV files to a pushed SavedModel, then proof that it serves from raw fields.
demo: $(READY)
	$(BIN)/headrace run examples/flights/pipeline.py
	$(BIN)/python -m examples.flights.proof

# The same pipeline on the schedule alone: it does not beat a constant, and is refused. Exit code 3 is what is wanted.
refused: $(READY)
	$(BIN)/headrace run examples/flights/pipeline.py -p weather=false; test $$? -eq 3

test: $(READY) lint types
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow"

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy typings/headrace/pipelines typings/headrace/kubeflow

bench: $(READY)
	$(BIN)/python -m benchmarks

# PostgreSQL's server for the store's tests; they are skipped where it is not installed. Debian and Ubuntu.
install-postgres:
	apt-get update -qq
	apt-get install --yes --no-install-recommends postgresql

clean:
	rm -rf $(VENV) .headrace build dist *.egg-info
