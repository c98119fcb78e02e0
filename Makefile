# One command for people and for CI. `make` alone lists the targets.
.DEFAULT_GOAL := help
.PHONY: help demo test test-tools test-long page flash flash-arguments packages image boot-test clean
# DEVICE is what NAME was called at first. Not `?=`: some systems have a NAME in the environment.
NAME = $(DEVICE)
PYTHON_FILES := setup.cfg pyproject.toml requirements/constraints.txt package-lock.json

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.demo  ## train, convert, push and hot-swap a real model on three local devices; ARGS=--keep
	@.venv/bin/edgeflock demo $(ARGS)

# Each worker holds TensorFlow in memory: no more of them than a small machine carries. One more than a small
# machine has processors, because many tests wait for processes.
test: test-tools  ## run all checks: lint, types, walls, tests
	@scripts/check --numprocesses 3 --dist loadfile --durations 15

test-long: test-tools  ## run the tests with their full counts and write a dated JSON into benchmarks/results/
	@scripts/check --long-results benchmarks/results -o faulthandler_timeout=0

# What the tests use beside Python's packages; each says in a line what is not tested without it.
test-tools: .venv/.dev
	@scripts/ensure-mosquitto
	@scripts/ensure-chromium
	@scripts/ensure-prometheus
	@scripts/ensure-nspawn
	@scripts/ensure-card-tools
	@scripts/ensure-arm
	@scripts/ensure-first-boot-checks
	@scripts/build-page

page:  ## bring in the scripts of the fleet's page (npm), for charts and pages that move by themselves
	@scripts/build-page

# On a mounted card (BOOT), or from an image (IMAGE) into a copy of it (OUT) or onto a card (DISK), which asks first.
flash: flash-arguments .venv/.demo  ## make a card or image a device: make flash IMAGE=pi.img.xz NAME=pi-1 DISK=/dev/sdX
	@.venv/bin/edgeflock flash $(if $(IMAGE),--image "$(IMAGE)" $(if $(OUT),--out "$(OUT)",--write-to "$(DISK)"),--boot "$(BOOT)") \
		--device "$(NAME)" $(ARGS)

# The times in the packages are those of the commit: the same source gives the same bytes.
packages: .venv/.demo  ## make what devices without a network install: Debian packages and wheels, in packages/
	@SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || echo 315532800) .venv/bin/edgeflock package \
		--target bookworm-arm64 --target bookworm-armhf --target trixie-arm64 \
		--constraint requirements/constraints.txt --out packages $(ARGS)

flash-arguments:
	@[ -n "$(NAME)" ] && { [ -n "$(BOOT)" ] || { [ -n "$(IMAGE)" ] && [ -n "$(OUT)$(DISK)" ]; }; } || { \
		echo "say which: make flash BOOT=/media/boot NAME=pi-1" >&2; \
		echo "       or: make flash IMAGE=raspios.img.xz NAME=pi-1 DISK=/dev/sdX (or OUT=pi-1.img)" >&2; exit 2; }

image: .venv/.dev  ## make an arm64 image like a stock one, and our package for it, in build/image (root; minutes)
	@scripts/ensure-boot-tools
	@scripts/build-stock-image build/image
	@.venv/bin/edgeflock package --target bookworm-arm64 --out build/image/packages --deb

boot-test: image test-tools  ## flash that image, boot it in QEMU, update it, cut its power (20 minutes)
	@.venv/bin/python -m pytest tests/boot --boot-image build/image -rA -s -o faulthandler_timeout=0

clean:  ## remove what the other targets made
	rm -rf .venv fleet/web/static/vendor demo-run packages build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# The development environment holds the demo's, so that one .venv serves both.
.venv/.demo: $(PYTHON_FILES)
	@scripts/make-venv demo
	@touch $@

.venv/.dev: $(PYTHON_FILES)
	@scripts/make-venv dev
	@touch $@ .venv/.demo
