package disk

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"example.com/bus"
	"example.com/bus/immuta"
)

// LogReport is what was found in a log, block by block.
type LogReport = immuta.Report

// Report is what Verify found in a log.
type Report struct {
	immuta.Report
	Namespace string
	// Unreadable are records that are as they were written, but are no events:
	// their log was written by another program, or by a newer release. At most
	// MaxUnreadable are listed; Strange counts all.
	Unreadable []bus.DamageError
	Strange    uint64
	Decoded    bool // the events were looked at, which takes the key of a sealed log
}

// MaxUnreadable is how many unreadable records a Report lists.
const MaxUnreadable = 100

// Good reports whether nothing is wrong. A torn tail is nothing wrong: no sync of
// it is known, and with a sync for each commit it was never answered.
func (r *Report) Good() bool { return len(r.Damage) == 0 && r.Strange == 0 }

// Verify reads the whole log of a namespace and checks every bit of it without
// writing; it may run beside a server. Without a sealing, of a sealed log only
// the outer checksums are checked. Damage is in the report; the error is for
// what cannot be read at all.
func Verify(dir, name string, sealing immuta.Sealing) (Report, error) {
	if err := checkLogName(name); err != nil {
		return Report{}, err
	}
	if err := checkLogFile(filepath.Join(dir, name+logExt)); err != nil {
		return Report{}, err
	}
	root, err := immuta.OpenRoot(dir)
	if err != nil {
		return Report{}, withUID(err)
	}
	defer root.Close()
	o := immuta.Options{FS: root, Sealing: sealing, ReadOnly: true}
	found, err := immuta.Verify(dir, name, o)
	r := Report{Report: found, Namespace: name}
	if err == nil && found.Checked != immuta.CheckedOuter {
		err = r.decode(dir, o)
	}
	if err != nil {
		return r, withUID(fmt.Errorf("verify namespace %s: %w", name, err))
	}
	return r, nil
}

// decode looks at the events of the blocks that are good. What is damaged is in
// the report already.
func (r *Report) decode(dir string, o immuta.Options) error {
	l, err := immuta.Open(dir, r.Namespace, o)
	if err != nil {
		return err
	}
	defer l.Close()
	r.Decoded = true
	events := (&namespace{name: r.Namespace, log: l}).reader(1)
	defer events.Close()
	for {
		_, err := events.Next()
		if removed, ok := bus.AsRemoved(err); ok {
			events.Seek(removed.Next)
			continue
		}
		damage, is := errors.AsType[*bus.DamageError](err)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err == nil:
			continue
		case !is:
			return err
		}
		if events.damage != nil {
			r.strange(damage)
		}
		if damage.Next == 0 {
			return nil
		}
		events.Seek(damage.Next)
	}
}

func (r *Report) strange(damage *bus.DamageError) {
	r.Strange++
	if len(r.Unreadable) < MaxUnreadable {
		r.Unreadable = append(r.Unreadable, *damage)
	}
}
