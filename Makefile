# The commands of this checkout; `make help` lists them. Runs on GNU Make 3.81 and BSD tools.

SHELL := /bin/sh
PY := .venv/bin/python
SETUP := PYTHON="$(PYTHON)" scripts/setup.sh

# Settings given as `make run PORT=9000` reach the program under their own names.
SETTINGS := HOST PORT DATA_DIR DEFINITIONS_DIR WRITE_KEY API_TOKEN PARTITIONS WORKERS SMTP_URL MAIL_FROM LOG_LEVEL \
  LOG_FORMAT SETTLE SETTLE_HISTORY EFFECTS_WITHIN EVENTS_RETENTION TOPIC_PREFIX KEY_EVENTS_PER_SECOND KEY_BURST \
  ADDRESS_EVENTS_PER_SECOND ADDRESS_BURST TRUSTED_PROXIES MAX_BODY MAX_EVENT PUBLIC_OPERATIONS SHARE_PORT
define pass_setting
ifeq ($$(origin $(1)),command line)
export PARCOURS_$(1) := $$($(1))
endif
endef
$(foreach name,$(SETTINGS),$(eval $(call pass_setting,$(name))))
# PORT is also taken from the environment (`PORT=9000 make run`); the other short names are too common there.
ifeq ($(origin PORT),environment)
export PARCOURS_PORT := $(PORT)
endif

.DEFAULT_GOAL := help
.PHONY: help setup run demo cluster test test-mutants check format bench bench-ingest schemas docs requirements clean

##@ Start here

help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile
	@printf '\nOptions: PYTHON= (the interpreter for .venv)  PORT= HOST= DATA_DIR= ... (settings)  ARGS= (anything else)\n'

run: ## Start Parcours on this machine: http://127.0.0.1:8080
	@$(SETUP) run
	@exec $(PY) -m services.cli run $(ARGS)

demo: ## Start it with some hundred customers who live half a year
	@$(SETUP) run demo
	@exec $(PY) -m services.cli demo $(ARGS)

cluster: ## Start every service as its own process, on Apache Kafka and PostgreSQL
	@$(SETUP) run demo test
	@exec $(PY) -m scripts.cluster $(ARGS)

##@ Work on it

setup: ## Install everything that the other commands need into .venv
	@$(SETUP) run demo test dev

test: ## Run the tests (ARGS='tests/unit -k name' for some of them)
	@$(SETUP) run demo test
	@exec $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-mutants: ## Prove the kill test: seeded bugs must turn it red
	@$(SETUP) run demo test
	@exec $(PY) -m tests.faults.mutants $(ARGS)

check: ## Lint, format, types, import contracts, container files, links
	@$(SETUP) run demo test dev
	@exec $(PY) -m scripts.check $(ARGS)

format: ## Rewrite the code in the project's format
	@$(SETUP) run demo test dev
	@$(PY) -m ruff check --fix-only --quiet . && exec $(PY) -m ruff format .

bench: ## Measure: the door, the engines, memory, time to ready
	@$(SETUP) run demo test
	@exec $(PY) -m bench $(ARGS)

bench-ingest: ## Measure the door alone, beside three others (ARGS='--events 10000000 memory')
	@$(SETUP) run demo test
	@exec $(PY) -m bench.ingest $(ARGS)

##@ Generated files

schemas: ## Write schemas/published/ from the models; a published file never changes
	@$(SETUP) run demo test
	@exec $(PY) -m scripts.publish_schemas $(ARGS)

docs: ## Write docs/reference/ from the code
	@$(SETUP) run demo test
	@exec $(PY) -m scripts.reference $(ARGS)

requirements: ## Pin requirements/*.in anew into requirements/*.txt, with hashes
	@$(SETUP) run demo test dev
	@exec scripts/pin.sh

clean: ## Remove .venv and caches; your data folder stays
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache tests/clients/node/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
