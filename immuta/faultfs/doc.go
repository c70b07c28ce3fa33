// Package faultfs is a file system in memory that loses power and breaks on
// request. It keeps apart what programs see and what a disk would hold: a write
// is in the cache until its file is synced, a name until its directory is.
//
// When the power goes, [FS.After] says what may be found. Unsynced contents are
// lost whole, kept whole, or a draw for each 512-byte sector among all versions
// it had since the last sync, with the file's length drawn as well; sectors
// never written within the length read as zeros. Unsynced names go in the order
// in which they were made, latest first.
//
// A failed sync drops what it should have written, as Linux does: a second sync
// succeeds and writes nothing of it.
//
// It is for tests. All methods are safe for many goroutines.
package faultfs
