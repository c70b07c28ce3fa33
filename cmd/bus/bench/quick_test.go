package bench

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestQuick(t *testing.T) {
	rs, err := Run(t.Context(), Config{Only: strings.Fields(os.Getenv("ONLY")), Program: "/tmp/bus", Runs: 1, Time: 2 * time.Second})
	WriteTable(os.Stdout, rs)
	if err != nil {
		t.Fatal(err)
	}
}
