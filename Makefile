# The two commands of a new machine are `make demo` and `make test`; each does its own set-up.

# The first Python that will do; another one: make demo PYTHON=/where/it/is
WILL_DO := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c '$(WILL_DO)' 2>/dev/null && echo $$python && exit; done; echo python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# What the demo needs is half of what the tests need.
READY := $(VENV)/.ready
TESTS_READY := $(VENV)/.tests-ready
# Two workers: a test that starts TensorFlow uses a core by itself.
WORKERS ?= 2

# A real Kubernetes, Argo and Kubeflow Pipelines on this machine: tests/cluster/README.md
CLUSTER := tests/cluster

.PHONY: demo refused test test-slow test-containers test-cluster cluster-up cluster-down lint types bench install-postgres clean

# A changed setup.py updates the environment; an installation that was interrupted leaves no mark, and begins anew.
$(READY): setup.py pyproject.toml
	@$(PYTHON) -c '$(WILL_DO)' 2>/dev/null || { \
		echo "expected Python 3.11, 3.12 or 3.13, but $(PYTHON) gives: $$($(PYTHON) --version 2>&1 | head -n 1)"; \
		echo "    fix: install one, or say where it is: make PYTHON=/usr/local/bin/python3.12"; exit 2; } >&2
	test -e $@ || $(PYTHON) -m venv --clear $(VENV)
	rm -f $@ $(TESTS_READY)
	$(PIP) install "setuptools>=77"
	$(PIP) install --no-build-isolation --editable '.[run,demo]'
	touch $@

$(TESTS_READY): $(READY)
	rm -f $(READY)
	$(PIP) install --no-build-isolation --editable '.[run,demo,postgres,tft,dev]'
	touch $(READY) $@

# The main job: 336,776 flights from CSV files to a pushed SavedModel, then proof that it serves from raw fields.
demo: $(READY)
	$(BIN)/headrace run examples/flights/pipeline.py
	$(BIN)/python -m examples.flights.proof

# The same pipeline on the schedule alone: it does not beat a constant, and is refused. Exit code 3 is what is wanted.
refused: $(READY)
	$(BIN)/headrace run examples/flights/pipeline.py -p weather=false; test $$? -eq 3

test: $(TESTS_READY) lint types
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow and not cluster and not containers"

# One after the other, for each takes the machine; with what they print, such as the states that kills hit.
test-slow: $(TESTS_READY)
	$(BIN)/python -m pytest -m slow -rP --durations 10

# Headrace's images, built by a Docker daemon of our own that ends with the tests; where it cannot run, that is said.
test-containers: $(TESTS_READY)
	$(BIN)/python -m pytest -m containers -rs -s tests/kubeflow/image

# The first time a quarter of an hour of building, then half a minute. Tests as one likes: pytest -m cluster tests/cluster
cluster-up:
	$(CLUSTER)/install.sh
	$(CLUSTER)/build.sh
	$(CLUSTER)/up.sh --kfp

cluster-down:
	$(CLUSTER)/down.sh

# The cluster ends with this shell, however it ends. Where the machine allows none (status 77), that is said and no error.
test-cluster: $(TESTS_READY)
	@trap '$(CLUSTER)/down.sh' EXIT; trap 'exit 130' INT TERM; \
	$(CLUSTER)/install.sh && $(CLUSTER)/build.sh && $(CLUSTER)/up.sh --kfp --while $$$$ \
		&& $(BIN)/python -m pytest -m cluster $(CLUSTER); \
	status=$$?; test $$status -ne 77 || status=0; exit $$status

lint: $(TESTS_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(TESTS_READY)
	$(BIN)/mypy typings/headrace/pipelines $(if $(wildcard kubeflow/*.py),typings/headrace/kubeflow)

bench: $(TESTS_READY)
	$(BIN)/python -m benchmarks

# PostgreSQL's server for the store's tests; they are skipped where it is not installed. Debian and Ubuntu.
install-postgres:
	apt-get update -qq
	apt-get install --yes --no-install-recommends postgresql

clean:
	rm -rf $(VENV) .headrace build dist *.egg-info
