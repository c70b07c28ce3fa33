package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// simulate runs lives of the simulation, server/sim, on all processors: a life
// takes one. Each round of the harness has lives that no other seed has.
func (h *harness) simulate(ctx context.Context, check string, lives int) error {
	binary, err := buildTest(ctx, h.work, "sim", "./server/sim")
	if err != nil {
		return err
	}
	if h.life >= 0 {
		return h.oneLife(ctx, check, binary)
	}
	workers := min(runtime.NumCPU(), lives)
	parts := make([]error, workers)
	begun := time.Now()
	var wait sync.WaitGroup
	for i := range workers {
		first, next := lives*i/workers, lives*(i+1)/workers
		wait.Go(func() {
			parts[i] = h.live(ctx, binary, h.seed*uint64(lives)+uint64(first)+1, next-first)
		})
	}
	wait.Wait()
	if err := errors.Join(parts...); err != nil {
		return err
	}
	took := time.Since(begun)
	h.say(check, "%d lives from seed %d, %.0f a minute: no promise was broken", lives, h.seed*uint64(lives)+1, float64(lives)/took.Minutes())
	return nil
}

// live runs some lives in a process of its own. A life that breaks a promise
// says by itself how to repeat it.
func (h *harness) live(ctx context.Context, binary string, from uint64, lives int) error {
	cmd := exec.CommandContext(ctx, binary, "-test.run=TestLifeKeepsEveryPromise", "-test.timeout=0",
		fmt.Sprintf("-sim.lives=%d", lives), fmt.Sprintf("-sim.from=%d", from))
	cmd.Dir = h.work
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	switch _, ended := errors.AsType[*exec.ExitError](err); {
	case err == nil && !strings.Contains(said.String(), "PASS"):
		return fmt.Errorf("the simulation says nothing of lives that passed: %.200q", said.String())
	case ended && ctx.Err() == nil:
		return fmt.Errorf("%w\n%s", errFault, indent(said.String()))
	}
	return err
}

// oneLife repeats a single one, whose number is its seed.
func (h *harness) oneLife(ctx context.Context, check, binary string) error {
	if err := h.live(ctx, binary, uint64(h.life), 1); err != nil {
		return err
	}
	h.say(check, "life %d: no promise was broken", h.life)
	return nil
}

// buildTest makes the test binary of a package of the product.
func buildTest(ctx context.Context, into, name, pkg string) (string, error) {
	root, err := sources(ctx)
	if err != nil {
		return "", err
	}
	path := filepath.Join(into, name+".test")
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", path, pkg)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go test -c %s: %w\n%s", pkg, err, out)
	}
	return path, nil
}
