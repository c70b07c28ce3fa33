package server_test

import (
	"strings"
	"testing"
)

const mailPath = "/v1/namespaces/orders/consumers/mail"

func TestASettingOfAConsumerThatDoesNotExistOrStandsTwiceIsRefusedInPlainWords(t *testing.T) {
	b := openBus(t, admin)
	for _, method := range []string{"PUT", "PATCH"} {
		for _, test := range []struct{ code, body, says string }{
			{"invalid_parameter", `{"inflight":3,"inflight":4}`, `field "inflight" of the settings stands twice`},
			{"unknown_field", `{"infligth":3}`, `field "infligth" of the settings; wanted some of subjects, start,`},
			{"unknown_field", `{"Inflight":3}`, `field "Inflight"`},
			{"invalid_json", `{"inflight":"3"}`, `inflight is "3", wanted a whole number`},
			{"invalid_json", `{"subjects":"orders.*"}`, `subjects is "orders.*", wanted an array of patterns`},
			{"invalid_json", `{"paused":1}`, `paused is 1, wanted true or false`},
			{"invalid_json", `[]`, `wanted an object with some of subjects`},
			{"invalid_json", ``, `wanted an object with some of subjects`},
			{"invalid_json", `{"inflight":3`, `wanted an object`},
			{"invalid_json", `{"inflight":}`, `inflight`},
			{"invalid_json", `{} {}`, `something follows the settings`},
			{"invalid_parameter", `{"created_at":"2026-01-01T00:00:00Z"}`, `created_at cannot be set`},
		} {
			a := b.refused(400, test.code, method, mailPath, test.body)
			if detail := strings.ReplaceAll(a.field("detail"), `\"`, `"`); !strings.Contains(detail, test.says) || strings.Contains(detail, "Settings") || strings.Contains(detail, "Go ") {
				t.Errorf("%s: got %s, want %s", test.body, detail, test.says)
			}
		}
	}
	for code, body := range map[string]string{
		"invalid_parameter": `{"retention":{"max_events":1,"max_events":2}}`, "unknown_field": `{"retention":{"max_event":1}}`, "invalid_json": `{"retention":{"max_events":"1"}}`,
	} {
		b.refused(400, code, "PUT", "/v1/namespaces/invoices", body)
	}
	b.refused(404, "unknown_namespace", "GET", "/v1/namespaces/invoices", "")
}

func TestTheIdleExpiryOfAConsumerCanBeSwitchedOff(t *testing.T) {
	b := openBus(t)
	b.want(201, "PUT", mailPath, `{"subjects":["orders.*"],"idle_expiry":"1h"}`)
	for _, off := range []string{`{"idle_expiry":"never"}`, `{"idle_expiry":"0s"}`} {
		b.want(200, "PATCH", mailPath, `{"idle_expiry":"1h"}`)
		for _, same := range []string{`{}`, `{"idle_expiry":""}`, `{"idle_expiry":null}`} {
			b.want(200, "PATCH", mailPath, same)
		}
		if got := b.do("GET", mailPath, "").field("idle_expiry"); got != "1h" {
			t.Fatalf("got idle_expiry %q, want what was not asked for to stay", got)
		}
		a := b.refused(409, "consumer_differs", "PUT", mailPath, `{"subjects":["orders.*"],"idle_expiry":"never"}`)
		if !strings.Contains(a.field("detail"), "idle_expiry is 1h, asked for is never") {
			t.Errorf("got %s", a.body)
		}
		b.want(200, "PATCH", mailPath, off)
		b.restart()
		if got := b.do("GET", mailPath, ""); got.field("idle_expiry") != "" {
			t.Errorf("got %s, want no idle_expiry", got.body)
		}
		b.want(200, "PUT", mailPath, `{"subjects":["orders.*"],"idle_expiry":"never"}`)
		a = b.refused(409, "consumer_differs", "PUT", mailPath, `{"subjects":["orders.*"],"idle_expiry":"1h"}`)
		if !strings.Contains(a.field("detail"), "idle_expiry is never, asked for is 1h") {
			t.Errorf("got %s", a.body)
		}
	}
	b.want(201, "PUT", mailPath+"2", `{"subjects":["orders.*"],"idle_expiry":"never"}`)
	if got := b.do("GET", mailPath+"2", ""); got.field("idle_expiry") != "" {
		t.Errorf("got %s, want no idle_expiry", got.body)
	}
}

func TestARedeliveryOfZeroAndACountBelowZeroMeanTheSameInABodyAndInAQuery(t *testing.T) {
	b := openBus(t)
	b.want(201, "PUT", mailPath, `{"subjects":["orders.*"],"redelivery":"0s","redelivery_count":-5}`)
	a := b.do("GET", mailPath, "")
	if a.field("redelivery") != "5s" || a.field("redelivery_count") != "0" {
		t.Errorf("got %s, want the default and no end", a.body)
	}
	b.want(200, "GET", "/?subject=orders.*&consumer=mail&redelivery=0s&redelivery_count=-5&wait=1ms", "")
	b.want(200, "PATCH", mailPath, `{"redelivery":"0s","redelivery_count":7}`)
	b.want(200, "PATCH", mailPath, `{"redelivery_count":-1}`)
	if a := b.do("GET", mailPath, ""); a.field("redelivery") != "5s" || a.field("redelivery_count") != "0" {
		t.Errorf("got %s, want no end", a.body)
	}
	b.refused(400, "invalid_parameter", "PATCH", mailPath, `{"redelivery_count":-1000000000}`)
}

func TestAConsumerThatIsPausedOrNotDiffersFromWhatIsAskedFor(t *testing.T) {
	b := openBus(t)
	b.want(201, "PUT", mailPath, `{"subjects":["orders.*"],"paused":false}`)
	for _, paused := range []string{"false", "true"} {
		other := map[string]string{"false": "true", "true": "false"}[paused]
		b.want(200, "PATCH", mailPath, `{"paused":`+paused+`}`)
		b.want(200, "PUT", mailPath, `{"subjects":["orders.*"],"paused":`+paused+`}`)
		b.want(200, "PUT", mailPath, `{"subjects":["orders.*"]}`)
		a := b.refused(409, "consumer_differs", "PUT", mailPath, `{"subjects":["orders.*"],"paused":`+other+`}`)
		if !strings.Contains(a.field("detail"), "paused is "+paused+", asked for is "+other+"; leave them out, change paused with PATCH "+mailPath) {
			t.Errorf("got %s", a.body)
		}
	}
}

func TestWhatDiffersIsToldWithAWayThatWorks(t *testing.T) {
	b := openBus(t)
	b.want(201, "PUT", mailPath, `{"subjects":["orders.*"],"backoff":["1s"]}`)
	for body, want := range map[string]string{
		`{"subjects":["orders.x"]}`:                             `subject is [orders.*], asked for is [orders.x]; leave them out, ask for the subjects that it has, which stay, or use another name`,
		`{"subjects":["orders.*"],"start":"oldest"}`:            `start is newest, asked for is oldest; leave them out, move it with POST ` + mailPath + `/reset?start= or bus consumers reset, or use another name`,
		`{"subjects":["orders.*"],"idle_expiry":"1h"}`:          `idle_expiry is never, asked for is 1h; leave them out, change them with PATCH ` + mailPath + ` or bus consumers set, or use another name`,
		`{"subjects":["orders.*"],"backoff":[],"inflight":3}`:   `backoff is [1s], asked for is []; inflight is 64, asked for is 3; leave them out, change them with PATCH `,
		`{"subjects":["orders.*"],"start":"last","inflight":3}`: `bus consumers reset, change them with PATCH `,
	} {
		a := b.refused(409, "consumer_differs", "PUT", mailPath, body)
		if !strings.Contains(a.field("detail"), want) {
			t.Errorf("%s: got %s, want %s", body, a.field("detail"), want)
		}
	}
}
