# Two commands set up everything: `make demo` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
WEIGHTS ?= none
DEMO ?= demo

.PHONY: demo test check clean

demo: $(VENV)/.installed
	$(VENV)/bin/eosin demo -o $(DEMO) --weights $(WEIGHTS)

test: $(VENV)/.installed-dev
	PATH="$(abspath $(VENV))/bin:$$PATH" scripts/check

# The whole environment is pinned by one file; -e so that a change is seen at once.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(VENV)/bin/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet -c constraints.txt --group dev
	touch $@


clean:
	rm -rf $(VENV) $(DEMO) dist build .coverage .mypy_cache .pytest_cache .ruff_cache
