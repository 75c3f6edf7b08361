# What people call. Each target calls a tool that also works by itself: dvc, bentoml, pytest, ruff.

SHELL := /bin/bash
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 3000
BACKEND ?= docker
EXTRAS ?= no
# Of the model's versions. Not the environment's, where such names may mean anything.
STAGE :=
VERSION :=
BUMP :=
FORCE :=
BASE := main
URL := .
BIN := .venv/bin
# The stages run `python` as they find it, and so do dvc and bentoml.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export BENTOML_DO_NOT_TRACK := True
export ORT_DISABLE_TELEMETRY := 1
STORE := python deploy/local/store.py
INSTALL := python deploy/install.py
# So that the project is importable from any folder; it builds from what the lock has.
EDITABLE := python -m pip --isolated install --quiet --no-deps --no-build-isolation --no-index --editable .
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links
# A process for each core has one thread for its sums, and byte code is kept for the next one.
PYTEST := env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 pytest -n 4 --dist loadscope --no-loadscope-reorder
# Each warning is an error: a link that leads nowhere, a page that no list names.
SPHINX := sphinx-build --quiet --fail-on-warning --keep-going --builder html --doctree-dir build/doctrees docs build/docs
TRAIN := cairn-train
AWS := ACCESS_KEY_ID SECRET_ACCESS_KEY SESSION_TOKEN REGION ENDPOINT_URL
MLFLOW := TRACKING_URI TRACKING_USERNAME TRACKING_PASSWORD TRACKING_TOKEN EXPERIMENT_NAME
TAG = $$(python -m service.bento.version)
# Its command line warns of itself. Only here: what a stage warns of is for people to see.
BENTOML := PYTHONWARNINGS=ignore::UserWarning bentoml

# As one word of the shell, whatever is in it.
quoted = '$(subst ','\'',$(1))'
port_is_free = python -m deploy.local.port_check $(call quoted,$(PORT)) $@

# The default gives way to the next one that is free; what somebody asks for does not.
is_default_port = $(filter file,$(origin PORT))
port_as_asked = $(if $(is_default_port),true,$(port_is_free))
SERVE = python -m deploy.local.serve --host=$(call quoted,$(HOST)) --port=$(call quoted,$(PORT)) $(if $(is_default_port),,--fixed)

STACK ?= cairn
PARAMETERS ?= deploy/ec2/parameters.json
OVERLAY := deploy/k8s/overlays/production
TRAINING := deploy/k8s/training
COMPOSE = $$(docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose) \
	--project-name cairn --file deploy/compose.yaml
# Nothing is applied that still has an example's names in it, and nothing without a cluster.
k8s_checks = command -v kubectl >/dev/null || \
	{ echo "error: no kubectl here; install it, 1.21 or later" >&2; exit 1; }; \
	kubectl kustomize $(1) >/dev/null || exit 1; \
	if kubectl kustomize $(1) | grep -n example | sed 's/^/  /' | grep . >&2; then \
		echo "error: the lines above are examples; put your own values into $(1)" >&2; exit 1; fi; \
	kubectl version --request-timeout=10s >/dev/null 2>&1 || { \
		echo "error: no cluster answers; choose one: kubectl config get-contexts" >&2; exit 1; }; \
	kubectl get namespace cairn >/dev/null 2>&1 || { echo \
		"error: the cluster has no namespace cairn; make it: kubectl create namespace cairn" >&2; exit 1; }

.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help run test test-all install install-dev install-extras commands check docs fmt clean store store-down repro push \
	pull register report release promote rollback releases checkout serve bento export image image-run image-test \
	sbom train-image train compose-up compose-down ec2 ec2-down k8s k8s-train upgrade verify bench lock

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A signal ends `wait`, not the server, which is then waited for again. A terminal's Ctrl-C is for both.
run: install ## all of it, from nothing: environment, S3 store, repro, push, register, serve on :3000
	@$(port_as_asked)
	@set -e; $(STORE) check >/dev/null 2>&1 || trap '$(STORE) stop' EXIT; \
	trap 'exit 0' INT; trap 'exit 143' TERM; \
	$(MAKE) --no-print-directory store repro push register; \
	$(SERVE) & server=$$!; trap : INT; trap 'kill $$server' TERM; code=0; wait $$server || code=$$?; \
	while kill -0 $$server 2>/dev/null; do code=0; wait $$server || code=$$?; done; exit $$code

test: install-dev ## the tests that need nothing but the environment, on all cores
	$(PYTEST) -m "not real and not long" $(TESTS)

test-all: test ## those, and all that need Docker, a browser, other servers, a cluster, root or a package index
	$(PYTEST) -m "real or long" $(TESTS)

install: .venv/.installed commands ## the environment in .venv, from the lock with its hashes; INSTALLER=pip: without uv
install-dev: .venv/.installed-dev commands ## that, and what tests and checks need
install-extras: .venv/.installed-extras commands ## what is optional: Dask, LightGBM, MLflow, SQL

# Each lock holds those before it: an environment that has a later one keeps to that one.
widest = $(firstword $(foreach each,dev extras,$(if $(wildcard .venv/.installed-$(each)),requirements-$(each).txt)) $<)

.venv/.installed: requirements.txt requirements-uv.txt | .venv/bin/python
	@$(INSTALL) $(widest)
	@$(EDITABLE)
	@touch $@

.venv/.installed-extras: requirements-extras.txt requirements-uv.txt | .venv/bin/python
	@$(INSTALL) $(widest)
	@$(EDITABLE)
	@touch .venv/.installed $@

.venv/.installed-dev: requirements-dev.txt requirements-uv.txt | .venv/bin/python
	@$(INSTALL) $<
	@$(EDITABLE)
	@touch .venv/.installed .venv/.installed-extras $@

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 15) else \
		"error: Python " + sys.version.split()[0] + "; Cairn needs 3.11 to 3.14: make PYTHON=python3.12")'
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

# After each sync, which takes them away.
commands: ## put the project's own bentoml build and bentoml containerize into .venv
	@python deploy/local/commands.py

check: install-dev ## lint, format, types, links of the docs; rewrites nothing
	ruff check
	ruff format --check
	mypy
	$(SPHINX)

docs: install-dev ## the documentation with search, in build/docs; its reference pages from the code
	python -m docs.generate
	$(SPHINX)

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
	@python -m cairn.releases.bento_store

report: install ## what the model has become since BASE=main, with pictures, in build/report
	@python -m cairn.releases.report -- $(call quoted,$(BASE)) $(call quoted,$(URL))

release: install ## a version of this commit and its model, as a git tag; BUMP=major, minor, VERSION=v1.2.3
	@python -m cairn.releases register --version="$$VERSION" --bump="$$BUMP"

promote: install ## STAGE=prod: give it to the newest version, or VERSION=v1.2.3, if it passes the gates
	@python -m cairn.releases promote --stage="$$STAGE" --version="$$VERSION" --force="$$FORCE"

rollback: install ## STAGE=prod: undo the last promotion
	@python -m cairn.releases rollback --stage="$$STAGE"

releases: install ## the versions, the stages that they have, their models and scores
	@python -m cairn.releases show

checkout: install ## VERSION=v1.2.3: its code, data and model, together
	@python -m cairn.releases checkout --version="$$VERSION"

serve: install ## bentoml serve on :3000; STAGE=prod: the model of that stage
	@$(port_as_asked)
	@$(if $(STAGE),MODEL_TAG=$$(python -m cairn.releases tag --stage="$$STAGE") && export MODEL_TAG && \
	)exec $(SERVE)

bento: install ## bentoml build, if this model and code have no Bento yet
	@$(BENTOML) build

export: install ## the model as one file for MODEL_URI, in build/, with its SHA-256
	@tag=$$(python -m service.bento.store) && file=$$PWD/build/$${tag/:/-}.bentomodel && mkdir -p build && \
	rm -f "$$file" && $(BENTOML) models export "$$tag" "$$file" >/dev/null && sha256sum "$${file#$$PWD/}"

image: bento ## bentoml containerize; BACKEND=buildah, buildx, podman: by that instead of docker
	@$(BENTOML) containerize $(TAG) --backend=$(call quoted,$(BACKEND))

image-run: image ## run that image, hardened, on :3000
	@$(port_is_free)
	docker run --rm --read-only --tmpfs /tmp --cap-drop=ALL --security-opt=no-new-privileges \
		--publish $(call quoted,$(HOST):$(PORT)):3000 "$(TAG)"

image-test: install-dev ## the tests of the image, with the real Docker engine
	$(PYTEST) -m real tests/test_image.py

sbom: install-dev image ## build/sbom.cdx.json: the Python packages in that image, and their licences
	@python -m deploy.sbom "$(TAG)" build/sbom.cdx.json

# Its context is two things, not the folder: no data, no keys, no .git.
train-image: ## the image cairn-train, which runs the pipeline in a container; EXTRAS=yes: Dask, … too
	@docker version >/dev/null || { echo "error: no Docker engine answers; start one" >&2; exit 1; }
	@docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0; \
	tar -cf - requirements{,-extras,-uv}.txt deploy/install.py deploy/train | docker build \
		--build-arg EXTRAS=$(EXTRAS) --tag $(TRAIN) --file deploy/train/Dockerfile -

train: install train-image ## dvc repro and dvc push in that image, on this folder, as you
	@$(STORE) check
	docker run --rm --network host --user "$$(id -u):$$(id -g)" --volume "$(CURDIR):/repo" \
		$(AWS:%=--env AWS_%) $(MLFLOW:%=--env MLFLOW_%) $(TRAIN)

compose-up: image ## the service, an S3 store and Prometheus in containers, on loopback
	@export CAIRN_IMAGE=$(TAG); $(COMPOSE) up --detach

compose-down: ## stop and remove them; their data stays in volumes
	@export CAIRN_IMAGE=- STORE_ACCESS_KEY=- STORE_SECRET_KEY=-; $(COMPOSE) down

ec2: ## aws cloudformation deploy, with deploy/ec2/parameters.json
	@command -v aws >/dev/null || { echo "error: no aws here; install the AWS CLI" >&2; exit 1; }
	@test -f $(PARAMETERS) || { echo "error: no $(PARAMETERS); copy" \
		"deploy/ec2/parameters.example.json there and put in your values" >&2; exit 1; }
	aws cloudformation deploy --stack-name $(STACK) --template-file deploy/ec2/template.yaml \
		--parameter-overrides file://$(PARAMETERS) --capabilities CAPABILITY_IAM \
		--no-fail-on-empty-changeset $(FLAGS)
	@aws cloudformation describe-stacks --stack-name $(STACK) --output text \
		--query "Stacks[0].Outputs[?OutputKey=='Url'].OutputValue"

ec2-down: ## delete that stack and its logs; the image in ECR and the model in S3 stay
	aws cloudformation delete-stack --stack-name $(STACK)
	aws cloudformation wait stack-delete-complete --stack-name $(STACK)

k8s: ## kubectl apply of deploy/k8s/overlays/production
	@$(call k8s_checks,$(OVERLAY))
	kubectl apply -k $(OVERLAY)
	kubectl --namespace cairn rollout status deployment/cairn --timeout=6m || \
		{ echo "error: the new pods do not become ready, the old ones stay; to go back:" \
		"kubectl --namespace cairn rollout undo deployment/cairn" >&2; exit 1; }

k8s-train: ## the pipeline as a Job in that cluster
	@$(call k8s_checks,$(TRAINING))
	kubectl --namespace cairn delete job/cairn-train --ignore-not-found  # a Job cannot be changed
	kubectl apply -k $(TRAINING)

upgrade: install ## VERSION=v0.2.0: that Cairn merged into this branch; what is yours stays yours
	@python -m deploy.local.upgrade "$$VERSION"

verify: install ## rebuild in a clean clone, on one thread and on two, and compare with dvc.lock
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && git clone --quiet . "$$folder/clone" && \
	cd "$$folder/clone" && export BENTOML_HOME="$$folder/bentoml" && for threads in 1 2; do \
		echo "verify: dvc repro --force on $$threads thread(s)"; \
		OMP_NUM_THREADS=$$threads OPENBLAS_NUM_THREADS=$$threads dvc repro --force --quiet && \
		git diff --exit-code && test -z "$$(git status --porcelain)" || exit 1; \
	done && echo "verify: every hash is the one in dvc.lock"

bench: install-dev ## the benchmarks, an hour and a quarter with a Docker engine; writes bench/results
	python -m bench.first_hour
	python -m bench.pipeline
	python -m bench.scale
	python -m bench.science
	python -m bench.serving
	python -m bench.body
	python -m bench.image

lock: install ## resolve pyproject.toml anew into the requirements files
	$(LOCK) --group install -o requirements-uv.txt
	$(LOCK) pyproject.toml --extra serve --extra pipeline --extra tools -o requirements.txt
	$(LOCK) pyproject.toml --extra serve -c requirements.txt -o requirements-serve.txt
	$(LOCK) pyproject.toml --extra serve --extra pipeline --extra tools --extra dask --extra lightgbm \
		--extra mlflow --extra sql -c requirements.txt -o requirements-extras.txt
	$(LOCK) pyproject.toml --extra serve --extra pipeline --extra tools --extra dask --extra lightgbm \
		--extra mlflow --extra sql --extra dev -c requirements.txt -c requirements-extras.txt -o requirements-dev.txt
	$(LOCK) bench/requirements.in -c requirements.txt -o bench/requirements.txt
	$(LOCK) bench/requirements-bentoml.in -c requirements.txt -o bench/requirements-bentoml.txt
	$(LOCK) bench/requirements-mlflow.in -o bench/requirements-mlflow.txt
