#!/bin/sh
# Measures this machine, and the neighbours on the same work: sh cmd/bus/bench/bench.sh
#
# Flags are handed to bus bench, as in
#
#	sh cmd/bus/bench/bench.sh --only publish-64 --runs 5
#	BENCH_DIR=/mnt/disk sh cmd/bus/bench/bench.sh
#
# Needs Go, and the right to install packages (root, or sudo) unless redis-server
# is there. nats-server is built from its public module: Debian's does not know
# sync_interval, without which it cannot be durable. Nothing is started but by the
# benchmark. It writes table.txt, bench.json and plot.svg, and what shows how cost
# grows in grow.txt, grow.json and grow.svg, all in bin/bench/; the logs stand below
# BENCH_DIR, which is to be on the disk that is meant (bin/bench when it is not set).
set -eu
cd "$(dirname "$0")/../../.."

# Pinned, so that figures of two days are of the same neighbours.
nats=github.com/nats-io/nats-server/v2@v2.12.1

out=bin/bench
mkdir -p "$out"
dir=${BENCH_DIR:-$out}

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
GOBIN=$PWD/$out go install "$nats"
CGO_ENABLED=0 go build -trimpath -o "$out/bus" ./cmd/bus

show() {
	"$out/bus" bench --from "$out/$1.json" --plot "$out/$2.svg" >"$out/$3.txt"
	cat "$out/$3.txt"
}

"$out/bus" bench --path "$dir" --compare "nats=$out/nats-server,redis=redis-server" --json "$@" >"$out/bench.json"
show bench plot table
if [ $# = 0 ]; then
	"$out/bus" bench --path "$dir" --only grow --json >"$out/grow.json"
	show grow grow grow
fi
echo "written to $out: table.txt, bench.json, plot.svg, and grow.txt, grow.json, grow.svg without flags"
