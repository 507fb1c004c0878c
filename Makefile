SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X kotool/internal/cli.Version=$(VERSION)
PREFIX ?= /usr/local
DESTDIR ?=
FUZZTIME ?= 20s
TOOL := go tool -modfile=internal/tools/tools.mod

.PHONY: help build test lint golden fuzz-short bench diff diff-short e2e docs install clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## static binary in bin/kotool, version stamped
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/kotool ./cmd/kotool

test: ## all tests: with the race detector, then as a 32-bit program
	go test -race -shuffle=on ./...
	GOARCH=386 go test ./...

lint: ## gofmt, vet, staticcheck, tidy modules, builds for other systems
	@out=$$(gofmt -l cmd internal bench); if [ -n "$$out" ]; then echo "gofmt: $$out"; exit 1; fi
	go vet ./...
	go vet -tags difftest ./internal/difftest
	go vet -tags e2e ./internal/e2e/...
	$(TOOL) staticcheck ./...
	go mod tidy -diff
	for os in darwin windows; do GOOS=$$os go build -o /dev/null ./cmd/kotool; done

golden: ## rewrite the golden files of the tests; review the diff as code
	go test ./internal/cli -update

fuzz-short: ## each fuzz target for FUZZTIME
	@for p in $$(go list ./...); do \
	  for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
	    echo "$$p $$f"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$p; \
	  done; \
	done

bench: build ## benchmarks, and whole processes against their peers (KERNELS: see bench/README.md)
	go test -run '^$$' -bench . -benchmem ./... | tee bench/go.out
	bench/peers

diff: ## differences from modinfo, modprobe, readelf and Module.symvers over whole trees (KERNELS)
	go test -tags difftest -count=1 -timeout 60m -v ./internal/difftest

diff-short: ## the same on a sample
	KOTOOL_EVERY=40 go test -tags difftest -count=1 -timeout 20m -v ./internal/difftest

e2e: ## real kernels booted in QEMU, against simulate-load: errno, log, addresses, memory (KERNELS, separated as in PATH; MACHINE=arm64: only those of it)
	MACHINE=$(MACHINE) go test -tags e2e -count=1 -timeout 120m -v ./internal/e2e

docs: ## manual pages, completions, docs/commands, docs/findings.md
	SOURCE_DATE_EPOCH=1767225600 go run ./internal/tools/gendocs

install: build ## binary, manual pages and completions below PREFIX
	install -Dm755 bin/kotool $(DESTDIR)$(PREFIX)/bin/kotool
	for p in internal/cli/man/*.1; do install -Dm644 $$p $(DESTDIR)$(PREFIX)/share/man/man1/$$(basename $$p); done
	bin/kotool completion bash | install -Dm644 /dev/stdin $(DESTDIR)$(PREFIX)/share/bash-completion/completions/kotool
	bin/kotool completion zsh | install -Dm644 /dev/stdin $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_kotool
	bin/kotool completion fish | install -Dm644 /dev/stdin $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/kotool.fish

clean: ## remove what was built
	rm -rf bin bench/*.out
