package disk

import (
	"testing"

	"example.com/bus/server"
	"example.com/bus/server/enginetest"
)

func opener(o Options) func(t *testing.T, dir string, namespaces ...string) server.Engine {
	return func(t *testing.T, dir string, namespaces ...string) server.Engine {
		t.Helper()
		o.Namespaces = namespaces
		e, err := Open(dir, o)
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		return e
	}
}

func TestTheEngineKeepsTheContract(t *testing.T) {
	enginetest.Run(t, opener(Options{}))
}

func TestTheEngineKeepsTheContractSealed(t *testing.T) {
	enginetest.Run(t, opener(Options{Sealing: fakeSealing{"secret"}}))
}

func TestTheEngineKeepsTheContractWithAnInterval(t *testing.T) {
	enginetest.Run(t, opener(Options{Durability: mustDurability(t, "interval=2ms")}))
}

func TestTheEngineKeepsTheContractWithTinyBlocks(t *testing.T) {
	enginetest.Run(t, opener(Options{Durability: mustDurability(t, "os"), BlockSize: 1}))
}
