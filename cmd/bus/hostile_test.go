//go:build linux

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
)

// streamedDump is a dump that is made while it is read, with a good last line.
func streamedDump(line func(i int) string, events int) io.Reader {
	r, w := io.Pipe()
	go func() {
		sum := sha256.New()
		both := io.MultiWriter(w, sum)
		fmt.Fprintln(both, `{"bus_dump":1,"namespaces":["app"]}`)
		for i := range events {
			if _, err := io.WriteString(both, line(i)+"\n"); err != nil {
				return // whoever reads has had enough
			}
		}
		fmt.Fprintf(w, `{"end":{"events":%d,"namespaces":{"app":%d},"sha256":"%s"}}`+"\n", events, events, hex.EncodeToString(sum.Sum(nil)))
		w.Close()
	}()
	return r
}

// limited runs bus in a process of its own and returns what it said, its exit
// code, and the most memory it had.
func limited(t *testing.T, stdin io.Reader, args ...string) (said string, code int, resident int64) {
	t.Helper()
	debug.FreeOSMemory() // a child begins with the most that this process had, which would be taken for its own
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bus", args...)
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode(), cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
}

func TestARestoreTakesTheSameMemoryHoweverLongTheDump(t *testing.T) {
	for name, dump := range map[string]io.Reader{
		"many events": streamedDump(func(i int) string {
			return fmt.Sprintf(`{"id":"x%d","subject":"app.x","payload":"%01000d"}`, i, i)
		}, 60_000),
		"short events in long lines": streamedDump(func(i int) string {
			return fmt.Sprintf(`{"id":"x%d","subject":"app.x",%s"payload":1}`, i, strings.Repeat(" ", 1<<20))
		}, 200),
	} {
		dir := filepath.Join(t.TempDir(), "data")
		said, code, resident := limited(t, dump, "restore", "--path", dir, "--input", "-")
		if code != 0 || !strings.Contains(said, "skipped 0") {
			t.Errorf("%s: got exit code %d and %q, want all restored", name, code, said)
		}
		if limit := int64(64<<20) * memoryFactor; resident > limit {
			t.Errorf("%s: got %d MB resident, want at most %d", name, resident>>20, limit>>20)
		}
		t.Logf("%s: %d MB", name, resident>>20)
	}
}

func TestAHostileDumpIsRefusedWithItsLineBeforeTheFirstWrite(t *testing.T) {
	good := `{"id":"a","subject":"app.x","payload":1}`
	for name, c := range map[string]struct {
		line string
		want string // in the refusal; "" when it is restored
	}{
		"an index of 10^12":         {`{"id":"b","subject":"app.x","index":1000000000000,"payload":1}`, ""},
		"an index that is none":     {`{"id":"b","subject":"app.x","index":1e400,"payload":1}`, ""},
		"an index twice":            {`{"id":"b","subject":"app.x","index":1,"payload":1}`, ""},
		"the same event twice":      {good, ""},
		"one id for two events":     {`{"id":"a","subject":"app.x","payload":2}`, "stopped at line 3: "},
		"a newline in an id":        {`{"id":"a\nb","subject":"app.x","payload":1}`, "line 3"},
		"a NUL in a key":            {`{"id":"b","subject":"app.x","key":"a\u0000","payload":1}`, "line 3"},
		"a reserved namespace":      {`{"id":"b","subject":"_bus_.x","payload":1}`, "line 3"},
		"a namespace of nobody":     {`{"id":"b","subject":"other.x","payload":1}`, "line 3"},
		"dots as a subject":         {`{"id":"b","subject":"app.../../x","payload":1}`, "line 3"},
		"another version inside":    {`{"bus_dump":2,"namespaces":["app"]}`, "line 3"},
		"a first line inside":       {`{"bus_dump":1,"namespaces":["app"]}`, "line 3"},
		"JSON without end":          {`{"id":"b","subject":"app.x","payload":` + strings.Repeat("[", 100_000), "line 3"},
		"JSON too deep":             {`{"id":"b","subject":"app.x","payload":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`, "line 3"},
		"a field twice":             {`{"id":"b","id":"c","subject":"app.x","payload":1}`, "line 3"},
		"bytes that are no UTF-8":   {"{\"id\":\"b\",\"subject\":\"app.x\",\"payload\":\"\xff\"}", "line 3"},
		"base64 that is none":       {`{"id":"b","subject":"app.x","content_type":"x/y","payload_base64":"*"}`, "line 3"},
		"a time before all times":   {`{"id":"b","subject":"app.x","created_at":"0001-01-02T00:00:00Z","payload":1}`, "line 3"},
		"a carriage return as line": {"\r", "line 3"},
	} {
		lines := []string{good, c.line}
		dump := streamedDump(func(i int) string { return lines[i] }, 2)
		dir := filepath.Join(t.TempDir(), "data")
		var said strings.Builder
		code := run([]string{"bus", "restore", "--path", dir, "--input", "-"}, dump, io.Discard, &said)
		_, err := os.Stat(dir)
		switch {
		case c.want == "" && code != 0:
			t.Errorf("%s: got exit code %d and %q, want it restored", name, code, said.String())
		case c.want != "" && (code == 0 || !strings.Contains(said.String(), c.want)):
			t.Errorf("%s: got exit code %d and %.200q, want %q", name, code, said.String(), c.want)
		case c.want == "line 3" && (code != exitDamage || err == nil):
			t.Errorf("%s: got exit code %d and a directory: %v, want %d and none", name, code, err == nil, exitDamage)
		}
	}
}

func TestALineWithoutEndIsRefusedBeforeItIsHeld(t *testing.T) {
	endless := io.MultiReader(strings.NewReader(`{"bus_dump":1,"namespaces":["app"]}`+"\n"+`{"id":"`), io.LimitReader(zeros{}, 256<<20))
	dir := filepath.Join(t.TempDir(), "data")
	said, code, resident := limited(t, endless, "restore", "--path", dir, "--input", "-")
	if code != exitDamage || !strings.Contains(said, "line 2: it has more than") {
		t.Errorf("got exit code %d and %q, want line 2 refused", code, said)
	}
	if limit := int64(256<<20) * memoryFactor; resident > limit { // one line of the greatest length is held
		t.Errorf("got %d MB resident, want at most %d", resident>>20, limit>>20)
	}
	t.Logf("%d MB", resident>>20)
}

func TestADumpOfAMillionNamespacesIsRefused(t *testing.T) {
	var b strings.Builder
	for i := range 1_000_000 {
		fmt.Fprintf(&b, `,"n%d"`, i)
	}
	for _, names := range []string{b.String(), b.String()[:100_000]} {
		dump := `{"bus_dump":1,"namespaces":[` + names[1:strings.LastIndexByte(names, ',')] + `]}` + "\n"
		_, err := readDump([]byte(dump))
		if got := fmt.Sprint(err); !strings.Contains(got, "line 1") || !strings.Contains(got, "namespaces, at most") && !strings.Contains(got, "more than 1048576 bytes") {
			t.Errorf("got %v, want line 1 refused", err)
		}
	}
}

// liar is a server of another make. It says that app has three events.
func liar(t *testing.T, stream func(w http.ResponseWriter, r *http.Request)) string {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/namespaces" {
			io.WriteString(w, `{"namespaces":[{"name":"app","last_index":3}]}`)
			return
		}
		if r.URL.Path == "/v1/namespaces/app" {
			io.WriteString(w, `{"name":"app","first_index":1,"last_index":3}`)
			return
		}
		if r.URL.Path != "/" {
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"code":"unknown_event","status":404}`)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "event: hello\ndata: {\"consumer_id\":\"c_1\",\"tail\":{\"app\":3}}\n\n")
		stream(w, r)
	}))
	t.Cleanup(web.Close)
	return web.URL
}

func repairedGap(namespace string, lost int) string {
	return fmt.Sprintf("event: gap\ndata: {\"namespace\":%q,\"requested\":\"#1\",\"resumed_index\":3,\"lost\":%d,\"reason\":\"damage\",\"repaired_at\":\"2026-01-01T00:00:00Z\"}\n\n", namespace, lost)
}

func TestACopyOfAServerThatLiesEndsWithWhatIsWrong(t *testing.T) {
	msg := func(index int, subject, id string) string {
		return fmt.Sprintf("id: e_%d\nevent: msg\ndata: {\"id\":%q,\"subject\":%q,\"index\":%d,\"payload\":1}\n\n", index, id, subject, index)
	}
	end := "event: end\ndata: {\"reason\":\"until\"}\n\n"
	for name, c := range map[string]struct{ stream, want string }{
		"an index twice":           {msg(1, "app.x", "a") + msg(1, "app.x", "b") + end, "out of order"},
		"an index that falls":      {msg(2, "app.x", "a") + msg(1, "app.x", "b") + end, "out of order"},
		"an end too early":         {msg(1, "app.x", "a") + end, "ended at index 1, wanted 3"},
		"another namespace":        {msg(1, "other.x", "a") + end, "not asked for"},
		"a path as a subject":      {msg(1, "app/../../x", "a") + end, "cannot be read"},
		"a line in an id":          {msg(1, "app.x", "a\n{}") + end, "cannot be read"},
		"a gap before the start":   {repairedGap("app", 9) + end, "which cannot be"},
		"a gap of nothing":         {repairedGap("app", 0) + end, "which cannot be"},
		"a gap of another log":     {repairedGap("other", 1) + end, "which cannot be"},
		"an event that never ends": {"event: msg\ndata: " + strings.Repeat("x", 42<<20), "more than"},
	} {
		for _, to := range []string{"copy", "dump"} {
			url := liar(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, c.stream) })
			args := []string{"bus", "copy", "--from", url, "--to", filepath.Join(t.TempDir(), "data")}
			if to == "dump" {
				args = []string{"bus", "dump", "--host", url, "--output", filepath.Join(t.TempDir(), "dump")}
			}
			var said strings.Builder
			if code := run(args, nil, io.Discard, &said); code == 0 || !strings.Contains(said.String(), c.want) {
				t.Errorf("%s, %s: got exit code %d and %.300q, want %q", name, to, code, said.String(), c.want)
			}
			if _, err := os.Stat(args[len(args)-1]); to == "dump" && err == nil {
				t.Errorf("%s: got a dump, want none", name)
			}
		}
	}
}

func TestAMirrorOfAServerThatLiesEndsWithWhatIsWrong(t *testing.T) {
	msg := func(index int, id string) string {
		return fmt.Sprintf("id: e_%d\nevent: msg\ndata: {\"id\":%q,\"subject\":\"app.x\",\"index\":%d,\"payload\":1}\n\n", index, id, index)
	}
	for name, c := range map[string]struct{ stream, want string }{
		"an index twice":         {msg(1, "a") + msg(1, "b"), "out of order"},
		"one id for two events":  {msg(1, "a") + strings.Replace(msg(2, "a"), `"payload":1`, `"payload":2`, 1), "the id a "},
		"a gap that cannot be":   {repairedGap("app", 9), "which cannot be"},
		"a gap that ends nobody": {repairedGap("other", 1), "which cannot be"},
	} {
		url := liar(t, func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, c.stream)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		})
		t.Run(name, func(t *testing.T) {
			startMirror(t, "--from", url, "--to", filepath.Join(t.TempDir(), "data")).exit(exitFailed, c.want)
		})
	}
}

func TestAListOfNamespacesIsBounded(t *testing.T) {
	for name, list := range map[string]io.Reader{
		"a million":     strings.NewReader(`{"namespaces":[` + strings.Repeat("{},", 999_999) + "{}]}"),
		"without end":   io.MultiReader(strings.NewReader(`{"namespaces":["`), zeros{}),
		"paths":         strings.NewReader(`{"namespaces":[{"name":"../x"}]}`),
		"nested deeply": strings.NewReader(`{"namespaces":` + strings.Repeat("[", 1<<20)),
	} {
		if infos, err := readNamespaces(list); err == nil {
			t.Errorf("%s: got %d namespaces, want an error", name, len(infos))
		}
	}
}
