# The two commands of the README: `make demo` and `make test`. Each installs what it needs into .venv first, by hashed locks.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do $$p -c 'import sys; sys.exit(not (3,11) <= sys.version_info[:2] < (3,14))' 2>/dev/null && echo $$p && break; done)
PROTONOVA_SHARED ?= ../shared
VENV := .venv
BIN := $(VENV)/bin
# Without --no-compile pip compiles every module of every package, half a minute of which most is never imported; Python compiles what is.
INSTALL := $(BIN)/python -m pip --disable-pip-version-check -q install --no-compile
ARGS ?=

export PROTONOVA_SHARED
# With it every process compiles anew all that it imports: some four seconds of a core at each start of a worker, an API or a command.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-slow test-all nightly bench train lint types contracts check-archives lock clean help

help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */	/' | expand -t 14

demo: $(VENV)/kernels.stamp $(if $(findstring --frames,$(ARGS)),$(VENV)/frames.stamp)   ## a simulated night through Kafka, a Faust worker and the status page to scored detections on screen
	@$(BIN)/protonova demo $(ARGS)

# Those of the flow share one Kafka and the machine, so they run alone and after the others; status 5 says that ARGS chose none of them.
# Both halves read no more files than they need: to collect all five thousand costs half a minute each time.
FLOW := $(if $(findstring tests,$(ARGS)),$(ARGS),tests/flow $(ARGS))
OTHERS := $(if $(findstring tests,$(ARGS)),$(ARGS),--ignore=tests/flow $(ARGS))
define in_two_halves
	$(BIN)/python -m pytest -m "not flow and $(1)" -n auto --maxprocesses 4 $(2) $(OTHERS); others=$$?; \
	[ $$others = 0 ] || [ $$others = 5 ] || exit $$others; \
	$(BIN)/python -m pytest -m "flow and $(1)" $(2) $(FLOW); flow=$$?; \
	[ $$flow = 0 ] || [ $$flow = 5 -a $$others = 0 ] || exit $$flow
endef

test: $(VENV)/test.stamp $(VENV)/kernels.stamp   ## every test but those marked slow, with a real Apache Kafka
	@$(call in_two_halves,not slow and not nightly,--durations=10)

test-slow: $(VENV)/test.stamp $(VENV)/kernels.stamp   ## those marked slow alone
	@$(call in_two_halves,slow and not nightly,--durations=25)

test-all: $(VENV)/test.stamp $(VENV)/kernels.stamp   ## every test but those of the night
	@$(call in_two_halves,not nightly,--durations=10)

nightly: $(VENV)/test.stamp   ## what takes longer than CI may: loops compiled from nothing, fuzzing, a night of kills
	@rm -f $(VENV)/kernels.stamp && rm -rf operators/kernels/__pycache__/kernels-*
	@$(MAKE) $(VENV)/kernels.stamp
	@CI=true $(BIN)/python -m pytest -m nightly -s --durations=5 $(ARGS)

bench: $(VENV)/test.stamp $(VENV)/kernels.stamp  ## the naive stack beside ours, on the same packets in one run
	@$(BIN)/python -m benchmarks $(ARGS)

train: $(VENV)/test.stamp  ## simulate, train and export the network; writes artifacts/
	@$(BIN)/protonova train --real $(PROTONOVA_SHARED)/data/real/ztf_alerts $(ARGS)

lint: $(VENV)/test.stamp   ## ruff
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/test.stamp  ## mypy, strict
	@$(BIN)/mypy

contracts: $(VENV)/test.stamp  ## imports go downward only and in no circle, names stand once, files stay short, arguments past the second by keyword
	@$(BIN)/lint-imports
	@$(BIN)/python -m tools.check_structure
	@$(BIN)/python -m tools.check_words

check-archives: $(VENV)/core.stamp  ## whether the archives of protonova fetch still answer as we read them; "not run" without a network
	@$(BIN)/python -m tools.check_archives $(ARGS)

lock:            ## write the hashed locks anew (needs uv)
	@requirements/lock.sh

clean:           ## remove what was built and installed here
	rm -rf $(VENV) *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "protonova needs Python 3.11, 3.12 or 3.13; none was found. Install one, or: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12"; exit 1; }
	@echo "making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)

# pip refuses hashes and an editable requirement in one call, hence two.
$(VENV)/core.stamp: requirements/core.lock pyproject.toml | $(VENV)/bin/python
	@echo "installing the core (about 80 packages)"
	@$(INSTALL) --require-hashes -r requirements/core.lock
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

# Raw frames need astropy, scipy and sep, and loops of their own, which alerts do not.
$(VENV)/frames-installed.stamp: requirements/frames.lock $(VENV)/core.stamp
	@echo "installing what raw frames need"
	@$(INSTALL) --require-hashes -r requirements/frames.lock
	@touch $@

$(VENV)/frames.stamp: $(VENV)/frames-installed.stamp $(VENV)/kernels.stamp
	@$(BIN)/python -m tools.compile_kernels frames
	@touch $@

# Loops are compiled at install and not at the first start; after a change, those that changed.
$(VENV)/kernels.stamp: $(VENV)/core.stamp $(shell find operators schemas data -name '*.py' 2>/dev/null)
	@$(BIN)/python -m tools.compile_kernels
	@touch $@

$(VENV)/test.stamp: requirements/test.lock pyproject.toml | $(VENV)/bin/python
	@echo "installing what the tests need, torch too (a few minutes, about 6 GB)"
	@$(INSTALL) --require-hashes -r requirements/test.lock
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/core.stamp
