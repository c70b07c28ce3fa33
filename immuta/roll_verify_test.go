package immuta_test

import (
	"io/fs"
	"testing"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

// laterLook does something when a file is opened for the second time: its header
// was read before, and now all of it is to be.
type laterLook struct {
	immuta.FS
	path  string
	looks int
	do    func()
}

func (l *laterLook) OpenFile(path string, flag int, perm fs.FileMode) (immuta.File, error) {
	if path == l.path {
		if l.looks++; l.looks == 2 {
			l.do()
		}
	}
	return l.FS.OpenFile(path, flag, perm)
}

func TestALogMayBeTrimmedWhileItIsVerified(t *testing.T) {
	for what, look := range map[string]func(immuta.Options) (immuta.Report, error){
		"verify": func(o immuta.Options) (immuta.Report, error) { return immuta.Verify(dir, name, o) },
		"repair": func(o immuta.Options) (immuta.Report, error) {
			r, err := immuta.Repair(dir, name, o, false)
			return r.Report, err
		},
	} {
		files := faultfs.New()
		log := rolled(t, files, immuta.Options{}, 4)
		late := &laterLook{FS: files, path: closedFile(4), do: func() {
			if _, err := log.Trim(7); err != nil {
				t.Error(err)
			}
		}}
		got, err := look(immuta.Options{FS: late})
		if err != nil || len(got.Damage) > 0 || got.First != 7 || got.Next != 13 || got.Files != 3 || got.Records != 6 {
			t.Errorf("%s: got %+v and %v, want the records 7 to 12 in 3 files", what, got, err)
		}
	}
}

func TestASegmentThatVanishesFromTheMiddleIsNotTakenForATrimmedOne(t *testing.T) {
	files := faultfs.New()
	rolled(t, files, immuta.Options{}, 4)
	late := &laterLook{FS: files, path: closedFile(4), do: func() { files.Remove(closedFile(4)) }}
	if got, err := immuta.Verify(dir, name, immuta.Options{FS: late}); err == nil {
		t.Errorf("got %+v, want an error: records 1 to 3 are still there", got)
	}
}
