package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"example.com/bus/crypto"
)

// maxSecretFile bounds what is read of a file that was named by mistake.
const maxSecretFile = 64 << 10

// secrets say with which keys a directory is sealed and read.
type secrets struct {
	Key      secret     `env:"SECRET_KEY" flag:"secret-key" usage:"secret that the logs are sealed with; others on the machine see it in the process list, a file is better"`
	KeyFile  string     `env:"SECRET_KEY_FILE" flag:"secret-key-file" usage:"file that holds the secret, such as bus keygen makes"`
	Old      secretList `env:"OLD_SECRET_KEYS" flag:"old-secret-key" usage:"older secret, for logs that were made with it; repeatable, and in the variable with commas"`
	OldFiles names      `env:"OLD_SECRET_KEY_FILES" flag:"old-secret-key-file" usage:"file that holds an older secret; repeatable"`
}

// secret is text that must not be printed.
type secret string

// UnmarshalText keeps the text as it is; the crypto package alone trims.
func (s *secret) UnmarshalText(text []byte) error {
	*s = secret(text)
	return nil
}

// secretList is split at line breaks when it has any, as flags have, so that a
// secret on the command line may hold a comma.
type secretList []secret

// UnmarshalText adds the secrets in text.
func (l *secretList) UnmarshalText(text []byte) error {
	separator := ","
	if strings.Contains(string(text), "\n") {
		separator = "\n"
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(string(text), "\n"), separator) {
		*l = append(*l, secret(part))
	}
	return nil
}

// keyring returns the keys, nil when none are given. A secret that is easy to
// guess is taken, and warn is told.
func (s *secrets) keyring(place string, warn func(string)) (*crypto.Keyring, error) {
	newest, err := s.newest(place)
	if err != nil {
		return nil, err
	}
	older, err := s.older(place)
	if err != nil {
		return nil, err
	}
	if newest.IsZero() && len(older) == 0 {
		return nil, nil
	}
	if newest.IsZero() {
		return nil, usageError("old secrets are given but no %ssecret-key; the first one seals, the old ones only read", flagPlace(place))
	}
	if reason, weak := newest.Weak(); weak {
		warn(fmt.Sprintf("the secret is weak: %s; make one with bus keygen", reason))
	}
	return crypto.NewKeyring(newest, older...), nil
}

// flagPlace is what the flags of a place begin with.
func flagPlace(place string) string {
	if place == "" {
		return "--"
	}
	return "--" + place + "-"
}

// newest returns the key that seals, the zero key when none is given.
func (s *secrets) newest(place string) (crypto.Key, error) {
	if s.Key != "" && s.KeyFile != "" {
		f := flagPlace(place)
		return crypto.Key{}, usageError("%ssecret-key and %ssecret-key-file (or their variables) are both given; wanted one of them", f, f)
	}
	switch {
	case s.Key != "":
		return namedKey(flagPlace(place)+"secret-key", string(s.Key))
	case s.KeyFile != "":
		return fileKey(flagPlace(place)+"secret-key-file", s.KeyFile)
	}
	return crypto.Key{}, nil
}

// older returns the keys that only read.
func (s *secrets) older(place string) ([]crypto.Key, error) {
	var keys []crypto.Key
	for _, text := range s.Old {
		k, err := namedKey(flagPlace(place)+"old-secret-key", string(text))
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	for _, path := range s.OldFiles {
		k, err := fileKey(flagPlace(place)+"old-secret-key-file", path)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// namedKey makes a key of a flag's value. The error never holds any of it.
func namedKey(flag, text string) (crypto.Key, error) {
	k, err := crypto.NewKey(text)
	if err != nil {
		return crypto.Key{}, usageError("%s: %w; make a secret with bus keygen", flag, err)
	}
	return k, nil
}

// fileKey makes a key of what is in a file.
func fileKey(flag, path string) (crypto.Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return crypto.Key{}, usageError("%s: %w; name a file that can be read, such as bus keygen --output makes", flag, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return crypto.Key{}, usageError("%s %s: %w", flag, path, err)
	}
	if len(text) > maxSecretFile {
		return crypto.Key{}, usageError("%s %s has more than %d bytes; is it a file made by bus keygen?", flag, path, maxSecretFile)
	}
	k, err := crypto.NewKey(text)
	if err != nil {
		return crypto.Key{}, usageError("%s %s: %w; make one with bus keygen --output", flag, path, err)
	}
	return k, nil
}
