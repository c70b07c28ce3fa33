package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// build makes a bus binary of the tree this module stands in. The harness runs
// what a user runs, never the packages themselves.
func build(ctx context.Context, into, name string, flags ...string) (string, error) {
	root, err := sources(ctx)
	if err != nil {
		return "", err
	}
	path := filepath.Join(into, name)
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"build", "-o", path}, flags...), "./cmd/bus")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", strings.Join(flags, " "), err, out)
	}
	return path, nil
}

// sources asks the go command where the product is: go.mod here says it.
func sources(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "example.com/bus").Output()
	if err != nil {
		dir, _ := os.Getwd()
		return "", fmt.Errorf("go list in %s: %w: run the harness in cmd/bus-torture", dir, err)
	}
	return strings.TrimSpace(string(out)), nil
}
