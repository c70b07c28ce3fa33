package disk

import (
	"fmt"
	"path/filepath"

	"example.com/bus/immuta"
)

// Repaired is what Repair has done to a namespace, or would do.
type Repaired struct {
	immuta.Repaired
	Namespace string
}

// Repair puts gaps in place of what is damaged in the log of a namespace, as
// immuta.Repair says; of o it takes Sealing, FS, Now and Rand. Without write it
// changes nothing, and may run beside a server; with it, it has the directory to
// itself, or is ErrLocked with the name of who has it.
//
// Only logs are repaired. What else is in the directory is derived from them,
// checked before it is believed, and made anew by whoever opens the namespace.
func Repair(dir, name string, o Options, write bool) (Repaired, error) {
	r, err := repair(dir, name, o, write)
	if err != nil {
		return r, withUID(fmt.Errorf("repair namespace %s: %w", name, err))
	}
	return r, nil
}

func repair(dir, name string, o Options, write bool) (Repaired, error) {
	r := Repaired{Namespace: name}
	if err := checkLogName(name); err != nil {
		return r, err
	}
	if o.FS == nil {
		if err := checkLogFile(filepath.Join(dir, name+logExt)); err != nil {
			return r, err
		}
		root, err := immuta.OpenRoot(dir)
		if err != nil {
			return r, err
		}
		defer root.Close()
		o.FS = root
	}
	if write {
		lock, err := immuta.LockDir(o.FS, dir)
		if err != nil {
			return r, err
		}
		defer lock.Close()
	}
	var err error
	r.Repaired, err = immuta.Repair(dir, name, immuta.Options{FS: o.FS, Now: o.Now, Rand: o.Rand, Sealing: o.Sealing}, write)
	return r, err
}
