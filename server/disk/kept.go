package disk

import (
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"

	"example.com/bus"
)

// turnstile lets one through at a time. A log is opened behind it, which takes the
// time of a disk: who waits is idle, as far as a bubble of testing/synctest can
// tell, so that the time of a simulated disk passes.
type turnstile chan struct{}

func (t turnstile) Lock()   { t <- struct{}{} }
func (t turnstile) Unlock() { <-t }

// log returns an open log, nil when there is none of the name.
func (e *Engine) log(name string) *namespace { return (*e.logs.Load())[name] }

// add opens a log beside those that are open.
func (e *Engine) add(name string, o Options) error {
	n, err := e.open(name, o)
	if err != nil {
		return err
	}
	e.show(n)
	return nil
}

func (e *Engine) open(name string, o Options) (*namespace, error) {
	n, err := openNamespace(e.dir, name, o)
	if err != nil {
		return nil, err
	}
	n.room = e.roomOf(name)
	return n, nil
}

// show has a log found by its name. Readers of the map see one or the other, never
// one that changes.
func (e *Engine) show(n *namespace) {
	logs := maps.Clone(*e.logs.Load())
	logs[n.name] = n
	e.logs.Store(&logs)
}

// roomOf is what a log may take of the disk. Acknowledgements may take what is
// kept free of events: with none of them the same events would go round for ever.
func (e *Engine) roomOf(name string) *headroom {
	if name != bus.ConsumersNamespace {
		return e.room
	}
	o := e.options
	o.MinFree = 0
	return newHeadroom(e.dir, o)
}

// Keep sees to it that a log of the bus's own is open, and makes it when it is
// not there. It is no namespace that Namespaces lists, but all else works with its
// name. A second call does nothing. An engine that only reads makes none
// (fs.ErrNotExist).
func (e *Engine) Keep(name string) error {
	if !bus.IsOwn(name) || bus.Namespace(name) != name || bus.CheckSubject(name+".x") != nil {
		return fmt.Errorf("log %q: wanted one of the bus's own, whose names begin with an underscore", name)
	}
	if e.log(name) != nil {
		return nil
	}
	e.keeping.Lock()
	defer e.keeping.Unlock()
	if e.log(name) != nil {
		return nil
	}
	if e.closed {
		return bus.ErrUnavailable.With("the engine is closed")
	}
	there, err := e.isThere(name)
	switch {
	case err != nil:
		return told("the log "+name+" cannot be opened", err)
	case !there && e.options.ReadOnly:
		return fmt.Errorf("%s holds no log of %s: %w", e.dir, name, fs.ErrNotExist)
	}
	o := e.options
	o.MaxEvent = min(2*o.maxEvent()+ownOverhead, MaxEventLimit) // a dead letter has an event in it
	if name == bus.ConsumersNamespace {                         // what --max-event allows to publishers has nothing to do with it
		o.MaxEvent = MaxEventLimit
		o.segmentBytes = ownSegment
	}
	if err := e.add(name, o); err != nil {
		return told("the log "+name+" cannot be opened", err)
	}
	if !there {
		e.options.Logger.Info("a new log was made", "namespace", name, "path", filepath.Join(e.dir, name+logExt))
	}
	return nil
}

// ownOverhead is what an event of the bus's own may have beside what is in it.
const ownOverhead = 1 << 20

// ownSegment is after how many bytes the log of named consumers rolls: it is
// written anew now and then, and what is in front of that deleted.
const ownSegment = 8 << 20

// ownLogs are those that the bus may have made in a directory.
var ownLogs = []string{bus.DeadNamespace, bus.ConsumersNamespace, bus.NamespacesNamespace}

// reopenOwn opens the logs of the bus's own that are there: what they say must not
// be passed over in silence. Without that of the namespaces, some would be missing
// and nobody know it; one of the others that cannot be opened is no reason not to
// publish, and is told again to who needs it.
func (e *Engine) reopenOwn() error {
	if e.root == nil || e.options.ReadOnly {
		return nil
	}
	for _, name := range ownLogs {
		there, err := e.isThere(name)
		if !there && err == nil {
			continue
		}
		switch err := e.Keep(name); {
		case err != nil && name == bus.NamespacesNamespace:
			return err
		case err != nil:
			e.options.Logger.Error("a log of the bus's own cannot be opened", "namespace", name, "error", err)
		}
	}
	return nil
}

// isThere reports whether a log is, also one whose last file waits for the end of a
// roll that was cut off, and refuses what is no log, and to begin a new one where
// one is missing.
func (e *Engine) isThere(name string) (bool, error) {
	if e.root == nil { // a file system that came with the options
		return true, nil
	}
	path := filepath.Join(e.dir, name+logExt)
	if err := checkLogFile(path); err != nil {
		return false, err
	}
	found, err := discover(e.dir, func(other string) bool { return other == name })
	if err != nil || len(found) > 0 {
		return len(found) > 0, err
	}
	return false, checkNotLost(e.dir, name)
}
