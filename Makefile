# Each target works from nothing but Python, git and make: it makes .venv and installs what it needs there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test check lint types contracts bench soak docs format clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## a tenant from order to report, on two embedded servers
	$(BIN)/python runners/waldur_agent.py demo

test: $(STAMP) ## the tests (random order, warnings are errors, loopback only)
	$(BIN)/python -m pytest -n 3 --dist worksteal  # three for two cores: there is always one that waits for something

lint: $(STAMP) ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

contracts: $(STAMP) ## imports point down the layers
	$(BIN)/lint-imports

check: lint types contracts test ## everything that CI runs

bench: $(STAMP) ## calls, bytes and time beside a raw request
	$(BIN)/python -m bench

soak: $(STAMP) ## 100 mixed orders with faults on both sides and kills of the agent
	$(BIN)/python -m onetenant_waldur.soak

docs: $(STAMP) ## HTML in docs/_build/html
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,docs]'
	$(BIN)/python -m sphinx -W -q -b html docs docs/_build/html

format: $(STAMP) ## put the code in shape
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

clean: ## remove what was built
	rm -rf $(VENV) build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
