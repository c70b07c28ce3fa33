package main

import (
	"io"
	"math/rand/v2"
	"os"
	"slices"
)

const (
	sectorSize = 512
	pageSize   = 4096
)

// disk is what is on one, without the pages that are all zero.
type disk map[int64]*[pageSize]byte

// readDisk takes what is in a file.
func readDisk(path string) (disk, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d := make(disk)
	chunk := make([]byte, 1<<20)
	for at := int64(0); ; {
		n, err := io.ReadFull(f, chunk)
		d.write(at, chunk[:n])
		at += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return d, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// write puts data at any offset.
func (d disk) write(offset int64, data []byte) {
	for len(data) > 0 {
		page, at := offset/pageSize, offset%pageSize
		n := min(len(data), int(pageSize-at))
		if d[page] == nil && !zero(data[:n]) {
			d[page] = new([pageSize]byte)
		}
		if d[page] != nil {
			copy(d[page][at:], data[:n])
		}
		offset, data = offset+int64(n), data[n:]
	}
}

var zeros [pageSize]byte

func zero(b []byte) bool { return string(b) == string(zeros[:len(b)]) }

// save makes path such a disk of the given size, with holes for what is zero.
func (d disk) save(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return err
	}
	for page, b := range d {
		if _, err := f.WriteAt(b[:], page*pageSize); err != nil {
			return err
		}
	}
	return f.Close()
}

// clone shares nothing with the disk.
func (d disk) clone() disk {
	all := make(disk, len(d))
	for page, b := range d {
		copied := *b
		all[page] = &copied
	}
	return all
}

// with is the disk with some sectors changed. The disk itself stays as it is, and
// shares its other pages: who writes to one of both takes a clone.
func (d disk) with(sectors map[int64][]byte) disk {
	image := make(disk, len(d))
	for page, b := range d {
		image[page] = b
	}
	for sector, b := range sectors {
		page := sector * sectorSize / pageSize
		if image[page] == d[page] && d[page] != nil {
			copied := *d[page]
			image[page] = &copied
		}
		image.write(sector*sectorSize, b)
	}
	return image
}

// cutPoint is a moment at which the power may go: after the first at records of
// a log, of which those before safe are on the disk for certain.
type cutPoint struct {
	at, safe int
}

// interval is the time between two flushes: from the record after the end of one
// up to the end of the next, or of the log.
type interval struct {
	safe     int // all before it is covered by the flush that has ended
	from, to int // the power goes after so many records, both included
}

// intervals cuts a log at the ends of its flushes.
func intervals(log []blockRecord) []interval {
	var all []interval
	now := interval{}
	for i, r := range log {
		if r.kind != blockFlushed {
			continue
		}
		now.to = i
		all = append(all, now)
		now = interval{safe: max(now.safe, int(r.offset)), from: i + 1}
	}
	now.to = len(log)
	return append(all, now)
}

// open says whether anything is written in it that no flush covers.
func (i interval) open(log []blockRecord) bool {
	return slices.ContainsFunc(log[i.safe:i.to], func(r blockRecord) bool { return r.kind == blockWrite })
}

// draw takes a moment of it at which something is open: half of the time the
// last one, when most is.
func (i interval) draw(log []blockRecord, r *rand.Rand) cutPoint {
	first := i.from
	if n := slices.IndexFunc(log[i.safe:i.to], func(r blockRecord) bool { return r.kind == blockWrite }); n >= 0 {
		first = max(first, i.safe+n+1)
	}
	if r.IntN(2) == 0 {
		return cutPoint{i.to, i.safe}
	}
	return cutPoint{first + r.IntN(i.to-first+1), i.safe}
}

// ways are what becomes of the writes that no flush covers.
const (
	noneOfThem = iota
	allOfThem
	tornSectors // each sector is any of the versions it has had
	wholeWrites // each write is there or not
	ways
)

// open draws which pieces of what was written after the last flush are on the
// disk, and with what: the power is gone, and the disk had not promised anything.
// A piece is a sector, or a page: what lies in one of them is written whole.
func (c cutPoint) open(log []blockRecord, way int, piece int64, r *rand.Rand) map[int64][]byte {
	written := make(map[int64][]byte) // by sector
	likely := []float64{0.1, 0.5, 0.9}[r.IntN(3)]
	for _, w := range log[c.safe:c.at] {
		if w.kind != blockWrite || way == noneOfThem || way == wholeWrites && r.Float64() > likely {
			continue
		}
		// Later versions replace earlier ones, or they do not: so each one of
		// them may be what is found.
		last, there := int64(-1), true
		for at := int64(0); at < int64(len(w.data)); at += sectorSize {
			if now := (w.offset + at) / piece; way == tornSectors && now != last {
				last, there = now, r.Float64() < likely
			}
			if there {
				written[(w.offset+at)/sectorSize] = w.data[at:min(at+sectorSize, int64(len(w.data)))]
			}
		}
	}
	return written
}
