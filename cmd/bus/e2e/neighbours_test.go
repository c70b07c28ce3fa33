//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"testing"
)

// Their protocols are spoken by hand, and their servers are not ours: only the
// real ones tell whether every event is still counted.
func TestTheNeighboursAreMeasuredOnTheSameWork(t *testing.T) {
	redis, nats := tool(t, "redis-server"), tool(t, "../../../bin/bench/nats-server")
	dir := t.TempDir()
	args := []string{"bench", "--json", "--runs", "1", "--time", "50ms", "--events", "2000", "--path", dir,
		"--compare", "nats=" + nats + ",redis=" + redis}
	work := []string{"publish-16", "batch-4", "fanout-100", "latency-100", "replay"}
	for _, name := range work {
		args = append(args, "--only", name)
	}
	cmd := exec.CommandContext(t.Context(), os.Getenv(binaryVariable), args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Results []struct {
			Workload, System, Setup, Durability string
			Median                              struct{ Events int }
		}
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	var got []string
	for _, r := range report.Results {
		if r.Median.Events == 0 {
			t.Errorf("%s at %s, %s: got no events, want some", r.Workload, r.System, r.Setup)
		}
		got = append(got, r.Workload+" "+r.System+" durable "+r.Durability)
	}
	for _, name := range work {
		want := []string{"bus durable yes", "nats durable yes", "nats durable no: 2m", "redis durable yes", "redis durable no: 1s"}
		if name == "replay" {
			want = slices.Delete(want, 1, 2) // it takes minutes to fill
		}
		for _, system := range want {
			if !slices.Contains(got, name+" "+system) {
				t.Errorf("got %q, want %s %s", got, name, system)
			}
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("got %v %v left, want nothing", left, err)
	}
}
