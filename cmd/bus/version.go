package main

import (
	"fmt"
	"io"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// version is set when a release is linked: -ldflags "-X main.version=v1.2.3".
var version string

// build says what this binary was made of.
type build struct {
	Version string
	Go      string
	Commit  string
	Dirty   bool // built from a tree with changes that were not committed
}

// buildVersion asks the binary itself, and prefers what the linker was told.
func buildVersion() build {
	b := build{Version: version}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		b.Version = "unknown"
		return b
	}
	b.Go = info.GoVersion
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	if b.Version == "" {
		b.Version = "(devel)"
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Dirty = s.Value == "true"
		}
	}
	return b
}

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "print the version, Go's version and the commit",
		Action: func(c *cli.Context) error {
			b := buildVersion()
			text := fmt.Sprintf("bus %s\n%s\n", b.Version, b.Go)
			if b.Commit != "" {
				text += "commit " + b.Commit
				if b.Dirty {
					text += " with changes"
				}
				text += "\n"
			}
			return writeOut(c.App.Writer, []byte(text))
		},
	}
}

// writeOut writes data to stdout.
func writeOut(w io.Writer, data []byte) error {
	if _, err := w.Write(data); err != nil {
		return stdoutError{err}
	}
	return nil
}
