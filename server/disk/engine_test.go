package disk_test

import (
	"testing"

	"example.com/bus/server"
	"example.com/bus/server/disk"
	"example.com/bus/server/enginetest"
)

func opener(o disk.Options) func(t *testing.T, dir string, namespaces ...string) server.Engine {
	return func(t *testing.T, dir string, namespaces ...string) server.Engine {
		t.Helper()
		o.Namespaces = namespaces
		e, err := disk.Open(dir, o)
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		return e
	}
}

func mustDurability(t *testing.T, text string) disk.Durability {
	t.Helper()
	d, err := disk.ParseDurability(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestTheEngineKeepsTheContract(t *testing.T) {
	enginetest.Run(t, opener(disk.Options{}))
}

func TestTheEngineKeepsTheContractWithAnInterval(t *testing.T) {
	enginetest.Run(t, opener(disk.Options{Durability: mustDurability(t, "interval=2ms")}))
}

func TestTheEngineKeepsTheContractWithTinyBlocks(t *testing.T) {
	enginetest.Run(t, opener(disk.Options{Durability: mustDurability(t, "os"), BlockSize: 1}))
}
