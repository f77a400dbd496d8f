# The few commands of the project. `make run` and `make test` set everything up by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Without setuptools' advice to packagers; errors are still shown.
INSTALL := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check
# More than cores: half of the time of tests is waiting.
PYTEST_WORKERS ?= 3
PYTEST := pytest -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)
BUF_VERSION := 1.75.0
NODE_OPCUA_VERSION := 2.186.4
# Tests and `uem up` start many processes: each would compile all of our Python anew where this is set.
unexport PYTHONDONTWRITEBYTECODE
SOURCES := setup.py pyproject.toml $(shell find twin_core hardware_adapters protos -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.h' 2>/dev/null) $(shell find protos -name '*.proto')
.DELETE_ON_ERROR:
.PHONY: run dev test coverage fuzz chaos lint protos bench docs clean check-prerequisites

run: $(VENV)/.run ## install, compile and start the main job
	@# In a terminal `uem up` gets a job of its own: Ctrl-C then reaches it and not make, which would end with 130.
	@if [ -t 0 ]; then set -m; fi; $(BIN)/uem up

dev: $(VENV)/.dev ## everything for work on the project

test: $(VENV)/.test $(VENV)/.node-opcua ## all tests
	$(BIN)/python -m $(PYTEST)

coverage: $(VENV)/.test $(VENV)/.node-opcua ## all tests, and how much of our Python code they reach; takes twice the time
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m $(PYTEST)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --fail-under=90 --skip-covered

fuzz: $(VENV)/.test ## a million mutated messages through the OPC UA decoder, compiled with sanitizers
	$(BIN)/python tests/hardware_adapters/opcua/fuzz.py --sanitize --mutations 1000000

chaos: $(VENV)/.test $(VENV)/.node-opcua ## a hundred outages between us and an OPC UA plant, timed
	UEM_CHAOS=100 $(BIN)/python -m pytest -q -s tests/hardware_adapters/opcua/test_chaos.py

lint: $(VENV)/.dev $(VENV)/.buf ## ruff, mypy --strict, buf lint, stubs compared, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd protos && ../$(VENV)/node_modules/.bin/buf lint
	$(BIN)/python protos/generate.py --check
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/test_layers.py

protos: $(VENV)/.dev ## regenerate the stubs from the .proto files
	$(BIN)/python protos/generate.py

bench: $(if $(findstring --short,$(BENCH_ARGS)),$(VENV)/.test,$(VENV)/.bench) $(VENV)/.node-opcua ## all benchmarks, with the peers in the same run
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

docs: $(VENV)/.bench $(VENV)/.node-opcua ## regenerate the tables in README and docs
	$(BIN)/python docs/tables.py

clean: ## remove what the other commands made
	rm -rf build dist $(VENV) .mypy_cache .ruff_cache .pytest_cache .coverage .coverage.* bench.json *.egg-info
	find twin_core hardware_adapters protos -name '*.so' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

check-prerequisites:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || \
	  { echo "uem needs Python 3.11 to 3.13; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Say which one: make run PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "uem needs Python's venv module. On Debian: apt-get install python3-venv" >&2; exit 1; }
	@command -v $${CC:-cc} >/dev/null || \
	  { echo "uem needs a C compiler. On Debian: apt-get install gcc libc6-dev" >&2; exit 1; }
	@$(PYTHON) -c 'import sysconfig, pathlib, sys; sys.exit(not (pathlib.Path(sysconfig.get_paths()["include"]) / "Python.h").is_file())' || \
	  { echo "uem needs the headers of Python. On Debian: apt-get install python3-dev" >&2; exit 1; }

$(VENV)/bin/python: | check-prerequisites
	@echo "uem: making $(VENV) (once)"
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade "pip>=24" "setuptools>=77" "cython>=3.1" "numpy>=2.0"

$(VENV)/.run: $(VENV)/bin/python $(SOURCES)
	@echo "uem: installing and compiling"
	$(INSTALL) --no-build-isolation --editable '.[protocols]'
	@touch $@

$(VENV)/.test: $(VENV)/bin/python $(SOURCES)
	$(INSTALL) --no-build-isolation --editable '.[test]'
	@touch $@ $(VENV)/.run

$(VENV)/.dev: $(VENV)/bin/python $(SOURCES)
	$(INSTALL) --no-build-isolation --editable '.[test,lint]'
	@touch $@ $(VENV)/.run $(VENV)/.test

$(VENV)/.bench: $(VENV)/bin/python $(SOURCES)
	$(INSTALL) --no-build-isolation --editable '.[test,bench,peers]'
	@touch $@

$(VENV)/.buf:
	@command -v npm >/dev/null || { echo "make lint needs npm for buf. On Debian: apt-get install nodejs npm" >&2; exit 1; }
	npm install --silent --no-fund --no-audit --prefix $(VENV) @bufbuild/buf@$(BUF_VERSION)
	@touch $@

# The plant of an independent OPC UA stack that tests read from. Its packages have no scripts to run.
$(VENV)/.node-opcua: | $(VENV)/bin/python
	@command -v npm >/dev/null || { echo "make test needs npm for node-opcua. On Debian: apt-get install nodejs npm" >&2; exit 1; }
	npm install --silent --no-fund --no-audit --ignore-scripts --prefix $(VENV) node-opcua@$(NODE_OPCUA_VERSION)
	@touch $@
