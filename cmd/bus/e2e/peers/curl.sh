#!/bin/sh
# Reads a stream with curl for ever, and resumes where it was cut off. The only
# state is the id of the last frame that is complete; it goes through a file,
# because the loop behind a pipe is a shell of its own.
set -u
place=$(mktemp)
trap 'rm -f "$place"' EXIT INT TERM
while :; do
	curl --silent --no-buffer --retry 1000 --retry-delay 1 --retry-connrefused \
		--header "Last-Event-ID: $(cat "$place")" "$1" |
	while IFS= read -r line; do
		case $line in
		'id: '*) id=${line#id: } event= data= ;;
		'event: '*) event=${line#event: } ;;
		'data: '*) data=${line#data: } ;;
		'') if [ "${event-}" = msg ]; then printf '%s\n' "$data" && printf %s "$id" >"$place"; fi; event= ;;
		esac
	done
done
