package server

import (
	"fmt"
	"testing"

	"example.com/bus"
)

func TestAClientIsAnIPv4AddressOrTheNetworkOfAnIPv6Address(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.7:1234":                "192.0.2.7/32",
		"[::ffff:192.0.2.7]:1":          "192.0.2.7/32",
		"[2001:db8:1:2:3:4:5:6]:443":    "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff::1]:443":    "2001:db8:1:2::/64",
		"[2001:db8:1:3::1]:443":         "2001:db8:1:3::/64",
		"[fe80::1%eth0]:80":             "fe80::/64",
		"[fe80:0:0:0:1::1%other]:80":    "fe80::/64",
		"@":                             "",
		"pipe":                          "",
		"localhost:80":                  "",
		"192.0.2.7":                     "",
		"[2001:db8::1%a%b]:80":          "2001:db8::/64",
		"[::1]:80":                      "::/64",
		"[::ffff:192.0.2.7%eth0]:12345": "192.0.2.7/32",
	} {
		got, ok := clientOf(remote)
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%s: got %s %v, want %q", remote, got, ok, want)
		}
	}
}

// Counting a hundred thousand clients in and out leaves nothing in memory, and
// whoever has no address is held to the limit of all.
func TestTheCountOfStreamsForgetsWhoIsGone(t *testing.T) {
	c := streamCount{most: 3, mostByAddr: 2}
	for i := range 100_000 {
		leave, _, err := c.enter(fmt.Sprintf("[2001:db8:%x:%x::1]:1", i>>16, i&0xffff))
		if err != nil {
			t.Fatal(err)
		}
		leave()
	}
	if open, byAddr := c.used(); open != 0 || byAddr != 0 || len(c.byAddr) != 0 {
		t.Errorf("got %d open, %d of one, %d addresses kept, want none", open, byAddr, len(c.byAddr))
	}
	for range 3 {
		if _, limit, err := c.enter("pipe"); err != nil {
			t.Errorf("got %v of %s, want room", err, limit)
		}
	}
	if _, limit, err := c.enter("pipe"); limit != limitStreams || bus.ErrServerFull.Code != err.(*bus.Error).Code {
		t.Errorf("got %v of %s, want server_full", err, limit)
	}
}
