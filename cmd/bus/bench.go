package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"example.com/bus"
	"example.com/bus/cmd/bus/bench"
	"example.com/bus/server/disk"
	"github.com/urfave/cli/v2"
)

func benchCommand() *cli.Command {
	return &cli.Command{
		Name:  "bench",
		Usage: "measure what this machine gives",
		Description: `Starts servers of its own, each a process with an empty directory that is
removed afterwards, and measures them over raw connections. Every event is
counted: a run that lost, doubled or reordered one is an error, and no figure.
Durable means that an answer comes after the data is on stable storage; "no: 1s"
that it may come so much before.
The default takes some four minutes; --compare two to four times that.

   bus bench
   bus bench --only publish-64 --only replay --runs 5
   bus bench --only grow --plot growth.svg
   bus bench --compare nats=,redis= --json > bench.json

The clients share the machine with the server: compare figures of one run, on a
machine that does nothing else. CPU and memory are the server's, from /proc, and
absent where there is none. Latencies are of a request, or from when an event
was due to be published to when it was read.

Workloads; those of grow show how cost grows, a row a size, and are measured
only when asked for with --only grow, --only all or by name. Long logs have
--events events, and growing ones a hundredth of it and all of it; who is behind
is so by 1 event and by all; there are none, a fifth of --idle and twice --idle
subscribers that do not match:

` + indent(bench.Describe()) + `

--json prints one document: machine, config, systems, and results with every
run; durations (_ns) are in nanoseconds, memory in bytes. --from shows such a
document as a table or plot, and measures nothing.

--compare starts a nats-server (JetStream in files; with sync_interval: always,
which is durable, and with its default, which is not) and a redis-server
(streams; appendfsync always and everysec), in turn with the bus, on the same
work where it exists there. Batches are pipelined there: they have none that
are stored whole or not at all. A stream of NATS that syncs always is not
replayed: to fill it takes minutes.

With --host a running server is measured, by the workloads that only publish
and read: they publish to a subject of their own in --namespace, and those
events stay there.

Exit code 1: a run lost, doubled or reordered an event, or could not be done.`,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "only", Usage: "`WORKLOAD` to measure, or grow, or all; repeatable"},
			&cli.IntFlag{Name: "runs", Value: 3, Usage: "how often each is measured; the medians are told"},
			&cli.DurationFlag{Name: "time", Value: 2 * time.Second, Usage: "how long each is measured that has no other end"},
			&cli.IntFlag{Name: "payload", Value: 256, Usage: "bytes of the payload of an event, up to 4096; see grow-payload for more"},
			&cli.IntFlag{Name: "events", Value: 1_000_000, Usage: "events of the log that is long"},
			&cli.IntFlag{Name: "idle", Value: 5_000, Usage: "idle subscribers"},
			&cli.StringFlag{Name: "sync", Value: "always", Usage: "--sync of the bus that is measured"},
			&cli.StringFlag{Name: "path", Usage: "`DIRECTORY` below which the servers keep their logs, on the disk that is meant", DefaultText: "the system's for temporary files"},
			&cli.StringFlag{Name: "host", Usage: "`URL` of a running server, instead of one of our own"},
			&cli.StringFlag{Name: "namespace", Value: "bench", Usage: "where to publish to at --host"},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON document"},
			&cli.StringFlag{Name: "from", Usage: "`FILE` that --json has written, to be shown"},
			&cli.StringFlag{Name: "plot", Usage: "write a plot to `FILE`, as SVG"},
			&cli.StringFlag{Name: "compare", Usage: "neighbours and their programs, as in nats=,redis=/usr/bin/redis-server"},
		},
		Action: runBench,
	}
}

func indent(text string) string { return "   " + strings.ReplaceAll(text, "\n", "\n   ") }

// runBench prints what was measured even when a later run failed.
func runBench(c *cli.Context) error {
	config, err := benchConfig(c)
	if err != nil {
		return err
	}
	if name := c.String("from"); name != "" {
		report, err := readReport(name)
		if err != nil {
			return err
		}
		return printReport(c, report)
	}
	show := newBar(c.App.ErrWriter)
	config.Progress = show.show
	report, err := bench.Run(c.Context, config)
	show.clear()
	if report == nil {
		return &exitError{exitUsage, err}
	}
	if len(report.Results) > 0 {
		if err := printReport(c, report); err != nil {
			return err
		}
	}
	if err != nil && c.Context.Err() == nil {
		return hint(err, "no figure was made of it")
	}
	return stopped(c.Context, err)
}

// printReport prints first: what took minutes must not be lost to a file that
// cannot be written.
func printReport(c *cli.Context, report *bench.Report) error {
	write := report.WriteTable
	if c.Bool("json") {
		write = report.WriteJSON
	}
	var text strings.Builder
	if err := write(&text); err != nil {
		return err
	}
	if err := writeOut(c.App.Writer, []byte(harmless(text.String()))); err != nil {
		return err
	}
	if name := c.String("plot"); name != "" {
		if err := writePlot(name, report); err != nil {
			return hint(err, "give --plot a file that can be written")
		}
	}
	return nil
}

// harmless is text whose lines a terminal only shows: versions are told by other
// programs, and documents may be anybody's.
func harmless(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = oneLine(lines[i])
	}
	return strings.Join(lines, "\n")
}

// readReport reads what --json has written.
func readReport(name string) (*bench.Report, error) {
	f, err := os.Open(filepath.Clean(name))
	if err != nil {
		return nil, usageError("--from: %w", err)
	}
	defer f.Close() // it was only read
	report := new(bench.Report)
	if err := json.NewDecoder(io.LimitReader(f, 64<<20)).Decode(report); err != nil || len(report.Results) == 0 {
		return nil, usageError("--from: %s has no results, wanted a file that bus bench --json has written", name)
	}
	return report, nil
}

func writePlot(name string, report *bench.Report) error {
	f, err := os.Create(filepath.Clean(name))
	if err != nil {
		return err
	}
	if err := report.WriteSVG(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// benchConfig checks everything that can be checked before a server is started.
func benchConfig(c *cli.Context) (bench.Config, error) {
	b := bench.Config{
		Only: c.StringSlice("only"), Runs: c.Int("runs"), Time: c.Duration("time"), Payload: c.Int("payload"),
		Events: c.Int("events"), Idle: c.Int("idle"), Sync: c.String("sync"), Dir: c.String("path"),
		Namespace: c.String("namespace"), Version: buildVersion().Version,
	}
	for _, limit := range []struct {
		name        string
		value, most int
	}{{"runs", b.Runs, 1000}, {"payload", b.Payload, 4096}, {"events", b.Events, 1 << 30}, {"idle", b.Idle, 7500}} {
		if limit.value < 1 || limit.value > limit.most {
			return b, usageError("--%s is %d, wanted a number from 1 to %d", limit.name, limit.value, limit.most)
		}
	}
	if b.Time < time.Millisecond || b.Time > time.Hour {
		return b, usageError("--time is %s, wanted 1ms to 1h", b.Time)
	}
	if dir := filepath.Dir(c.String("plot")); !isDirectory(dir) {
		return b, usageError("--plot: %s is no directory; make it first", dir)
	}
	if b.Dir != "" && !isDirectory(b.Dir) {
		return b, usageError("--path: %s is no directory; make it first", b.Dir)
	}
	if _, err := disk.ParseDurability(b.Sync); err != nil {
		return b, usageError("--sync %w", err)
	}
	if err := bus.CheckNamespace(b.Namespace); err != nil {
		return b, usageError("--namespace: %w", err)
	}
	var err error
	if b.Host, err = plainAddress(c.String("host")); err != nil {
		return b, err
	}
	if b.Compare, err = neighbours(c.String("compare")); err != nil {
		return b, err
	}
	if b.Program, err = os.Executable(); err != nil {
		return b, hint(err, "measure a running server with --host")
	}
	return b, nil
}

func isDirectory(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// plainAddress takes a URL, or host:port. What is measured over TLS is mostly TLS.
func plainAddress(host string) (string, error) {
	if host == "" {
		return "", nil
	}
	if !strings.Contains(host, "://") {
		host = "http://" + host
	}
	u, err := url.Parse(host)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.User != nil {
		return "", usageError("--host is %q, wanted a plain URL such as http://localhost:2021", shown(host))
	}
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), "80"), nil
	}
	return u.Host, nil
}

// neighbours reads nats=PATH,redis=PATH.
func neighbours(text string) ([]bench.Neighbour, error) {
	var all []bench.Neighbour
	for part := range strings.SplitSeq(text, ",") {
		kind, program, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch kind {
		case "":
		case "nats", "redis":
			all = append(all, bench.Neighbour{Kind: kind, Program: program})
		default:
			return nil, usageError("--compare has %q, wanted nats=PROGRAM or redis=PROGRAM", kind)
		}
	}
	return all, nil
}

// benchBar shows how far it is on a terminal, and says nothing elsewhere.
type benchBar struct{ w io.Writer }

// newBar returns nil, which is ready to use and silent, when w is no terminal.
func newBar(w io.Writer) *benchBar {
	if !isTerminal(w) {
		return nil
	}
	return &benchBar{w}
}

func (b *benchBar) show(text string, done float64) {
	if b == nil {
		return
	}
	const width = 24
	full := min(max(int(done*width), 0), width)
	fmt.Fprintf(b.w, "\r\x1b[K[%s%s] %3.0f %% %s", strings.Repeat("#", full), strings.Repeat("·", width-full), 100*done, text)
}

// clear makes room for the next line.
func (b *benchBar) clear() {
	if b != nil {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}
