//go:build unix

package disk

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"example.com/bus"
)

// treeOf is everything below a directory: names, kinds and contents.
func treeOf(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %s", path, d.Type())
		if d.Type().IsRegular() {
			data, err := os.ReadFile(path)
			fmt.Fprintf(&b, " %x", data)
			return err
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// plants are what somebody may have put in the place of a file. Each is told
// where, and which directory is outside.
var plants = map[string]func(path, dir, outside string) error{
	"link to a file outside":      func(path, _, outside string) error { return os.Symlink(filepath.Join(outside, "file"), path) },
	"link to a log outside":       func(path, _, outside string) error { return os.Symlink(filepath.Join(outside, "orders.log"), path) },
	"link to a directory outside": func(path, _, outside string) error { return os.Symlink(outside, path) },
	"link to nothing outside":     func(path, _, outside string) error { return os.Symlink(filepath.Join(outside, "new"), path) },
	"link by dots": func(path, dir, outside string) error {
		up, err := filepath.Rel(filepath.Dir(path), filepath.Join(outside, "file"))
		if err != nil {
			return err
		}
		return os.Symlink(up, path)
	},
	"link to another namespace":    func(path, dir, _ string) error { return os.Symlink(filepath.Join(dir, "app.log"), path) },
	"link to the directory itself": func(path, dir, _ string) error { return os.Symlink(dir, path) },
	"pipe":                         func(path, _, _ string) error { return syscall.Mkfifo(path, 0o600) },
	"directory":                    func(path, _, _ string) error { return os.Mkdir(path, 0o700) },
	"directory that is not empty":  func(path, _, _ string) error { return os.MkdirAll(filepath.Join(path, "in"), 0o700) },
	"noise":                        func(path, _, _ string) error { return os.WriteFile(path, []byte("\x00\xff any bytes\n"), 0o600) },
	"nothing in it":                func(path, _, _ string) error { return os.WriteFile(path, nil, 0o600) },
}

// hostileDirectory has two namespaces with some ids of their own. The end of
// orders is torn.
func hostileDirectory(t *testing.T) (dir string, stored []bus.Event, app []byte) {
	t.Helper()
	dir = t.TempDir()
	e := openTest(t, dir, smallGroups(Options{Namespaces: []string{"app", "orders"}}))
	stored = mustAppend(t, e, strange(0, 12)...)
	mustAppend(t, e, testEvent("app.created", `"kept"`))
	mustClose(t, e)
	log := readFile(t, dir, "orders.log")
	writeFile(t, append(log, log[len(log)-40:len(log)-20]...), dir, "orders.log")
	return dir, stored, readFile(t, dir, "app.log")
}

func TestWhatIsPlantedInTheDirectoryLeadsNowhereElse(t *testing.T) {
	torn := fmt.Sprint("orders.torn-", tornOffset(t))
	for _, place := range []string{
		"orders.log", "orders.log.tmp", "orders.idx", "orders.idx.tmp", "lock", torn, derivedDir, derivedDir + "/orders.log",
		derivedDir + "/orders.idx", derivedDir + "/orders.log.tmp", derivedDir + "/orders.idx.tmp", derivedDir + "/orders.log.stale",
		derivedDir + "/orders.subjects.log", derivedDir + "/orders.subjects.idx", derivedDir + "/orders.subjects.log.tmp", derivedDir + "/orders.subjects.log.stale",
	} {
		for name, plant := range plants {
			t.Run(place+"/"+name, func(t *testing.T) { openPlanted(t, place, plant) })
		}
	}
}

// A temporary file is emptied and written: under a second name it may be a file
// of somebody else.
func TestATemporaryFileWithASecondNameIsNotWrittenTo(t *testing.T) {
	for _, place := range []string{"orders.log.tmp", "orders.idx.tmp", derivedDir + "/orders.log.tmp", derivedDir + "/orders.idx.tmp", derivedDir + "/orders.subjects.log.tmp"} {
		for _, file := range []string{"file", "orders.log"} {
			t.Run(place+"/"+file, func(t *testing.T) {
				openPlanted(t, place, func(path, _, outside string) error { return os.Link(filepath.Join(outside, file), path) })
			})
		}
	}
}

// Snapshots by hard links are welcome: a log is only appended to.
func TestALogWithASecondNameIsOpened(t *testing.T) {
	dir, stored, _ := hostileDirectory(t)
	for _, name := range []string{"orders.log", "orders.idx", "app.log"} {
		if err := os.Link(filepath.Join(dir, name), filepath.Join(t.TempDir(), name)); err != nil {
			t.Fatal(err)
		}
	}
	e := openTest(t, dir, Options{Namespaces: []string{"app", "orders"}})
	checkFound(t, e, stored)
	mustAppend(t, e, testEvent("orders.created", "1"))
	mustClose(t, e)
}

// tornOffset is where hostileDirectory is torn: the same in every one.
func tornOffset(t *testing.T) int {
	dir, _, _ := hostileDirectory(t)
	return len(readFile(t, dir, "orders.log")) - 20
}

func openPlanted(t *testing.T, place string, plant func(path, dir, outside string) error) {
	dir, stored, app := hostileDirectory(t)
	outside := t.TempDir()
	writeFile(t, []byte("not ours"), outside, "file")
	writeFile(t, readFile(t, dir, "orders.log"), outside, "orders.log")
	before := treeOf(t, outside)
	path := filepath.Join(dir, place)
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(place, ".tmp") { // it is used when the file is made anew
		if err := os.RemoveAll(strings.TrimSuffix(path, ".tmp")); err != nil {
			t.Fatal(err)
		}
	}
	if err := plant(path, dir, outside); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{ReadOnly: true}, smallGroups(Options{Namespaces: []string{"app", "orders"}})} {
		usePlanted(t, dir, o, stored)
	}
	if _, err := Verify(dir, "orders", nil); err != nil {
		t.Logf("verify: %v", err)
	}
	if got := treeOf(t, outside); got != before {
		t.Errorf("files outside: got %s, want %s", got, before)
	}
	if got := readFile(t, dir, "app.log"); !bytes.HasPrefix(got, app) {
		t.Error("the log of the other namespace was changed")
	}
}

// usePlanted opens, writes and reads. It may be refused, with the name of what
// is in the way; otherwise it works as ever.
func usePlanted(t *testing.T, dir string, o Options, stored []bus.Event) {
	t.Helper()
	e, err := Open(dir, o)
	if err != nil {
		if !strings.Contains(err.Error(), dir) {
			t.Errorf("got %q, wanted the name of what is in the way", err)
		}
		t.Logf("open: %v", err)
		return
	}
	defer mustClose(t, e)
	if _, next := e.Bounds("orders"); next > 1 {
		checkFound(t, e, stored)
	}
	if o.ReadOnly {
		return
	}
	fresh := []bus.Event{testEvent("orders.created", `"new"`)}
	if err := e.Append(t.Context(), "orders", fresh); err != nil {
		if !strings.Contains(err.Error(), filepath.Join(dir, "orders.torn-")) { // what is cut must have been kept
			t.Errorf("got %q, wanted the name of what is in the way", err)
		}
		return
	}
	checkFound(t, e, fresh)
	mustAppend(t, e, strange(100, 12)...)
}

func TestTheDirectoryItselfMayBeALink(t *testing.T) {
	dir, stored, _ := hostileDirectory(t)
	link := filepath.Join(t.TempDir(), "data")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	e := openTest(t, link, Options{})
	checkFound(t, e, stored)
	mustAppend(t, e, testEvent("orders.created", "1"))
	mustClose(t, e)
	checkVerify(t, link, nil, func(r *Report) bool { return r.Good() && r.Records == 13 })
}
