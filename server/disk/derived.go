package disk

import (
	"cmp"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"sync"

	"example.com/bus/immuta"
)

// content is what is known of a log and kept in a derived log beside it. It is
// told by the goroutine that owns the derived log, in the order of its methods,
// and takes derived.mu itself but where it says otherwise.
type content interface {
	// clear begins anew, with hashes under this key.
	clear(key hashKey)
	// load takes a record that was saved, and returns what is known with it.
	load(data []byte, known span) (span, error)
	// recalled says that all that was saved has been loaded: what is below
	// known.next, or was once in the log.
	recalled(known span)
	// gone says that there is nothing to know of a range, and never will be.
	gone(s span)
	// passed is gone for what was removed as needless: nobody is told of it.
	passed(s span)
	// damaged says that a range cannot be read now; a person may put it right.
	damaged()
	// scan takes a block that was not saved, each once and in index order.
	scan(b immuta.Block)
	// ready says that nothing more will be read, and why not everything was.
	ready(err error)
	// due reports whether there is enough to save. The caller holds derived.mu.
	due() bool
	// unsaved returns the records that say what is known and not saved, and what
	// is known with them; a range that ends at derived.saved when there is nothing.
	// The caller holds derived.mu, and saves what is returned.
	unsaved() (to span, records [][]byte)
	// hush says that nothing is to be saved any more. The caller holds derived.mu.
	hush()
}

// derived keeps a content over restarts. One goroutine owns the derived log: it
// loads it, reads the part of the log that it does not cover, and saves from
// then on. Appends report to the content what they have stored.
type derived struct {
	log     *immuta.Log
	file    derivedFile
	limits  saveLimits
	logger  *slog.Logger
	content content
	key     hashKey // of the content's hashes; the goroutine's alone

	once sync.Once     // the goroutine is started, or was found not to be needed
	stop chan struct{} // closed by halt
	done chan struct{} // closed when the goroutine has ended
	wake chan struct{} // room for one: there is enough to save

	mu     sync.Mutex  // guards all below, and what the content says it guards
	saver  *immuta.Log // the derived log, open for writing; only the goroutine sets it
	saved  uint64      // one past the last index that the derived log covers
	bytes  int         // stored since the last save
	saving bool        // false: nothing is to be saved (any more)
}

func newDerived(log *immuta.Log, file derivedFile, limits saveLimits, logger *slog.Logger) *derived {
	return &derived{
		log: log, file: file, limits: limits, logger: logger, saving: !file.options.ReadOnly, saved: 1,
		stop: make(chan struct{}), done: make(chan struct{}), wake: make(chan struct{}, 1),
	}
}

// start returns at once; the log may be as long as it likes. What is below next
// is read from the log, everything from it on is reported by the append that
// stored it: so next is the log's end before the first of them.
// A second call does nothing.
func (d *derived) start(c content, next uint64, key hashKey) {
	d.once.Do(func() {
		d.content = c
		go d.run(next, key)
	})
}

func (d *derived) run(next uint64, key hashKey) {
	defer close(d.done)
	d.content.ready(d.read(next, key))
	for running := true; running; d.save() {
		select {
		case <-d.stop:
			running = false
		case <-d.wake:
		}
	}
	d.closeSaver()
}

// read fills the content with what was saved and with what was not.
func (d *derived) read(next uint64, key hashKey) error {
	known, err := d.recall(next, key)
	if err != nil {
		d.stopSaving()
		d.begin(key)
		return err
	}
	d.mu.Lock()
	d.saved = known.next
	d.mu.Unlock()
	return d.follow(known, next)
}

func (d *derived) begin(key hashKey) {
	d.key = key
	d.content.clear(key)
}

// follow reads what the log has from the end of known up to next. What has become
// enough to save on the way is saved: a long reading may be cut off.
func (d *derived) follow(known span, next uint64) error {
	first, _ := d.log.Bounds()
	known.next = max(known.next, first) // what is no more need not be known
	d.content.recalled(known)
	b := d.budget()
	r := d.log.Reader(known.next)
	defer r.Close()
	for from := known.next; from < next; {
		block, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if damage, is := errors.AsType[*immuta.CorruptError](err); is {
			d.content.damaged()
			if damage.Next <= from {
				return nil
			}
			from = damage.Next
			r.Seek(from)
			continue
		}
		if gap, is := errors.AsType[*immuta.GapError](err); is {
			d.content.gone(span{from: gap.From, next: gap.Next, at: gap.Time})
			from = gap.Next
			r.Seek(from)
			continue
		}
		if removed, is := errors.AsType[*immuta.RemovedError](err); is {
			tell := d.content.passed
			if removed.Reason == reasonDeleted {
				tell = d.content.gone
			}
			tell(span{from: removed.From, next: removed.Next, at: removed.Time})
			from = removed.Next
			r.Seek(from)
			continue
		}
		if err != nil {
			return err
		}
		if block.First > from { // deleted since it was asked for
			d.content.gone(span{from: from, next: block.First, at: block.Time})
		}
		d.content.scan(block)
		d.save()
		from = block.First + uint64(len(block.Records))
		if err := b.spend(block.Records); err != nil {
			return err
		}
	}
	return nil
}

// grew notes that an append has added so much, and wakes the goroutine when it
// is worth a save. The caller holds mu.
func (d *derived) grew(bytes int) {
	d.bytes += bytes
	if d.saving && d.content.due() {
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
}

// halt tells the goroutine to save what is known and to end; wait waits for it.
// The log must be open until then: what its appends store from now on is read
// at the next open.
func (d *derived) halt() { close(d.stop) }

func (d *derived) wait() {
	d.once.Do(func() { close(d.done) })
	<-d.done
}

// derive starts what is made from the log, before its first append.
func (o *Options) derive(n *namespace, dir string, keys [2]hashKey) {
	_, next := n.log.Bounds()
	limits := cmp.Or(o.saveAt, defaultSaveLimits())
	ids := o.derivedFile(dir, n.name, "", "ids", "the index of chosen ids")
	n.ids = startStrangers(newDerived(n.log, ids, limits, o.Logger), next, keys[0], o.maxDelayed())
	if o.ReadOnly {
		return
	}
	named := o.derivedFile(dir, n.name, subjectsSuffix, "subjects", "the index of subjects")
	n.subjects = startSubjects(newDerived(n.log, named, limits, o.Logger), next, keys[1], o.groupLimits())
}

func (o *Options) groupLimits() groupLimits {
	l := cmp.Or(o.cutAt, defaultGroupLimits())
	if o.GroupEvents > 0 {
		l.events = uint64(o.GroupEvents)
	}
	return l
}

// endDerived saves what is known of the log, which must be open.
func (n *namespace) endDerived() {
	all := []*derived{n.ids.derived}
	if n.subjects != nil {
		all = append(all, n.subjects.derived)
	}
	for _, d := range all {
		d.halt()
	}
	for _, d := range all {
		d.wait()
	}
}

// derivedFile says where a derived log is. It is synced only when it is closed:
// it can be made anew, and is checked against the log before it is believed.
func (o *Options) derivedFile(dir, namespace, suffix, kind, what string) derivedFile {
	return derivedFile{
		namespace: namespace, what: what, dir: filepath.Join(dir, derivedDir), name: namespace + suffix, fs: o.FS,
		options: immuta.Options{FS: o.FS, Now: o.Now, Rand: o.Rand, Kind: kind, Sync: immuta.SyncOS, Sealing: o.Sealing, ReadOnly: o.ReadOnly},
	}
}
