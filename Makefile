# The first target is the default: `make` lists what there is.

GO       ?= go
LINT     ?= $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.5.0
PKG      ?= ./...
BENCH    ?= .
FUZZTIME ?= 30s
SOAK     ?= 10m
SEEDS    ?= 500
SEED     ?= 1
ROUNDS   ?= 20

.PHONY: help
help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

.PHONY: build
build: ## build the binary ./belay
	$(GO) build -o belay ./cmd/belay

.PHONY: demo
demo: ## run the whole story: commits, a rollout, a bad image, a rollback
	$(GO) run ./cmd/belay demo

.PHONY: check
check: fmt vet lint imports test ## everything a change must pass

.PHONY: fmt
fmt: ## fail when gofmt would change a file
	@files=$$(find . -name '*.go' -not -path './.*' -exec gofmt -l {} +); \
	if [ -n "$$files" ]; then echo "gofmt -w these:" >&2; echo "$$files" >&2; exit 1; fi

.PHONY: vet
vet: ## go vet
	$(GO) vet $(PKG)

.PHONY: lint
lint: ## golangci-lint, built on first use
	$(LINT) run $(PKG)

.PHONY: imports
imports: ## the order of imports and the layout of the tree
	$(GO) test -run '^TestLayout' ./e2e

.PHONY: test
test: ## all tests with the race detector
	$(GO) test -race $(PKG)

.PHONY: golden
golden: ## rewrite the golden files; explain every difference in the commit
	@set -e; \
	for dir in $$(grep -rlE 'flag\.Bool\("rewrite"' --include='*_test.go' . | xargs -r -n1 dirname | sort -u); do \
		$(GO) test $$dir -rewrite; \
	done
	@git diff --stat -- '*testdata*'

.PHONY: bench
bench: ## the benchmarks; BENCH=regexp chooses
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem $(PKG)

.PHONY: podman
podman: ## the tests of pods on a Docker engine on podman, as root; takes minutes
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	$(GO) test -c -o "$$dir/docker.test" ./reconciler/node/docker && $(GO) test -c -o "$$dir/kubectl.test" ./e2e/kubectl && \
	(cd reconciler/node/docker && REQUIRE_DOCKER=1 ../../../.ci/podman "$$dir/docker.test" -test.v -test.timeout=20m) && \
	cd e2e/kubectl && REQUIRE_DOCKER=1 ../../.ci/podman "$$dir/kubectl.test" -test.v -test.run=TestDocker -test.timeout=20m

.PHONY: traffic
traffic: ## ROUNDS rolling updates, kills, restarts and upgrades under load that may lose no request, as root also as somebody else
	$(GO) test ./e2e/kubectl -run '^TestEmbedded(User)?$$/^rollouts$$' -rounds $(ROUNDS) -count=1 -timeout 60m -v

.PHONY: merges
merges: ## compare 10,000 merges of each kind, and 3,000 reverts, with git's; SEED=n for others
	MERGE_CASES=10000 SEED=$(SEED) $(GO) test -count=1 -timeout 30m ./source/merge
	REVERT_HISTORIES=200 $(GO) test -count=1 -timeout 30m -run '^TestRevertAsGitReverts$$' ./source

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME each
	@set -e; \
	for file in $$(grep -rlE '^func Fuzz' --include='*_test.go' .); do \
		for target in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' $$file); do \
			echo "$$(dirname $$file): $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$(dirname $$file); \
		done; \
	done

.PHONY: oracle
oracle: ## compare SEEDS random rollouts with Kubernetes' own controllers; SEED is the first
	$(GO) test ./e2e -run TestOracle -count=1 -timeout 60m -v -oracle.seeds=$(SEEDS) -oracle.first=$(SEED)

.PHONY: mutants
mutants: ## break the formulas of rollouts one by one, and see a test fail for each; takes minutes
	$(GO) test ./reconciler/rollout -run TestMutants -count=1 -timeout 30m -mutants

.PHONY: soak
soak: ## random commits, kills and refusals of the disk against what must never happen, for SOAK
	$(GO) test ./e2e/crash -run '^Test(Killed|KilledTwice|RollbackKilled|BranchKilled|Soak)$$' -every 1 -soak $(SOAK) -timeout 0 -v

.PHONY: deflake
deflake: ## repeat the tests in random order with the race detector until one fails
	@while $(GO) test -race -count=1 -shuffle=on $(PKG); do :; done
