package disk

import "testing"

func TestARollThatWasCutOffIsFinishedWhenTheNamespaceIsDeclared(t *testing.T) {
	dir := t.TempDir()
	o := Options{Namespaces: []string{"bills"}}
	e := openTest(t, dir, o)
	if err := e.Declare("orders", nil); err != nil {
		t.Fatal(err)
	}
	fill(t, e, 5, 10)
	if err := e.log("orders").log.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, e)
	writeFile(t, readFile(t, dir, "orders.log"), dir, "orders.log.tmp")
	removeFile(t, dir, "orders.log")

	e = openTest(t, dir, o)
	if err := e.Declare("orders", nil); err != nil {
		t.Fatal(err)
	}
	if got := mustAppend(t, e, testEvent("orders.created", "1")); got[0].Index != 6 {
		t.Errorf("got index %d, want 6", got[0].Index)
	}
}
