# The tasks of a developer. You need Python 3.11 or newer and make. Each target sets up what it needs the first time.
#
#   make demo    index documents that every machine has, and search them
#   make test    run all tests except the long ones
#   make lint    check style, import layers and types
#   make bench   run the benchmarks. Each prints one JSON object, or {"skipped": why} if it lacks a server
#   make chaos   run the long failure tests: many kills at random moments. Together they may take 20 minutes

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup demo test lint bench chaos

setup: $(READY)

demo: $(READY)
	@$(BIN)/python docs/demo.py

test: $(READY)
	$(BIN)/pytest -n 4 --dist worksteal -m "not chaos"

chaos: $(READY)
	$(BIN)/pytest -m chaos

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

bench: $(READY)
	@set -e; for benchmark in benchmarks/*.py; do $(BIN)/python $$benchmark; done

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is required, for example: apt install python3.11 python3.11-venv"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) can't create virtual environments: apt install $$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"; exit 1; }
	@echo "Setting up .venv from constraints.txt. This takes some minutes the first time only."
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
