package immuta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Sealer seals and opens the blocks of one segment. It must be safe for many
// goroutines. It is an alias of an interface literal, so that a package of keys
// can return the very type without importing this one.
type Sealer = interface {
	// Overhead is how many bytes Seal adds.
	Overhead() int
	// Seal appends the sealed plain bytes to dst, under a fresh nonce.
	Seal(dst, plain []byte, position uint64) ([]byte, error)
	// Open appends the plain bytes to dst, or fails when one bit of sealed or
	// the position is not what was given to Seal.
	Open(dst, sealed []byte, position uint64) ([]byte, error)
}

// Sealing finds each segment its sealer.
type Sealing interface {
	// Create draws what a new segment needs: the salt, and the newest key's id.
	Create() (salt [32]byte, keyID [16]byte, err error)
	// Segment is the sealer of one segment, or an error when no key has that id.
	Segment(salt [32]byte, keyID [16]byte, name, kind string, first uint64) (Sealer, error)
}

// segment is one open file of a log. All of it but the file's contents is fixed
// once it is open, so that any number of readers share it.
type segment struct {
	header
	path   string
	file   File
	seed   uint32 // checksum of the salt, where every block header's sum starts
	sealer Sealer // nil: plain, or sealed and not to be opened (Verify without a key)
}

func logPath(dir, name string) string { return filepath.Join(dir, name+".log") }

// openSegment opens name's file, and makes it when there is none. It holds the
// file's lock unless the log is only to be read.
func openSegment(dir, name string, o *Options) (*segment, error) {
	path := logPath(dir, name)
	if o.ReadOnly {
		f, err := o.FS.OpenFile(path, os.O_RDONLY, 0)
		if err != nil {
			return nil, err
		}
		return loadSegment(f, path, name, o)
	}
	f, err := o.FS.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return createSegment(dir, name, o)
	}
	if err != nil {
		return nil, err
	}
	if err := f.Lock(); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return loadSegment(f, path, name, o)
}

// createSegment writes the header under another name first: a file that has its
// own name has a whole header, always. The lock is taken before that, and goes
// with the file when it is renamed, so that of two creators one is refused.
func createSegment(dir, name string, o *Options) (_ *segment, err error) {
	path := logPath(dir, name)
	temporary := path + ".tmp"
	f, err := o.FS.OpenFile(temporary, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := f.Lock(); err != nil {
		return nil, fmt.Errorf("%s: %w", temporary, err)
	}
	// Another creator may have renamed its file between our look and our lock;
	// renaming over it would throw away what it has taken since.
	if other, err := o.FS.OpenFile(path, os.O_RDONLY, 0); err == nil {
		other.Close()
		return nil, fmt.Errorf("%s was created by someone else just now: %w", path, ErrLocked)
	}
	s := &segment{path: path, file: f}
	s.first, s.created = 1, o.Now().UnixNano()
	b, err := s.draw(name, o)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	if err := publish(o.FS, f, b, temporary, path); err != nil {
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	return s, nil
}

// publish gives b its name in an order that leaves, wherever it is cut, either
// no file of that name or all of it.
func publish(fsys FS, f File, b []byte, temporary, path string) error {
	if err := replace(f, b); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := fsys.Rename(temporary, path); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(path))
}

// follow notes which segment is in front of this one.
func (s *segment) follow(before *segment) {
	binary.LittleEndian.PutUint64(s.previous[:], before.first)
}

// draw completes a new header, and returns the bytes the file starts with. The
// id stays when there is one.
func (s *segment) draw(name string, o *Options) ([]byte, error) {
	var id [8]byte
	for s.id == 0 { // 0 would read as "no log"
		if _, err := io.ReadFull(o.Rand, id[:]); err != nil {
			return nil, err
		}
		s.id = binary.LittleEndian.Uint64(id[:])
	}
	if o.Sealing == nil {
		_, err := io.ReadFull(o.Rand, s.salt[:])
		s.seed = checksum(s.salt[:])
		return s.header.encode(), err
	}
	var err error
	if s.salt, s.keyID, err = o.Sealing.Create(); err != nil {
		return nil, err
	}
	if s.sealer, err = o.Sealing.Segment(s.salt, s.keyID, name, o.Kind, s.first); err != nil {
		return nil, err
	}
	s.seed = checksum(s.salt[:])
	s.sealed, s.check = true, uint32(fileHeader+s.sealer.Overhead())
	b := s.header.encode()
	box, err := s.sealer.Seal(nil, b, 0)
	if err != nil {
		return nil, err
	}
	if len(box) != int(s.check) {
		return nil, fmt.Errorf("the sealer made %d bytes of %d, its overhead is %d", len(box), len(b), s.sealer.Overhead())
	}
	return append(b, keyCheck(box)...), nil
}

// loadSegment reads and checks the header, and closes f when it does not hold.
func loadSegment(f File, path, name string, o *Options) (*segment, error) {
	s := &segment{path: path, file: f}
	if err := s.load(name, o); err != nil {
		f.Close()
		var c *CorruptError
		if errors.As(err, &c) {
			c.Path = path
			return nil, err
		}
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return s, nil
}

func (s *segment) load(name string, o *Options) error {
	b, err := readUpTo(s.file, fileHeader, 0)
	if err != nil {
		return err
	}
	if s.header, err = decodeHeader(b); err != nil {
		return err
	}
	s.seed = checksum(s.salt[:])
	box, err := s.loadCheck()
	if err != nil {
		return err
	}
	switch {
	case s.sealed && o.Sealing == nil && !o.outerOnly:
		return ErrSealed
	case !s.sealed && o.Sealing != nil:
		return ErrPlain
	case o.Sealing == nil:
		return nil
	}
	if s.sealer, err = o.Sealing.Segment(s.salt, s.keyID, name, o.Kind, s.first); err != nil {
		return err
	}
	plain, err := s.sealer.Open(nil, box, 0)
	if err != nil || string(plain) != string(b) {
		return &CorruptError{Why: "the header is not the one that was sealed: it or its key check was changed, or the file was renamed"}
	}
	return nil
}

// loadCheck reads the key check of a sealed header and checks its outer sum.
func (s *segment) loadCheck() ([]byte, error) {
	if s.check == 0 {
		return nil, nil
	}
	n := int(s.data() - fileHeader)
	b, err := readUpTo(s.file, n, fileHeader)
	if err != nil {
		return nil, err
	}
	if len(b) < n {
		return nil, &CorruptError{Offset: fileHeader, Why: fmt.Sprintf("the key check has %d bytes, found %d", n, len(b))}
	}
	if got, want := checksum(b[:n-4]), binary.LittleEndian.Uint32(b[n-4:]); got != want {
		return nil, &CorruptError{Offset: fileHeader, Why: fmt.Sprintf("the key check's checksum is %08x, its bytes give %08x", want, got)}
	}
	return b[:s.check], nil
}

// readUpTo reads n bytes, or what there is of them before the file's end.
func readUpTo(f io.ReaderAt, n int, offset int64) ([]byte, error) {
	b := make([]byte, n)
	got, err := f.ReadAt(b, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b[:got], nil
}

// seedAt starts the checksum of a block header at offset.
func (s *segment) seedAt(offset int64) uint32 { return seedAt(s.seed, offset) }

func unixTime(ns int64) time.Time { return time.Unix(0, ns).UTC() }
