package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"example.com/bus"
	"example.com/bus/client"
)

// pieces are what breaks streams, lines, terminals and pages apart.
var pieces = []string{
	"\n", "\r", "\r\n", "\x00", "\u2028", "\u2029", "\u0085", "\v", "\f", ":", " :", "\ufeff", "\x1b[2J", "\x7f", "\u009b", "\u202e",
	"\n\n", "\nid: e_1", "\nevent: msg\ndata: {}\n\n", "\ndata:", "\nretry: 1", "\r\revent: end\r\r", "data: ", "id", `"`, `\`, `\n`, `\u000a`, `\ud800`,
	"</script>", "<!--", "é", "🚌", "e\u0301", "\ufffd", " ", "\t", "x", "0", "{", "}", "[", "]", ",", "null",
}

// weird strings pieces together. Where text is not to be refused, the control
// characters are left out.
func weird(r *rand.Rand, most int, text bool) string {
	var b strings.Builder
	for range r.IntN(most) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	if !text {
		return b.String()
	}
	s := strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c <= 0x9f || c == 0x2028 || c == 0x2029 {
			return -1
		}
		return c
	}, b.String())
	for len(s) > bus.MaxTextLen {
		s = s[:strings.LastIndexFunc(s[:bus.MaxTextLen], func(rune) bool { return true })]
	}
	return s
}

// weirdEvent is one that has to be taken.
func weirdEvent(r *rand.Rand, i int) bus.Event {
	e := bus.Event{Subject: "orders.x", Id: fmt.Sprintf("own-%d", i), TraceId: weird(r, 8, true), Key: weird(r, 8, true)}
	if e.Key != "" {
		e.Key = fmt.Sprint(i, ":", e.Key)[:min(bus.MaxTextLen, len(fmt.Sprint(i, ":", e.Key)))]
		e.Key = strings.ToValidUTF8(e.Key, "")
	}
	if value := weird(r, 8, true); value != "" && r.IntN(2) == 0 {
		e.Headers = map[string]string{"weird": value, "a": "b"}
	}
	text := weird(r, 40, false)
	switch r.IntN(4) {
	case 0:
		e.ContentType, e.Payload = "text/plain; a="+weird(r, 5, true), []byte(text)
		e.ContentType = strings.ToValidUTF8(e.ContentType[:min(bus.MaxTextLen, len(e.ContentType))], "")
	case 1:
		e.Payload, _ = json.Marshal(map[string]any{text: []string{text, weird(r, 9, false)}})
	case 2: // as little escaped as JSON allows, and white space between the tokens
		escaped := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text)
		for c := range ' ' {
			escaped = strings.ReplaceAll(escaped, string(c), fmt.Sprintf(`\u%04x`, c))
		}
		e.Payload = fmt.Appendf(nil, "\"%s\"", escaped)
	default:
		e.Payload, _ = json.Marshal(text)
	}
	return e
}

// slowSSE reads a stream as the HTML standard says, in the plainest way.
func slowSSE(stream string) (data []string) {
	stream = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.TrimPrefix(stream, "\ufeff"))
	event, lines := "", []string(nil)
	for line := range strings.SplitSeq(stream, "\n") {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if event == "msg" && lines != nil {
				data = append(data, strings.Join(lines, "\n"))
			}
			event, lines = "", nil
		case name == "event":
			event = value
		case name == "data":
			lines = append(lines, value)
		}
	}
	return data
}

func same(got, want *bus.Event) bool {
	return got.Id == want.Id && got.Subject == want.Subject && got.TraceId == want.TraceId && got.Key == want.Key &&
		got.ContentType == want.ContentType && maps.Equal(got.Headers, want.Headers) && string(got.Payload) == string(want.Payload)
}

func TestTenThousandHostileEventsComeOutAsTheyWentInThroughEveryFormat(t *testing.T) {
	b := openBus(t)
	r := rand.New(rand.NewPCG(3, 14))
	var want []bus.Event
	for len(want) < 10_000 {
		body := []byte("[")
		for i := range 500 {
			if i > 0 {
				body = append(body, ",\n"...)
			}
			want = append(want, weirdEvent(r, len(want)))
			body = want[len(want)-1].AppendJSON(body) // json.Marshal would escape more
		}
		b.publish(string(body) + "]")
	}
	query := "/?subject=orders.>&start=oldest&until=newest"
	for _, accept := range []string{"text/event-stream", "application/x-ndjson"} {
		answer := b.do("GET", query, "", "Accept: "+accept).body
		texts := lines(answer)
		if accept == "text/event-stream" {
			texts = slowSSE(answer)
		}
		if len(texts) != len(want) {
			t.Fatalf("%s: got %d events, want %d", accept, len(texts), len(want))
		}
		for i, text := range texts {
			if got, err := bus.ParseEvent([]byte(text)); err != nil || !same(&got, &want[i]) {
				t.Fatalf("%s: got %s (%v), want %+v", accept, text, err, want[i])
			}
		}
	}
	for _, acks := range []client.AckStrategy{client.AckNone, client.AckManual} {
		i := 0
		for got, err := range client.NewClient(b.url).Get(t.Context(), client.WithSubject("orders.>"), client.WithStartFrom("oldest"), client.WithUntilNewest(), client.WithAckStrategy(acks)) {
			if err != nil || !same(&got.Event, &want[i]) {
				t.Fatalf("the Go client: got %+v (%v), want %+v", got, err, want[i])
			}
			if acks == client.AckManual {
				if err := got.Ack(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if i++; i == 500 && acks == client.AckManual {
				break // each is a request
			}
		}
		if i != len(want) && acks == client.AckNone {
			t.Fatalf("the Go client: got %d events, want %d", i, len(want))
		}
	}
}

// label is a line of /metrics.
var label = regexp.MustCompile(`^(#.*|[a-z_]+(\{[a-z_]+="[A-Za-z0-9_.:/+ -]*"(,[a-z_]+="[A-Za-z0-9_.:/+ -]*")*\})? [0-9.e+-]+|)$`)

// Whatever is published, asked for or refused: what the server says of it holds
// nothing that ends a header, a line of its log, a metric or a frame early.
func TestWhatIsRefusedForgesNoHeaderLogLineMetricOrFrame(t *testing.T) {
	b, log := openHeard(t)
	r := rand.New(rand.NewPCG(9, 9))
	for range 3000 {
		evil := weird(r, 6, false)
		if evil == "" {
			continue
		}
		field := []string{"subject", "id", "trace_id", "key", "response_subject", "content_type", "created_at", evil}[r.IntN(8)]
		body, _ := json.Marshal(map[string]any{"subject": "orders.x", field: "orders.x" + evil})
		name := []string{"subject", "start", "ack", "redelivery", "limit", "wait", "until", "last_event_id", "consumer_id", evil}[r.IntN(10)]
		query := "?" + escape(name) + "=" + escape(evil)
		for _, a := range []answer{
			b.do("POST", "/", string(body)),
			b.do("POST", "/"+query, "1"),
			b.do("GET", "/"+query+"&subject=orders.x&until=newest", ""),
			b.do("PUT", "/"+query+"&event_id="+escape(evil), ""),
			b.do("GET", "/v1/namespaces/"+escape(evil)+"/events/"+escape(evil), ""),
			b.do("GET", "/"+escape(evil), ""),
		} {
			if a.status >= 500 {
				t.Fatalf("%q: got %d %s", evil, a.status, a.body)
			}
			if a.header.Get("Content-Type") == "application/problem+json" && (!json.Valid([]byte(a.body)) || strings.Count(a.body, "\n") > 1) {
				t.Fatalf("%q: got %q, want one line of JSON", evil, a.body)
			}
		}
	}
	for _, line := range lines(log.text.String()) {
		if line != "" && !json.Valid([]byte(line)) {
			t.Errorf("got log line %q, want JSON", line)
		}
	}
	for line := range strings.SplitSeq(b.do("GET", "/metrics", "").body, "\n") {
		if !label.MatchString(line) {
			t.Errorf("got metric %q", line)
		}
	}
	log.wantNoPanic(b)
}

// escape is url.QueryEscape that leaves nothing alone.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02x", s[i])
	}
	return b.String()
}

func TestAnIDWithAControlCharacterIsRefused(t *testing.T) {
	b := openBus(t)
	for c := range rune(0xa0) {
		if c >= '!' && c <= '~' {
			continue
		}
		body, _ := json.Marshal(map[string]string{"subject": "orders.x", "id": "a" + string(c) + "b"})
		if a := b.do("POST", "/", string(body)); a.status != http.StatusBadRequest {
			t.Errorf("%U: got %d, want 400", c, a.status)
		}
	}
	if got, err := io.ReadAll(strings.NewReader(b.do("GET", "/v1/namespaces/orders", "").field("last_index"))); err != nil || string(got) != "0" {
		t.Errorf("got last index %s, want 0", got)
	}
}
