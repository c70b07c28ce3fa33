package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"example.com/bus"
	"example.com/bus/immuta"
)

// Names in the data directory. A namespace has no dot, so that neither a rolled
// segment nor any other file can be taken for one.
const (
	logExt     = ".log"
	derivedDir = "derived" // what can be made anew from the logs

	// subjectsSuffix makes the name of the index of subjects.
	subjectsSuffix = ".subjects"
)

// Discover returns the namespaces whose logs are in the directory, sorted. Logs
// of the bus's own are not among them.
func Discover(dir string) ([]string, error) {
	return discover(dir, func(name string) bool { return bus.CheckNamespace(name) == nil })
}

// DiscoverOwn returns the logs of the bus's own that are in the directory, sorted:
// what named consumers have come to, dead letters, and what was declared at run
// time.
func DiscoverOwn(dir string) ([]string, error) { return discover(dir, isOwnLog) }

// isOwnLog reports whether a name is that of a log of the bus's own.
func isOwnLog(name string) bool {
	return slices.Contains(ownLogs, name)
}

// checkLogName refuses what cannot be the name of a log, whoever's it is.
func checkLogName(name string) error {
	if isOwnLog(name) {
		return nil
	}
	return bus.CheckNamespace(name)
}

func discover(dir string, wanted func(string) bool) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, withUID(err)
	}
	var names []string
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), logExt)
		name = withoutFirst(name)
		if ok && entry.Type().IsRegular() && wanted(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// withoutFirst returns the namespace of a segment that was closed, and any other
// name as it is. A log whose last file is missing is there all the same: opening
// it finishes a roll that was cut off, or says what is missing.
func withoutFirst(name string) string {
	namespace, first, ok := strings.Cut(name, ".")
	if _, err := strconv.ParseUint(first, 10, 64); !ok || err != nil {
		return name
	}
	return namespace
}

// checkNames returns the names sorted and once each. Names that differ only in
// case, from each other or from a log that was found, are refused: on some file
// systems they are one file. Logs that were both found are two files here.
func checkNames(names, found []string) ([]string, error) {
	if len(names) == 0 {
		return nil, errors.New("no namespace is named: give at least one")
	}
	spelled := make(map[string]string)
	for _, name := range found {
		spelled[strings.ToLower(name)] = name
	}
	for _, name := range names {
		if err := bus.CheckNamespace(name); err != nil {
			return nil, err
		}
		folded := strings.ToLower(name)
		if other, ok := spelled[folded]; ok && other != name && !slices.Contains(found, name) {
			return nil, fmt.Errorf("namespaces %q and %q differ only in case and would be one file on some file systems: rename one", other, name)
		}
		spelled[folded] = name
	}
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names), nil
}

// checkNotLost refuses to begin an empty log where one is missing: what is
// derived from a log is only ever made after it. A volume that is not mounted or
// a file that was moved away would be found out when it is too late.
func checkNotLost(dir, name string) error {
	derived := filepath.Join(dir, derivedDir, name)
	var left []string
	for _, path := range []string{filepath.Join(dir, name+".idx"), derived + logExt, derived + subjectsSuffix + logExt} {
		if _, err := os.Lstat(path); err == nil {
			left = append(left, path)
		}
	}
	if len(left) == 0 {
		return nil
	}
	return fmt.Errorf("%s is missing, and what was made from it is there: bring the log back, or remove %s as well to begin an empty one",
		filepath.Join(dir, name+logExt), strings.Join(left, ", "))
}

// checkLogFile refuses anything but a regular file where a log belongs: behind
// a link there may be a file of somebody else, and a pipe would wait for ever.
func checkLogFile(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return withUID(err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: wanted a regular file, found %s: move it away", path, kindOf(info.Mode()))
	}
	return nil
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	case mode.IsDir():
		return "a directory"
	case mode.IsRegular():
		return "a file"
	}
	return "a special file (" + mode.String() + ")"
}

// makeDirs creates the data directory and the derived one in it, for the owner
// alone.
func makeDirs(dir string) error {
	path := filepath.Join(dir, derivedDir)
	if info, err := os.Lstat(path); err == nil && !info.IsDir() {
		return fmt.Errorf("%s: wanted a directory, found %s: move it away, it is made anew", path, kindOf(info.Mode()))
	}
	made := missing(path)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return withUID(err)
	}
	// A directory whose name is not durable would take every answered event in
	// it along in a power cut.
	for _, path := range made {
		if err := immuta.OS().SyncDir(filepath.Dir(path)); err != nil {
			return withUID(err)
		}
	}
	return nil
}

// missing returns the directories on the way to path that are not there yet,
// the deepest first.
func missing(path string) []string {
	var all []string
	for {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return all
		}
		all = append(all, path)
		path = filepath.Dir(path)
	}
}

// withUID says who was refused: in a container it is seldom who one thinks.
func withUID(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w (running as uid %d: give it the directory, or run as its owner)", err, os.Getuid())
	}
	return err
}
