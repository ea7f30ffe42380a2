# Counterpoint's verbs; `make` prints them. Everything lands in .venv, nothing needs root.

.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --compile --constraint constraints.txt

help: ## print the verbs
	@sed -n 's/^\([a-z-]*\):[^#]*## */\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  make %-16s %s\n", $$1, $$2 }'

setup: .venv/.dev ## make .venv with all that developing needs
	@:

fmt: .venv/.dev ## put every file in shape
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

lint: .venv/.dev ## say what is out of shape
	@$(BIN)/ruff check . && $(BIN)/ruff format --check --quiet .

types: .venv/.dev ## check the types
	@$(BIN)/mypy && $(BIN)/mypy --package bench

imports: .venv/.dev ## check that imports point inwards
	@$(BIN)/lint-imports --no-logo

test: .venv/.dev ## set up what is missing and run every test
	@$(BIN)/pytest

scenarios: .venv/.dev ## run the stories of tests/scenarios only
	@$(BIN)/pytest tests/scenarios

contracts: .venv/.dev ## run what every adapter of a port must pass
	@$(BIN)/pytest tests/contracts

check: lint types imports test ## what CI runs: lint, types, imports, test

sim: .venv/.dev ## play random scores and faults against every invariant: make sim SEEDS=1000 FIRST=0
	@$(BIN)/python -m counterpoint.testing.trials --seeds $(or $(SEEDS),300) --first $(or $(FIRST),0)

demo: .venv/.demo ## play the TrendCart example to its end
	@DBT_SEND_ANONYMOUS_USAGE_STATS=false DO_NOT_TRACK=1 $(BIN)/python examples/trendcart/demo.py

bench: .venv/.dev ## measure; tables here, JSON in bench/out
	@$(BIN)/python -m bench

bench-scheduling: .venv/.dev ## measure scheduling in virtual time; the figures repeat exactly
	@$(BIN)/python -m bench.scheduling

docs: .venv/.dev ## write the generated pages of docs/reference anew
	@$(BIN)/python docs/generate.py

clean: ## remove what was made here, .venv included
	@rm -rf .venv build dist bench/out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is older than what it depends on when something must be installed anew.
.venv/.dev: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing what developing needs into .venv (a minute or two, once)"
	@$(INSTALL) --editable '.[dev]'
	@$(BIN)/python -m compileall -q src
	@touch $@ .venv/.demo

.venv/.demo: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing what the demo needs into .venv (a minute, once)"
	@$(INSTALL) --editable '.[demo]'
	@$(BIN)/python -m compileall -q src
	@touch $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed, '$(PYTHON)' is $$($(PYTHON) -V 2>&1 || echo not there);" \
			"name another one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { \
		echo "The venv module is missing; install it with:"; \
		echo "  sudo apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -m venv .venv

.PHONY: help setup fmt lint types imports test scenarios contracts check sim demo bench bench-scheduling docs clean
