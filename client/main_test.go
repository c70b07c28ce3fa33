package client_test

import (
	"os"
	"testing"

	"example.com/bus/server/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }
