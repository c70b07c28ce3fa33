package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/bus/server/leaktest"
)

// servedProfiles is where a server process says that it serves them.
func (s *killedServer) servedProfiles() string {
	s.t.Helper()
	text, _ := os.ReadFile(s.log)
	found := regexp.MustCompile(`"msg":"profiles are served","addr":"([^"]+)"`).FindSubmatch(text)
	if found == nil {
		s.t.Fatalf("got no address of profiles, the server says:\n%s", text)
	}
	return "http://" + string(found[1])
}

// asked is an answer that has been read. headers are "Name: value".
func asked(t *testing.T, url string, headers ...string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
		if name == "Host" {
			r.Host = value
		}
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(read)
}

var profilePaths = []string{
	"", "heap", "allocs", "goroutine", "block", "mutex", "threadcreate", "cmdline", "symbol", "profile?seconds=1", "trace?seconds=0.01", "heap?seconds=1",
}

func TestProfilesAreServedOnTheirOwnListenerOnly(t *testing.T) {
	s := newKilledServer(t)
	s.start("--pprof", "127.0.0.1:0")
	profiles := s.servedProfiles()
	for _, path := range profilePaths {
		if status, body := asked(t, profiles+"/debug/pprof/"+path); status != http.StatusOK {
			t.Errorf("%s: got %d %s, want 200", path, status, body)
		}
		if status, body := asked(t, "http://"+s.addr+"/debug/pprof/"+path); status != http.StatusNotFound || !strings.Contains(body, `"code":"not_found"`) {
			t.Errorf("%s where clients are: got %d %s, want 404 not_found", path, status, body)
		}
	}
	for _, path := range []string{"/", "/metrics", "/livez", "/debug/", "/debug/pprof/nothing"} {
		if status, _ := asked(t, profiles+path); status != http.StatusNotFound {
			t.Errorf("%s beside the profiles: got %d, want 404", path, status)
		}
	}
	if got := s.stop(syscall.SIGTERM); got != exitOK {
		t.Errorf("got exit code %d, want 0", got)
	}
}

func TestProfilesAreNotServedUnlessAskedFor(t *testing.T) {
	s := newKilledServer(t)
	s.start()
	if s.says("profiles") {
		t.Error("got profiles, want none without --pprof")
	}
	if status, _ := asked(t, "http://"+s.addr+"/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("got %d, want 404", status)
	}
	if got := s.stop(os.Interrupt); got != exitOK {
		t.Errorf("got exit code %d, want 0", got)
	}
}

func TestPprofReadsAHeapProfile(t *testing.T) {
	p := openProfiler(t, io.Discard)
	cmd := exec.CommandContext(t.Context(), "go", "tool", "pprof", "-sample_index=alloc_space", "-top", p.url+"/debug/pprof/heap")
	cmd.Env = append(os.Environ(), "PPROF_TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("Type: alloc_space")) || !bytes.Contains(out, []byte("flat%")) {
		t.Errorf("got %v and\n%s\nwant a table of who has allocated", err, out)
	}
}

// openedProfiler is one in this process.
type openedProfiler struct {
	*profiler
	url    string
	cancel context.CancelFunc // the signal
}

func openProfiler(t *testing.T, talk io.Writer) openedProfiler {
	t.Helper()
	var said bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	p, err := startProfiler(ctx, "127.0.0.1:0", []secret{"", testSecret}, slog.New(slog.NewJSONHandler(io.MultiWriter(&said, talk), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); p.close() })
	addr := regexp.MustCompile(`"addr":"([^"]+)"`).FindStringSubmatch(said.String())
	if addr == nil {
		t.Fatalf("got %q, want the address in the log", said.String())
	}
	return openedProfiler{p, "http://" + addr[1], cancel}
}

func TestProfilesLeaveNothingBehind(t *testing.T) {
	before, mutex := leaktest.Now(), runtime.SetMutexProfileFraction(-1)
	p := openProfiler(t, io.Discard)
	for _, path := range profilePaths {
		asked(t, p.url+"/debug/pprof/"+path)
	}
	idle, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://")) // and one that says nothing
	if err != nil {
		t.Fatal(err)
	}
	p.close()
	p.close() // nothing more
	idle.Close()
	if err := before.Left(patience); err != nil {
		t.Error(err)
	}
	if got := runtime.SetMutexProfileFraction(-1); got != mutex {
		t.Errorf("got one lock in %d sampled afterwards, want %d as before", got, mutex)
	}
}

func TestARunningProfileDoesNotHoldUpAStop(t *testing.T) {
	for _, path := range []string{"profile", "trace", "heap"} {
		t.Run(path, func(t *testing.T) {
			s := newKilledServer(t)
			s.start("--pprof", "127.0.0.1:0", "--shutdown-timeout", "1h")
			profiles := s.servedProfiles()
			ended := make(chan error, 1)
			go func() {
				resp, err := http.Get(profiles + "/debug/pprof/" + path + "?seconds=3600")
				if err == nil {
					_, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				ended <- err
			}()
			at := map[string]string{"profile": "pprof.Profile(", "trace": "pprof.Trace(", "heap": "serveDeltaProfile("}[path]
			s.until(func() bool {
				_, body := asked(t, profiles+"/debug/pprof/goroutine?debug=2")
				return strings.Contains(body, at)
			})
			watchdog := time.AfterFunc(patience, func() { s.cmd.Process.Kill() })
			defer watchdog.Stop()
			if got := s.stop(syscall.SIGTERM); got != exitOK {
				t.Errorf("got exit code %d, want 0 long before the profile is there", got)
			}
			<-ended
			if s.says("cut off") {
				t.Error("got requests cut off, want a profile to be none of those that are waited for")
			}
		})
	}
}

func TestAWrongAddressOfProfilesIsRefusedBeforeAnythingIsDone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		addr, want string
		code       int
	}{
		{"6060", "wanted a host and a port, as in 127.0.0.1:6060", exitUsage},
		{":6060", "wanted a host and a port", exitUsage},
		{"127.0.0.1", "wanted a host and a port", exitUsage},
		{"127.0.0.1:", "wanted a host and a port", exitUsage},
		{"127.0.0.1:65536", "wanted a host and a port", exitUsage},
		{"127.0.0.1:http", "wanted a host and a port", exitUsage},
		{"127.0.0.1:-1", "wanted a host and a port", exitUsage},
		{"::1:6060", "wanted a host and a port", exitUsage},
		{taken.Addr().String(), "address already in use; give --pprof an address", exitFailed},
	} {
		var stderr bytes.Buffer
		code := run([]string{"bus", "server", "--addr", "127.0.0.1:0", "--path", dir, "--namespaces", "a", "--pprof", c.addr}, strings.NewReader(""), io.Discard, &stderr)
		if code != c.code || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("%s: got exit code %d and %q, want %d and %q", c.addr, code, stderr.String(), c.code, c.want)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("got %v, want no directory made", err)
	}
}

func TestProfilesThatOtherMachinesCanReachAreWarnedOf(t *testing.T) {
	for addr, want := range map[string]bool{"0.0.0.0:0": true, "127.0.0.1:0": false, "localhost:0": false} {
		var said bytes.Buffer
		p, err := startProfiler(t.Context(), addr, nil, slog.New(slog.NewJSONHandler(&said, nil)))
		if err != nil {
			t.Fatal(err)
		}
		p.close()
		if got := strings.Contains(said.String(), "other machines can reach the profiles"); got != want {
			t.Errorf("%s: got %s, want a warning: %v", addr, &said, want)
		}
	}
}

func TestNoWebPageReadsAProfile(t *testing.T) {
	p := openProfiler(t, io.Discard)
	for header, want := range map[string]int{
		"Host: localhost:6060": 200, "Host: [::1]:6060": 200, "Host: 10.0.0.1": 200, "Sec-Fetch-Site: none": 200,
		"Host: rebound.example": 403, "Host: rebound.example:6060": 403, "Origin: http://127.0.0.1:8080": 403, "Origin: null": 403, "Sec-Fetch-Site: cross-site": 403, "Sec-Fetch-Site: same-site": 403,
	} {
		if got, _ := asked(t, p.url+"/debug/pprof/goroutine", header); got != want {
			t.Errorf("%s: got %d, want %d", header, got, want)
		}
	}
}

func TestTheCommandLineIsShownWithoutItsSecrets(t *testing.T) {
	s := newKilledServer(t) // which has one there
	s.start("--pprof", "127.0.0.1:0", "--old-secret-key=an older secret of the test, long too")
	_, body := asked(t, s.servedProfiles()+"/debug/pprof/cmdline")
	if !strings.Contains(body, "--secret-key\x00…\x00--pprof") || strings.Contains(body, "secret of the test") {
		t.Errorf("got %q, want it without the secrets", body)
	}
	if got := s.stop(syscall.SIGTERM); got != exitOK {
		t.Errorf("got exit code %d, want 0", got)
	}
}

// Who opens more than the few waits, and takes no descriptor from the logs.
func TestProfilesHaveFewConnectionsAtOnce(t *testing.T) {
	below, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newFewConns(below, 2)
	accepted, ends := make(chan net.Conn), make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ends <- err
				return
			}
			accepted <- c
		}
	}()
	for range 3 {
		c, err := net.Dial("tcp", below.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first, second := <-accepted, <-accepted
	select {
	case <-accepted:
		t.Error("got a third connection, want it to wait")
	default:
	}
	first.Close()
	first.Close() // makes room once
	third := <-accepted
	if got, want := len(l.room), 2; got != want {
		t.Errorf("got %d connections counted, want %d", got, want)
	}
	l.Close() // also while Accept waits for room
	if err := <-ends; err == nil {
		t.Error("got no error from Accept, want one once it is closed")
	}
	second.Close()
	third.Close()
	if err := l.Close(); err != nil {
		t.Errorf("got %v from a second call, want nothing", err)
	}
}

func TestConnectionsOfProfilesAreCountedBesideThoseOfClients(t *testing.T) {
	var rooms []count
	for _, addr := range []string{"", "127.0.0.1:0"} {
		cfg := serverConfig{Namespaces: names{"a"}, Pprof: addr}
		if err := cfg.boundConnections(1024, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		rooms = append(rooms, cfg.MaxConnections)
	}
	if got, want := fmt.Sprint(rooms[0]-rooms[1]), fmt.Sprint(profileConnections+1); got != want {
		t.Errorf("got %s connections fewer with profiles, want %s", got, want)
	}
}
