# Daybook: everything a person does with this repository. `make help` lists it.
# Needs make and Python 3.11 or newer; everything else is installed into .venv from the locks, by hash.

SHELL := /bin/sh
.DEFAULT_GOAL := help

# The newest Python on the path, unless PYTHON says which; its version is checked before it is used.
PYTHON ?= $(shell for name in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo "$$name"; break; fi; done)
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check --no-input --require-hashes --no-deps
PYTEST_ARGS ?= -n auto
COMPILE := $(RUN) -m uv pip compile pyproject.toml --generate-hashes --universal --python-version 3.11 \
	--no-emit-index-url --no-emit-find-links --quiet

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name does; do \
		printf '  make %-12s %s\n' "$$name" "$$does"; done

.PHONY: run
run: install ## Run Daybook in the foreground; Ctrl-C stops it (PORT=8000)
	@exec $(RUN) manage.py up

.PHONY: test
test: install-dev ## Run the whole test suite on a real Postgres and Redis
	@exec $(RUN) -m pytest $(PYTEST_ARGS)

.PHONY: pictures
pictures: install-dev ## Look at each page in a browser, and keep its pictures in test-results/screenshots
	@PICTURES=1 exec $(RUN) -m pytest tests/browser

# How long, and which faults in which order; without a SEED it takes one and prints it.
MINUTES ?= 10
REPORT ?= soak.json
.PHONY: soak
soak: install-dev ## Break it for MINUTES=10 under load, auditing all the time (SEED=7 repeats)
	@exec $(RUN) -m tests.faults.soak --minutes $(MINUTES) --report $(REPORT) $(if $(SEED),--seed $(SEED))

.PHONY: guards
guards: install-dev ## Take each guard of the event store out, and see that a test misses it
	@exec $(RUN) -m tests.guards

# Which PARTS, such as "parking replay"; all without any, which takes hours.
.PHONY: mutants
mutants: install-dev ## Change the store's core in one place at a time, and see that a test fails (PARTS="parking")
	@exec $(RUN) -m tests.mutants $(PARTS)

.PHONY: lint
lint: install-dev ## Check formatting, lint, types and import rules
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports

.PHONY: audit
audit: install-dev ## Ask PyPI whether anything that Daybook runs on has a known hole
	$(RUN) -m pip_audit --requirement requirements.txt --require-hashes --disable-pip --strict

.PHONY: format
format: install-dev ## Format the code and mend what can be mended
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

.PHONY: bench
bench: install-dev ## Run the benchmarks
	@exec $(RUN) -m bench

.PHONY: bench-quick
bench-quick: install-dev ## Run the benchmarks, small
	@exec $(RUN) -m bench --quick

.PHONY: lock
lock: install-dev ## Lock the newest versions that pyproject.toml allows
	$(COMPILE) --upgrade --output-file requirements.txt
	$(COMPILE) --upgrade --group dev --constraint requirements.txt --output-file requirements-dev.txt

# A lock that was installed is kept beside what it installed: an unchanged one is not installed again.
.PHONY: install
install: $(VENV)/bin/python
	@cmp -s requirements.txt $(VENV)/installed-run || { \
		echo 'Installing what Daybook runs on …'; \
		$(PIP) -r requirements.txt && cp requirements.txt $(VENV)/installed-run; }

.PHONY: install-dev
install-dev: install
	@cmp -s requirements-dev.txt $(VENV)/installed-dev || { \
		echo 'Installing what Daybook is checked with …'; \
		$(PIP) -r requirements-dev.txt && cp requirements-dev.txt $(VENV)/installed-dev; }

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { \
		echo 'Daybook needs Python 3.11 or newer, and there is none on the path; install it, or name it: make PYTHON=/path/to/python3' >&2; \
		exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Daybook needs Python 3.11 or newer; $(PYTHON) is older" >&2; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
		echo 'The virtual environment could not be made; on Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
