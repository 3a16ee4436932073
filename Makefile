# Tessera. `make help` lists every target; `make check` is exactly what CI runs.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROTO_VENV := .venv-proto
PEERS_VENV := build/peers
PROTOS := $(wildcard proto/tessera/v1/*.proto proto/tessera/oip/*.proto)
SERVICE_PROTOS := $(addprefix proto/tessera/,v1/encoder.proto v1/gallery.proto v1/events.proto v1/rules.proto v1/camera.proto v1/notifications.proto v1/shard.proto v1/persons.proto oip/open_inference.proto)
STUBS := tessera/v1 tessera/oip
CODE := tessera encoder_svc gallery_svc camera_ingest gateway_svc siamese_lab benchmarks deploy tests
# Tests mostly wait, so that more processes than processors share them, a file at a time; each takes up to 3 GB.
WORKERS ?= $(shell n=$$(nproc); echo $$((n < 5 ? n + 1 : 6)))
SHARED := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
PIP_INSTALL := install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help run test check lint types imports metrics proto proto-check chaos bench bench-first-light bench-face-verification bench-encoder bench-gallery bench-cameras bench-person bench-alerts bench-operations bench-decisions bench-template-recipes bench-adaptation bench-change-detection bench-signature bench-signature-pages bench-runtimes bench-papers lab-trial clean

help: ## Lists the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-26s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ---- setting up: each environment is made once and again when what it is made from changes

$(VENV)/.run: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Tessera into $(VENV) (about a minute the first time)"
	@$(BIN)/python -m pip $(PIP_INSTALL) -e '.[up]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "Installing the tools for tests and checks"
	@$(BIN)/python -m pip $(PIP_INSTALL) -e '.[dev]'
	@touch $@

$(PROTO_VENV)/.done: Makefile
	@test -x $(PROTO_VENV)/bin/python || $(PYTHON) -m venv $(PROTO_VENV)
	@$(PROTO_VENV)/bin/python -m pip install --quiet --disable-pip-version-check grpcio-tools==1.76.0 mypy-protobuf==3.7.0 types-protobuf==6.32.1.20251210 'setuptools<81'
	@touch $@

# Other servers, to be measured beside ours. They borrow torch and Tessera from our environment: a line in a .pth file.
$(PEERS_VENV)/.done: $(VENV)/.dev benchmarks/encoder/peers/requirements.txt
	@rm -rf $(PEERS_VENV) && $(BIN)/python -m venv $(PEERS_VENV)
	@lib=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])'); \
		echo "import site; site.addsitedir('$$lib')" > $$($(PEERS_VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/borrowed.pth
	@$(PEERS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/encoder/peers/requirements.txt
	@touch $@

# ---- the two commands

run: $(VENV)/.run ## Sets everything up and shows a live demo: real faces, live decisions
	@$(BIN)/tessera up --demo $(ARGS)

test: $(VENV)/.dev ## Sets everything up and passes the tests
	@$(BIN)/python -m pytest $(SHARED) $(ARGS)

chaos: $(VENV)/.dev ## Cuts files at every byte, kills and pauses servers, 50 times each
	@TESSERA_CHAOS=full $(BIN)/python -m pytest -n $(WORKERS) -m chaos tests/chaos tests/stateful $(ARGS)

# ---- what CI runs

check: lint types imports proto-check test ## Everything that must hold before a change lands

lint: $(VENV)/.dev ## ruff and buf lint
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@cd proto && ../$(BIN)/buf lint

types: $(VENV)/.dev ## Strict types
	@$(BIN)/mypy

imports: $(VENV)/.dev ## The direction of imports
	@$(BIN)/lint-imports --no-logo

# ---- the contracts

# protoc into $(1), relative to the repository's root
define GENERATE
	@PATH="$(CURDIR)/$(PROTO_VENV)/bin:$$PATH" $(PROTO_VENV)/bin/python -m grpc_tools.protoc -I proto \
		--python_out=$(1) --mypy_out=quiet:$(1) $(PROTOS)
	@PATH="$(CURDIR)/$(PROTO_VENV)/bin:$$PATH" $(PROTO_VENV)/bin/python -m grpc_tools.protoc -I proto \
		--grpc_python_out=$(1) --mypy_grpc_out=quiet:$(1) $(SERVICE_PROTOS)
endef

proto: $(PROTO_VENV)/.done ## Rewrites tessera/v1 and tessera/oip from proto/
	@rm -f $(addsuffix /*_pb2*,$(STUBS))
	$(call GENERATE,.)

proto-check: $(PROTO_VENV)/.done ## Fails when tessera/v1 or tessera/oip is not what proto/ says
	@rm -rf build/proto && mkdir -p build/proto
	$(call GENERATE,build/proto)
	@for stubs in $(STUBS); do \
		diff -r -x __init__.py -x __pycache__ build/proto/$$stubs $$stubs || { echo "$$stubs is stale: run make proto"; exit 1; }; \
	done

# ---- what is written from the code

metrics: $(VENV)/.dev ## Rewrites docs/metrics.md and the dashboards from the code
	@$(BIN)/python -m deploy.metrics_page && $(BIN)/python -m deploy.grafana.write

# ---- measuring: each prints a table and writes docs/results/NAME.json

bench: bench-first-light bench-face-verification bench-template-recipes bench-encoder bench-gallery bench-decisions bench-cameras ## Every benchmark

bench-first-light: $(VENV)/.dev ## Start, accounting, latency, verify, kill -9
	@$(BIN)/python -m benchmarks.first_light $(ARGS)

bench-face-verification: $(VENV)/.dev ## LFW through the service, beside OpenCV's own
	@$(BIN)/python -m benchmarks.face_verification $(ARGS)

bench-runtimes: $(VENV)/.dev ## Eager and compiled networks on one thread, against plain float32
	@$(BIN)/python -m benchmarks.runtimes $(ARGS)

bench-encoder: $(VENV)/.dev $(PEERS_VENV)/.done ## The encoder: throughput, overload, staleness, peers, cancellations, drain
	@$(BIN)/python -m benchmarks.encoder $(ARGS)

bench-gallery: $(VENV)/.dev ## The gallery: search, identify, verify, enrolment, cold load, faults
	@$(BIN)/python -m benchmarks.gallery $(ARGS)

bench-cameras: $(VENV)/.dev ## Cameras: many at a time, faults, tracklets, tamper, a plain loop beside them
	@$(BIN)/python -m benchmarks.cameras $(ARGS)

bench-person: $(VENV)/.dev ## Persons: camera shifts, tracklets joined again, detection, two cameras
	@$(BIN)/python -m benchmarks.person $(ARGS)

bench-alerts: $(VENV)/.dev ## Alerts: a day against 200 rules, the whole path of the gallery, a flood, the outbox, webhooks
	@$(BIN)/python -m benchmarks.alerts $(ARGS)

bench-operations: $(VENV)/.dev ## Operations: image sizes, restarts, several encoders, plans
	@$(BIN)/python -m benchmarks.operations $(ARGS)

bench-decisions: $(VENV)/.dev ## Thresholds and decisions: intervals, searches, fusion, groups
	@$(BIN)/python -m benchmarks.decisions $(ARGS)

bench-adaptation: $(VENV)/.dev ## Heads over the shipped encoders, on people never seen
	@$(BIN)/python -m benchmarks.adaptation $(ARGS)

bench-change-detection: $(VENV)/.dev ## Change maps of a real square against light, noise, JPEG and a shaken camera
	@$(BIN)/python -m benchmarks.change_detection $(ARGS)

bench-signature: $(VENV)/.dev ## The signature encoder on writers it never saw, once one is trained
	@$(BIN)/python -m benchmarks.signature $(ARGS); done=$$?; $(BIN)/python -m benchmarks.signature_verify && exit $$done

bench-signature-pages: $(VENV)/.dev ## Signatures found on drawn letters, forms, tables and cheques, and print told from them
	@$(BIN)/python -m benchmarks.signature_regions $(ARGS)

bench-template-recipes: $(VENV)/.dev ## Ways to make templates from the same weights, on LFW
	@$(BIN)/python -m benchmarks.template_recipes $(ARGS)

RUNS ?= runs
bench-papers: $(VENV)/.dev ## The table of the papers, from the ledger and the run folders in RUNS; ARGS="--train RECIPE" trains first
	@$(BIN)/python -m siamese_lab papers --runs $(RUNS) $(ARGS)

lab-trial: $(VENV)/.dev ## A training that is over in a minute: 2,000 digits of TESSERA_DATA, two epochs
	@$(BIN)/python -m siamese_lab train sn-lenet5-mnist --seed 0 --limit 2000 --epochs 2 --out build/runs $(ARGS)

clean: ## Removes environments and caches of this checkout
	@rm -rf $(VENV) $(PROTO_VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
