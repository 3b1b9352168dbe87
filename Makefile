# Every stage of CI is a target here.
.DEFAULT_GOAL := help
GO ?= go

.PHONY: help build test short race lint arch docs plant fuzz bench examples conformance ci

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: ## build bin/weir
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/weir ./cmd/weir

test: ## every test, with Go alone
	$(GO) test ./...

short: ## the tests that take a minute
	$(GO) test -short ./...

race: ## the short tests under the race detector
	$(GO) test -race -short ./...

lint: ## golangci-lint with the repository's rules
	golangci-lint run ./...
	cd conformance && golangci-lint run ./...

arch: ## hold the tree to the house rules
	$(GO) test ./internal/arch

docs: ## render the reference pages from the code
	$(GO) run ./cmd/weir docs --dir docs

plant: ## prove that the crash tests catch planted bugs
	./scripts/plant

fuzz: ## every fuzz target for five seconds
	./scripts/fuzz

bench: ## micro-benchmarks
	$(GO) test -run '^$$' -bench . ./broker/... ./statestore/... ./internal/...

examples: ## run the example on generated traffic, once
	$(GO) run ./examples/pv-uv -once

conformance: ## foreign clients and suites against the binary; KAFKA_LIBS adds Kafka's
	cd conformance && $(GO) test -count=1 ./...

ci: ## all that CI runs
	./.ci/run
