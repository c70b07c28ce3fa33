package client

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"

	"example.com/bus"
)

// loginPage is what stands before a server and wants to know who comes: it sends
// whoever has not said so to a page.
func loginPage(_ int, w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/login" {
		fmt.Fprint(w, "<html>who are you?</html>")
		return
	}
	http.Redirect(w, r, "/login", http.StatusFound)
}

func okPage(_ int, w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>welcome</html>") }

func TestAPageOfSomethingInBetweenSettlesAndStoresNothing(t *testing.T) {
	for name, page := range map[string]func(int, http.ResponseWriter, *http.Request){"a redirect": loginPage, "a page": okPage} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newWire(t, page).client
				for what, err := range map[string]error{
					"Ack":      c.Ack(t.Context(), "c_1", "e_1"),
					"AckAsync": c.AckAsync("c_1", "e_1").Get(t.Context()),
					"AckBatch": c.AckBatch(t.Context(), "c_1", []string{"e_1", "e_2"}),
					"Put":      c.Put(t.Context(), WithSubject("app.users")).Error(),
					"a reply":  c.Put(t.Context(), WithSubject("app.users"), WithRequestReply()).Error(),
				} {
					if err == nil {
						t.Errorf("%s: got nil, want to be told that it was not the server who answered", what)
					} else if e, ok := bus.AsError(err); ok && e.Status != 200 {
						t.Errorf("%s: got status %d, want what was answered", what, e.Status)
					}
				}
			})
		})
	}
}
