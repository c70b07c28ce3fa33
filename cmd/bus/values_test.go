package main

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
)

// FuzzValues wants every value of a flag to be refused with what was wanted, or
// to mean what it says.
func FuzzValues(f *testing.F) {
	for _, seed := range []string{"0", "1", "4096", "64KiB", "2GiB", "2047MiB", "2048MiB", "8 MB", "-1", "+1", "1e3", "0x10", "5s", "5", "-5s", "1h2m3s", "9223372036854775807ns", "9223372036854775808ns", "always", "interval=100ms", "interval=0", "interval=-1s", "os", "INFO", "info", "INFO+4", "DEBUG-9", "json", "a,b,,a", " a , b ", "", ",", "\n", "1KiBKiB", "KiB", "٣", "orders=7d,10GiB", "orders=1000000events,discard=new", "orders=compact", "discard=7d", "a=1d\nb=2d,a=3GiB", "a=0d", "a=65536d", "a=1e9events"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var size byteSize
		if size.UnmarshalText([]byte(text)) == nil && (size < 1 || size > math.MaxInt32 || !strings.ContainsAny(text, "123456789")) {
			t.Errorf("size %q is %d", text, size)
		}
		var n count
		if n.UnmarshalText([]byte(text)) == nil {
			if v, err := strconv.Atoi(text); err != nil || v != int(n) || n < 0 {
				t.Errorf("count %q is %d", text, n)
			}
		}
		var s span
		if s.UnmarshalText([]byte(text)) == nil {
			if d, err := time.ParseDuration(text); err != nil || d != time.Duration(s) || s < 0 {
				t.Errorf("span %q is %s", text, time.Duration(s))
			}
		}
		var d durability
		if d.UnmarshalText([]byte(text)) == nil {
			var again durability
			if err := again.UnmarshalText([]byte(d.String())); err != nil || again != d {
				t.Errorf("durability %q is %q, which is %v, %v", text, d, again, err)
			}
		}
		var list names
		if list.UnmarshalText([]byte(text)) == nil {
			var again names
			if err := again.UnmarshalText([]byte(strings.Join(list, ","))); err != nil || strings.Join(again, ",") != strings.Join(list, ",") {
				t.Errorf("names %q are %q, which are %q", text, list, again)
			}
		}
		var kept retention
		if kept.UnmarshalText([]byte(text)) == nil {
			for _, p := range kept {
				if !p.Limits() && !p.DiscardNew && !strings.Contains(text, "discard=old") || p.MaxAge < 0 || p.MaxBytes < 0 {
					t.Errorf("retention %q is %+v", text, p)
				}
				var again retention
				if err := again.UnmarshalText([]byte(p.namespace + "=" + p.String())); p.Limits() && (err != nil || again[0] != p) {
					t.Errorf("retention %q is %q, which is %v, %v", text, p, again, err)
				}
			}
		}
		var level logLevel
		var format logFormat
		_, _ = level.UnmarshalText([]byte(text)), format.UnmarshalText([]byte(text))
	})
}
