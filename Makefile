# The ways to run, test and measure GuardMDM; `make help` lists them. Python 3.11 or newer is all
# that has to be there.

SHELL := /bin/sh
# Python keeps what it compiled: many processes are started, and each would take seconds for it.
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help
.PHONY: help demo up test lint bench clean install install-dev assets format test-programs bench-programs

PYTHON := $(shell for python in .venv/bin/python python3 python3.13 python3.12 python3.11; do \
	if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo $$python; break; fi; done)
VENV := .venv/bin
# One more than cores: much of it waits for processes to start.
PYTEST_ARGS ?= -n 3

help:  ## list what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r name text; do printf '%-18s %s\n' "$$name" "$$text"; done

demo: install assets  ## the server, stand-ins for Apple and 25 simulated devices
	@exec $(VENV)/python manage.py demo

up: install assets  ## the server alone, on this machine
	@exec $(VENV)/python manage.py up

test: install-dev assets test-programs  ## every test, with a real Postgres and a real Valkey
	@$(VENV)/python -m pytest $(PYTEST_ARGS)

lint: install-dev  ## formatting, lint, types, the floors, migrations, templates
	@$(VENV)/ruff format --check .
	@$(VENV)/ruff check .
	@$(VENV)/mypy .
	@$(VENV)/lint-imports
	@GUARD_ENV=test $(VENV)/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	@GUARD_ENV=test $(VENV)/python manage.py check_templates

format: install-dev  ## put the code into its format
	@$(VENV)/ruff format .
	@$(VENV)/ruff check --fix .

bench: install-dev assets bench-programs  ## measure; docs/performance.md has the results
	@exec $(VENV)/python -m tests.bench

clean: python  ## remove everything that was installed, built or stored, the data included
	@$(PYTHON) -m mdm.local.clean

install: python
	@$(PYTHON) -I mdm/local/install.py

install-dev: python
	@$(PYTHON) -I mdm/local/install.py --dev

assets: install
	@$(VENV)/python -m mdm.local.assets

# Debian's packages for programs that are missing, where they may be installed: program:package.
# Without them, what needs them is skipped and says so.
define programs
	@missing=""; for pair in $(1); do \
		command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair#*:}"; done; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "· Installing$$missing"; \
		{ apt-get update -qq && apt-get install -qq -y --no-install-recommends $$missing; } \
			>/dev/null 2>&1 || echo "· Not to be had here:$$missing"; \
	fi
endef

test-programs:
	$(call programs,chromium-headless-shell:chromium-headless-shell pki:strongswan-pki pki:libstrongswan-extra-plugins)

bench-programs:
	$(call programs,wrk:wrk)

.PHONY: python
python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "GuardMDM needs Python 3.11 or newer; none was found as python3." >&2; exit 1; fi
