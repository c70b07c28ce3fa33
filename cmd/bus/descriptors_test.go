package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestConnectionsLeaveTheDescriptorsThatFilesNeed(t *testing.T) {
	for _, one := range []struct {
		asked, want count
		limit       uint64
		says        string
	}{
		{20000, 20000, 0, ""}, // there is no telling
		{20000, 20000, 1 << 20, ""},
		{20000, 40, 64, "fewer descriptors"},
		{30, 30, 64, ""},
		{0, 40, 64, ""},
		{0, 1<<31 - 1, 1 << 40, ""},
	} {
		var log bytes.Buffer
		cfg := serverConfig{Namespaces: names{"orders"}, MaxConnections: one.asked}
		if err := cfg.boundConnections(one.limit, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
			t.Fatal(err)
		}
		if got := cfg.MaxConnections; got != one.want {
			t.Errorf("%d of %d descriptors: got %d, want %d", one.asked, one.limit, got, one.want)
		}
		if got := log.String(); (one.says == "") != (got == "") || !strings.Contains(got, one.says) {
			t.Errorf("%d of %d descriptors: got %q, want %q", one.asked, one.limit, got, one.says)
		}
	}
}

func TestTooFewDescriptorsAreToldBeforeAnythingIsOpened(t *testing.T) {
	cfg := serverConfig{Namespaces: names{"orders", "app"}, MaxConnections: 20000}
	err := cfg.boundConnections(32, slog.New(slog.DiscardHandler))
	if exitCode(err) != exitUsage || !strings.Contains(err.Error(), "at least 40") || !strings.Contains(err.Error(), "ulimit -n") {
		t.Errorf("got %v, want how many are needed and what to do", err)
	}
}

func TestLimitsThatCannotHoldAreRefused(t *testing.T) {
	for flag, value := range map[string]string{
		"max-subjects": "0", "max-pattern-length": "256", "max-inflight": "1000001", "max-streams": "-1", "max-connections": "many",
	} {
		cfg, err := parseServer(t, nil, "--namespaces", "orders", "--"+flag, value)
		if err == nil {
			err = cfg.check()
		}
		if exitCode(err) != exitUsage || !strings.Contains(err.Error(), "--"+flag) {
			t.Errorf("--%s %s: got %v, want it refused by name", flag, value, err)
		}
	}
}
