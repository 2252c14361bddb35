# make demo | test | bench | assurance | check | man | rpm | tarball | clean. Needs Python 3.8 or
# newer, make, and PyPI by pip; `make test` also a C compiler and npm for SQLite 3.7.17 (tests/sqlite_floor).

PYTHON ?= python3
VENV := .venv
# A test run may choose what it runs: make test TESTS="tests/unit -k plan"
TESTS ?= tests
JOBS ?= 6

.PHONY: demo test bench assurance check man rpm tarball clean

demo: $(VENV)/.installed
	$(VENV)/bin/python -m simulator.demo

# Several tests at once, and then the one that judges all SQL that they have run.
test: export VGPU_SQL_RECORDING := $(CURDIR)/build/sqlite_floor/recording-make.jsonl
test: $(VENV)/.installed-test
	mkdir -p build/sqlite_floor && rm -f $(VGPU_SQL_RECORDING)
	$(VENV)/bin/python -m pytest -n $(JOBS) --dist loadgroup -m "not runs_last" $(TESTS)
	$(VENV)/bin/python -m pytest -m runs_last tests/sqlite_floor

# BENCH_JSON=FILE also writes JSON, BENCH_TABLE=FILE the table of docs/performance.md; SCENARIOS="…"
# does a part.
bench: $(VENV)/.installed-test
	BENCH_JSON="$(BENCH_JSON)" BENCH_TABLE="$(BENCH_TABLE)" $(VENV)/bin/python -m benchmarks $(SCENARIOS)

# The figures of docs/assurance.md; ASSURANCE="--boots 20000 --only storm model" does a part.
assurance: $(VENV)/.installed-test
	$(VENV)/bin/python -m tests.assurance $(ASSURANCE)

check: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest tests/test_architecture.py tests/test_deploy.py

# The man pages, after a change of commands, options, keys or version.
man: $(VENV)/.installed
	$(VENV)/bin/python -m docs.man

# What dom0 installs, into dist/. rpm takes Debian's rpmbuild, and installs it where it may.
rpm tarball: $(VENV)/.installed
	$(VENV)/bin/python -m deploy.package $@

clean:
	rm -rf $(VENV) build dist *.egg-info

# Once, and again when pyproject.toml changes. Editable, so that the installed programs are the
# code of this tree; pip itself first, since what Python 3.8 brings cannot do that.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@
