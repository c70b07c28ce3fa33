package main

import (
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"
)

// newLogger writes for people on a terminal and for machines elsewhere.
func newLogger(w io.Writer, level logLevel, format logFormat) *slog.Logger {
	return loggerFor(w, isTerminal(w), level, format)
}

// loggerFor is newLogger for a writer that stands before what it writes to.
func loggerFor(w io.Writer, terminal bool, level logLevel, format logFormat) *slog.Logger {
	if format == "json" || format == "auto" && !terminal {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.Level(level)}))
	}
	return slog.New(tint.NewTextHandler(w, &tint.Options{Level: slog.Level(level), TimeFormat: time.TimeOnly, NoColor: !terminal}))
}

// isTerminal is false for anything but an open file.
func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
