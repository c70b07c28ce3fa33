package main

import (
	"context"
	"log/slog"
	"math"
)

// Descriptors that are kept from connections, so that accepting can never want
// those that files need: a log that cannot be opened or a directory that cannot
// be synced would cost more than a client that has to wait. Of each namespace
// there are its log, its index and the same two for chosen ids and for subjects,
// and room for two that are being made anew; beside them the standard three, the lock, the
// listener, what the runtime polls with, and what /metrics reads.
const (
	filesOfProcess   = 16
	filesOfNamespace = 8

	// Of the listener of profiles, where there is one: so many at once, so that
	// who reaches it cannot take what is kept here either.
	profileConnections = 8
)

// fewestConnections is what a server is of use with.
const fewestConnections = 8

// boundConnections lowers the limit on connections to what there are descriptors
// for. limit is what the process may open, 0 when that is not known.
func (s *serverConfig) boundConnections(limit uint64, log *slog.Logger) error {
	if limit == 0 {
		return nil
	}
	files := uint64(filesOfProcess + filesOfNamespace*len(s.Namespaces))
	if s.Pprof != "" {
		files += profileConnections + 1
	}
	if limit < files+fewestConnections {
		return usageError("the process may open %d files, wanted at least %d for %d namespaces: raise it with ulimit -n, or LimitNOFILE= of the systemd unit",
			limit, files+fewestConnections, len(s.Namespaces))
	}
	room := count(min(limit-files, math.MaxInt32))
	if s.MaxConnections == 0 {
		s.MaxConnections = room
	}
	if s.MaxConnections > room {
		level := slog.LevelInfo
		if room < s.MaxConnections-s.MaxConnections/10 {
			level = slog.LevelWarn // not for the few that the logs need themselves
		}
		log.Log(context.Background(), level, "there are fewer descriptors than --max-connections asks for: raise them with ulimit -n, or LimitNOFILE= of the systemd unit",
			"max_connections", int(s.MaxConnections), "descriptors", limit, "kept_for_files", files, "connections", int(room))
		s.MaxConnections = room
	}
	return nil
}
