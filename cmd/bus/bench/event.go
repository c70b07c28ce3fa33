package bench

import (
	"fmt"
	"strconv"
	"strings"
)

// filler is what payloads are filled up with: text as logs have it, not one
// letter, which would be unfair to nobody but tells nothing about compression.
const filler = `order placed by a customer who is in a hurry; the lamp is to be sent to the address below and paid for on arrival. `

// payload is a JSON object of about size bytes that carries a number.
func payload(n, size int) string {
	head := `{"n":` + strconv.Itoa(n) + `,"text":"`
	room := max(size-len(head)-2, 0)
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

// post is a whole request that publishes body.
func post(query, body string) []byte {
	return fmt.Appendf(nil, "POST /%s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", query, len(body), body)
}
