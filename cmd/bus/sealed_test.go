package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/bus/client"
	"example.com/bus/crypto"
	"example.com/bus/server/disk"
)

const marker = "MARKERthatMustNotBeOnDisk0123456"

// spellings are how a text may stand in a file.
func spellings(text string) [][]byte {
	half := text[3 : len(text)-3] // also where base64 begins elsewhere
	return [][]byte{[]byte(half), []byte(hex.EncodeToString([]byte(half))), []byte(base64.StdEncoding.EncodeToString([]byte(text))[4:20])}
}

// wantNowhere looks through every file below the directories.
func wantNowhere(t *testing.T, text string, dirs ...string) (files []string) {
	t.Helper()
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			files = append(files, filepath.Base(path))
			data, err := os.ReadFile(path)
			for _, spelling := range spellings(text) {
				if bytes.Contains(data, spelling) || bytes.Contains([]byte(path), spelling) {
					t.Errorf("%s holds the text as %q", path, spelling)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// publishMarked publishes until the server is gone.
func publishMarked(s *killedServer, done chan<- int) {
	c := client.NewClient("http://" + s.addr)
	for i := 0; ; i++ {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		name := fmt.Sprint(marker, "-", i)
		resp := c.Put(ctx, client.WithSubject("load."+marker), client.WithData(strings.Repeat(name, 100)), client.WithId(name),
			client.WithTraceId(name))
		cancel()
		if resp.Error() != nil {
			done <- i
			return
		}
	}
}

func TestNothingIsInTheClearOnDiskAlsoAfterAKillAndATornTail(t *testing.T) {
	s := newKilledServer(t)
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	stored := 0
	for range 3 {
		s.start("--log-level", "debug")
		done := make(chan int)
		go publishMarked(s, done)
		s.until(func() bool {
			info, err := os.Stat(filepath.Join(s.dir, "load.log"))
			return err == nil && info.Size() > 20_000
		})
		s.stop(syscall.SIGKILL)
		stored += <-done
		path := filepath.Join(s.dir, "load.log")
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, info.Size()-70); err != nil { // as a power cut does
			t.Fatal(err)
		}
		wantNowhere(t, marker, s.dir, filepath.Dir(s.log), temporary)
	}
	s.start("--log-level", "debug")
	s.stop(syscall.SIGTERM)
	files := wantNowhere(t, marker, s.dir, filepath.Dir(s.log), temporary)
	torn := slices.ContainsFunc(files, func(name string) bool { return strings.HasPrefix(name, "load.torn-") })
	if stored == 0 || !torn || !slices.Contains(files, "log") {
		t.Errorf("looked at %d events in %q, want some, a torn tail and the server's log", stored, files)
	}
	wantNowhere(t, testSecret, s.dir, filepath.Dir(s.log), temporary)
}

// sealedWith makes a directory that is sealed with a text as it is.
func sealedWith(t *testing.T, text string) string {
	t.Helper()
	key, err := crypto.NewKey(text)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	e, err := disk.Open(dir, disk.Options{Namespaces: []string{"app"}, Sealing: crypto.NewKeyring(key)})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A secret is the same secret, as weak, and refused for the same reason,
// whichever way it is given.
func TestASecretIsTakenAlikeFromAFlagAVariableAndAFile(t *testing.T) {
	strong := "f0e1d2c3b4a5968778695a4b3c2d1e0f-is-long-enough"
	for name, c := range map[string]struct{ text, key, says string }{
		"as it is":                {strong, strong, ""},
		"with a newline":          {strong + "\n", strong, ""},
		"with CRLF":               {strong + "\r\n", strong, ""},
		"with a space":            {strong + " ", strong + " ", ""},
		"with a newline inside":   {strong + "\n" + strong, strong + "\n" + strong, ""},
		"with a comma":            {strong + ",x", strong + ",x", ""},
		"short":                   {"short", "short", "weak: it has 5 characters"},
		"password":                {"password\n", "password", "weak: it has 8 characters"},
		"one letter many times":   {strings.Repeat("a", 64), strings.Repeat("a", 64), "weak: "},
		"empty":                   {"", "", "empty"},
		"a newline alone":         {"\n", "", "empty"},
		"two newlines at its end": {strong + "\n\n", "", "more than one line break"},
	} {
		dir := t.TempDir() // refused before it is looked at
		if c.key != "" {
			dir = sealedWith(t, c.key)
		}
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		for way, give := range map[string]func(t *testing.T) []string{
			"flag":             func(*testing.T) []string { return []string{"--secret-key", c.text} },
			"variable":         func(t *testing.T) []string { t.Setenv("BUS_SECRET_KEY", c.text); return nil },
			"file":             func(*testing.T) []string { return []string{"--secret-key-file", file} },
			"variable of file": func(t *testing.T) []string { t.Setenv("BUS_SECRET_KEY_FILE", file); return nil },
		} {
			t.Run(name+"/"+way, func(t *testing.T) {
				var said strings.Builder
				var out bytes.Buffer
				code := run(append([]string{"bus", "debug", "--path", dir}, give(t)...), nil, &out, &said)
				if opened := code == 0 && strings.Contains(out.String(), "with key"); opened != (c.key != "") {
					t.Errorf("got exit code %d, %q and %q, want it opened: %v", code, out.String(), said.String(), c.key != "")
				}
				if c.key == "" && code != exitUsage {
					t.Errorf("got exit code %d, want %d", code, exitUsage)
				}
				if c.says == "" && said.Len() > 0 || !strings.Contains(said.String(), c.says) {
					t.Errorf("got %q, wanted %q", said.String(), c.says)
				}
				if secret := strings.TrimSpace(c.text); len(secret) > 8 && strings.Contains(said.String()+out.String(), secret) {
					t.Errorf("got %q, which tells the secret", said.String())
				}
			})
		}
	}
}

func TestAnOldSecretFromAFileMayEndWithANewline(t *testing.T) {
	old := "the old secret, which is long enough 123"
	dir := sealedWith(t, old)
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(old+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, flags := range [][]string{{"--old-secret-key-file", file}, {"--old-secret-key", old}, {"--old-secret-key", old + "\n"}} {
		args := append([]string{"bus", "debug", "--path", dir, "--secret-key", "a new secret that is long enough 456"}, flags...)
		var out, said bytes.Buffer
		if code := run(args, nil, &out, io.MultiWriter(&said)); code != 0 || !strings.Contains(out.String(), "with key") {
			t.Errorf("%s: got exit code %d and %q, %q, want it opened", flags[0], code, out.String(), said.String())
		}
	}
}
