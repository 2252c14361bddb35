# `make help` lists the goals. Needs Python 3.8 or newer, make, and PyPI by pip; `make playground`
# also bash, `make test` a C compiler and npm for SQLite 3.7.17 (tests/packaging/sqlite_3_7).

PYTHON ?= python3
VENV := .venv
# A test run may choose what it runs: make test TESTS="tests/unit -k plan"
TESTS ?= tests
JOBS ?= 6

.PHONY: help dev demo playground test lint bench assurance check man rpm tarball clean

# The lines below that begin with two #, as a list: the first goal, which changes nothing.
help:
	@echo 'make GOAL, where GOAL is one of:'
	@sed -n 's/^## \([a-z-]*\): /  \1\t/p' Makefile | expand -t 14

## dev: installs this tree, editable, with all that the tests need, into .venv
dev: $(VENV)/.installed-test
	@echo 'Installed into $(VENV). One test: $(VENV)/bin/python -m pytest tests/unit -k plan; see CONTRIBUTING.md.'

## demo: runs the service on a simulated pool for a minute, and judges each boot
demo: $(VENV)/.installed
	$(VENV)/bin/python -m simulator.demo

## playground: a simulated pool with the service, and a shell to try vgpu-admin and xe in
playground: $(VENV)/.installed
	@$(VENV)/bin/python -m simulator.playground

## test: runs all tests; TESTS="tests/unit -k plan" runs a part
# Several tests at once, and then the one that judges all SQL that they have run.
test: export VGPU_SQL_RECORDING := $(CURDIR)/build/sqlite_floor/recording-make.jsonl
# Byte-code is kept whatever the environment says: the tests start thousands of Pythons. It is
# written before several processes would do that at once (collecting writes that of the tests), as
# is hypothesis' table of characters.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(VENV)/.installed-test
	mkdir -p build/sqlite_floor && rm -f $(VGPU_SQL_RECORDING)
	$(VENV)/bin/python -m compileall -q cli registry watcher simulator tests
	$(VENV)/bin/python -c 'from hypothesis import strategies; strategies.text().validate()'
	@$(VENV)/bin/python -m pytest --collect-only -qq $(TESTS) >/dev/null || :
	$(VENV)/bin/python -m pytest -n $(JOBS) -m "not runs_last" $(TESTS)
	$(VENV)/bin/python -m pytest -m runs_last tests/packaging/sqlite_3_7

## lint: ruff and mypy, as CI runs them
lint: $(VENV)/.installed-lint
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy --cache-dir build/mypy

## bench: runs the benchmarks, prints a table, and writes build/bench.svg, a plot of the latencies
# BENCH_JSON=FILE also writes JSON, BENCH_TABLE=FILE the table of docs/performance.md; SCENARIOS="…"
# does a part.
BENCH_PLOT ?= build/bench.svg
bench: $(VENV)/.installed-test
	BENCH_JSON="$(BENCH_JSON)" BENCH_TABLE="$(BENCH_TABLE)" BENCH_PLOT="$(BENCH_PLOT)" \
		$(VENV)/bin/python -m benchmarks $(SCENARIOS)

## assurance: runs what the figures of docs/assurance.md come from, for hours
# The figures of docs/assurance.md; ASSURANCE="--boots 20000 --only storm model" does a part.
assurance: $(VENV)/.installed-test
	$(VENV)/bin/python -m tests.verification.assurance $(ASSURANCE)

## check: runs the tests of structure, imports and shipped files only
check: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest tests/meta/test_architecture.py tests/meta/test_deploy.py

## man: writes the man pages
# The man pages, after a change of commands, options, keys or version.
man: $(VENV)/.installed
	$(VENV)/bin/python -m docs.man

## rpm: builds the RPM for dom0, into dist/
## tarball: builds the tarball for dom0, into dist/
# What dom0 installs, into dist/. rpm takes Debian's rpmbuild, and installs it where it may.
rpm tarball: $(VENV)/.installed
	$(VENV)/bin/python -m deploy.package $@

## clean: removes what was installed and built
clean:
	rm -rf $(VENV) build dist *.egg-info

# Once, and again when pyproject.toml changes. Editable, so that the installed programs are the
# code of this tree; pip itself first, since what Python 3.8 brings cannot do that. Quiet twice: once
# leaves setuptools' warning about editable installs.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(VENV)/bin/python -m pip install --quiet --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-lint: $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet --quiet --disable-pip-version-check --editable '.[lint]'
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet --quiet --disable-pip-version-check --editable '.[test]'
	touch $@
