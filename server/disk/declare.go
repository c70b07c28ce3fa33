package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"example.com/bus"
	"example.com/bus/immuta"
)

// Declare opens a namespace beside those that are open, and makes its log when it
// is not there. One that is open is left alone. It lasts until the engine is
// closed: who opens the directory again names it again. remember, unless nil, is
// called once the log is open and while nobody can find it yet; it must not declare
// or keep another. Errors: what remember returns, and those of Open for one
// namespace; bus.ErrUnavailable when the engine is closed. Behind an error there is
// no such namespace, and no log that was not there before.
func (e *Engine) Declare(name string, remember func() error) error {
	if err := bus.CheckNamespace(name); err != nil {
		return err
	}
	e.keeping.Lock()
	defer e.keeping.Unlock()
	switch {
	case e.log(name) != nil:
		return nil
	case e.closed:
		return bus.ErrUnavailable.With("the engine is closed")
	case e.options.ReadOnly:
		return fmt.Errorf("declare namespace %s: the engine is open for reading only", name)
	}
	there, err := e.mayDeclare(name)
	if err != nil {
		return told("namespace "+name+" cannot be declared", err)
	}
	if err := e.begin(name, remember); err != nil {
		if !there {
			err = errors.Join(err, e.unmake(name))
		}
		return told("namespace "+name+" cannot be declared", err)
	}
	if !there {
		e.options.Logger.Info("a new log was made", "namespace", name, "path", filepath.Join(e.dir, name+logExt))
	}
	return nil
}

// begin opens a log, and shows it once that is remembered: what is stored in one that
// the next start does not know of would be gone.
func (e *Engine) begin(name string, remember func() error) error {
	n, err := e.open(name, e.options)
	if err != nil {
		return err
	}
	if err = e.checkTwin(n); err == nil && remember != nil {
		err = remember()
	}
	if err != nil {
		return errors.Join(err, n.close())
	}
	e.show(n)
	names := append(slices.Clone(e.Namespaces()), name)
	slices.Sort(names)
	e.names.Store(&names)
	return nil
}

// unmake deletes what was made of a log that was not there before.
func (e *Engine) unmake(name string) error {
	if e.root == nil {
		return nil
	}
	return removeFiles(e.dir, name)
}

// mayDeclare checks a name against what is there, and says whether its log is.
func (e *Engine) mayDeclare(name string) (there bool, err error) {
	var found []string
	if e.root != nil {
		if found, err = Discover(e.dir); err != nil {
			return false, err
		}
	}
	if _, err := checkNames([]string{name}, append(found, e.Namespaces()...)); err != nil {
		return false, bus.ErrInvalidSubject.With("%v", err)
	}
	return e.isThere(name)
}

func (e *Engine) unlist(name string) {
	names := slices.DeleteFunc(slices.Clone(e.Namespaces()), func(other string) bool { return other == name })
	e.names.Store(&names)
}

// shut closes a log and forgets it.
func (e *Engine) shut(name string) error {
	n := e.log(name)
	if n == nil {
		return nil
	}
	logs := maps.Clone(*e.logs.Load())
	delete(logs, name)
	e.logs.Store(&logs)
	return n.close()
}

// close ends what is derived first: it may still be reading the log. What the log
// stores after that is read at the next open.
func (n *namespace) close() error {
	n.lasts.stop()
	n.endDerived()
	return n.log.Close()
}

// Remove closes a namespace and deletes its log, and all that was made from it or
// set aside of it. Nothing brings it back. A name that is not open is only looked
// for in the directory, so that what a crash has left is removed by a second call.
// Waits and readers of it end.
func (e *Engine) Remove(name string) error {
	if err := bus.CheckNamespace(name); err != nil {
		return err
	}
	if e.root == nil || e.options.ReadOnly {
		return fmt.Errorf("remove namespace %s: wanted a directory that is open for writing", name)
	}
	e.keeping.Lock()
	defer e.keeping.Unlock()
	if e.closed {
		return bus.ErrUnavailable.With("the engine is closed")
	}
	e.unlist(name)
	if err := e.shut(name); err != nil {
		e.options.Logger.Warn("a log that is to be removed could not be closed in order", "namespace", name, "error", err)
	}
	if err := removeFiles(e.dir, name); err != nil {
		return told("namespace "+name+" cannot be removed", withUID(err))
	}
	return nil
}

// told makes an error one that who asked over HTTP may read: it names files of the
// data directory, which an administrator needs.
func told(what string, err error) error {
	if _, ok := bus.AsError(err); ok {
		return err
	}
	if outOfSpace(err) {
		return bus.ErrInsufficientSpace.With("%s: %v", what, err)
	}
	return bus.ErrStorage.With("%s: %v", what, err)
}

// removeFiles deletes the files of a namespace, the log last: as long as anything
// is there, what is there is its log. A name has no dot, so the prefix is nobody
// else's.
func removeFiles(dir, name string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, folder := range []string{derivedDir, "."} {
		files, err := fs.ReadDir(root.FS(), folder)
		if err != nil {
			return err
		}
		slices.SortStableFunc(files, func(a, b fs.DirEntry) int { return strings.Compare(lastly(a.Name(), name), lastly(b.Name(), name)) })
		for _, f := range files {
			if !strings.HasPrefix(f.Name(), name+".") {
				continue
			}
			if err := root.Remove(filepath.Join(folder, f.Name())); err != nil {
				return err
			}
		}
		if err := immuta.OS().SyncDir(filepath.Join(dir, folder)); err != nil {
			return err
		}
	}
	return nil
}

// lastly sorts the log behind everything else.
func lastly(file, name string) string {
	if file == name+logExt {
		return "1"
	}
	return "0"
}
