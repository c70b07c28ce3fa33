package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/bus/server/leaktest"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	// Under the race detector every process waits a second before it ends, and
	// there are hundreds. Races are still reported.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	testscript.Main(withoutLeaks{m}, map[string]func(){"bus": main})
}

// withoutLeaks are tests that may leave nothing behind.
type withoutLeaks struct{ m *testing.M }

func (w withoutLeaks) Run() int { return leaktest.Main(w.m) }

// TestScripts runs every script in testdata/script against the real command in
// processes of its own. Beside testscript's commands there are
//
//	start NAME args…     bus args… in the background; its output goes to NAME.out and NAME.err
//	serve args…          start srv server args… on a free port; sets BUS_HOST
//	waitfor FILE RE [VAR]  until a line of FILE matches; VAR gets the first group
//	end NAME SIGNAL CODE  signals it and wants that exit code, or "killed"
//	damage FILE OFFSET   changes one byte
//	cut FILE BYTES       takes bytes from the end
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Values[processesKey{}] = make(map[string]*exec.Cmd)
			e.Setenv("GORACE", os.Getenv("GORACE"))
			// A script must not see what is set for whoever runs it.
			e.Vars = slices.DeleteFunc(e.Vars, func(v string) bool { return strings.HasPrefix(v, "BUS_") })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start": start, "serve": serveScript, "waitfor": waitFor, "end": end, "damage": damage, "cut": cut,
		},
	})
}

type processesKey struct{}

// patience is how long a script waits for what must come.
const patience = 20 * time.Second

func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME args…")
	}
	name := args[0]
	out, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	errs, err := os.Create(ts.MkAbs(name + ".err"))
	ts.Check(err)
	path, err := exec.LookPath("bus")
	ts.Check(err)
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), out, errs
	cmd.Env = scriptEnv(ts)
	ts.Check(cmd.Start())
	out.Close()
	errs.Close()
	processes(ts)[name] = cmd
	ts.Defer(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
}

// scriptEnv hands on the variables a script may set.
func scriptEnv(ts *testscript.TestScript) []string {
	var vars []string
	for _, name := range append(knownVariables(), "PATH", "HOME", "TMPDIR", "GORACE", "BUS_NAMESPACE") {
		if v := ts.Getenv(name); v != "" {
			vars = append(vars, name+"="+v)
		}
	}
	return vars
}

func processes(ts *testscript.TestScript) map[string]*exec.Cmd {
	return ts.Value(processesKey{}).(map[string]*exec.Cmd)
}

func serveScript(ts *testscript.TestScript, neg bool, args []string) {
	start(ts, neg, append([]string{"srv", "server", "--addr", "127.0.0.1:0"}, args...))
	waitFor(ts, false, []string{"srv.err", `"msg":"listening","addr":"([^"]+)"`, "ADDR"})
	ts.Setenv("BUS_HOST", "http://"+ts.Getenv("ADDR"))
}

func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: waitfor FILE RE [VAR]")
	}
	re, err := regexp.Compile(args[1])
	ts.Check(err)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		data, err := os.ReadFile(ts.MkAbs(args[0])) // it may not be there yet
		if found := re.FindSubmatch(data); found != nil {
			if len(args) > 2 {
				ts.Setenv(args[2], string(found[1]))
			}
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s: got no %s, found %v:\n%s", args[0], args[1], err, data)
		}
	}
}

func end(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]os.Signal{"INT": os.Interrupt, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL, "none": nil}
	if neg || len(args) != 3 {
		ts.Fatalf("usage: end NAME SIGNAL CODE")
	}
	cmd := processes(ts)[args[0]]
	if s := signals[args[1]]; s != nil {
		ts.Check(cmd.Process.Signal(s))
	}
	got := "killed"
	watchdog := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	cmd.Wait()
	watchdog.Stop()
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		got = strconv.Itoa(code)
	}
	if got != args[2] {
		log, _ := os.ReadFile(ts.MkAbs(args[0] + ".err"))
		ts.Fatalf("%s: got exit code %s, want %s\n%s", args[0], got, args[2], log)
	}
}

func damage(ts *testscript.TestScript, _ bool, args []string) {
	path, data := scriptFile(ts, args)
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	data[at] ^= 0x40
	ts.Check(os.WriteFile(path, data, 0o600))
}

func cut(ts *testscript.TestScript, _ bool, args []string) {
	path, data := scriptFile(ts, args)
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(os.WriteFile(path, data[:len(data)-n], 0o600))
}

func scriptFile(ts *testscript.TestScript, args []string) (string, []byte) {
	if len(args) != 2 {
		ts.Fatalf("wanted a file and a number, found %q", args)
	}
	path := filepath.Clean(ts.MkAbs(args[0]))
	data, err := os.ReadFile(path)
	ts.Check(err)
	return path, bytes.Clone(data)
}
