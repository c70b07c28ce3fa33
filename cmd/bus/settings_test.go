package main

import (
	"flag"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
)

// parseServer runs the server's flags through the parser and returns what the
// server would be made of.
func parseServer(t *testing.T, env map[string]string, args ...string) (serverConfig, error) {
	t.Helper()
	for name, value := range env {
		t.Setenv(name, value)
	}
	var cfg serverConfig
	var err error
	app := newApp()
	app.Writer, app.ErrWriter = io.Discard, io.Discard
	for _, c := range app.Commands {
		if c.Name == "server" {
			c.Action = func(c *cli.Context) error {
				cfg, err = settings[serverConfig](c, "")
				return nil
			}
		}
	}
	if e := app.Run(append([]string{"bus", "server"}, args...)); e != nil {
		t.Fatal(e)
	}
	return cfg, err
}

func TestDefaultsAreThoseOfThePredecessor(t *testing.T) {
	cfg, err := parseServer(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(cfg.Addr, cfg.Path, cfg.Namespaces, cfg.Secret.Key, cfg.BlockSize, cfg.Sync, cfg.LogLevel, cfg.MaxEvent, time.Duration(cfg.DedupWindow))
	if want := "always"; cfg.Sync.String() != want {
		t.Errorf("sync: got %s, want %s", cfg.Sync, want)
	}
	if want := fmt.Sprint(":2021", "./data", names(nil), secret(""), byteSize(4096), cfg.Sync, logLevel(0), byteSize(1<<20), 10*time.Minute); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEveryFlagBeatsItsVariable(t *testing.T) {
	values := map[string][2]string{ // another than the default, and a third
		"span": {"41s", "42s"}, "count": {"41", "42"}, "byteSize": {"41KiB", "42KiB"}, "room": {"0", "42GiB"}, "bool": {"true", "false"}, "string": {"one", "two"}, "names": {"one", "two"}, "retention": {"one=1d", "two=2d,3GiB"},
		"durability": {"os", "interval=1s"}, "logLevel": {"WARN", "ERROR"}, "logFormat": {"text", "json"}, "secret": {"one", "two"}, "secretList": {"one", "two"},
	}
	kinds := make(map[string]string)
	collectKinds(reflect.TypeFor[serverConfig](), kinds)
	for _, s := range settingsOf(reflect.TypeFor[serverConfig](), "") {
		t.Run(s.flags[0], func(t *testing.T) {
			v := values[kinds[s.field]]
			standard, err := parseServer(t, nil)
			if err != nil {
				t.Fatal(err)
			}
			byVariable, err := parseServer(t, map[string]string{s.variable: v[0]})
			if err != nil {
				t.Fatal(err)
			}
			if reflect.DeepEqual(byVariable, standard) {
				t.Errorf("got %s without effect", s.variable)
			}
			both, err := parseServer(t, map[string]string{s.variable: v[0]}, "--"+s.flags[0]+"="+v[1])
			if err != nil {
				t.Fatal(err)
			}
			t.Setenv(s.variable, "")
			byFlag, err := parseServer(t, map[string]string{s.variable: v[1]}, "--"+s.flags[0]+"="+v[1])
			if err != nil || !reflect.DeepEqual(both, byFlag) || reflect.DeepEqual(both, byVariable) {
				t.Errorf("got %+v and %v beside the variable, want %+v", both, err, byFlag)
			}
		})
	}
}

func collectKinds(t reflect.Type, kinds map[string]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		kinds[f.Name] = f.Type.Name()
		if f.Tag.Get("flag") == "" && f.Type.Kind() == reflect.Struct {
			collectKinds(f.Type, kinds)
		}
	}
}

func TestListsTakeCommasAndRepeatedFlags(t *testing.T) {
	cfg, err := parseServer(t, map[string]string{"BUS_OLD_SECRET_KEYS": "a,b"}, "--namespaces", "x, y", "--namespaces", "z,x")
	if got, want := fmt.Sprint(cfg.Namespaces, cfg.Secret.Old, err), "[x y z] [a b] <nil>"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	cfg, err = parseServer(t, nil, "--old-secret-key", "one, with comma", "--old-secret-key", "two")
	if got, want := fmt.Sprintf("%q %v", cfg.Secret.Old, err), `["one, with comma" "two"] <nil>`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestWrongValuesNameFlagAndVariable(t *testing.T) {
	for name, value := range map[string]string{
		"BUS_MAX_EVENT": "0", "BUS_MAX_BATCH": "1TiB", "BUS_HEARTBEAT": "-1s", "BUS_WRITE_TIMEOUT": "5", "BUS_DEDUP_KEYS": "many",
		"BUS_SYNC": "never", "BUS_LOG_LEVEL": "loud", "BUS_LOG_FORMAT": "xml", "BUS_SECRET_KEY": "", "BUS_BLOCK_SIZE": "99999999999999999999",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseServer(t, map[string]string{name: value})
			if got := fmt.Sprint(err); exitCode(err) != exitUsage || !strings.Contains(got, "($"+name+")") {
				t.Errorf("got %s with exit code %d, want %s named and exit code %d", got, exitCode(err), name, exitUsage)
			}
		})
	}
}

func TestOnlyWhatLooksLikeATypoIsWarnedOf(t *testing.T) {
	for name, want := range map[string]string{
		"BUS_NAMESPACE": "BUS_NAMESPACES", "BUS_SECRETKEY": "BUS_SECRET_KEY", "BUS_ADR": "BUS_ADDR",
		"BUS_PORT": "", "BUS_SERVICE_HOST": "", "BUS_PORT_2021_TCP_ADDR": "", "BUS_STOP_NAME": "", "BUS_ADDR": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, "x")
			got := strings.Join(misspelt(knownVariables()), "")
			if want == "" && got != "" || !strings.Contains(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestSizesAreExact(t *testing.T) {
	for text, want := range map[string]byteSize{"1": 1, "4096": 4096, "64KiB": 64 << 10, "8MB": 8e6, "1 MiB": 1 << 20, "10kB": 1e4, "7B": 7} {
		var got byteSize
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: got %d and %v, want %d", text, got, err, want)
		}
	}
}

func TestRoomOnADiskMayBeNoneAndMoreThanMemory(t *testing.T) {
	for text, want := range map[string]room{"0": 0, "16MiB": 16 << 20, "9223372036854775807": math.MaxInt64, "8589934591GiB": 8589934591 << 30} {
		var got room
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: got %d and %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1", "9223372036854775808", "8589934592GiB", "1PiB", "1.5GiB", "GiB"} {
		var got room
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: got %d, want a refusal", text, got)
		}
	}
}

func TestTalkCannotMoveTheCursorOrForgeALine(t *testing.T) {
	got := oneLine("a\x1b[2Jb\nc\u202ed\u009be\x7f\té")
	if want := `a\x1b[2Jb; c\u202ed\u009be\x7f\té`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEveryCommandRefusesArguments(t *testing.T) {
	for _, c := range commands() {
		set := flag.NewFlagSet(c.Name, flag.ContinueOnError)
		if err := set.Parse([]string{"stray"}); err != nil {
			t.Fatal(err)
		}
		ctx := cli.NewContext(newApp(), set, nil)
		ctx.Command = c
		if err := c.Action(ctx); exitCode(err) != exitUsage {
			t.Errorf("%s: got %v, want exit code %d", c.Name, err, exitUsage)
		}
	}
}

func TestRecentForgetsTheOldestFirst(t *testing.T) {
	r := newRecent(3)
	for i := range 10 {
		r.add(fmt.Sprint(i))
		for j := range i + 1 {
			if got, want := r.has(fmt.Sprint(j)), j > i-3; got != want {
				t.Errorf("after %d: got %v for %d, want %v", i, got, j, want)
			}
		}
	}
}
