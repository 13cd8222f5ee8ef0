# Three commands set up all that they need: `make demo`, `make test`, `make docs`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
WEIGHTS ?= none
DEMO ?= demo
PIP = $(VENV)/bin/python -m pip install --quiet -c constraints.txt

.PHONY: demo test docs clean

demo: $(VENV)/.installed
	$(VENV)/bin/eosin demo -o $(DEMO) --weights $(WEIGHTS)

test: $(VENV)/.installed-dev
	PATH="$(abspath $(VENV))/bin:$$PATH" scripts/check

# The pages are in site/; a link to nowhere is an error.
docs: $(VENV)/.installed-docs
	$(VENV)/bin/mkdocs build --strict

# The whole environment is pinned by one file; -e so that a change is seen at once.
$(VENV)/.made: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	touch $@

$(VENV)/.installed: $(VENV)/.made
	$(PIP) -e ".[train]"
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --group dev
	touch $@

# What is not trained needs no torch, and neither do the pages.
$(VENV)/.installed-docs: $(VENV)/.made
	$(PIP) -e . --group docs
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) site dist build .coverage .mypy_cache .pytest_cache .ruff_cache
