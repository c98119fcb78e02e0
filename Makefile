# One command for people and for CI. `make` alone lists the targets.
.DEFAULT_GOAL := help
.PHONY: help demo test test-tools test-long page flash flash-arguments clean
PYTHON_FILES := setup.cfg pyproject.toml requirements/constraints.txt package-lock.json

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.demo  ## train, convert, push and hot-swap a real model on three local devices; ARGS=--keep
	@.venv/bin/edgeflock demo $(ARGS)

# Each worker holds TensorFlow in memory: no more of them than a small machine carries.
test: test-tools  ## run all checks: lint, types, walls, tests
	@scripts/check --numprocesses auto --maxprocesses 4 --dist loadfile

test-long: test-tools  ## run the tests with their full counts and write a dated JSON into benchmarks/results/
	@scripts/check --long-results benchmarks/results

# What the tests use beside Python's packages; each says in a line what is not tested without it.
test-tools: .venv/.dev
	@scripts/ensure-mosquitto
	@scripts/ensure-chromium
	@scripts/ensure-prometheus
	@scripts/ensure-nspawn
	@scripts/build-page

page:  ## bring in the scripts of the fleet's page (npm), for charts and pages that move by themselves
	@scripts/build-page

flash: flash-arguments .venv/.demo  ## render the boot files of one device: make flash BOOT=/media/boot DEVICE=pi-1
	@.venv/bin/edgeflock flash --boot "$(BOOT)" --device "$(DEVICE)" $(ARGS)

flash-arguments:
	@[ -n "$(BOOT)" ] && [ -n "$(DEVICE)" ] || { echo "say which: make flash BOOT=/media/boot DEVICE=pi-1" >&2; exit 2; }

clean:  ## remove what the other targets made
	rm -rf .venv fleet/web/static/vendor demo-run build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# The development environment holds the demo's, so that one .venv serves both.
.venv/.demo: $(PYTHON_FILES)
	@scripts/make-venv demo
	@touch $@

.venv/.dev: $(PYTHON_FILES)
	@scripts/make-venv dev
	@touch $@ .venv/.demo
