package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Report is all that was measured, and where.
type Report struct {
	Machine Machine    `json:"machine"`
	Config  Conditions `json:"config"`
	Systems []Measured `json:"systems"`
	Results []Result   `json:"results"`
}

// Machine is where it was measured. What the system does not tell is empty.
type Machine struct {
	CPU    string    `json:"cpu"`
	Cores  int       `json:"cores"`
	System string    `json:"system"` // as linux/amd64
	Kernel string    `json:"kernel"`
	Disk   string    `json:"disk"` // file system of the logs: on tmpfs nothing is durable
	Go     string    `json:"go"`
	Date   time.Time `json:"date"` // when the first workload began
}

// Conditions are what could have been chosen otherwise.
type Conditions struct {
	Runs    int           `json:"runs"`
	Time    time.Duration `json:"time_ns"`
	Payload int           `json:"payload"`
	Events  int           `json:"events"`
	Idle    int           `json:"idle"`
	Host    string        `json:"host,omitempty"`
}

// Measured is a server, with the version that it tells itself.
type Measured struct {
	System     string `json:"system"`
	Version    string `json:"version"`
	Setup      string `json:"setup"`
	Durability string `json:"durability"`
}

func newReport(c *Config) *Report {
	r := &Report{
		Machine: machine(c.Dir),
		Config:  Conditions{Runs: c.Runs, Time: c.Time, Payload: c.Payload, Events: c.Events, Idle: c.Idle, Host: c.Host},
		Results: []Result{},
	}
	for _, s := range c.systems {
		r.Systems = append(r.Systems, Measured{s.name, s.version, s.setup, s.durability})
	}
	return r
}

// machine asks /proc, which is there on Linux only.
func machine(dir string) Machine {
	m := Machine{Cores: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(), Date: time.Now().UTC().Truncate(time.Second)}
	if kernel, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(kernel))
	}
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		m.CPU = cpuModel(f)
	}
	if mounts, err := os.ReadFile("/proc/self/mounts"); err == nil {
		if dir == "" {
			dir = os.TempDir()
		}
		if path, err := filepath.Abs(dir); err == nil {
			m.Disk = fileSystem(string(mounts), path)
		}
	}
	return m
}

// String is a line for people.
func (m Machine) String() string {
	parts := []string{m.CPU, fmt.Sprintf("%d cores", m.Cores), strings.TrimSpace(m.System + " " + m.Kernel), m.Disk, m.Go, m.Date.Format(time.DateOnly)}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", ")
}

// fileSystem finds the kind of the mount that a path is on, in the text that Linux
// has of its mounts.
func fileSystem(mounts, path string) string {
	kind, longest := "", 0
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		if len(fields) < 3 || len(fields[1]) < longest {
			continue
		}
		if at := strings.TrimSuffix(fields[1], "/"); path == at || strings.HasPrefix(path, at+"/") {
			kind, longest = fields[2], len(fields[1])
		}
	}
	return kind
}

// cpuModel finds the name in the text that Linux has of its processors.
func cpuModel(r io.Reader) string {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if name, value, found := strings.Cut(lines.Text(), ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// WriteJSON writes the report as one JSON document: machine, config, systems and
// results, with every run and not only the medians.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
