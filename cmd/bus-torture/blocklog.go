package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// What a disk has been asked for, in the order in which it was asked. A flush is
// two records: what was written before the first of them is safe once the
// second one is there. In between nobody knows.
const (
	blockWrite   = 1
	blockFlush   = 2
	blockFlushed = 3
)

// blockRecord is one of them. data is of a write, at offset; of a blockFlushed,
// offset is the position of its blockFlush.
type blockRecord struct {
	kind   byte
	offset int64
	data   []byte
}

const recordHeader = 16 // kind, three bytes unused, length, offset

// appendRecord writes one down.
func appendRecord(w io.Writer, r blockRecord) error {
	var head [recordHeader]byte
	head[0] = r.kind
	binary.LittleEndian.PutUint32(head[4:], uint32(len(r.data)))
	binary.LittleEndian.PutUint64(head[8:], uint64(r.offset))
	if _, err := w.Write(head[:]); err != nil {
		return err
	}
	_, err := w.Write(r.data)
	return err
}

// readRecords reads a whole log.
func readRecords(path string) ([]blockRecord, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []blockRecord
	in := bufio.NewReaderSize(f, 1<<20)
	for {
		var head [recordHeader]byte
		if _, err := io.ReadFull(in, head[:]); err == io.EOF {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("record %d of %s: %w", len(all), path, err)
		}
		r := blockRecord{kind: head[0], offset: int64(binary.LittleEndian.Uint64(head[8:]))}
		if n := binary.LittleEndian.Uint32(head[4:]); n > 0 {
			r.data = make([]byte, n)
			if _, err := io.ReadFull(in, r.data); err != nil {
				return nil, fmt.Errorf("record %d of %s: %w", len(all), path, err)
			}
		}
		all = append(all, r)
	}
}

// position counts the records of a log in memory that the disk's process and
// the harness share. Who reads it when an answer has arrived knows which records
// the disk may have gained only later.
type position struct {
	file   *os.File
	memory []byte
}

// newPosition begins at 0.
func newPosition(path string) (*position, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(8); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return openPosition(f)
}

// openPosition takes the file that another process has made.
func openPosition(f *os.File) (*position, error) {
	b, err := syscall.Mmap(int(f.Fd()), 0, 8, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("share the position: %w", err), f.Close())
	}
	return &position{f, b}, nil
}

func (p *position) counter() *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&p.memory[0])) // a page begins there
}

func (p *position) now() uint64 { return p.counter().Load() }

// next is called before a record is acted upon, and returns its position.
func (p *position) next() uint64 { return p.counter().Add(1) - 1 }

func (p *position) close() error {
	return errors.Join(syscall.Munmap(p.memory), p.file.Close())
}
