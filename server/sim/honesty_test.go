package sim

import (
	"io/fs"
	"strings"
	"testing"

	"example.com/bus/immuta"
)

// A simulation that never fails proves nothing. These lives run on disks that
// lie, and have to be found out. Faults of the product itself that it was seen
// to find, each by a change made by hand, with the lives it took:
//
// MUTATIONS

// liar is a file system that leaves out what one of its fields says.
type liar struct {
	immuta.FS
	noSync, noDirs, noCut bool
}

type liarFile struct {
	immuta.File
	liar *liar
	log  bool
}

func (l *liar) OpenFile(path string, flag int, perm fs.FileMode) (immuta.File, error) {
	f, err := l.FS.OpenFile(path, flag, perm)
	if err != nil {
		return nil, err
	}
	return &liarFile{f, l, strings.Contains(path, ".log")}, nil
}

func (l *liar) SyncDir(dir string) error {
	if l.noDirs {
		return nil
	}
	return l.FS.SyncDir(dir)
}

func (f *liarFile) Sync() error     { return f.sync(f.File.Sync) }
func (f *liarFile) Datasync() error { return f.sync(f.File.Datasync) }

func (f *liarFile) sync(do func() error) error {
	if f.liar.noSync && f.log {
		return nil
	}
	return do()
}

// Truncate that does nothing leaves what was never answered.
func (f *liarFile) Truncate(size int64) error {
	if f.liar.noCut && f.log {
		return nil
	}
	return f.File.Truncate(size)
}

// foundOut runs lives on a lying disk until one fails.
func foundOut(t *testing.T, lie liar, within uint64) {
	t.Helper()
	for n := range within {
		w := run(t, lifeOf(n+1), func(files immuta.FS) immuta.FS { l := lie; l.FS = files; return &l })
		if w.failure != "" {
			t.Logf("life %d: %s", n+1, w.failure)
			return
		}
	}
	t.Errorf("got %d lives on a disk that lies, want one that fails", within)
}

func TestADiskWithoutSyncIsFoundOut(t *testing.T) { foundOut(t, liar{noSync: true}, 40) }

func TestADirectoryWithoutSyncIsFoundOut(t *testing.T) { foundOut(t, liar{noDirs: true}, 40) }

func TestATruncateThatDoesNothingIsFoundOut(t *testing.T) { foundOut(t, liar{noCut: true}, 200) }

// The same life twice is the same life: a failure can be repeated.
func TestASeedTellsTheWholeLife(t *testing.T) {
	for n := range uint64(10) {
		first, second := run(t, lifeOf(n+1), nil), run(t, lifeOf(n+1), nil)
		for i, line := range first.trace {
			if i >= len(second.trace) || second.trace[i] != line {
				t.Fatalf("seed %d: got line %d %q the second time, want %q", n+1, i, at(second.trace, i), line)
			}
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "nothing"
}
