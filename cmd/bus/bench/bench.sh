#!/bin/sh
# Measures this machine, and the neighbours on the same work: sh cmd/bus/bench/bench.sh
#
# Flags are handed to bus bench, as in
#
#	sh cmd/bus/bench/bench.sh --only publish-64 --runs 5
#	BENCH_DIR=/mnt/disk sh cmd/bus/bench/bench.sh
#
# neighbours.sh, beside it, installs them. It writes table.txt, bench.json and
# plot.svg, and, without flags, how cost grows in grow.txt, grow.json and grow.svg,
# all in bin/bench/; the logs stand below BENCH_DIR, which is to be on the disk that
# is meant (bin/bench when it is not set).
set -eu
cd "$(dirname "$0")/../../.."

out=bin/bench
mkdir -p "$out"
dir=${BENCH_DIR:-$out}

sh cmd/bus/bench/neighbours.sh
PATH=$PATH:/usr/sbin
version=$(git describe --tags --always --dirty 2>/dev/null || echo unknown)
CGO_ENABLED=0 go build -trimpath -ldflags "-X main.version=$version" -o "$out/bus" ./cmd/bus

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
echo "written to $out/"
