# remora: `make help` lists the targets.

SHELL     := bash
.SHELLFLAGS := -euo pipefail -c
MODULE    := github.com/remorahq/remora
BIN       := bin
N         ?= 200
FUZZTIME  ?= 30s
BENCH_SECONDS ?= 3

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null)
COMMIT  := $(shell git rev-parse HEAD 2>/dev/null)
DATE    := $(shell git log -1 --format=%cI 2>/dev/null)
# The version is stamped by the linker, below.
export GOFLAGS := -buildvcs=false $(GOFLAGS)
LDFLAGS := -s -w \
	-X $(MODULE)/internal/version.version=$(VERSION) \
	-X $(MODULE)/internal/version.commit=$(COMMIT) \
	-X $(MODULE)/internal/version.date=$(DATE)

UNIT = $$(go list ./... | grep -v '^$(MODULE)/e2e')
LINT = "$$(go run ./e2e/prepare -lint)/golangci-lint"

.DEFAULT_GOAL := help
# Every target is a command; none makes a file of its name.
.PHONY: $(shell sed -n 's/^\([a-z0-9-]*\):.*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{ printf "  %-16s %s\n", $$1, $$2 }'

demo: prerequisites build ## deploy, break, roll back and revert under load on this machine's engine
	@go run ./e2e/demo -bin $(BIN)

build: ## static binaries of the agent and the ambassador, in bin/
	@mkdir -p $(BIN)
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/remora ./cmd/remora-ambassador

test: prerequisites rig ## all tests: units with the race detector, then end to end on real engines
	@# One failing does not hide the other.
	@units=0; end_to_end=0; set -x; \
	go test -race -shuffle=on -count=1 -timeout 15m $(UNIT) || units=$$?; \
	go test -count=1 -run Allocates ./ambassador/... || units=$$?; \
	go test -shuffle=on -count=1 -timeout 30m -p 1 ./e2e/... || end_to_end=$$?; \
	{ set +x; } 2>/dev/null; exit $$(( units | end_to_end ))

race: prerequisites rig ## all tests with the race detector, end to end included
	go test -race -shuffle=on -count=1 -timeout 45m -p 1 ./...

e2e: prerequisites rig ## end-to-end tests only
	go test -shuffle=on -count=1 -timeout 30m -p 1 -v ./e2e/...

fuzz: ## every fuzz target for FUZZTIME (30s)
	@go list ./... | while read -r package; do \
		go test -list '^Fuzz' "$$package" | { grep '^Fuzz' || true; } | while read -r target; do \
			echo "fuzz $$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package" </dev/null; \
		done; \
	done

lint: ## golangci-lint, as .golangci.yml says
	@$(LINT) run ./...

fmt: ## format with gofumpt
	@$(LINT) fmt ./...

tidy: ## tidy go.mod of the product and of the tools
	@for module in . e2e/tools/*/; do echo "tidy $$module"; go -C "$$module" mod tidy; done

check: fmt tidy lint test build ## everything that a commit must pass; fails on a dirty tree
	@test -z "$$(git status --porcelain)" || { echo 'check: the tree is dirty:'; git status --short; exit 1; }

torture: prerequisites build ## N (200) switches and rollbacks under mixed load, every request accounted for
	@go run ./e2e/torture -bin $(BIN) -n $(N)

torture-wire: prerequisites build ## every kind of traffic × everything that may happen, each cell held to its promise
	@go run ./e2e/torturewire -bin $(BIN) $(TORTURE)

upgrade: prerequisites build ## upgrade the ambassador under 64 clients and 8 WebSockets; nothing may be lost
	@go run ./e2e/upgrade -bin $(BIN)

bench-deploy: prerequisites build ## deploy and rollback times beside Docker's own
	@go run ./e2e/benchdeploy -bin $(BIN)

bench-ambassador: build ## CPU and memory of the ambassador beside HAProxy, nginx, Caddy and httputil
	@.ci/prerequisites haproxy:haproxy nginx:nginx-light caddy:caddy wrk:wrk h2load:nghttp2-client taskset:util-linux
	@go run ./e2e/benchambassador -bin $(BIN) -seconds $(BENCH_SECONDS)

conformance: build ## hold the ambassador against HTTP's rules: h2spec, varnishtest, smuggling, other proxies, slow clients
	@.ci/prerequisites varnishtest:varnish haproxy:haproxy nginx:nginx-light slowhttptest:slowhttptest
	@go run ./e2e/conformance -bin $(BIN)

prerequisites:
	@.ci/prerequisites

rig:
	@go run ./e2e/prepare
