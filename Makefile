# The two that matter:  make demo   make test
VENV ?= .venv
PYTHON ?= python3.11
BIN = $(VENV)/bin
export HF_HUB_DISABLE_TELEMETRY = 1

.PHONY: demo test attack lint types docs clean

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/labelsieve demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest

attack: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

docs: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/sphinx-build -q -W docs docs/_build/html

clean:
	rm -rf $(VENV) labelsieve-demo labelsieve-run .pytest_cache .mypy_cache .ruff_cache
