package main

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// allChecks are in the order in which they run: first that the harness can fail
// at all.
var allChecks = []string{"nosync", "nodirsync", "early", "images-nosync", "images-nodirsync", "histories-early", "kills", "race", "cuts-ext4", "cuts-xfs", "images-ext4", "images-xfs", "histories", "histories-cuts", "errors", "full", "many", "slow", "stop", "twice", "lives"}

// races is how often two servers want one directory at the same moment.
const races = 20

// noLoop names a machine that is known to have no loop devices or no right to
// mount. Without it a check that needs them fails there.
const noLoop = "BUS_TORTURE_NO_LOOP"

func (h *harness) check(ctx context.Context, s *settings, name string) error {
	switch name {
	case "nosync", "nodirsync", "early":
		return h.onDisks(name, func() error {
			return h.withBinary(ctx, lies[name].tag, nil, func(binary string) error { return h.honest(ctx, name, binary, lies[name]) })
		})
	case "images-nosync", "images-nodirsync":
		lie := lies[strings.TrimPrefix(name, "images-")]
		return h.onDisks(name, func() error {
			return h.withBinary(ctx, lie.tag, nil, func(binary string) error { return h.honestOnImages(ctx, name, binary, lie) })
		}, "/dev/fuse")
	case "kills":
		return h.withBinary(ctx, s.tags, nil, func(binary string) error { return h.kills(ctx, name, binary, s.kills) })
	case "race":
		return h.withBinary(ctx, s.tags, []string{"-race"}, func(binary string) error { return h.kills(ctx, name, binary, s.race) })
	case "cuts-ext4", "cuts-xfs":
		return h.onDisks(name, func() error {
			return h.withBinary(ctx, s.tags, nil, func(binary string) error {
				return h.cuts(ctx, name, binary, s.cuts, ofKind(strings.TrimPrefix(name, "cuts-")))
			})
		})
	case "lives":
		return h.simulate(ctx, name, s.lives)
	case "images-ext4", "images-xfs":
		return h.onDisks(name, func() error {
			return h.withBinary(ctx, s.tags, nil, func(binary string) error {
				return h.images(ctx, name, binary, s.images, ofKind(strings.TrimPrefix(name, "images-")))
			})
		}, "/dev/fuse")
	case "histories-early":
		return h.onDisks(name, func() error {
			return h.withBinary(ctx, s.tags, nil, func(binary string) error { return h.earlyHistories(ctx, name, binary, honestCuts) })
		})
	case "histories":
		return h.withBinary(ctx, s.tags, nil, func(binary string) error { return h.allLegal(ctx, name, binary, s.histories, breaker{}) })
	case "histories-cuts":
		return h.onDisks(name, func() error {
			return h.withBinary(ctx, s.tags, nil, func(binary string) error {
				return h.allLegal(ctx, name, binary, s.histories, breaker{on: fileSystems})
			})
		})
	case "errors":
		return h.withBinary(ctx, s.tags, nil, func(binary string) error { return h.errors(ctx, name, binary, s.errors) })
	case "full":
		return h.onDisks(name, func() error {
			return h.withBinary(ctx, s.tags, nil, func(binary string) error { return h.full(ctx, name, binary) })
		})
	case "many":
		return h.withBinary(ctx, s.tags, nil, func(binary string) error { return h.many(ctx, name, binary, s.many) })
	case "slow":
		return h.withBinary(ctx, s.tags, nil, func(binary string) error { return h.slow(ctx, name, binary) })
	case "stop":
		return h.withBinary(ctx, s.tags, nil, func(binary string) error { return h.stop(ctx, name, binary) })
	case "twice":
		return h.withBinary(ctx, s.tags, nil, func(binary string) error { return h.twice(ctx, name, binary, races) })
	}
	return fmt.Errorf("check %q is not known", name)
}

// onDisks runs what needs disks of its own. Where it is known that there can be
// none it says so instead; it never passes in silence.
func (h *harness) onDisks(check string, run func() error, devices ...string) error {
	err := h.mounts
	for _, device := range append(devices, "/dev/loop-control") {
		if err == nil {
			_, err = os.Stat(device)
		}
	}
	if err == nil {
		return run()
	}
	if os.Getenv(noLoop) == "1" {
		h.say(check, "NOT RUN, as %s=1 allows: %v", noLoop, err)
		return nil
	}
	return fmt.Errorf("%w (where that is known and wanted: %s=1)", err, noLoop)
}

func ofKind(kind string) []fileSystem {
	var all []fileSystem
	for _, fs := range fileSystems {
		if fs.kind == kind {
			all = append(all, fs)
		}
	}
	return all
}

// withBinary builds what a check runs, and uses it for no other.
func (h *harness) withBinary(ctx context.Context, tags string, flags []string, run func(binary string) error) error {
	if tags != "" {
		flags = append(flags, "-tags", tags)
	}
	binary, err := build(ctx, h.work, "bus-"+strings.Join(flags, ""), flags...)
	if err != nil {
		return err
	}
	return run(binary)
}
