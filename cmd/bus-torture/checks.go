package main

import (
	"context"
	"fmt"
)

// allChecks are in the order in which they run: first that the harness can fail
// at all.
var allChecks = []string{"kills", "race", "cuts-ext4", "cuts-xfs"}

func (h *harness) check(ctx context.Context, s *settings, name string) error {
	switch name {
	case "kills":
		return h.withBinary(ctx, s.tags, nil, func(binary string) error { return h.kills(ctx, name, binary, s.kills) })
	case "race":
		return h.withBinary(ctx, s.tags, []string{"-race"}, func(binary string) error { return h.kills(ctx, name, binary, s.race) })
	case "cuts-ext4":
		return h.withBinary(ctx, s.tags, nil, func(binary string) error { return h.cuts(ctx, name, binary, s.cuts, fileSystems[:2]) })
	case "cuts-xfs":
		return h.withBinary(ctx, s.tags, nil, func(binary string) error { return h.cuts(ctx, name, binary, s.cuts, fileSystems[2:]) })
	}
	return fmt.Errorf("check %q is not known", name)
}

// withBinary builds what a check runs. The same binary is built once: the go
// command sees to that.
func (h *harness) withBinary(ctx context.Context, tags string, flags []string, run func(binary string) error) error {
	if tags != "" {
		flags = append(flags, "-tags", tags)
	}
	binary, err := build(ctx, h.work, fmt.Sprintf("bus-%d", len(flags)), flags...)
	if err != nil {
		return err
	}
	return run(binary)
}
