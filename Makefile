# The commands of README.md. They need only Python 3.11 or newer, git and make.
#
#   make demo                                 set up, then train, search and export the embedded digits
#   make test                                 set up, then run the tests
#   make check                                set up, then run the linters
#   make docs                                 set up, then write the pages of docs/ that are made from the code
#   make setup                                set up for both at once
#   make family CONFIG=... OLD=... FLAGS=...  build a family, verify it, and refuse it if it is worse than OLD, or changed
#                                             under the same release number
#   make clean                                remove the environment and caches, not runs/ and dist/

PYTHON ?= python3
VENV ?= .venv
FACTORY ?= $(VENV)/bin/factory

# For `make family`. CONFIG: a config; if empty, that of the embedded digits. OLD: the folder of the last family; empty if
# there is none. NEW: the folder that the build writes, beside the config. FLAGS: limits for `factory diff`.
# EVALUATION: the folder with the test labels and predictions of OLD, if OLD does not publish them and they are not in runs/.
CONFIG ?=
OLD ?=
EVALUATION ?=
FLAGS ?=
NAME = $(if $(CONFIG),$(shell sed -n "s/^name: *[\"']\{0,1\}\([A-Za-z0-9_.-]*\).*/\1/p" "$(CONFIG)"),digits)
NEW ?= $(if $(CONFIG),$(dir $(CONFIG)))dist/$(NAME)

# For `make test`: the number of processes that share the tests; with 0 pytest runs them all in its own. By default one more
# than there are cores, because some tests wait for servers, signals and files.
WORKERS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))

# ONNX Runtime sends usage data by default; nothing that runs here may.
export ORT_DISABLE_TELEMETRY = 1

# Python compiles what is imported when it is, and keeps the bytecode even if the environment forbids that: else every
# process of a test would compile PyTorch again. Compiling all that is installed takes half a minute.
export PYTHONDONTWRITEBYTECODE =
PIP = $(VENV)/bin/python -m pip install --disable-pip-version-check --no-compile

.PHONY: demo setup test check docs family family-folder evaluation-folder clean

demo: $(VENV)/.ready
	$(FACTORY) build

# Both sets of tools at once, for scripts that check and test.
setup: $(VENV)/.ready-check,test
	@touch $(VENV)/.ready-check $(VENV)/.ready-test

test: $(VENV)/.ready-test
	$(VENV)/bin/python -m pytest --numprocesses $(WORKERS) --maxprocesses 8 --dist loadfile --no-loadscope-reorder

check: $(VENV)/.ready-check
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

docs: $(if $(filter $(VENV)/bin/factory,$(FACTORY)),$(VENV)/.ready)
	$(FACTORY) schema --reference --output docs/config.md

# Nothing is set up if FACTORY names another command. `make` itself exits with 2 on any failure; its line
# `*** [family] Error 1` states the exit code of the command that failed.
family: $(if $(filter $(VENV)/bin/factory,$(FACTORY)),$(VENV)/.ready)
	@if [ -n "$(OLD)" ] && [ "$(OLD)" -ef "$(NEW)" ]; then \
		echo "error: OLD and NEW are both $(NEW), which the build writes; copy the last family elsewhere" >&2; exit 2; fi
	$(FACTORY) build $(if $(CONFIG),--config "$(CONFIG)")
	$(FACTORY) verify "$(NEW)" $(if $(OLD),--previous "$(OLD)")
	@if [ -z "$(OLD)" ]; then echo "$(NEW): the first family, nothing to compare it with"; else \
		set -x; $(FACTORY) diff "$(OLD)" "$(NEW)" $(if $(EVALUATION),--evaluation "$(EVALUATION)") $(FLAGS); fi

# For scripts: prints the folder that `make family` writes, and the one where the run keeps test labels and predictions.
family-folder:
	@echo "$(NEW)"

evaluation-folder:
	@echo "$(if $(CONFIG),$(dir $(CONFIG)))runs/$(NAME)/evaluation"

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(VENV)/.ready: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
		echo "error: there is no '$(PYTHON)'; install Python 3.11 or newer, or run make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: $$($(PYTHON) --version) is too old; 3.11 or newer is needed: make PYTHON=python3.12" >&2; exit 1; }
	@echo "setting up $(VENV): pip downloads PyTorch and what else is needed, a few minutes the first time"
	@$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	@touch $@

$(VENV)/.ready-%: $(VENV)/.ready
	$(PIP) -e '.[$*]'
	@touch $@
