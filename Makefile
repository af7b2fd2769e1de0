# Two commands do everything on a machine with Python and pip: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH ?= 2.13.0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export OMP_NUM_THREADS ?= 2

# tests that measure seconds have the machine to themselves
TIMED := tests/cli/test_inspect.py tests/cli/test_main.py tests/codec/test_expressions.py

.DEFAULT_GOAL := help
.PHONY: help demo test quick lint types bench cross corpus clean

help: ## show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.base: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "torch==$(TORCH)"
	$(BIN)/python -m pip install --quiet --editable ".[remote]"
	@touch $@

$(VENV)/.test: $(VENV)/.base
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	@touch $@

demo: $(VENV)/.base ## save a transformer's graph, inspect it, load it in a second process, compare; open old files
	PYTHONWARNINGS="ignore:Failed to initialize NumPy" $(BIN)/python examples/demo.py

test: lint types ## run everything that checks
	$(BIN)/python -m pytest $(TIMED)
	$(BIN)/python -m pytest -n 2 --dist worksteal $(TIMED:%=--deselect=%)

quick: $(VENV)/.test ## run the tests that take seconds
	$(BIN)/python -m pytest -m "not slow"

lint: $(VENV)/.test ## ruff: style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test ## mypy, strict
	$(BIN)/mypy

bench: $(VENV)/.test ## compare with the peers in one run
	$(BIN)/python -m benchmarks

cross: $(VENV)/.test ## write and read with other torch releases (TORCHES="2.8.0 2.15.0"); downloads them
	$(BIN)/python -m tests.cross $(TORCHES)

corpus: $(VENV)/.test ## add an entry to the regression corpus (NAME=...)
	$(BIN)/python -m tests.corpus.add $(NAME)

clean: ## remove the virtual environment and what tools left
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
