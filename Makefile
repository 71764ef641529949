# make, as root or as a user who may sudo. What is missing on Debian 12 or later gets installed.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PREFIX ?= /usr/local
LIBDIR := $(PREFIX)/lib/rtrace
COMMAND := $(PREFIX)/bin/rtrace
# Man pages, and completion where Debian's shells look for it.
MAN := $(PREFIX)/share/man/man1
COMPLETIONS := bash-completion/completions/rtrace zsh/site-functions/_rtrace \
	fish/vendor_completions.d/rtrace.fish

# The interpreter that Debian's python3-bpfcc belongs to, whatever python3 is first in PATH.
PYTHON := /usr/bin/python3
VENV := .venv/bin
STAMP := .venv/.made
FUZZ_STAMP := .venv/.fuzz
OBJECT := tracer/_bpf/rtrace.bpf.o

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
AS_ROOT := $(if $(SUDO),sudo -E)
# The checkout's owner owns what is built in it, also under `sudo make`.
OWNER := $(shell stat -c %U .)
AS_OWNER := $(shell [ "$$(id -u)" != 0 ] || [ "$(OWNER)" = root ] || \
	echo runuser -u $(OWNER) -- env HOME="$$(getent passwd $(OWNER) | cut -d: -f6)")

PY_FILES := hatch_build.py tracer analysis rtrace screen demo bench tests
C_FILES = $(wildcard $(foreach folder,bpf bench tests/kernel tests/kernel/trees tests/kernels,$(folder)/*.[ch]))

# Root leaves no files of its own in a user's checkout.
export PYTHONDONTWRITEBYTECODE := 1
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.PHONY: help
help: ## list what make can do
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|'

.PHONY: demo
demo: $(STAMP) $(OBJECT) | packages ## record the life of a real container, and report it
	@$(AS_ROOT) $(VENV)/python -m demo

# Lint first, then the tests, whose closing line is the last.
.PHONY: test
test: lint $(STAMP) $(FUZZ_STAMP) $(OBJECT) | packages-test ## lint, and every test (as root: they load BPF programs)
	@$(AS_ROOT) $(VENV)/python -m pytest; status=$$?; \
	for made in .pytest_cache .hypothesis; do \
		[ ! -e $$made ] || $(SUDO) chown -R --reference=Makefile $$made; \
	done; exit $$status

.PHONY: lint
lint: $(STAMP) ## ruff, mypy --strict, clang-format, oxlint, import rules
	@$(AS_OWNER) $(VENV)/ruff check $(wildcard $(PY_FILES))
	@$(AS_OWNER) $(VENV)/ruff format --check $(wildcard $(PY_FILES))
	@$(AS_OWNER) $(VENV)/mypy --strict
	@$(AS_OWNER) $(VENV)/clang-format --dry-run -Werror $(C_FILES)
	@$(AS_OWNER) $(VENV)/oxlint --quiet --deny-warnings -D correctness -D suspicious \
		-A unicorn/consistent-function-scoping analysis/html/page
	@$(AS_OWNER) $(VENV)/lint-imports --no-logo

.PHONY: format
format: $(STAMP) ## format Python and C in place
	@$(AS_OWNER) $(VENV)/ruff check --fix --quiet $(wildcard $(PY_FILES)) || true
	@$(AS_OWNER) $(VENV)/ruff format $(wildcard $(PY_FILES))
	@$(AS_OWNER) $(VENV)/clang-format -i $(C_FILES)

.PHONY: bench
bench: $(STAMP) $(OBJECT) | packages-bench ## what recording costs on this machine (ARGS=... for bench)
	@$(AS_ROOT) $(VENV)/python -m bench $(ARGS)

.PHONY: soak
soak: $(STAMP) $(OBJECT) | packages ## an hour of a bounded recording under mixed load (ARGS=... for bench.soak)
	@$(AS_ROOT) $(VENV)/python -m bench.soak $(ARGS)

.PHONY: bench-peers
bench-peers: $(STAMP) $(OBJECT) | packages-peers ## the same beside perf, bpftrace, strace ... (ARGS=... for bench.peers)
	@$(AS_ROOT) $(VENV)/python -m bench.peers $(ARGS)

.PHONY: test-kernels
test-kernels: $(STAMP) $(OBJECT) | packages-kernels ## boot other kernels and run rtrace on them (ARGS=...)
	@$(AS_ROOT) $(VENV)/python -m tests.kernels $(ARGS)

.PHONY: lab
lab: $(STAMP) $(OBJECT) | packages-test ## every scenario on every docker engine of the lab (docs/lab.md)
	@$(AS_ROOT) $(VENV)/python -m pytest tests/lab --whole-lab $(ARGS)

.PHONY: fuzz
fuzz: $(STAMP) $(FUZZ_STAMP) ## open what strangers send, ever other files (ARGS=... for tests.fuzz)
	@$(AS_OWNER) $(VENV)/python -m tests.fuzz $(ARGS)

# A venv of its own with the wheel in it: the checkout may go. Debian's sudo looks in /usr/local/bin.
.PHONY: install
install: | packages-build ## put rtrace where `sudo rtrace` finds it (PREFIX=/usr/local)
	@if [ -e $(COMMAND) ] && [ "$$(readlink $(COMMAND))" != $(LIBDIR)/bin/rtrace ]; then \
		echo "cannot install: $(COMMAND) exists and is not from here; move it away" >&2; exit 1; fi
	@if [ -e $(LIBDIR) ] && [ ! -e $(LIBDIR)/pyvenv.cfg ]; then \
		echo "cannot install: $(LIBDIR) exists and is no venv; move it away" >&2; exit 1; fi
	@$(SUDO) mkdir -p $(dir $(COMMAND)) $(dir $(LIBDIR))
	@$(SUDO) $(PYTHON) -m venv --clear $(LIBDIR)
	@$(AS_OWNER) rm -rf build/wheel
	@$(AS_OWNER) $(LIBDIR)/bin/python -m pip wheel -q --no-deps -w build/wheel .
	@$(SUDO) $(LIBDIR)/bin/python -m pip install -q build/wheel/rtrace-*.whl
	@$(SUDO) $(PYTHON) -m venv --system-site-packages --without-pip $(LIBDIR)
	@$(SUDO) ln -sfn $(LIBDIR)/bin/rtrace $(COMMAND)
	@$(SUDO) mkdir -p $(MAN) $(dir $(COMPLETIONS:%=$(PREFIX)/share/%))
	@$(SUDO) rm -f $(MAN)/rtrace.1 $(MAN)/rtrace-*.1
	@$(SUDO) $(LIBDIR)/bin/python -m tracer.cli.man_pages $(MAN) >/dev/null
	@for script in $(COMPLETIONS); do \
		$(COMMAND) completion "$${script%%[-/]*}" | $(SUDO) tee $(PREFIX)/share/$$script >/dev/null; done
	@echo "installed $(COMMAND); next: sudo rtrace doctor"

.PHONY: uninstall
uninstall: ## remove what `make install` put there
	@if [ "$$(readlink $(COMMAND))" = $(LIBDIR)/bin/rtrace ]; then $(SUDO) rm -f $(COMMAND) \
		$(MAN)/rtrace.1 $(MAN)/rtrace-*.1 $(COMPLETIONS:%=$(PREFIX)/share/%); fi
	@if [ -e $(LIBDIR)/pyvenv.cfg ]; then $(SUDO) rm -rf $(LIBDIR); fi

.PHONY: clean
clean: ## remove what make built in the checkout
	rm -rf .venv build dist $(OBJECT) demo.rtrace
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

# The packages are asked for each time (it takes 20 ms) and order nothing to be built again.
.PHONY: packages-build packages packages-test packages-bench packages-peers packages-kernels
packages-build:
	@tools/debian-packages build
packages:
	@tools/debian-packages build docker
packages-test:
	@tools/debian-packages build docker test
packages-bench:
	@tools/debian-packages build bench
packages-peers:
	@tools/debian-packages build peers
packages-kernels:
	@tools/debian-packages build kernels

# Debian's own Python packages stay out of sight while pip decides, so that the venv gets all that
# rtrace depends on in its own versions; only then does the venv open to them, for python3-bpfcc.
$(STAMP): pyproject.toml hatch_build.py | packages-build
	@echo "making .venv"
	@$(AS_OWNER) $(PYTHON) -m venv .venv
	@$(AS_OWNER) $(VENV)/python -m pip install -q -e '.[dev]'
	@$(AS_OWNER) $(PYTHON) -m venv --system-site-packages --without-pip .venv
	@$(AS_OWNER) touch $@

$(FUZZ_STAMP): $(STAMP)
	@$(AS_OWNER) $(VENV)/python -m pip install -q -e '.[fuzz]'
	@$(AS_OWNER) touch $@

$(OBJECT): hatch_build.py $(wildcard bpf/*.c bpf/*.h) | $(STAMP)
	@$(AS_OWNER) $(VENV)/python hatch_build.py
