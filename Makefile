# `make study` and `make test` need Python >= 3.11, pip and make; everything else is installed into $(VENV).
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= results/study
NOTEBOOKS := $(sort $(notdir $(wildcard notebooks/*.ipynb)))

.PHONY: study notebooks test test-slow mutants lint bench clean

study: $(VENV)/.core
	$(BIN)/manifold-id study --out $(OUT)

notebooks: $(VENV)/.notebooks
	mkdir -p results/notebooks
	set -e; for name in $(NOTEBOOKS); do \
		$(BIN)/papermill notebooks/$$name results/notebooks/$$name; \
		$(BIN)/python -m nbconvert --to html results/notebooks/$$name; \
	done

test: $(VENV)/.all
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(VENV)/.all
	$(BIN)/python -m pytest -m slow --timeout 3600

mutants: $(VENV)/.all
	$(BIN)/python tests/mutants/run.py

lint: $(VENV)/.all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.all
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[all,bench]"
	$(BIN)/python benchmarks/collect.py

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python >= 3.11 is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install pip; }

$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@echo "compiling the kernels once; they are cached"
	$(BIN)/manifold-id study --seeds 1 --steps 10 --out $(VENV)/warm-up >/dev/null
	touch $@

$(VENV)/.notebooks: $(VENV)/.core
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[notebooks,nn]"
	touch $@

$(VENV)/.all: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[all]"
	touch $(VENV)/.core $(VENV)/.notebooks $@

clean:
	rm -rf $(VENV) results .pytest_cache .mypy_cache .ruff_cache
