# `make sweep` and `make test` do all the set-up themselves; `make help` lists the rest.
PYTHON ?= python3
JOBS ?= 2
VENV := .venv
RUN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help sweep test test-slow gpu lint clean
.DEFAULT_GOAL := help

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

$(STAMP): pyproject.toml
	test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --editable '.[test]'
	touch $(STAMP)

sweep: $(STAMP) ## run the PANDA sweep on bundled sample slides, then write its report
	$(RUN)/python sweeps/panda_budget.py $(ARGS)

# what starts Ray stays in one process and takes longest, so tests keep their order: it starts early
PARALLEL := --numprocesses $(JOBS) --dist loadgroup --no-loadscope-reorder

test: $(STAMP) ## run the tests, JOBS=2 at a time
	$(RUN)/python -m pytest -m "not slow" $(PARALLEL) $(ARGS)

test-slow: $(STAMP) ## run the tests that take minutes: every part under its contract suite
	$(RUN)/python -m pytest -m slow $(PARALLEL) $(ARGS)

gpu: $(STAMP) ## check this machine's GPU and run the tests that need one, then keep what was found
	mkdir -p benchmarks/results/doctor
	$(RUN)/patchtrain doctor --out benchmarks/results/doctor; found=$$?; \
	  $(RUN)/python -m pytest -m gpu $(ARGS) && exit $$found

lint: $(STAMP) ## check style, types and who imports whom
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports --no-cache

clean: ## remove the environment and all runs
	rm -rf $(VENV) runs
