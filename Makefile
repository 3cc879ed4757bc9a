# One line a target; everything runs in .venv, made by uv where it is present, by venv and pip otherwise.
.PHONY: demo check test smoke tests lab pair
unexport PYTHONDONTWRITEBYTECODE
PYTHON := .venv/bin/python
SOURCES := pyproject.toml constraints.txt
UV := $(shell uv --version >/dev/null 2>&1 && echo uv)

ifdef UV
# uv does not read pip's settings: hand over the folder of wheels, where the user has set one.
ifndef UV_FIND_LINKS
WHEELS := $(shell python3 -m pip config get global.find-links 2>/dev/null | xargs | tr ' ' ',')
ifneq ($(WHEELS),)
export UV_FIND_LINKS := $(WHEELS)
endif
endif
INSTALL := $(UV) pip install --quiet --python $(PYTHON)
else
# Byte code comes with the first import: all of it, in advance, takes minutes.
INSTALL := $(PYTHON) -m pip install --quiet --no-compile
endif

demo: .venv/installed-demo  ## restore the embedded photos, execute the notebooks, write tables and pages
	$(PYTHON) -m benchmarks.run --profile demo

check: .venv/installed-demo  ## run the demo anew, or ONLY=40_one_expert, and compare with the committed rows
	$(PYTHON) -m benchmarks.check $(if $(ONLY),--only $(ONLY))

test: .venv/installed-dev  ## what continuous integration runs; a notebook leaves a core idle, so its last two run at once
	$(PYTHON) -m ruff check .
	@$(MAKE) --no-print-directory --jobs 2 smoke tests

smoke: .venv/installed-dev  ## the notebooks in their smallest form, and their numbers
	$(PYTHON) -m benchmarks.check --profile smoke

tests: .venv/installed-dev  ## whether the code is right
	$(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 10

lab: .venv/installed-demo  ## read and try: JupyterLab on the map of the notebooks
	$(PYTHON) -m jupyterlab notebooks/00_map.ipynb

pair: .venv/installed-demo  ## write notebooks/*.ipynb anew from notebooks/*.py
	$(PYTHON) -m benchmarks.pair

.venv/installed-demo: $(SOURCES) | $(PYTHON)
	$(INSTALL) -c constraints.txt -e '.[notebooks,train]'
	@touch $@

.venv/installed-dev: $(SOURCES) | $(PYTHON)
	$(INSTALL) -c constraints.txt -e '.[dev]'
	@touch $@

$(PYTHON):
ifdef UV
	$(UV) venv --quiet --allow-existing --python 3.11 .venv
else
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "unires needs Python 3.11 or newer")'
	python3 -m venv .venv
endif
