package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
)

// check is what --checks names.
type check struct {
	name    string
	disks   bool     // it needs disks of its own
	devices []string // and these
	tags    string   // of the bus that it builds; those of --tags when empty
	flags   []string // of the build
	run     func(ctx context.Context, h *harness, s *settings, name, binary string) error
}

const fuseDevice = "/dev/fuse"

// checks are in the order in which they run: first that the harness can fail at
// all.
var checks = []check{
	{name: "nosync", disks: true, tags: "nosync", run: isFoundOut},
	{name: "nodirsync", disks: true, tags: "nodirsync", run: isFoundOut},
	{name: "early", disks: true, run: isFoundOut},
	{name: "images-nosync", disks: true, devices: []string{fuseDevice}, tags: "nosync", run: isFoundOutOnImages},
	{name: "images-nodirsync", disks: true, devices: []string{fuseDevice}, tags: "nodirsync", run: isFoundOutOnImages},
	{name: "histories-early", disks: true, run: func(ctx context.Context, h *harness, _ *settings, name, binary string) error {
		return h.earlyHistories(ctx, name, binary, honestCuts)
	}},
	{name: "acks-late", tags: "lateack", run: func(ctx context.Context, h *harness, s *settings, name, binary string) error {
		return h.lateAcks(ctx, name, binary, s.acks)
	}},
	{name: "removals-late", tags: "latedelete", run: func(ctx context.Context, h *harness, s *settings, name, binary string) error {
		return h.lateRemovals(ctx, name, binary, s.removals)
	}},
	{name: "kills", run: func(ctx context.Context, h *harness, s *settings, name, binary string) error {
		return h.kills(ctx, name, binary, s.kills)
	}},
	{name: "race", flags: []string{"-race"}, run: func(ctx context.Context, h *harness, s *settings, name, binary string) error {
		return h.kills(ctx, name, binary, s.race)
	}},
	{name: "cuts-ext4", disks: true, run: cutsOn("ext4")},
	{name: "cuts-xfs", disks: true, run: cutsOn("xfs")},
	{name: "images-ext4", disks: true, devices: []string{fuseDevice}, run: imagesOf("ext4")},
	{name: "images-xfs", disks: true, devices: []string{fuseDevice}, run: imagesOf("xfs")},
	{name: "histories", run: func(ctx context.Context, h *harness, s *settings, name, binary string) error {
		return h.allLegal(ctx, name, binary, s.histories, breaker{})
	}},
	{name: "histories-cuts", disks: true, run: func(ctx context.Context, h *harness, s *settings, name, binary string) error {
		return h.allLegal(ctx, name, binary, s.histories, breaker{on: fileSystems})
	}},
	{name: "errors", run: func(ctx context.Context, h *harness, s *settings, name, binary string) error {
		return h.errors(ctx, name, binary, s.errors)
	}},
	{name: "acks", run: func(ctx context.Context, h *harness, s *settings, name, binary string) error {
		return h.acks(ctx, name, binary, s.acks)
	}},
	{name: "removals", run: func(ctx context.Context, h *harness, s *settings, name, binary string) error {
		return h.removals(ctx, name, binary, s.removals)
	}},
	{name: "full", disks: true, run: plainly((*harness).full)},
	{name: "many", run: func(ctx context.Context, h *harness, s *settings, name, binary string) error {
		return h.many(ctx, name, binary, s.many)
	}},
	{name: "slow", run: plainly((*harness).slow)},
	{name: "stop", run: plainly((*harness).stop)},
	{name: "twice", run: func(ctx context.Context, h *harness, _ *settings, name, binary string) error {
		return h.twice(ctx, name, binary, races)
	}},
	{name: "lives", run: func(ctx context.Context, h *harness, s *settings, name, _ string) error {
		return h.simulate(ctx, name, s.lives)
	}},
}

func isFoundOut(ctx context.Context, h *harness, _ *settings, name, binary string) error {
	return h.honest(ctx, name, binary, lies[name])
}

func isFoundOutOnImages(ctx context.Context, h *harness, _ *settings, name, binary string) error {
	return h.honestOnImages(ctx, name, binary, lies[strings.TrimPrefix(name, "images-")])
}

func cutsOn(kind string) func(context.Context, *harness, *settings, string, string) error {
	return func(ctx context.Context, h *harness, s *settings, name, binary string) error {
		return h.cuts(ctx, name, binary, s.cuts, ofKind(kind))
	}
}

func imagesOf(kind string) func(context.Context, *harness, *settings, string, string) error {
	return func(ctx context.Context, h *harness, s *settings, name, binary string) error {
		return h.images(ctx, name, binary, s.images, ofKind(kind))
	}
}

// plainly is for a check that has no setting of its own.
func plainly(run func(*harness, context.Context, string, string) error) func(context.Context, *harness, *settings, string, string) error {
	return func(ctx context.Context, h *harness, _ *settings, name, binary string) error {
		return run(h, ctx, name, binary)
	}
}

func checkNames() []string {
	var names []string
	for _, c := range checks {
		names = append(names, c.name)
	}
	return names
}

// races is how often two servers want one directory at the same moment.
const races = 20

// noLoop names a machine that is known to have no loop devices or no right to
// mount. Without it a check that needs them fails there.
const noLoop = "BUS_TORTURE_NO_LOOP"

// check runs the one with this name, on a bus that is built for it.
func (h *harness) check(ctx context.Context, s *settings, name string) error {
	i := slices.IndexFunc(checks, func(c check) bool { return c.name == name })
	if i < 0 {
		return fmt.Errorf("check %q is not known", name)
	}
	c := checks[i]
	run := func() error {
		return h.withBinary(ctx, cmp.Or(c.tags, s.tags), c.flags, func(binary string) error { return c.run(ctx, h, s, name, binary) })
	}
	if !c.disks {
		return run()
	}
	return h.onDisks(name, run, c.devices...)
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
