# What people call. Each target calls a tool that also works by itself: dvc, bentoml, pytest, ruff.

SHELL := /bin/bash
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 3000
BACKEND ?= docker
BIN := .venv/bin
# The stages run `python` as they find it, and so do dvc and bentoml.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export BENTOML_DO_NOT_TRACK := True
STORE := python deploy/local/store.py
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links
TAG = $$(python -m service.version)
# Its command line warns of itself. Only here: what a stage warns of is for people to see.
BENTOML := PYTHONWARNINGS=ignore::UserWarning bentoml

# pip's own output, cut down to a count that runs.
pip_install = set -o pipefail; pip install --require-hashes -r $(1) | awk -v all=$$(grep -c == $(1)) \
	'/^(Collecting|Requirement already)/ { printf "\rinstall: %d of %d packages", ++n, all; fflush() } \
	/^Installing/ { printf "\ninstall: unpacking them\n"; fflush() } END { print "" }'

port_is_free = python -c 'import socket, sys; sys.exit( \
	"error: port $(PORT) is in use; take another: make $@ PORT=3001" \
	if socket.socket().connect_ex(("127.0.0.1", $(PORT))) == 0 else 0)'

.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help run test install install-dev check fmt clean store store-down repro push pull register \
	serve bento export image image-run image-test verify bench lock

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: install ## all of it, from nothing: environment, S3 store, repro, push, register, serve on :3000
	@$(port_is_free)
	@set -e; $(STORE) check >/dev/null 2>&1 || trap '$(STORE) stop' EXIT; \
	trap 'exit 0' INT; trap 'exit 143' TERM; \
	$(MAKE) --no-print-directory store repro push register; \
	python -m service.example $(PORT) & \
	bentoml serve --host $(HOST) --port $(PORT)

test: install-dev ## every test that this machine can run, from nothing
	pytest $(TESTS)

install: .venv/.installed ## the environment in .venv, from the lock with its hashes
install-dev: .venv/.installed-dev ## that, and what tests and checks need

.venv/.installed: requirements.txt
	@echo "install: .venv from requirements.txt, a minute or two"
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 15) else \
		"error: Python " + sys.version.split()[0] + "; Cairn needs 3.11 to 3.14: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(call pip_install,requirements.txt)
	@touch $@

.venv/.installed-dev: requirements-dev.txt .venv/.installed
	@echo "install: what tests need, from requirements-dev.txt"
	@$(call pip_install,requirements-dev.txt)
	@touch $@

check: install-dev ## lint, format, types; rewrites nothing
	ruff check
	ruff format --check
	mypy

fmt: install-dev ## rewrite what the linter and the formatter can
	ruff check --fix
	ruff format

clean: ## remove the environment, caches and builds; data and the store's objects stay
	rm -rf .venv build dvc_plots .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

store: install ## start the local S3 store, if it is what DVC's remote points to
	@$(STORE) start

store-down: install ## stop it; its objects stay in .store
	@$(STORE) stop

repro: install ## dvc repro
	dvc repro

push: install ## dvc push
	@$(STORE) check
	dvc push

pull: install ## dvc pull
	@$(STORE) check
	dvc pull || { echo "error: what is named above is missing or damaged in the remote; delete it there," \
		"then dvc push from a clone that has it whole" >&2; exit 1; }

register: install ## put the model that dvc.lock names into the BentoML store, if it lacks it
	@python -m stages.register

serve: install ## bentoml serve on :3000
	@$(port_is_free)
	bentoml serve --host $(HOST) --port $(PORT)

bento: install ## bentoml build, if this model and code have no Bento yet
	@$(BENTOML) get $(TAG) >/dev/null 2>&1 || $(BENTOML) build

export: install ## the model as one file for MODEL_URI, in build/, with its SHA-256
	@tag=$$(python -m service.model) && file=$$PWD/build/$${tag/:/-}.bentomodel && mkdir -p build && \
	rm -f "$$file" && $(BENTOML) models export "$$tag" "$$file" >/dev/null && sha256sum "$${file#$$PWD/}"

# BentoML renders the Dockerfile in the system's temporary folder, and refuses a template outside
# the current one; it also asks for BuildKit, which not every client has.
# The time that buildah gives all files and the image itself makes a second build the same, bit for
# bit; it shares the host's network and needs no privileges of its own.
image: bento ## bentoml containerize; BACKEND=buildah, buildx, podman: by that instead of docker
	@test $(BACKEND) != docker || docker version >/dev/null || \
		{ echo "error: no Docker engine answers; start one" >&2; exit 1; }
	@test $(BACKEND) != docker || docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0; \
	export SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) BUILDAH_ISOLATION=$${BUILDAH_ISOLATION:-chroot}; \
	tag=$(TAG) && cd / && $(BENTOML) containerize "$$tag" --backend $(BACKEND) \
		$(if $(filter buildah,$(BACKEND)),--opt timestamp=$$SOURCE_DATE_EPOCH --opt network=host)

image-run: image ## run that image, hardened, on :3000
	@$(port_is_free)
	docker run --rm --read-only --tmpfs /tmp --cap-drop=ALL --security-opt=no-new-privileges \
		--publish $(HOST):$(PORT):3000 "$(TAG)"

image-test: install-dev ## the tests of the image, with the real Docker engine
	pytest tests/test_image.py

verify: install ## rebuild in a clean clone, on one thread and on two, and compare with dvc.lock
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && git clone --quiet . "$$folder/clone" && \
	cd "$$folder/clone" && export BENTOML_HOME="$$folder/bentoml" && for threads in 1 2; do \
		echo "verify: dvc repro --force on $$threads thread(s)"; \
		OMP_NUM_THREADS=$$threads OPENBLAS_NUM_THREADS=$$threads dvc repro --force --quiet && \
		git diff --exit-code && test -z "$$(git status --porcelain)" || exit 1; \
	done && echo "verify: every hash is the one in dvc.lock"

bench: install-dev ## the benchmarks, a quarter of an hour; writes bench/results
	python -m bench.pipeline
	python -m bench.serving

lock: install-dev ## resolve pyproject.toml anew into the requirements files
	$(LOCK) pyproject.toml --extra serve --extra pipeline --extra tools -o requirements.txt
	$(LOCK) pyproject.toml --extra serve -c requirements.txt -o requirements-serve.txt
	$(LOCK) pyproject.toml --extra serve --extra pipeline --extra tools --extra dev -c requirements.txt \
		-o requirements-dev.txt
	$(LOCK) bench/requirements.in -c requirements.txt -o bench/requirements.txt
	$(LOCK) bench/requirements-bentoml.in -c requirements.txt -o bench/requirements-bentoml.txt
	$(LOCK) bench/requirements-mlflow.in -o bench/requirements-mlflow.txt
