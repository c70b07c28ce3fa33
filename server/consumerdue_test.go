package server_test

import "testing"

// TestAPullIsGivenWhatIsDueBeforeWhatIsNew: a cron job that takes one event a
// minute would otherwise wait for hours for one whose minute is long over.
func TestAPullIsGivenWhatIsDueBeforeWhatIsNew(t *testing.T) {
	b := openBus(t)
	ids := b.publishSome(300)
	wantIDs(t, b.pull("&consumer=timedout&start=oldest&redelivery=10ms&limit=1"), ids[0])
	wantIDs(t, b.pull("&consumer=refused&start=oldest&redelivery=1h&limit=1"), ids[0])
	b.want(202, "PUT", "/?consumer=refused&verdict=nak&event_id="+ids[0], "")
	for _, name := range []string{"timedout", "refused"} {
		b.do("GET", "/?subject=app.*&wait=20ms", "", "Accept: application/json") // by then it is due
		wantIDs(t, b.pull("&limit=1&consumer="+name), ids[0])
	}
}
