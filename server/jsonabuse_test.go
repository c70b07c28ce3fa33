package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"example.com/bus"
	"example.com/bus/server"
)

// position is how a refusal says where the mistake is.
var position = regexp.MustCompile(`byte \d+|line \d+|field|item \d+|event \d+|levels`)

func TestAbuseOfJSONIsRefusedWithItsPlaceOrStoredByteForByte(t *testing.T) {
	b := openBus(t)
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for name, c := range map[string]struct {
		payload string
		stored  bool
	}{
		"depth 10^5":               {deep(100_000), false},
		"depth 10^5 of objects":    {strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000), false},
		"depth 900":                {deep(900), true},
		"depth without end":        {strings.Repeat("[", 100_000), false},
		"duplicate names":          {`{"a":1,"a":2}`, true},
		"invalid UTF-8":            {"\"\xff\"", false},
		"overlong UTF-8":           {"\"\xc0\x80\"", false},
		"a surrogate as UTF-8":     {"\"\xed\xa0\x80\"", false},
		"a lone surrogate escaped": {`"\ud800"`, true},
		"surrogates swapped":       {`"\udc00\ud800"`, true},
		"1e400":                    {`1e400`, true},
		"-0.0e-0":                  {`-0.0e-0`, true},
		"a thousand digits":        {strings.Repeat("9", 1000), true},
		"a digit too early":        {`01`, false},
		"no digit":                 {`-`, false},
		"NaN":                      {`NaN`, false},
		"trailing bytes":           {`1 1`, false},
		"a trailing comma":         {`[1,]`, false},
		"a comment":                {`1/**/`, false},
		"single quotes":            {`'a'`, false},
		"a raw NUL":                {"\"\x00\"", false},
		"a raw newline":            {"\"\n\"", false},
		"an escaped NUL":           {`"\u0000"`, true},
		"a bad escape":             {`"\x41"`, false},
		"U+2028 and U+2029":        {"\"\u2028\u2029\"", true},
		"a name of NUL":            {`{"\u0000":1}`, true},
		"an empty name":            {`{"":{"":1}}`, true},
		"DEL and C1":               {"\"\x7f\u0080\u009f\"", true},
		"U+FFFE":                   {"\"\ufffe\"", true},
		"an escaped solidus":       {`"<\/script>&"`, true},
	} {
		a := b.do("POST", "/", `{"subject":"orders.x","payload":`+c.payload+`}`)
		switch {
		case !c.stored && (a.status != http.StatusBadRequest || !position.MatchString(a.field("detail"))):
			t.Errorf("%s: got %d %.200s, want 400 and where it is", name, a.status, a.body)
		case c.stored && a.status != http.StatusAccepted:
			t.Errorf("%s: got %d %.200s, want it stored", name, a.status, a.body)
		case c.stored:
			read := b.do("GET", "/v1/namespaces/orders/events/"+a.field("index"), "").body
			if !strings.Contains(read, `"payload":`+c.payload+`}`) {
				t.Errorf("%s: got %.200s, want the payload %.200s as it was sent", name, read, c.payload)
			}
		}
	}
}

func TestAbuseAroundAnEventIsRefused(t *testing.T) {
	b := openBus(t)
	good := `{"subject":"orders.x","payload":1}`
	for name, body := range map[string]string{
		"a byte order mark":        "\ufeff" + good,
		"UTF-16":                   "\xff\xfe{\x00}\x00",
		"trailing bytes":           good + "x",
		"two events":               good + good,
		"a NUL behind":             good + "\x00",
		"a field twice":            `{"subject":"orders.x","subject":"orders.y"}`,
		"a field twice by escapes": `{"subject":"orders.x","\u0073ubject":"orders.y"}`,
		"another case":             `{"Subject":"orders.x"}`,
		"a number as subject":      `{"subject":1}`,
		"an object as id":          `{"subject":"orders.x","id":{}}`,
		"half a surrogate in key":  `{"subject":"orders.x","key":"\ud800"}`,
		"an array of arrays":       `[[` + good + `]]`,
		"a batch without end":      `[` + good + `,`,
		"an event in a batch":      `[` + good + `,{"subject":"orders..x"}]`,
		"nothing":                  "",
		"white space":              " \r\n\t ",
		"null":                     "null",
		"brackets":                 strings.Repeat("[", 100_000),
	} {
		if a := b.do("POST", "/", body); a.status != http.StatusBadRequest || a.field("code") == "" {
			t.Errorf("%s: got %d %.200s, want 400", name, a.status, a.body)
		}
	}
	if got := b.publish(good).field("index"); got != "1" {
		t.Errorf("got index %s, want 1: nothing of them is stored", got)
	}
}

// What is refused costs little more than its own bytes, and what is stored is
// never taken apart into maps and slices.
func TestReadingHostileJSONTakesFewTimesItsBytes(t *testing.T) {
	const size = 4 << 20
	for name, payload := range map[string]string{
		"brackets":       strings.Repeat("[", 500) + strings.Repeat("[],", (size-2000)/3) + "1" + strings.Repeat("]", 500),
		"empty objects":  "[" + strings.Repeat("{},", size/3) + "1]",
		"names":          "{" + strings.Repeat(`"":0,`, size/5) + `"":0}`,
		"escapes":        `"` + strings.Repeat(`\u0000`, size/6) + `"`,
		"digits":         strings.Repeat("1", size),
		"lines to join":  "[" + strings.Repeat("1,\n", size/3) + "1]",
		"without an end": strings.Repeat("[1,", size/3),
	} {
		body := []byte(`{"subject":"orders.x","payload":` + payload + `}`)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := bus.ParseEvent(body)
		runtime.ReadMemStats(&after)
		if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(3*len(body)); got > limit { // beside the body itself
			t.Errorf("%s: got %d bytes allocated for %d (%v), want at most %d", name, got, len(body), err, limit)
		}
	}
}

func TestARefusalOfALargeBodyShowsLittleOfIt(t *testing.T) {
	b := openBus(t, func(c *server.Config) { c.MaxEvent = 1 << 20 })
	long := strings.Repeat("z", 500_000)
	for _, body := range []string{`{"` + long + `":1}`, `{"subject":"` + long + `"}`, `{"subject":"orders.x","id":"` + long + `"}`, `{"subject":"orders.x","created_at":"` + long + `"}`, `"` + long + `"`, `{"subject":"orders.x","content_type":"` + long + `","payload":1}`} {
		a := b.do("POST", "/", body)
		if a.status/100 != 4 || len(a.body) > 2000 {
			t.Errorf("%.40s: got %d and %d bytes, want a refusal in few", body, a.status, len(a.body))
		}
		if !json.Valid([]byte(a.body)) {
			t.Errorf("%.40s: got %.200s, want JSON", body, a.body)
		}
	}
	for _, target := range []string{"/?subject=", "/?typo", "/v1/namespaces/", "/", "/?subject=orders.x&start=", "/?subject=orders.x&wait="} {
		a := b.do("GET", fmt.Sprint(target, long[:30_000]), "")
		if a.status/100 != 4 || len(a.body) > 2000 {
			t.Errorf("%s: got %d and %d bytes, want a refusal in few", target, a.status, len(a.body))
		}
	}
}
