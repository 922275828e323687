# Two commands matter: `make demo` and `make test`. Both set up everything they need in .venv, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
QUICK := tests/unit tests/property tests/simulation tests/compat tests/docs
RUNNING := tests/integration tests/fault tests/whole tests/e2e
SEED ?= 0
SIM_SEEDS ?= 1000
FUZZ_SEED ?= 1
.PHONY: help setup demo up test check unit integration sim sim-many fuzz e2e bench clean

help: ## say what there is to make
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## install everything into .venv

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "missing: Python 3.11 or newer (set PYTHON=/path/to/python3.11)"; exit 1; }
	@command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null \
		|| { echo "missing: a C++ compiler; hnswlib is built from source (Debian: apt-get install g++)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
		|| { echo "missing: Python's venv module (Debian: apt-get install python3-venv python3-dev)"; exit 1; }
	@echo "setting up $(VENV): some minutes the first time, most of it the download of torch"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check uv -c constraints.txt
	@$(BIN)/uv pip install --python $(BIN)/python -c constraints.txt -e '.[server,s3,backfill,ltr,dev]' \
		|| { echo "uv could not install, trying pip"; $(BIN)/pip install -c constraints.txt -e '.[server,s3,backfill,ltr,dev]'; }
	@echo "compiling what the first start imports, and keeping the bundled model as ONNX graphs"
	@$(BIN)/python -c 'import freshlens.demo, index_nodes.node, query_api.serve, streams.worker'
	@$(BIN)/python -c 'from processors.encoders import kept_model, open_clip_encoder as models; \
		models.load_encoder("bundled", kept_in=kept_model.user_cache())'
	@touch $@

demo: setup ## run everything with a drawn catalogue, and answer a search by photo (Ctrl-C ends it)
	@$(BIN)/freshlens demo

up: setup ## run everything, without the demo catalogue
	@$(BIN)/freshlens up --no-demo

test: setup check ## lint, types, architecture, and every test
	@$(BIN)/python -m pytest -q --durations=10 -n auto --dist loadfile $(QUICK)
	@$(BIN)/python -m pytest -q --durations=15 -n 2 --dist worksteal $(RUNNING)

check: setup ## ruff, mypy and the import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

unit: setup ## the quick tests: no broker
	@$(BIN)/python -m pytest -q -n auto --dist loadfile $(QUICK)

integration: setup ## tests on a real Apache Kafka
	@$(BIN)/python -m pytest -q tests/integration

sim: setup ## simulate one seed: time, log and disk replaced, crashes everywhere (make sim SEED=7)
	@$(BIN)/python -m tests.simulation --seed $(SEED)

fuzz: setup ## 10,000 damaged pictures and videos through the decoder (make fuzz FUZZ_SEED=7)
	@$(BIN)/python -m tests.fuzz --inputs 10000 --seed $(FUZZ_SEED)

sim-many: setup ## simulate many seeds (make sim-many SIM_SEEDS=5000)
	@FRESHLENS_SIM_SEEDS=$(SIM_SEEDS) $(BIN)/python -m pytest -q tests/simulation/test_simulation.py

e2e: setup ## tests of the running product in Chromium
	@$(BIN)/python -m pytest -q tests/e2e

bench: setup ## measure: every figure with its recall, into benchmarks/results
	@$(BIN)/python -m benchmarks.run

clean: ## remove the environment and the demo's data
	rm -rf $(VENV) .freshlens
