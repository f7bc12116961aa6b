# Answerline: `make` lists what there is. Everything is installed into .venv, nothing as root.

# Tests mostly wait for telephones: so many run side by side. SIDE_BY_SIDE=0 for one after the other.
SIDE_BY_SIDE ?= 4
# A particular Python: PYTHON=python3.12 make demo
PYTHON ?=
BIN = .venv/bin
ARGS ?=
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help demo run test test-unit check bench screenshots env-example openapi requirements app dev tools clean

help:  ## lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

demo: app  ## answers one simulated phone call here: transcript, latencies, recording (WAV=caller.wav OUT=folder)
	@$(BIN)/python -m flaskapp.local demo

run: app  ## serves on 127.0.0.1:5001 with everything built in (PORT=5002 for another port)
	@$(BIN)/python -m flaskapp.local run

test: tools  ## all tests, on real servers (ARGS="-k name" for some)
	@scripts/servers.sh
	@LOCAL=1 $(BIN)/python -m pytest --timeout=900 -n $(SIDE_BY_SIDE) --dist loadfile --no-loadscope-reorder --reruns 1 -rfER $(ARGS)

test-unit: dev  ## the tests that need no server, in seconds
	@$(BIN)/python -m pytest --timeout=60 -m "not system" tests/phone tests/contracts tests/test_layers.py $(ARGS)

check: dev  ## style, types, layers, links
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy flaskapp
	@$(BIN)/python -m scripts.layers
	@$(BIN)/python -m scripts.links
	@$(BIN)/python -m scripts.env_example --check
	@$(BIN)/python -m scripts.openapi --check

bench: tools  ## measures what a call costs, beside other relays: tables, JSON, curves (ARGS=--help)
	@$(BIN)/python bench/side_by_side.py $(ARGS)

screenshots: tools  ## makes docs/images/ anew: the pages in both themes, and on a phone (needs chromium)
	@$(BIN)/python -m scripts.screenshots

env-example: app  ## writes .env.example from flaskapp/config.py
	@$(BIN)/python -m scripts.env_example

openapi: dev  ## writes flaskapp/api/openapi.json from the API's endpoints and shapes
	@$(BIN)/python -m scripts.openapi

requirements: dev  ## pins requirements*.in in requirements*.txt (ARGS=--upgrade for newer ones)
	@scripts/pin.sh $(ARGS)

app:
	@scripts/install.sh app

dev:
	@scripts/install.sh dev

tools:
	@scripts/install.sh bench

clean:  ## removes the environment and the caches, never instance/
	@rm -rf .venv .venv-peers .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
