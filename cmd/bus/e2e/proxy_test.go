//go:build e2e

package e2e

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The proxies run with the files of deploy/, changed only where they name
// addresses and certificates: nginx with TLS and HTTP/2, Caddy in the clear,
// because its certificates come from outside. A page of another origin is the hardest case: it
// gives up for ever at an answer that is not 200, or that its origin may not
// read. That events arrive while the stream is open shows that nothing is held
// back.

func TestPageBehindNginxSeesEveryEventOnceInOrder(t *testing.T) {
	t.Parallel()
	s, f, seen := setUp(t)
	address := freeAddress(t)
	launch(t, command{name: tool(t, "nginx", "/usr/sbin/nginx"), args: []string{"-c", nginxConfig(t, s, address)}})
	throughProxy(t, s, f, seen, "https://"+address)
}

func TestPageBehindCaddySeesEveryEventOnceInOrder(t *testing.T) {
	t.Parallel()
	s, f, seen := setUp(t)
	address := freeAddress(t)
	home := t.TempDir() // it keeps its state there
	launch(t, command{
		name: tool(t, "caddy"),
		args: []string{"run", "--adapter", "caddyfile", "--config", caddyConfig(t)},
		env:  []string{"BUS_SITE=http://" + address, "BUS_UPSTREAM=" + s.addr, "HOME=" + home, "XDG_DATA_HOME=" + home, "XDG_CONFIG_HOME=" + home},
	})
	throughProxy(t, s, f, seen, "http://"+address)
}

// throughProxy reads a feed with a browser at the proxy, while the publisher
// stays at the bus.
func throughProxy(t *testing.T, s *server, f *feed, seen *sightings, proxy string) {
	t.Helper()
	until(t, "the proxy to listen", func() bool {
		conn, err := net.Dial("tcp", proxy[strings.LastIndex(proxy, "/")+1:])
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	s.kill()
	wantEmptyStream(t, proxy)
	s.start()
	openPage(t, seen, foreignPage(t, proxy, f, "none"))
	seen.wantOnceInOrder(t, throughCuts(t, s, f, seen))
}

// wantEmptyStream asks a proxy whose bus is away as an EventSource does, and
// wants the one answer after which that comes back.
func wantEmptyStream(t *testing.T, proxy string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, proxy+"/?subject=orders.*", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	got := resp.Status + "\n" + resp.Header.Get("Content-Type") + "\n" + resp.Header.Get("Access-Control-Allow-Origin") + "\n" + string(body)
	if want := "200 OK\ntext/event-stream\n*\nretry: 2000\n\n"; got != want {
		t.Errorf("stream while the bus is away: got %q, want %q", got, want)
	}
}

// freeAddress is one where nobody listens. Somebody might, before the proxy
// does; then the proxy says so and the test fails.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// deployed reads a file of deploy/ and replaces what it says of places. Each
// old text has to be there, so that the test cannot test something else.
func deployed(t *testing.T, name string, replace ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(replace); i += 2 {
		if !strings.Contains(string(text), replace[i]) {
			t.Fatalf("deploy/%s has no %q", name, replace[i])
		}
	}
	return strings.NewReplacer(replace...).Replace(string(text))
}

// nginxConfig wraps the site in what /etc/nginx/nginx.conf has around it.
func nginxConfig(t *testing.T, s *server, address string) string {
	t.Helper()
	dir := t.TempDir()
	certFile, keyFile := certificate(t)
	site := deployed(t, "nginx.conf",
		"server 127.0.0.1:2021;", "server "+s.addr+";",
		"listen 443 ssl http2;", "listen "+address+" ssl http2;",
		"/etc/nginx/bus.crt;", certFile+";",
		"/etc/nginx/bus.key;", keyFile+";")
	around := "daemon off;\nerror_log stderr;\npid " + dir + "/pid;\nevents {}\nhttp {\naccess_log off;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		around += kind + "_temp_path " + filepath.Join(dir, kind) + ";\n"
	}
	return write(t, filepath.Join(dir, "nginx.conf"), around+site+"}\n")
}

// caddyConfig leaves out the port where every Caddy can be steered.
func caddyConfig(t *testing.T) string {
	t.Helper()
	return write(t, filepath.Join(t.TempDir(), "Caddyfile"), "{\n\tadmin off\n}\n"+deployed(t, "Caddyfile"))
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
