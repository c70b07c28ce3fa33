package main

import (
	"strings"
	"testing"
	"time"

	"example.com/bus/server/disk"
)

func TestARetentionIsWhatItSays(t *testing.T) {
	var got retention
	for _, text := range []string{"orders=7d,10GiB\napp=1000000events,discard=new", "orders=discard=old", "discard=36h", "discard=new,2048GiB", "prices=compact", "app=compact"} {
		if err := got.UnmarshalText([]byte(text)); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
	}
	want := map[string]disk.Retention{
		"orders":  {MaxAge: 7 * 24 * time.Hour, MaxBytes: 10 << 30},
		"app":     {MaxEvents: 1_000_000, DiscardNew: true, Compact: true},
		"prices":  {Compact: true},
		"discard": {MaxAge: 36 * time.Hour, MaxBytes: 2 << 40, DiscardNew: true},
	}
	all := got.byNamespace()
	for name, policy := range want {
		if all[name] != policy {
			t.Errorf("%s: got %+v, want %+v", name, all[name], policy)
		}
	}
	if len(all) != len(want) {
		t.Errorf("got %d policies, want %d", len(all), len(want))
	}
}

func TestALimitThatIsNoneIsRefused(t *testing.T) {
	for _, text := range []string{"orders", "7d", "orders=", "orders=7", "orders=0d", "orders=-1h", "orders=10", "orders=0GiB", "orders=0events", "orders=1.5GiB", "orders=106752d", "orders=7d,8d", "orders=1GiB,2GiB", "orders=discard=some", "=7d,x"} {
		var got retention
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: got %+v, want an error", text, got)
		} else if !strings.Contains(err.Error(), "wanted") && !strings.Contains(err.Error(), "before") {
			t.Errorf("%q: got %q, want what was wanted", text, err)
		}
	}
}

func TestAPolicyIsShownAsItCanBeTyped(t *testing.T) {
	for text, want := range map[string]string{
		"168h,10737418240B":                  "7d,10GiB",
		"36h,500MiB,discard=new":             "36h,500MiB,discard=new",
		"90m,8000001B,1000000events,compact": "1h30m,8000001B,1000000events,compact",
		"90s":                                "1m30s",
		"45m":                                "45m",
		"all":                                "",
	} {
		kept, err := parseRetention(text)
		if err != nil {
			t.Fatal(err)
		}
		if kept.Discard == "old" {
			kept.Discard = ""
		}
		if got := keptText(kept); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
		if again, err := parseRetention(want); want != "" && (err != nil || again.MaxAge != kept.MaxAge || again.MaxBytes != kept.MaxBytes) {
			t.Errorf("%s: got %+v, %v, want it to be read as what it shows", want, again, err)
		}
	}
	if got := keptText(nil); got != "all" {
		t.Errorf("got %q, want all", got)
	}
}
