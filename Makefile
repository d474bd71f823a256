# `make run` and `make test` make the environment themselves; `make lint` is part of `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: run test lint docs clean

run: $(INSTALLED)
	$(BIN)/kindred run pipelines/cases/digits.yaml

# What is tested beside what `make run` installs: the solver of nash_mtl, which is under the GPL.
test: lint
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[nash-mtl]'
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The site, into site/: it fails where a link leads nowhere.
docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# torch first and by its pinned version: a resolver left alone may take a build with CUDA packages.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache kindred-runs site
