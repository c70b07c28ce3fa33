package immuta

import (
	"crypto/rand"
	"fmt"
	"io"
	"time"
)

// SyncMode says when an append is answered and when it is seen.
type SyncMode int

const (
	// SyncAlways answers and shows an append once it is on stable storage.
	SyncAlways SyncMode = iota
	// SyncInterval answers after the write, and shows after the next sync, at
	// most SyncEvery later. A power cut may take back what was answered since
	// the last sync, but nothing that a reader has seen.
	SyncInterval
	// SyncOS answers and shows after the write. The operating system writes when
	// it likes; the log syncs at Close and every 64 MiB, so that recovery has an
	// end. A power cut may take back what readers have seen.
	SyncOS
)

func (m SyncMode) String() string {
	switch m {
	case SyncAlways:
		return "always"
	case SyncInterval:
		return "interval"
	case SyncOS:
		return "os"
	}
	return fmt.Sprintf("SyncMode(%d)", int(m))
}

// Options of Open. The zero value is a plain log that syncs each commit.
type Options struct {
	FS        FS               // nil: the operating system
	Now       func() time.Time // nil: time.Now; stamps commits, which never go back in time
	Rand      io.Reader        // nil: crypto/rand; draws the id, and the salt of a plain log
	Kind      string           // what the log is for, given to Sealing; "log" when empty
	Sync      SyncMode
	SyncEvery time.Duration // of SyncInterval; 100 ms when 0
	BlockSize int           // plain bytes of a block, 1 to 16 MiB; 4096 when 0; a bigger record has a block of its own
	MaxRecord int           // bytes of a record, 1 to 31 MiB; 15 MiB when 0
	LastIndex uint64        // highest index that is given, after which Append is ErrFull; 2^62 when 0
	Sealing   Sealing       // nil: a plain log
	// Ahead is how many bytes of zeros may stand in the file ahead of the log's
	// end while it is open, which makes the sync of a small commit cheaper: up to
	// 64 MiB, 1 MiB when 0, none when negative, and none in the modes that do not
	// sync each commit. They are never more than was appended since Open, but for a page, nor
	// than a 64th of what is free on the disk, where FS is Roomy.
	Ahead int
	// SegmentBytes is how long the file gets before it is closed and a new one
	// begun, see Roll; 0: there is one file for ever. A commit is never parted, so
	// it may be longer by one.
	SegmentBytes int64
	// ReadOnly writes nothing, takes no lock, and shows the log as it is at
	// Open: an unfinished last commit is simply not there yet, what another
	// process appends later is not followed. Such a log may be one that another
	// process is writing to: Open syncs the file before it shows it, so that a
	// power cut takes back nothing of what it shows; not with SyncOS, which does not promise that.
	// (Where that is not possible, as on a read-only file system, it goes on; a
	// disk that fails to is an error.)
	ReadOnly bool
	Ledger   Ledger // told what gets which index; nil: nobody is
	// Report is told of facts worth a log line; nil drops them. It may be called
	// from several goroutines, one of them the committing one, which waits for it.
	Report func(Notice)

	outerOnly bool // Verify: a sealed log without a key
}

const (
	maxBlockSize = 16 << 20
	settleBytes  = 64 << 20 // of SyncOS: unsynced bytes that lead to a sync
)

// complete fills in defaults and refuses what cannot be meant.
func (o Options) complete() (Options, error) {
	if o.FS == nil {
		o.FS = OS()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Report == nil {
		o.Report = func(Notice) {}
	}
	o.Kind = orDefault(o.Kind, "log")
	o.SyncEvery = orDefault(o.SyncEvery, 100*time.Millisecond)
	o.BlockSize = orDefault(o.BlockSize, 4096)
	o.MaxRecord = orDefault(o.MaxRecord, 15<<20)
	o.LastIndex = orDefault(o.LastIndex, maxIndex)
	o.Ahead = orDefault(o.Ahead, 1<<20)
	if o.Sync != SyncAlways {
		o.Ahead = -1
	}
	switch {
	case o.Sync < SyncAlways || o.Sync > SyncOS:
		return o, fmt.Errorf("sync mode %d: want always, interval or os", int(o.Sync))
	case o.SyncEvery < 0:
		return o, fmt.Errorf("sync interval %s: want more than 0", o.SyncEvery)
	case o.BlockSize < 1 || o.BlockSize > maxBlockSize:
		return o, fmt.Errorf("block size %d: want 1 to %d", o.BlockSize, maxBlockSize)
	case o.Ahead > maxSpace:
		return o, fmt.Errorf("%d bytes of space ahead: want at most %d", o.Ahead, maxSpace)
	case o.SegmentBytes < 0:
		return o, fmt.Errorf("segments of %d bytes: want 0 or more", o.SegmentBytes)
	case o.LastIndex > maxIndex:
		return o, fmt.Errorf("last index %d: want at most %d", o.LastIndex, uint64(maxIndex))
	case o.MaxRecord < 1 || o.MaxRecord > maxRecord:
		return o, fmt.Errorf("record limit %d: want 1 to %d", o.MaxRecord, maxRecord)
	}
	return o, nil
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
