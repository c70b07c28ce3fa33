package main

import (
	"context"
	"path/filepath"
)

// again cuts the power a second time: the bus is started on what the first cut
// has left, on a disk that is logged too, and what that disk may hold while it
// was opened, and right after, is looked at in the same way. All that had to be
// there before still has to be.
func (i *imaged) again(ctx context.Context, cut cutPoint, want imaging) error {
	if want.second == 0 {
		return nil
	}
	second := &imaged{life: i.life, fs: i.fs, enough: i.enough, tails: make(map[string]uint64)}
	since := i.since(cut)
	second.since = func(cutPoint) int64 { return since }
	// Whole pages: a file system that does not bear the first cut has no second.
	left := i.base.with(cut.open(i.log, tornSectors, pageSize, i.rand)).clone()
	if err := second.record(ctx, left, second.open); err != nil {
		return err
	}
	err := second.lookAt(ctx, imaging{subsets: 1, perLife: want.second})
	i.images, i.torn, i.gentle = i.images+second.images, i.torn+second.torn, i.gentle+second.gentle
	i.twice, i.tailed = i.twice+second.images, i.tailed+second.tailed
	return err
}

// open starts the bus and asks where the logs end: who was told that may rely on it.
func (i *imaged) open(ctx context.Context, position *position) error {
	i.began = position.now()
	if err := i.server.start(ctx); err != nil {
		return err
	}
	var err error
	if i.names, err = namesIn(i.server.dir); err != nil {
		return err
	}
	for _, namespace := range namespaces {
		if i.tails[namespace], err = tail(ctx, i.http, i.server.url(), namespace); err != nil {
			return err
		}
	}
	i.opened = position.now()
	return nil
}

// stillTold holds the logs against the ends that were told before the cut.
func (i *imaged) stillTold(ctx context.Context, cut cutPoint, v *verdict) error {
	if i.opened > uint64(cut.at) {
		return nil
	}
	for namespace, told := range i.tails {
		now, err := tail(ctx, i.http, i.server.url(), namespace)
		if err != nil {
			return err
		}
		if now < told {
			v.wrong(&v.unseen, "%s: %d events were told of after the first cut, the log ends at %d after the second", namespace, told, now)
		}
	}
	return nil
}

// empty is a disk with an empty file system.
func (fs fileSystem) empty(ctx context.Context, dir string) (disk, error) {
	image := filepath.Join(dir, "image")
	if err := fs.make(ctx, image); err != nil {
		return nil, err
	}
	return readDisk(image)
}
