# Everything runs in .venv, made on first use. `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
# Where the real image sets lie, for the tests that need them; they are skipped without.
MEDCLS_REAL_DATA ?= $(wildcard ../shared/data)
export MEDCLS_REAL_DATA
# Of mkdocs-material, at each build: that it ends in 2027 (docs/decisions.md).
export NO_MKDOCS_2_WARNING := 1
# A test process a core; neighbouring tests stay together, for what they share, until one process runs out of them.
AT_ONCE := --numprocesses auto --dist worksteal

.PHONY: help train test test-all test-fast test-slow test-faults test-gate check audit-deps docs results bench bench-all bench-gpu clean
.DEFAULT_GOAL := help

help:  ## List what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

train: .venv/installed  ## Train MobileNetV3 on breast ultrasound (phantoms, where data/breast_cancer does not exist)
	$(BIN)/python -m medcls.train model=mobilenetv3 data=breast_cancer

check: .venv/installed-dev  ## Lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Beside one another: types take one core for most of a minute where nothing is cached.
test: .venv/installed-dev  ## Lint, types and all tests not marked slow, on all cores
	@$(MAKE) --no-print-directory --jobs 2 check test-fast

test-all: test  ## The slow tests too
	@$(MAKE) --no-print-directory test-slow
	@$(MAKE) --no-print-directory test-faults

test-fast: .venv/installed-dev
	$(BIN)/python -m pytest -q -m 'not slow' $(AT_ONCE)

test-slow: .venv/installed-dev
	$(BIN)/python -m pytest -q -m slow $(AT_ONCE) --ignore tests/faults

test-faults: .venv/installed-dev  ## Kill, fill, cut and change what a run needs; MEDCLS_KILLS=25 kills 50 times with a frozen phase
	$(BIN)/python -m pytest -q -m slow $(AT_ONCE) tests/faults

# The rows of the gate (networks, all pairs of settings, studies) that the fast tests leave out.
test-gate: .venv/installed-dev
	$(BIN)/python -m pytest -q -m slow $(AT_ONCE) tests/gate/test_networks.py tests/gate/test_pairwise.py tests/gate/test_experiments.py

# strict: a package that cannot be looked up is an error.
audit-deps: .venv/audit/bin/pip-audit  ## Look up known vulnerabilities of the pinned packages (needs the network)
	.venv/audit/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

.venv/audit/bin/pip-audit:
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/python -m pip install --quiet pip-audit

docs: .venv/installed-dev  ## Build the pages of docs/ into site/; a broken link ends it
	$(BIN)/mkdocs build --strict --quiet
	@echo site/index.html

results: .venv/installed-dev  ## Write experiments/RESULTS.md; ROW=breast_cancer measures a row first, or goes on with it
	$(BIN)/python -m benchmarks.studies $(if $(ROW),--row $(ROW))

bench: .venv/installed-dev  ## Measure the core: step, training, frozen phase, prediction, start-up (10 minutes)
	$(BIN)/python -m benchmarks.step
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.frozen
	$(BIN)/python -m benchmarks.inference
	$(BIN)/python -m benchmarks.predict
	$(BIN)/python -m benchmarks.start_up

bench-all: bench  ## And the rest: peers, memory, growth, decoding, shared cores, processes, sweeps, the cache, listing, near copies
	$(BIN)/python -m benchmarks.inference --compile --out runs/bench/inference_compiled.json
	$(BIN)/python -m benchmarks.peers
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.growth
	$(BIN)/python -m benchmarks.decoding
	$(BIN)/python -m benchmarks.shared_cores
	$(BIN)/python -m benchmarks.ddp
	$(BIN)/python -m benchmarks.sweeps
	$(BIN)/python -m benchmarks.cache
	$(BIN)/python -m benchmarks.listing
	$(BIN)/python -m benchmarks.duplicates

bench-gpu: .venv/installed-dev  ## Measure training on a GPU; without one the table says so
	$(BIN)/python -m benchmarks.gpu

clean:  ## Remove what was made here, but no run and no data
	rm -rf .venv build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
