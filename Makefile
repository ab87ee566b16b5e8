# make run    a demo server in var/, with everything that it needs
# make test   every test that must pass        make lint   style, types, arrows between rooms
# make bench  how fast it is                   make soak   long runs of the fault and property tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --only-binary apsw-sqlite3mc
# Without compat mode an editable install hides the twistd plugin.
EDITABLE := --config-settings editable_mode=compat

.PHONY: run test lint bench soak clean

run: $(VENV)/.run
	$(BIN)/mailsrv demo var

test: $(VENV)/.test
	$(BIN)/python -m twisted.trial -j2 tests

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(VENV)/.test
	$(BIN)/python -m bench

soak: $(VENV)/.test
	MAILSRV_SOAK=1 $(BIN)/python -m twisted.trial tests.backup tests.faults tests.link tests.mailbox tests.store

clean:
	rm -rf $(VENV) var build *.egg-info _trial_temp* twisted/plugins/dropin.cache

$(VENV)/.venv:
	@$(PYTHON) -m venv $(VENV) || \
	  { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq python3-venv && $(PYTHON) -m venv $(VENV); } || \
	  { echo 'make: this Python makes no virtual environments (Debian: apt install python3-venv)'; exit 1; }
	touch $@

$(VENV)/.run: $(VENV)/.venv setup.cfg pyproject.toml
	$(PIP) --editable . $(EDITABLE)
	touch $@

$(VENV)/.test: $(VENV)/.venv setup.cfg pyproject.toml
	$(PIP) --editable '.[test]' $(EDITABLE)
	touch $@

$(VENV)/.lint: $(VENV)/.venv setup.cfg pyproject.toml
	$(PIP) --editable '.[test,dev]' $(EDITABLE)
	touch $@
