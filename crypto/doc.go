// Package crypto seals blocks of a log with NaCl secretbox. It knows keys, nonces and
// boxes; it does not know files, logs or events.
//
// A person gives a secret. [NewKey] makes a [Key] of it, a [Keyring] holds the newest key
// and the older ones, and [Keyring.Segment] gives each segment of a log its own [Sealer]:
//
//	key, err := crypto.NewKey(secret)
//	ring := crypto.NewKeyring(key, older...)
//	salt, id, err := ring.Create()                                // kept in the segment's header
//	sealer, err := ring.Segment(salt, id, "orders", "log", 1)     // the same at every open
//	box, err := sealer.Seal(nil, plain, offset)
//
// # What is promised
//
// Who has the files but not the secret reads nothing of what was sealed. A box that was
// changed, cut, moved to another position, or taken from another segment, name or kind does
// not open: [ErrTampered]. A wrong key is told apart from damage: [ErrWrongKey], before a
// single box is tried.
//
// # What is not
//
// The length of a box shows the length of what is in it. Boxes that are missing at the end,
// and a whole log put back from an older copy, cannot be seen from here. One secret opens all
// that was ever sealed with it, and whoever holds the running process holds the secret. A
// secret that can be guessed protects nothing: see [Key.Weak].
//
// FORMAT.md gives every byte, and testdata/vectors has boxes and faults, a file each, that an
// implementation in another language can run.
package crypto
