# These set up all that they need: `make demo`, `make test`, `make test-backends`,
# `make docs`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
WEIGHTS ?= none
DEMO ?= demo
PIP = $(VENV)/bin/python -m pip install --quiet -c constraints.txt

.PHONY: demo test test-backends docs clean

demo: $(VENV)/.installed
	$(VENV)/bin/eosin demo -o $(DEMO) --weights $(WEIGHTS)

test: $(VENV)/.installed-dev
	PATH="$(abspath $(VENV))/bin:$$PATH" scripts/check

# From slides to predictions, and every aggregator, with Keras on other backends. They
# have an environment of their own of 4.5 GB, as TensorFlow and JAX are large.
test-backends: $(VENV)-backends/.installed
	for backend in tensorflow jax; do \
	  KERAS_BACKEND=$$backend OMP_NUM_THREADS=1 $(VENV)-backends/bin/python -m pytest \
	    -m "backends or not slow" tests/workflows/test_backends.py \
	    tests/models/aggregators/test_registry.py || exit 1; \
	done

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

$(VENV)-backends/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-backends
	$(VENV)-backends/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(VENV)-backends/bin/python -m pip install --quiet -c constraints.txt \
	  -e ".[train,tensorflow,jax]" --group dev
	touch $@

# What is not trained needs no torch, and neither do the pages.
$(VENV)/.installed-docs: $(VENV)/.made
	$(PIP) -e . --group docs
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-backends $(DEMO) site dist build .coverage .mypy_cache .pytest_cache .ruff_cache
