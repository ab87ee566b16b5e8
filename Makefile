# make run: a demo server.  make test: everything that must pass.  make lint: style, types, arrows.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: lint test
lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

test: $(VENV)/.dev
	$(BIN)/python -m twisted.trial -j2 tests

$(VENV)/.dev: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --only-binary apsw-sqlite3mc -e '.[dev,test]' --config-settings editable_mode=compat
	touch $@
