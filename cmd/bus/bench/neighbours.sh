#!/bin/sh
# Installs the servers that a bus is compared with: sh cmd/bus/bench/neighbours.sh
#
# redis-server comes from Debian's packages, unless there is one; that needs root,
# or sudo. nats-server is built from its public module into bin/bench/: Debian's
# does not know sync_interval, without which it cannot be durable. Neither is
# started.
set -eu
cd "$(dirname "$0")/../../.."

# Pinned, so that figures of two days are of the same neighbour.
nats=github.com/nats-io/nats-server/v2@v2.12.1

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

PATH=$PATH:/usr/sbin
if ! command -v redis-server >/dev/null 2>&1; then
	as_root apt-get update -qq
	# RUNLEVEL=1 keeps the package's own script from starting a service.
	as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends redis-server >/dev/null
fi
mkdir -p bin/bench
GOBIN=$PWD/bin/bench go install "$nats"
bin/bench/nats-server --version
redis-server --version
