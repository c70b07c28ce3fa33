//go:build e2e

package bus_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// exampleWithin is how long one command of the README may take. It is no
// measure of speed.
const exampleWithin = time.Minute

// The shell examples are run in the README's order, by sh, with real curl and
// the real binary, in the directory in which the server runs.
func TestTheShellExamplesOfTheReadmeRun(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatalf("the README's examples need curl: %v", err)
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	build := exec.CommandContext(t.Context(), "go", "build", "-race", "-o", filepath.Join(bin, "bus"), "./cmd/bus")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	// What a server refuses has to fail the example.
	write(t, filepath.Join(dir, ".curlrc"), "silent\nshow-error\nfail-with-body\n")
	url := serve(t, dir, filepath.Join(bin, "bus"))
	environment := append(os.Environ(), "HOME="+dir, "CURL_HOME="+dir, "BUS_HOST="+url, "PATH="+bin+":"+os.Getenv("PATH"))
	for _, block := range fenced(t, "README.md", "sh") {
		for _, command := range commands(block) {
			t.Log(command)
			run := strings.ReplaceAll(command, "http://localhost:2021", url)
			if strings.Contains(command, "curl -N") && !strings.Contains(command, "until=") {
				follow(t, dir, environment, run)
				continue
			}
			ctx, cancel := context.WithTimeout(t.Context(), exampleWithin)
			one := exec.CommandContext(ctx, "sh", "-c", run)
			one.Dir, one.Env = dir, environment
			out, err := one.CombinedOutput()
			cancel()
			if err != nil {
				t.Errorf("%s\n%v\n%s", command, err, out)
			}
		}
	}
}

// commands cuts a block into commands: a line that ends with | or \ goes on.
func commands(block string) []string {
	var all []string
	goesOn := false
	for line := range strings.SplitSeq(block, "\n") {
		if goesOn {
			all[len(all)-1] += "\n" + line
		} else {
			all = append(all, line)
		}
		goesOn = strings.HasSuffix(line, "|") || strings.HasSuffix(line, `\`)
	}
	return all
}

// serve starts the server as the README does, on a port of its own, and
// returns its URL.
func serve(t *testing.T, dir, bus string) string {
	t.Helper()
	server := exec.Command(bus, "server", "--namespaces", "app,orders", "--addr", "127.0.0.1:0", "--log-format", "json")
	server.Dir = dir
	log, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(log)
	t.Cleanup(func() {
		if err := server.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		io.Copy(io.Discard, log)
		if err := server.Wait(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	for lines.Scan() {
		var line struct{ Msg, Addr string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			return "http://" + line.Addr
		}
	}
	t.Fatal("the server does not listen")
	return ""
}

// follow runs a command that does not end until an event has arrived.
func follow(t *testing.T, dir string, environment []string, command string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), exampleWithin)
	defer cancel()
	one := exec.CommandContext(ctx, "sh", "-c", "exec "+command)
	one.Dir, one.Env = dir, environment
	out, err := one.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := one.Start(); err != nil {
		t.Fatal(err)
	}
	arrived := false
	for lines := bufio.NewScanner(out); !arrived && lines.Scan(); {
		arrived = lines.Text() == "event: msg"
	}
	cancel() // it would go on for ever
	one.Wait()
	if !arrived {
		t.Errorf("%s\nno event arrived", command)
	}
}
