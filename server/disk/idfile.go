package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"example.com/bus/immuta"
)

// The derived log that keeps an idSet over restarts: derived/<namespace>.log,
// of kind "ids", sealed as the namespace is. Its first record is the head, the
// others are deltas (FORMAT.md):
//
//	head:  version 1, kind 1, log id u64, key 16
//	delta: version 1, kind 2, from u64, next u64, commit time i64 of next-1,
//	       runs u32, hashes u32, runs of 4×u64, hashes of 2×u64
//
// A delta says which ids of others stand at the indexes [from, next), and
// begins where the one before it ended.
const (
	idVersion  = 1
	idKindHead = 1
	idKindMore = 2

	idHeadSize   = 2 + 8 + 16
	idDeltaFixed = 2 + 3*8 + 2*4
	idRunSize    = 4 * 8
	idHashSize   = 2 * 8

	// idChunk bounds a delta's entries, and so its record and the memory that
	// reading one takes.
	idChunk = 4 << 10
)

var errStale = errors.New("it does not belong to this log")

type idHead struct {
	log uint64
	key idKey
}

func appendIDHead(dst []byte, h idHead) []byte {
	dst = append(dst, idVersion, idKindHead)
	dst = binary.LittleEndian.AppendUint64(dst, h.log)
	return append(dst, h.key[:]...)
}

func parseIDHead(data []byte) (h idHead, err error) {
	if len(data) != idHeadSize || data[0] != idVersion || data[1] != idKindHead {
		return h, fmt.Errorf("wanted a head of %d bytes and version %d, found %d bytes beginning % x", idHeadSize, idVersion, len(data), data[:min(2, len(data))])
	}
	h.log = binary.LittleEndian.Uint64(data[2:])
	copy(h.key[:], data[10:])
	return h, nil
}

type idDelta struct {
	span
	runs   []run
	hashes []hashed
}

func appendIDDelta(dst []byte, d idDelta) []byte {
	put := func(values ...uint64) {
		for _, v := range values {
			dst = binary.LittleEndian.AppendUint64(dst, v)
		}
	}
	dst = append(dst, idVersion, idKindMore)
	put(d.from, d.next, uint64(d.at.UnixNano()))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(d.runs)))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(d.hashes)))
	for _, r := range d.runs {
		put(r.incarnation, r.foreign, r.local, r.count)
	}
	for _, h := range d.hashes {
		put(h.hash, h.local)
	}
	return dst
}

func parseIDDelta(data []byte) (d idDelta, err error) {
	if len(data) < idDeltaFixed || data[0] != idVersion || data[1] != idKindMore {
		return d, fmt.Errorf("wanted a delta of at least %d bytes and version %d, found %d bytes beginning % x", idDeltaFixed, idVersion, len(data), data[:min(2, len(data))])
	}
	runs, hashes := uint64(binary.LittleEndian.Uint32(data[26:])), uint64(binary.LittleEndian.Uint32(data[30:]))
	if want := idDeltaFixed + runs*idRunSize + hashes*idHashSize; uint64(len(data)) != want {
		return d, fmt.Errorf("wanted a delta of %d bytes for %d runs and %d hashes, found %d", want, runs, hashes, len(data))
	}
	at := 2
	get := func() uint64 {
		at += 8
		return binary.LittleEndian.Uint64(data[at-8:])
	}
	d.span = span{from: get(), next: get(), at: time.Unix(0, int64(get())).UTC()}
	at = idDeltaFixed
	for range runs {
		d.runs = append(d.runs, run{incarnation: get(), foreign: get(), local: get(), count: get()})
	}
	for range hashes {
		d.hashes = append(d.hashes, hashed{hash: get(), local: get()})
	}
	return d, nil
}

// idFile is where the derived log of a namespace is.
type idFile struct {
	dir     string // the derived folder
	name    string
	options immuta.Options
	fs      immuta.FS
}

// load reads what was saved for the log with this identity. fs.ErrNotExist when
// there is nothing, any other error when it cannot be used.
func (f *idFile) load(b *budget, log uint64) (set *idSet, known span, err error) {
	o := f.options
	o.ReadOnly = true
	l, err := immuta.Open(f.dir, f.name, o)
	if err != nil {
		return nil, span{}, err
	}
	defer l.Close()
	r := l.Reader(1)
	defer r.Close()
	for {
		block, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = b.spend(block.Records)
		}
		if err != nil {
			return nil, span{}, err
		}
		for _, data := range block.Records {
			if set == nil {
				set, err = headSet(data, log)
				known = span{from: 1, next: 1}
			} else {
				known, err = set.loadDelta(data, known)
			}
			if err != nil {
				return nil, span{}, err
			}
		}
	}
	if set == nil {
		return nil, span{}, errors.New("it is empty")
	}
	return set, known, nil
}

func headSet(data []byte, log uint64) (*idSet, error) {
	h, err := parseIDHead(data)
	if err != nil {
		return nil, err
	}
	if h.log != log {
		return nil, fmt.Errorf("%w: wanted one of log %x, found one of log %x", errStale, log, h.log)
	}
	return newIDSet(h.key), nil
}

// loadDelta takes a delta that follows known, and returns what is known then.
func (s *idSet) loadDelta(data []byte, known span) (span, error) {
	d, err := parseIDDelta(data)
	if err != nil {
		return known, err
	}
	if d.from != known.next || d.next < d.from {
		return known, fmt.Errorf("wanted a delta from index %d on, found one from %d to %d", known.next, d.from, d.next)
	}
	s.load(d.runs, d.hashes)
	known.next, known.at = d.next, d.at
	return known, nil
}

// setAside takes a derived log that cannot be used out of the way. It keeps the
// last such one: it may tell somebody what went wrong.
func (f *idFile) setAside() error {
	for _, ext := range []string{".log", ".idx"} {
		path := filepath.Join(f.dir, f.name+ext)
		if err := f.fs.Rename(path, path+".stale"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// deltas returns the records that say what is new in [from, to.next): only the
// last one moves the end, so that a part of them is never mistaken for all.
func deltas(from uint64, to span, runs []run, hashes []hashed) [][]byte {
	var records [][]byte
	for len(runs) > 0 || len(hashes) > 0 {
		r, h := min(idChunk, len(runs)), min(idChunk, len(hashes))
		part := idDelta{span: span{from: from, next: from, at: to.at}, runs: runs[:r], hashes: hashes[:h]}
		runs, hashes = runs[r:], hashes[h:]
		if len(runs) == 0 && len(hashes) == 0 {
			part.next = to.next
		}
		records = append(records, appendIDDelta(nil, part))
	}
	if len(records) == 0 {
		records = append(records, appendIDDelta(nil, idDelta{span: span{from: from, next: to.next, at: to.at}}))
	}
	return records
}
