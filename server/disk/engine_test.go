package disk

import (
	"encoding/binary"
	"testing"

	"example.com/bus/server"
	"example.com/bus/server/enginetest"
)

func opener(o Options) func(t *testing.T, dir string, namespaces ...string) server.Engine {
	return func(t *testing.T, dir string, namespaces ...string) server.Engine {
		t.Helper()
		o.Namespaces = namespaces
		o.MaxDelayed = 200 // of the suite, which fills it up
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
	enginetest.Run(t, opener(Options{Durability: mustDurability(t, "os"), BlockSize: 1, saveAt: saveLimits{entries: 1, events: 1, bytes: 1}, cutAt: groupLimits{events: 5, bytes: 1000, hashes: 4, held: 20}}))
}

// loser turns a bit of the block that begins with an index, and repairs the log.
func loser(o Options) enginetest.Lose {
	return func(t *testing.T, dir, namespace string, index uint64) {
		t.Helper()
		log := readFile(t, dir, namespace+".log")
		le := binary.LittleEndian
		at := 128
		if check := int(le.Uint32(log[120:])); check > 0 {
			at += (check + 4 + 7) &^ 7
		}
		for le.Uint64(log[at+16:]) != index || log[at+4] != 1 {
			at += 56 + (int(le.Uint32(log[at+8:]))+7)&^7
		}
		log[at+60] ^= 8
		writeFile(t, log, dir, namespace+".log")
		did, err := Repair(dir, namespace, o, true)
		if err != nil || len(did.Gaps) != 1 || did.Gaps[0].From != index || did.Gaps[0].Next != index+1 && !did.Gaps[0].AtMost {
			t.Fatalf("repair: got %+v and %v, want %d lost", did, err, index)
		}
	}
}

func TestTheEngineSaysWhatIsLostAndGoesOn(t *testing.T) {
	enginetest.RunGaps(t, opener(Options{}), loser(Options{}))
}

// spoil turns a bit of the last block.
func spoil(t *testing.T, dir, namespace string) {
	t.Helper()
	log := readFile(t, dir, namespace+".log")
	log[len(log)-12] ^= 8
	writeFile(t, log, dir, namespace+".log")
}

func TestTheEngineSaysThatItsEndIsDamaged(t *testing.T) {
	for _, sealing := range sealings {
		enginetest.RunDamagedEnd(t, opener(Options{Sealing: sealing}), spoil)
	}
}

func TestTheEngineSaysWhatIsLostAndGoesOnSealed(t *testing.T) {
	o := Options{Sealing: fakeSealing{"secret"}}
	enginetest.RunGaps(t, opener(o), loser(o))
}

// compacted does what the keeper does with a namespace that is compacted, while
// nobody else does.
func compacted(t *testing.T, e server.Engine, namespace string) {
	t.Helper()
	compactAll(t, e.(*Engine))
}

func TestTheEngineSaysWhatWasRemoved(t *testing.T) {
	for name, o := range map[string]Options{
		"plain":  {},
		"sealed": {Sealing: fakeSealing{"secret"}},
		"tiny":   {BlockSize: 1, saveAt: saveLimits{entries: 1, events: 1, bytes: 1}, cutAt: groupLimits{events: 5, bytes: 1000, hashes: 4, held: 20}},
		"os":     {Durability: mustDurability(t, "os"), segmentBytes: 1},
	} {
		o.closeAt = 1
		t.Run(name, func(t *testing.T) { enginetest.RunRemoved(t, opener(o), compacted) })
	}
}
