# Short names for the commands that the documents give in full.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)

.PHONY: build run test ci bench docker clean

build: ## the static binary, in bin/
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/bus ./cmd/bus

run: build ## a server for this machine only
	bin/bus server --addr 127.0.0.1:2021 --path ./data --namespaces app,orders

test: ## vet, all tests, end to end; installs what they need
	sh .ci/test

ci: ## all checks
	sh .ci/run

bench: ## figures of this machine and of the neighbours, in bin/bench/; installs those
	sh cmd/bus/bench/bench.sh

docker: ## the image
	docker build --build-arg VERSION=$(VERSION) -t bus .

clean:
	rm -rf bin
