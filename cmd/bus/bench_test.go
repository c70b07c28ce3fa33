package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"example.com/bus/cmd/bus/bench"
)

func TestTheHelpOfBenchNamesEveryWorkload(t *testing.T) {
	help := benchCommand().Description
	for _, name := range bench.Names() {
		if !strings.Contains(help, "\n   "+name+" ") {
			t.Errorf("got no line for %s", name)
		}
	}
}

func TestNeighboursAreReadFromOneFlag(t *testing.T) {
	for text, want := range map[string][]bench.Neighbour{
		"":                            nil,
		"redis=":                      {{Kind: "redis"}},
		"nats":                        {{Kind: "nats"}},
		"nats=/x/nats-server, redis=": {{Kind: "nats", Program: "/x/nats-server"}, {Kind: "redis"}},
		"redis=a=b":                   {{Kind: "redis", Program: "a=b"}},
	} {
		got, err := neighbours(text)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %v %v, want %v", text, got, err, want)
		}
	}
	if got, err := neighbours("redis=,kafka="); exitCode(err) != exitUsage {
		t.Errorf("got %v %v, want exit code %d", got, err, exitUsage)
	}
}

func TestAHostToMeasureIsAPlainAddress(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "localhost:2021": "localhost:2021", "http://localhost:2021/": "localhost:2021", "http://[::1]": "[::1]:80", "box": "box:80",
	} {
		if got, err := plainAddress(text); err != nil || got != want {
			t.Errorf("%q: got %q %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"https://box", "http://user:word@box", "http://box/bus", "http://", "a b"} {
		if got, err := plainAddress(text); exitCode(err) != exitUsage || strings.Contains(err.Error(), "word") {
			t.Errorf("%q: got %q %v, want exit code %d and no password", text, got, err, exitUsage)
		}
	}
}

func TestTheBarOfBenchShowsHowFarItIs(t *testing.T) {
	var out bytes.Buffer
	b := &benchBar{&out}
	b.show("replay of a long log", 0.5)
	if got, want := out.String(), "\r\x1b[K[############············]  50 % replay of a long log"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	newBar(&out).show("nothing is said where no terminal is", 1)
	if got := out.String(); strings.Contains(got, "nothing") {
		t.Errorf("got %q, want no progress in a file", got)
	}
}

func TestVersionsThatOthersTellCannotMoveTheCursor(t *testing.T) {
	if got, want := harmless("one\x1b[2J\ntwo\n"), `one\x1b[2J`+"\ntwo\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
