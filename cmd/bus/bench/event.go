package bench

import (
	"fmt"
	"strconv"
	"strings"
)

// filler is what payloads are filled up with: text as logs have it, not one
// letter, which would be unfair to nobody but tells nothing about compression.
const filler = `order placed by a customer who is in a hurry; the lamp is to be sent to the address below and paid for on arrival. `

// payload is a JSON object of size bytes that carries a number, or the number
// alone when that is too few.
func payload(n, size int) string {
	head := `{"n":` + strconv.Itoa(n) + `,"text":"`
	room := size - len(head) - 2
	if room < 0 {
		return `"` + strings.Repeat("0", max(size-2-len(strconv.Itoa(n)), 0)) + strconv.Itoa(n) + `"`
	}
	return head + strings.Repeat(filler, room/len(filler)+1)[:room] + `"}`
}

func envelope(subject, payload string) string {
	return `{"subject":"` + subject + `","payload":` + payload + `}`
}

// batchOf is an array of n events, numbered from first.
func batchOf(subject string, first, n, size int) string {
	events := make([]string, n)
	for i := range events {
		events[i] = envelope(subject, payload(first+i, size))
	}
	return "[" + strings.Join(events, ",") + "]"
}

// batchOver is an array of events over some subjects in turn.
func batchOver(ns string, first, n, subjects, size int) string {
	events := make([]string, n)
	for i := range events {
		events[i] = envelope(fmt.Sprintf("%s.n%d", ns, (first+i)%subjects), payload(first+i, size))
	}
	return "[" + strings.Join(events, ",") + "]"
}

// post is a whole request that publishes body.
func post(query, body string) []byte {
	return fmt.Appendf(nil, "POST /%s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", query, len(body), body)
}
