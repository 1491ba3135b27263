# Everything lives below this folder: .venv/ (the installed environment) and .tidemill/ (broker, data, results).
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo check test test-slow bench bench-drift bench-profiles bench-scale bench-state bench-labels bench-adapt fuzz chaos \
	format lock wheel compose-check clean

help:  ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED)  ## Create .venv and install Tidemill with its locked dependencies

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Tidemill needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -m venv .venv || { \
	  echo "$(PYTHON) could not create a virtual environment; on Debian and Ubuntu: apt install python3-venv"; exit 2; }
	$(BIN)/python -m pip install --quiet --no-cache-dir --no-compile --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@# pip would compile one file after the other, other projects' tests as well; a file that Python refuses is nobody's.
	@$(BIN)/python -m compileall -qq -j 0 -x '/tests?/' .venv/lib/python3*/site-packages schemas processors streams tidemill examples || true
	-@$(BIN)/python -m tidemill.demo.prepare
	@touch $@

demo: $(INSTALLED)  ## Run a year of real flights through a real Kafka (four to five minutes)
	$(BIN)/tidemill demo --json .tidemill/demo/summary.json

check: $(INSTALLED)  ## Lint, types and architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/unit/test_architecture.py

test: $(INSTALLED)  ## All tests but the slowest, on a real embedded Kafka
	$(BIN)/pytest -q -m "not slow" -n 2 --dist worksteal tests/unit tests/laws tests/properties
	$(BIN)/pytest -q -m "not slow" -n 2 --dist loadfile tests/integration tests/crash

test-slow: $(INSTALLED)  ## The slowest tests: zombies, repeated kills, workers that come and go
	$(BIN)/pytest -q -m slow

bench: $(INSTALLED)  ## Throughput, latency and codec as ratios of one run; needs an idle machine
	$(BIN)/python benchmarks/bench.py $(ARGS)

bench-profiles: $(INSTALLED)  ## What profiles cost beside the data plane, as a ratio
	$(BIN)/python benchmarks/profiles.py $(ARGS)

bench-scale: $(INSTALLED)  ## Cost per event over partitions, workers, keys and features, into docs/
	$(BIN)/python benchmarks/scale.py $(ARGS)

bench-state: $(INSTALLED)  ## Memory, cost, changelog and restore at ten thousand to ten million keys, into docs/
	$(BIN)/python benchmarks/state.py $(ARGS)

bench-labels: $(INSTALLED)  ## Memory and cost of up to ten million predictions that wait for labels, into docs/ (about three minutes)
	$(BIN)/python benchmarks/labels.py $(ARGS)

bench-drift: $(INSTALLED)  ## Delay, false alarms and missed drifts of every detector, into docs/ (about six minutes)
	$(BIN)/python benchmarks/drift.py $(ARGS)

bench-adapt: $(INSTALLED)  ## How well models adapt to drift with late labels, beside others, into docs/ (about twenty minutes)
	$(BIN)/python benchmarks/adapt.py $(ARGS)

fuzz: $(INSTALLED)  ## A million messages, half of them bad: each answered once, and how fast (about five minutes)
	$(BIN)/python benchmarks/fuzz.py

chaos: $(INSTALLED)  ## Kills, zombies, storms, hangs while events flow: nothing lost, nothing twice (about ten minutes)
	$(BIN)/python benchmarks/chaos.py $(ARGS)

format: $(INSTALLED)  ## Format the code and apply safe lint fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock:  ## Resolve pyproject.toml again into requirements.lock (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header --output-file requirements.lock

wheel: $(INSTALLED)  ## Build dist/tidemill-*.whl
	$(BIN)/python -m build --wheel --no-isolation

compose-check:  ## Validate docker-compose.yml (needs the docker client)
	docker compose config --quiet

clean:  ## Remove everything that make has created
	@if [ -x $(BIN)/tidemill ]; then $(BIN)/tidemill broker stop; fi
	rm -rf .venv .tidemill build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
