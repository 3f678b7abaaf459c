# Each target calls gears or a tool, which have the logic. SITE=, JOB=1 and ARGS="…" are passed on.

GEARS = .venv/bin/gears
PYTHON_HERE = .venv/bin/python

.DEFAULT_GOAL := help

# For users. --------------------------------------------------------------------------------------------------------

help: FORCE ## list the targets
	@awk -F ' *## ' '/^[a-z%-]+:.*## / { sub(/:.*/, "", $$1); gsub(/%/, "NAME", $$1); printf "  make %-20s %s\n", $$1, $$2 }' Makefile

init: FORCE ## create or update the environment (.venv)
	@envs/init.sh

extensions: FORCE ## add extensions of JupyterLab: git, differences of notebooks, notebooks as text
	@envs/init.sh extensions

fini: FORCE ## remove the environment
	@envs/init.sh remove

env: base-env ## show the environment and how to use it
	@envs/init.sh show

lab: base-env ## start JupyterLab on this machine, or find the running one
	@$(GEARS) lab $(if $(JOB),--job) $(ARGS) $(SITE)

lab-shutdown: base-env ## stop it and remove its files
	@$(GEARS) stop $(ARGS) $(SITE)

%-lab: base-env ## start or find JupyterLab at a site, e.g. make andes-lab; JOB=1: as a batch job
	@$(GEARS) lab $(if $(JOB),--job) $(ARGS) '$*'

%-lab-shutdown: base-env ## stop the lab of a site, its hop and its job
	@$(GEARS) stop $(ARGS) '$*'

ssh-config: base-env ## print the block for ~/.ssh/config on the laptop; SITE=NAME for one site
	@$(GEARS) ssh-config $(ARGS) $(SITE)

password: base-env ## set JupyterLab's password
	@$(GEARS) password $(ARGS)

status: base-env ## show what is up, and what to run if it is not; SITE=NAME
	@$(GEARS) status $(ARGS) $(SITE)

doctor: base-env ## check every hop and setting: cause and fix of each problem; SITE=NAME
	@$(GEARS) doctor $(ARGS) $(SITE)

# For developers. -----------------------------------------------------------------------------------------------------

test: test-env ## run all tests, as root also those in the test centre; ARGS="-k hop": a selection
	@$(PYTHON_HERE) -m pytest -n 5 --dist loadfile --no-loadscope-reorder --timeout 600 $(ARGS)

check: check-lint check-format check-types check-imports check-shell ## run all quick checks; make -k check continues after a failure

format: format-lint format-code ## format the code, and fix what the linter can fix

docs: docs-site ## build the documentation in build/docs, and check its links and commands
	@$(PYTHON_HERE) -m pytest tests/test_docs.py tests/test_docs_site.py $(ARGS)

centre: test-env ## start a small HPC centre on this machine, to try gears without an account (root)
	@$(PYTHON_HERE) -m tests.centre $(ARGS)

bench: test-env ## measure start, throughput and latency as ratios (root)
	@$(PYTHON_HERE) -m tests.bench $(ARGS)

labextension: test-env ## build the extension of JupyterLab's page from labextension/
	@PATH="$(CURDIR)/$(dir $(PYTHON_HERE)):$$PATH" npm --prefix labextension run all

lock: FORCE ## update the lock files (needs uv; UPGRADE=1: to the newest versions)
	@envs/lock.sh $(if $(UPGRADE),--upgrade)

clean: FORCE ## remove caches and builds
	@rm -rf .pytest_cache .ruff_cache .mypy_cache build dist && find gears tests -name __pycache__ -prune -exec rm -rf {} +

# Prerequisites. ------------------------------------------------------------------------------------------------------

check-lint: test-env
	@$(PYTHON_HERE) -m ruff check .

check-format: test-env
	@$(PYTHON_HERE) -m ruff format --check .

check-types: test-env
	@$(PYTHON_HERE) -m mypy

check-imports: test-env
	@PATH="$(dir $(PYTHON_HERE)):$$PATH" lint-imports --no-logo --no-cache

check-shell: test-env
	@.venv/bin/shellcheck $(wildcard .ci/run envs/*.sh tests/*.sh tests/*/*.sh)

docs-site: test-env
	@$(PYTHON_HERE) -m sphinx -q -W -c docs -d build/doctrees . build/docs && echo build/docs/index.html

format-lint: test-env
	@$(PYTHON_HERE) -m ruff check --fix-only .

format-code: test-env
	@$(PYTHON_HERE) -m ruff format .

base-env: FORCE
	@envs/init.sh --quiet

test-env: FORCE
	@envs/init.sh --quiet test

# A prerequisite that never exists: .PHONY does not work for patterns, and a file named `lab` must not hide a target.
FORCE:
