#!/bin/sh
# Brings what the harness needs beside Go: sh cmd/bus-torture/tools.sh
#
# mkfs for the disks whose power is cut, a C compiler for the race detector, and
# strace to make calls of the server fail.
# It installs Debian's packages, as root or with sudo, only when something is
# missing.
set -eu

# Debian keeps mkfs where not everybody looks.
PATH=$PATH:/usr/sbin:/sbin

missing=
need() {
	command=$1
	shift
	if command -v "$command" >/dev/null 2>&1; then
		printf '%-9s %s\n' "$command" "$(command -v "$command")"
	else
		printf '%-9s missing, to be installed: %s\n' "$command" "$*"
		missing="$missing $*"
	fi
}
need mkfs.ext4 e2fsprogs
need mkfs.xfs xfsprogs
need gcc gcc libc6-dev
need strace strace

[ -n "$missing" ] || exit 0
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
$as_root apt-get update -qq
# shellcheck disable=SC2086 # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
