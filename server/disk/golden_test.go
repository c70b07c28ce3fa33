package disk

import (
	"encoding/hex"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/bus"
	"example.com/bus/crypto"
	"example.com/bus/immuta"
	"github.com/rogpeppe/go-internal/txtar"
)

// A release adds its directories once (CONTRIBUTING.md), and they are never
// written again: what it has left on disks has to be read for ever.
var goldenRelease = flag.String("golden", "", "write the golden directories of a new release, such as v0.2")

const (
	goldenRoot   = "testdata/golden"
	goldenSecret = "the secret of the golden directories, which is none"
)

func goldenKeys(t testing.TB, secret string) immuta.Sealing {
	t.Helper()
	key, err := crypto.NewKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return crypto.NewKeyring(key)
}

// goldenKinds are whole data directories, each as a server may leave it.
var goldenKinds = []string{"plain", "sealed", "strangers", "torn", "space", "headers", "index-missing", "blocks"}

// makeGolden lives through a short life of two namespaces and three opens.
func makeGolden(t *testing.T, kind string) (dir string) {
	dir = t.TempDir()
	clock := time.Unix(1_700_000_000, 42)
	o := Options{
		Namespaces: []string{"app", "orders"}, Rand: rand.NewChaCha8([32]byte{7}), saveAt: saveLimits{entries: 4, events: 8, bytes: 1 << 10},
		Now: func() time.Time { clock = clock.Add(time.Second); return clock },
	}
	if kind == "sealed" {
		o.Sealing = goldenKeys(t, goldenSecret)
	}
	if kind == "blocks" {
		o.BlockSize = 64
	}
	for life := range 3 {
		e := openTest(t, dir, o)
		mustAppend(t, e, goldenEvents(kind, life)...)
		mustAppend(t, e, bus.Event{Subject: "app.started", Payload: fmt.Appendf(nil, `{"life":%d}`, life)})
		mustClose(t, e)
	}
	switch kind {
	case "torn":
		log := readFile(t, dir, "orders.log")
		writeFile(t, append(log, log[len(log)-60:len(log)-10]...), dir, "orders.log")
	case "space": // a server that was killed
		writeFile(t, append(readFile(t, dir, "orders.log"), make([]byte, 600)...), dir, "orders.log")
	case "index-missing":
		for _, path := range []string{"orders.idx", "app.idx", derivedDir} {
			if err := os.RemoveAll(filepath.Join(dir, path)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// goldenEvents have every field, and payloads of every kind.
func goldenEvents(kind string, life int) []bus.Event {
	if kind == "strangers" {
		return strange(life*20, 20)
	}
	if kind == "headers" {
		return []bus.Event{
			{Subject: "orders.one", Headers: map[string]string{"source": "web"}, Payload: []byte("1")},
			{Subject: "orders.many", TraceId: "t", Headers: map[string]string{"b": "é ", "a": "1", "traceparent": "00-…"}, Payload: []byte("2")},
		}
	}
	return []bus.Event{
		{Subject: "orders.plain", Payload: []byte(`{"a":[1,2.50,"\u00e9é"],"life":` + fmt.Sprint(life) + `}`)},
		{Subject: "orders.null"},
		{Subject: "orders.eu.all", Id: fmt.Sprintf("own.id-%d", life), TraceId: "trace é", Key: fmt.Sprint("key ", life), ResponseSubject: "app.answers", CreatedAt: time.Date(2001, 2, 3, 4, 5, 6, 7, time.UTC), Payload: []byte(`"x"`)},
		{Subject: "orders.bytes", ContentType: "image/png", Payload: []byte{0, 255, '\n', '\r', 0x1b}},
		{Subject: "orders.large", Payload: []byte(`"` + strings.Repeat("long ", 100) + `"`)},
	}
}

// pack makes text of a directory: a file in hexadecimal, 32 bytes a line, and
// what every later version must read from it.
func pack(t *testing.T, kind, dir string) []byte {
	a := &txtar.Archive{Comment: fmt.Appendf(nil, "The data directory %q of a release. Files are in hexadecimal.\nThe secret, where it is sealed: %s\n\n", kind, goldenSecret)}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "lock" {
			return err
		}
		data, err := os.ReadFile(path)
		var text []byte
		for line := range slices.Chunk(data, 32) {
			text = append(hex.AppendEncode(text, line), '\n')
		}
		name, relErr := filepath.Rel(dir, path)
		a.Files = append(a.Files, txtar.File{Name: "data/" + filepath.ToSlash(name), Data: text})
		if relErr != nil {
			return relErr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return txtar.Format(&txtar.Archive{Comment: a.Comment, Files: append(a.Files, txtar.File{Name: "events.ndjson", Data: []byte(eventsOf(t, dir, goldenOptions(t, kind)))})})
}

func goldenOptions(t *testing.T, kind string) Options {
	o := Options{ReadOnly: true}
	if kind == "sealed" {
		o.Sealing = goldenKeys(t, goldenSecret)
	}
	return o
}

// eventsOf is every event of a directory, a line each.
func eventsOf(t *testing.T, dir string, o Options) string {
	t.Helper()
	e, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, e)
	var text []byte
	for _, name := range e.Namespaces() {
		r := e.Reader(name, 1)
		defer r.Close()
		_, next := e.Bounds(name)
		for at := uint64(1); at < next; {
			events, err := r.Next()
			if err != nil {
				t.Fatalf("%s at %d: %v", name, at, err)
			}
			for i := range events {
				text = append(events[i].AppendJSON(text), '\n')
				if got, err := e.Find(t.Context(), name, events[i].Id); err != nil || got != events[i].Index {
					t.Errorf("find %s: got %d, %v, want %d", events[i].Id, got, err, events[i].Index)
				}
			}
			at += uint64(len(events))
		}
	}
	return string(text)
}

// unpack writes an archive's directory, and returns it and what is to be read.
func unpack(t *testing.T, path string) (dir, want string) {
	t.Helper()
	a, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	for _, f := range a.Files {
		if f.Name == "events.ndjson" {
			want = string(f.Data)
			continue
		}
		data, err := hex.DecodeString(strings.ReplaceAll(string(f.Data), "\n", ""))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, strings.TrimPrefix(f.Name, "data/"))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, data, file)
	}
	return dir, want
}

func TestEveryReleasesDirectoriesAreReadByteForByteForEver(t *testing.T) {
	if *goldenRelease != "" {
		writeGolden(t, filepath.Join(goldenRoot, *goldenRelease))
	}
	archives, err := filepath.Glob(goldenRoot + "/v*/*.txtar")
	if err != nil || len(archives) < len(goldenKinds) {
		t.Fatalf("got %d golden directories, %v, want at least %d", len(archives), err, len(goldenKinds))
	}
	for _, path := range archives {
		kind := strings.TrimSuffix(filepath.Base(path), ".txtar")
		dir, want := unpack(t, path)
		if got := eventsOf(t, dir, goldenOptions(t, kind)); got != want || want == "" {
			t.Errorf("%s: got events\n%s\nwant\n%s", path, got, want)
		}
		goOnGolden(t, path, kind, dir, want)
	}
}

// goOnGolden writes to the directory, as a newer release does that is started
// on it.
func goOnGolden(t *testing.T, path, kind, dir, want string) {
	t.Helper()
	o := goldenOptions(t, kind)
	o.ReadOnly, o.Namespaces = false, []string{"app", "orders"}
	e := openTest(t, dir, o)
	mustAppend(t, e, testEvent("orders.newer", "1"))
	mustClose(t, e)
	checkVerify(t, dir, o.Sealing, func(r *Report) bool { return r.Good() && r.Torn == nil })
	o.ReadOnly = true
	got := eventsOf(t, dir, o)
	for line := range strings.SplitSeq(want, "\n") {
		if !strings.Contains(got, line) {
			t.Errorf("%s: got %s after an append, want %s as before", path, got, line)
		}
	}
}

func writeGolden(t *testing.T, dir string) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatalf("%v: what a release has left is never written again", err)
	}
	for _, kind := range goldenKinds {
		if err := os.WriteFile(filepath.Join(dir, kind+".txtar"), pack(t, kind, makeGolden(t, kind)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
