package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"example.com/bus/immuta"
)

// A derived log is sealed as its namespace is. Its first record is the head, the
// others say what is known of the log (FORMAT.md):
//
//	head: version 1, kind 1, log id u64, key 16
const (
	derivedVersion  = 1
	derivedKindHead = 1
	derivedKindMore = 2

	derivedHeadSize = 2 + 8 + 16
)

var errStale = errors.New("it does not belong to this log")

type derivedHead struct {
	log uint64
	key hashKey
}

func appendHead(dst []byte, h derivedHead) []byte {
	dst = append(dst, derivedVersion, derivedKindHead)
	dst = binary.LittleEndian.AppendUint64(dst, h.log)
	return append(dst, h.key[:]...)
}

func parseHead(data []byte) (h derivedHead, err error) {
	if len(data) != derivedHeadSize || data[0] != derivedVersion || data[1] != derivedKindHead {
		return h, fmt.Errorf("wanted a head of %d bytes and version %d, found %d bytes beginning % x", derivedHeadSize, derivedVersion, len(data), data[:min(2, len(data))])
	}
	h.log = binary.LittleEndian.Uint64(data[2:])
	copy(h.key[:], data[10:])
	return h, nil
}

// derivedFile is where a derived log of a namespace is.
type derivedFile struct {
	namespace string
	what      string // is kept in it, for people
	dir       string // the derived folder
	name      string
	options   immuta.Options
	fs        immuta.FS
}

// each reads the records. fs.ErrNotExist when there is no such log, take's error
// when that returns one.
func (f *derivedFile) each(b *budget, take func(data []byte) error) error {
	o := f.options
	o.ReadOnly = true
	l, err := immuta.Open(f.dir, f.name, o)
	if err != nil {
		return err
	}
	defer l.Close()
	r := l.Reader(1)
	defer r.Close()
	for {
		block, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = b.spend(block.Records)
		}
		if err != nil {
			return err
		}
		for _, data := range block.Records {
			if err := take(data); err != nil {
				return err
			}
		}
	}
}

// setAside takes a derived log that cannot be used out of the way. It keeps the
// last such one: it may tell somebody what went wrong.
func (f *derivedFile) setAside() error {
	for _, ext := range []string{".log", ".idx"} {
		path := filepath.Join(f.dir, f.name+ext)
		if err := f.fs.Rename(path, path+".stale"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
