package server

import (
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/bus"
)

// FuzzAge holds ages and starts against what they say: what is read has a length
// that can be reckoned with, and nothing is two things.
func FuzzAge(f *testing.F) {
	for _, seed := range []string{"5s", "15m", "7d", "2w", "65535w", "65536d", "-1s", "1e3s", "0", "0s", "0d", "#42", "42", "#0", "+1", "9999999999999999999", "2026-01-31T12:00:00Z", "2026-01-31T12:00:60Z", "9223372036854775807ns", "d", "1.5d", "e_1", "oldest"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		age, isAge := bus.ParseAge(text)
		if isAge && age < 0 {
			t.Fatalf("%q is %s, want no age below 0", text, age)
		}
		if days, ok := strings.CutSuffix(text, "d"); ok && isAge {
			n, err := strconv.Atoi(days)
			if err != nil || age/(24*time.Hour) != time.Duration(n) {
				t.Fatalf("%q is %s, want %d days", text, age, n)
			}
		}
		now := time.Unix(1_700_000_000, 0)
		_, isIndex := indexStart(text)
		at, isTime := timeStart(text, now)
		if isIndex && isTime {
			t.Fatalf("%q is an index and a time", text)
		}
		if isTime && isAge && !at.Before(now) {
			t.Fatalf("%q is %s, want it before now", text, at)
		}
		if err := checkStart(text); (isIndex || isTime) && err != nil {
			t.Fatalf("%q: %v, though it is an index or a time", text, err)
		}
	})
}

// FuzzQuery wants every query to be refused with a text, or read within its
// bounds.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"", "subject=a.b", "n=5&d=2s&f=true", "n=5&n=6", "n=+5", "n=05", "n=0x5", "d=5", "d=9999999h", "f=1", "f=TRUE", "=", "&&", ";", "n=%zz", "n=%00", "x=1", "n=&n=", "d=0s", "n=99999999999999999999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		p, err := parseParams(query, []string{"n", "d", "f", "subject"})
		if err != nil {
			if err.Error() == "" {
				t.Fatal("refused without a text")
			}
			return
		}
		n, d, _ := p.number("n", 7, 1, 10), p.duration("d", time.Minute, time.Second, time.Hour), p.flag("f")
		if n < 1 || n > 10 || d < time.Second || d > time.Hour {
			t.Fatalf("%q: got %d and %s, want them within their bounds", query, n, d)
		}
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatalf("%q was read, though it is none: %v", query, err)
		}
		if got := values.Get("n"); p.err == nil && got != "" && len(values["n"]) == 1 && strconv.Itoa(n) != strings.TrimLeft(strings.TrimPrefix(got, "+"), "0") {
			t.Fatalf("%q: got %d, want %s or a refusal", query, n, got)
		}
	})
}

// FuzzOrigin wants what is allowed to be an origin, and no page of another to
// pass for it.
func FuzzOrigin(f *testing.F) {
	for _, seed := range [][2]string{{"https://app.example", "https://app.example"}, {"https://*.example", "https://a.example"}, {"https://*.example", "https://evil.examplex"}, {"*", "null"}, {"https://a", "https://a.evil"}, {"http://[::1]:1", "http://[::1]:1"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, allowed, origin string) {
		o, err := parseOrigins([]string{allowed})
		if err != nil || allowed == "*" || strings.Contains(allowed, "*") || !o.allowed(origin, "bus") {
			return
		}
		if u, err := url.Parse(origin); err != nil || !strings.EqualFold(origin, strings.TrimSuffix(allowed, "/")) && !isLoopback(u.Hostname()) && u.Host != "bus" {
			t.Fatalf("%q is allowed where %q is", origin, allowed)
		}
	})
}

func TestAnAgeThatIsTooGreatIsRefusedAndTakenForNothingElse(t *testing.T) {
	for _, start := range []string{"56536w", "106752d", "99999999w", "9999999h", "99999999999999999999ns", "0s", "0d", "0", "00"} {
		if err := checkStart(start); err == nil {
			t.Errorf("start=%s was taken", start)
		}
	}
	for _, start := range []string{"7d", "15m", "2w", "90000s", "order-7", "7-days", "e_0001"} {
		if err := checkStart(start); err != nil {
			t.Errorf("start=%s: %v", start, err)
		}
	}
}
