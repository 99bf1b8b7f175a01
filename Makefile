# Each target sets up .venv by itself when it is missing or older than what it is made from.
PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: venv run test test-slow lint format bench dashboard clean
.DEFAULT_GOAL := run

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

venv: $(STAMP)

run: venv  ## the main job: an online experiment of three rankers, and its Table 1
	$(BIN)/storelift run --preset quick

test: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -n auto

test-slow: venv
	$(BIN)/pytest -q -m slow

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: venv
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: venv  ## every benchmark; what moved by more than the noise of the runs before
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/guard.py

dashboard: venv
	$(BIN)/storelift dashboard runs

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
