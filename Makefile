# Parley. `make` lists what can be done; `make run` is all that a first visit needs.

HOST ?= 127.0.0.1
PORT ?= 8000
# `make run WEB=off` serves without the web client.
WEB ?= on
# Databases, attachments and development secrets. PARLEY_*, DATABASE_URL and REDIS_URL reach the server as they are.
PARLEY_DATA_DIR ?= var
# The first Python that is new enough; `make run PYTHON=/path/to/python3` chooses another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p -c $(NEW_ENOUGH) 2>/dev/null && echo $$p && break; done)
PYTEST_ARGS ?=
# Two more than there are cores: a third of the tests wait for servers, timers and browsers.
WORKERS ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) + 2 )))
BENCH_ARGS ?=

NEW_ENOUGH := 'import sys; sys.exit(sys.version_info < (3, 11))'
BIN := .venv/bin
MANAGE := $(BIN)/python manage.py
SECRETS := $(PARLEY_DATA_DIR)/secrets.env
PYTEST = pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
PIP := $(BIN)/pip install -qq --disable-pip-version-check

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run admin demo doctor secret-files topology bench test lint test-web test-python test-stores faults format docs lock clean install migrate secrets web FORCE

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  make run PORT=9000 HOST=0.0.0.0 DATABASE_URL=... REDIS_URL=... changes where it listens and what it uses."

# --- Run --------------------------------------------------------------------------------------------------------------

run: migrate web .make/static ## Install what is missing, build, migrate and serve
	@echo
	@echo "  Parley        http://$(HOST):$(PORT)"
	@echo "  data          $(PARLEY_DATA_DIR)/ $(if $(DATABASE_URL),and the database of DATABASE_URL)"
	@echo "  administrator make admin, then http://$(HOST):$(PORT)/admin/"
	@echo "  stop          Ctrl-C"
	@echo
	@exec $(BIN)/daphne --verbosity 0 -b $(HOST) -p $(PORT) chatproject.asgi:application

admin: migrate ## Create an administrator
	@$(MANAGE) createsuperuser

demo: migrate ## Fill the database with people and chats to look at
	@$(MANAGE) seed_demo

doctor: install secrets ## Check the configuration and everything it points at
	@$(MANAGE) doctor

migrate: install secrets
	@$(MANAGE) migrate --verbosity 0

# Production brings its own secrets and tests have theirs.
secrets: install
	@case "$${PARLEY_ENV:-development}" in development) $(BIN)/python -m chatproject.devsecrets $(SECRETS);; esac

.make/static: .venv/installed | secrets
	@$(MANAGE) collectstatic --noinput --verbosity 0
	@touch $@

# --- Deploy -----------------------------------------------------------------------------------------------------------

secret-files: ## Make the secrets that compose.yaml hands to the containers
	@python3 -m chatproject.secretfiles $(PARLEY_DATA_DIR)/secrets

topology: install ## Start what compose.yaml deploys, without containers
	@deploy/topology.sh

# --- Check ------------------------------------------------------------------------------------------------------------

test: ## Run every check: linters, types, the web client's tests, then Python's
	@$(MAKE) --no-print-directory -j 2 lint test-web
	@$(MAKE) --no-print-directory test-python

lint: .venv/installed-dev ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PARLEY_ENV=test $(BIN)/mypy
	PARLEY_ENV=test $(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile deploy/caddy.Dockerfile
	$(BIN)/shellcheck deploy/topology.sh
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec compose.yaml

test-web: web/node_modules/.package-lock.json ## Test the web client
	cd web && npm run typecheck && npm run lint && npm test

test-python: .venv/installed-dev web tests/live/socketio/node_modules/.package-lock.json ## Test the server, end to end and in a browser too
ifeq (,$(PYTEST_ARGS))
	$(BIN)/python -m slipcover --json --out .make/coverage.json -m $(PYTEST)
	$(BIN)/python -m slipcover --merge .make/coverage.json --out .make/coverage.json --fail-under 95
else
	$(BIN)/$(PYTEST) $(PYTEST_ARGS)
endif

STORES ?= sqlite mongodb postgres
test-stores: .venv/installed-dev web tests/live/socketio/node_modules/.package-lock.json ## Test what touches a database on SQLite, MongoDB and PostgreSQL
	@for store in $(STORES); do TEST_STORE=$$store $(BIN)/$(PYTEST) $(PYTEST_ARGS) || exit 1; done

bench: .venv/installed-bench ## Compare Parley with its peers and write bench/report.md (BENCH_ARGS=--quick for a look)
	$(BIN)/python -m bench.run $(BENCH_ARGS)

faults: .venv/installed-dev ## Kill processes, Redis and databases under load, idle for ten minutes, and print what was counted
	TEST_IDLE_SECONDS=600 TEST_HISTORIES=100 $(BIN)/pytest -s tests/faults tests/live/test_idle.py $(PYTEST_ARGS)

format: .venv/installed-dev ## Put the code in the house's shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# --- Python -----------------------------------------------------------------------------------------------------------

install: .venv/installed

.venv/installed: .make/requirements | .venv/bin/python
	@echo "Installing requirements.txt"
	@$(PIP) -r requirements.txt
	@touch $@

.venv/installed-dev: .venv/installed .make/requirements-dev
	@echo "Installing requirements-dev.txt"
	@$(PIP) -r requirements-dev.txt
	@touch $@

.venv/installed-bench: .venv/installed-dev .make/requirements-bench
	@echo "Installing bench/requirements.txt"
	@$(PIP) -r bench/requirements.txt
	@touch $@

.venv/bin/python:
	@test -n "$(PYTHON)" && $(PYTHON) -c $(NEW_ENOUGH) || \
		{ echo "Parley needs Python 3.11 or newer. Install it, or name it: make run PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "This Python cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear .venv

docs: .venv/installed-dev ## Write docs/openapi.yaml again after a change of the REST door
	PARLEY_ENV=test $(MANAGE) spectacular --validate --fail-on-warn --file docs/openapi.yaml

lock: ## Pin what pyproject.toml asks for again (needs uv and the network)
	uv pip compile --quiet --universal --python-version 3.11 --annotation-style line \
		--custom-compile-command "make lock" pyproject.toml -o requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --annotation-style line \
		--custom-compile-command "make lock" --group dev -c requirements.txt pyproject.toml -o requirements-dev.txt

# --- Web client -------------------------------------------------------------------------------------------------------

ifeq ($(WEB),off)
web:
else ifneq (,$(shell command -v npm 2>/dev/null))
web: web/dist/index.html
else ifneq (,$(wildcard web/dist/index.html))
web:
	@echo "Node.js is missing: serving the web client as it was built last"
else
web:
	@echo "The web client needs Node.js 20.19 or newer (https://nodejs.org); make run WEB=off serves without it" >&2; exit 1
endif

web/dist/index.html: .make/web web/node_modules/.package-lock.json
	@echo "Building the web client"
	@cd web && npm run --silent build
	@touch $@

web/node_modules/.package-lock.json: .make/web-lock
	@node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' || \
		{ echo "The web client needs Node.js 20.19 or newer, this is $$(node --version)" >&2; exit 1; }
	@echo "Installing the web client's packages"
	@cd web && npm ci --no-audit --no-fund --loglevel error
	@touch $@

# The client that the Socket.IO door is tested with.
tests/live/socketio/node_modules/.package-lock.json: .make/socketio-lock
	@echo "Installing socket.io-client"
	@cd tests/live/socketio && npm ci --no-audit --no-fund --loglevel error
	@touch $@

# --- Stamps -----------------------------------------------------------------------------------------------------------
# A stamp holds the checksums of files. It changes only when their content does, whatever their times say.

.make/requirements: FILES = requirements.txt
.make/requirements-dev: FILES = requirements-dev.txt
.make/requirements-bench: FILES = bench/requirements.txt
.make/web-lock: FILES = web/package-lock.json
.make/socketio-lock: FILES = tests/live/socketio/package-lock.json
.make/web: FILES = $$(find web \( -name node_modules -o -name dist -o -name coverage \) -prune -o -type f -print | LC_ALL=C sort)

.make/requirements .make/requirements-dev .make/requirements-bench .make/web-lock .make/socketio-lock .make/web: FORCE
	@mkdir -p .make && cksum $(FILES) > $@.new
	@if cmp -s $@ $@.new; then rm $@.new; else mv $@.new $@; fi

# --- Clean ------------------------------------------------------------------------------------------------------------

clean: ## Remove everything that was installed or built; data stays
	rm -rf .venv .make .mypy_cache .pytest_cache .ruff_cache .import_linter_cache staticfiles
	rm -rf web/node_modules web/dist tests/live/socketio/node_modules bench/peers/express/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
