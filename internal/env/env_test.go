package env

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Both file systems keep the same contract.
func TestFileSystems(t *testing.T) {
	for name, fsys := range map[string]FS{"real": RealFS(), "memory": NewMemFS()} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "sub", "dir")
			if err := fsys.MkdirAll(dir, 0o750); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "a")
			if _, err := fsys.OpenFile(path, os.O_RDWR, 0); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("open of nothing: %v", err)
			}
			f, err := fsys.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte("hello"), 3); err != nil {
				t.Error(err)
			}
			buf := make([]byte, 10)
			if n, err := f.ReadAt(buf, 0); n != 8 || !errors.Is(err, io.EOF) || string(buf[:n]) != "\x00\x00\x00hello" {
				t.Errorf("read %q, %v", buf[:n], err)
			}
			if err := errors.Join(f.Truncate(5), f.Truncate(7), f.Sync(), fsys.SyncDir(dir), fsys.SyncFS(dir)); err != nil {
				t.Error(err)
			}
			if size, err := f.Size(); size != 7 || err != nil || f.Name() != path {
				t.Errorf("size %d, %v, name %s", size, err, f.Name())
			}
			if data, err := ReadFile(fsys, path); err != nil || string(data) != "\x00\x00\x00he\x00\x00" {
				t.Errorf("contents %q, %v", data, err)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			if _, err := f.ReadAt(buf, 0); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("read of a closed file: %v", err)
			}
			if err := errors.Join(fsys.Rename(path, path+"2"), WriteFileAtomic(fsys, path, []byte("one")), WriteFile(fsys, path, []byte("tw"))); err != nil {
				t.Error(err)
			}
			entries, err := fsys.ReadDir(dir)
			if err != nil || len(entries) != 2 || entries[0].Name() != "a" || entries[1].Name() != "a2" {
				t.Errorf("entries %v, %v", entries, err)
			}
			if info, err := fsys.Stat(path); err != nil || info.Size() != 2 || info.IsDir() || info.Name() != "a" || time.Since(info.ModTime()) > time.Hour {
				t.Errorf("info %v, %v", info, err)
			}
			if info, err := fsys.Stat(dir); err != nil || !info.IsDir() {
				t.Errorf("info %v, %v", info, err)
			}
			if err := fsys.Remove(dir); err == nil {
				t.Error("a directory that is not empty was removed")
			}
			if err := errors.Join(fsys.Remove(path), fsys.RemoveAll(dir), fsys.RemoveAll(dir)); err != nil {
				t.Error(err)
			}
			if err := fsys.Remove(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("remove of nothing: %v", err)
			}
		})
	}
}

func TestLocksExclude(t *testing.T) {
	for name, fsys := range map[string]FS{"real": RealFS(), "memory": NewMemFS()} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := fsys.MkdirAll(dir, 0o750); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, ".lock")
			held, err := fsys.Lock(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := fsys.Lock(path); !errors.Is(err, ErrLocked) {
				t.Errorf("second lock: %v", err)
			}
			if err := held.Close(); err != nil {
				t.Fatal(err)
			}
			held, err = fsys.Lock(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := held.Close(); err != nil {
				t.Error(err)
			}
			if _, err := fsys.Lock(filepath.Join(dir, "missing", ".lock")); err == nil {
				t.Error("locked in a directory that is missing")
			}
		})
	}
}

func write(t *testing.T, fsys FS, name, data string, at int64) File {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(data), at); err != nil {
		t.Fatal(err)
	}
	return f
}

func contents(t *testing.T, fsys FS, name string) string {
	t.Helper()
	data, err := ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return "missing"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestAPowerCutTakesWhatWasNotSynced(t *testing.T) {
	m := NewMemFS()
	f := write(t, m, "/a", "synced", 0)
	if err := errors.Join(f.Sync(), m.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	write(t, m, "/a", " more", 6)
	if err := write(t, m, "/b", "contents without a name", 0).Sync(); err != nil {
		t.Fatal(err)
	}
	after, lost := m.Crash(KeepNothing, 1)
	if got := contents(t, after, "/a"); got != "synced" {
		t.Errorf("a holds %q", got)
	}
	if got := contents(t, after, "/b"); got != "missing" {
		t.Errorf("b holds %q", got)
	}
	if lost.Bytes != int64(len("synced more")+len("contents without a name")) || lost.Entries != 1 {
		t.Errorf("lost %+v", lost)
	}
	if got := contents(t, m, "/a"); got != "synced more" {
		t.Errorf("the crash changed the original: %q", got)
	}
	all, lost := m.Crash(KeepAll, 1)
	if got := contents(t, all, "/a") + contents(t, all, "/b"); got != "synced morecontents without a name" || lost != (Lost{}) {
		t.Errorf("a kill left %q, lost %+v", got, lost)
	}
	if all.Fingerprint() == after.Fingerprint() {
		t.Error("different disks have one fingerprint")
	}
}

func TestRenamesAreUndoneWholeOrNotAtAll(t *testing.T) {
	m := NewMemFS()
	if err := WriteFileAtomic(m, "/a", []byte("old")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(write(t, m, "/a.tmp", "new", 0).Sync(), m.Rename("/a.tmp", "/a")); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for seed := range uint64(40) {
		after, _ := m.Crash(KeepSome, seed)
		seen[contents(t, after, "/a")] = true
	}
	if len(seen) != 2 || !seen["old"] || !seen["new"] {
		t.Errorf("after a cut the file holds one of %v", seen)
	}
}

func TestPoliciesKeepBlocksByChance(t *testing.T) {
	m := NewMemFS()
	f := write(t, m, "/a", strings.Repeat("a", 3*4096), 0)
	if err := errors.Join(f.Sync(), m.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	write(t, m, "/a", strings.Repeat("b", 5*4096), 0)
	kinds := map[Policy]map[string]bool{}
	for _, policy := range Policies() {
		kinds[policy] = map[string]bool{}
		for seed := range uint64(200) {
			after, lost := m.Crash(policy, seed)
			data := contents(t, after, "/a")
			if lost.Bytes == 0 && data != contents(t, m, "/a") {
				t.Errorf("policy %d seed %d lost bytes untold", policy, seed)
			}
			if policy == KeepSize && len(data) != 5*4096 {
				t.Errorf("size is %d", len(data))
			}
			kinds[policy][data] = true
			if again, _ := m.Crash(policy, seed); again.Fingerprint() != after.Fingerprint() {
				t.Error("one seed, two outcomes")
			}
		}
	}
	if len(kinds[KeepNothing]) != 1 || len(kinds[KeepSome]) < 20 || len(kinds[KeepTorn]) < 50 || len(kinds[KeepSize]) < 20 {
		t.Errorf("outcomes: %d, %d, %d, %d", len(kinds[KeepNothing]), len(kinds[KeepSome]), len(kinds[KeepTorn]), len(kinds[KeepSize]))
	}
	for data := range kinds[KeepTorn] {
		if cut := strings.IndexByte(data, 'a'); cut > 0 && cut%512 != 0 {
			t.Errorf("torn at %d", cut)
		}
	}
}

func TestAFailedSyncDropsWhatItWasToKeep(t *testing.T) {
	failure := errors.New("input/output error")
	for _, kind := range []OpKind{OpSync, OpSyncFS} {
		m := NewMemFS()
		f := write(t, m, "/a", "one", 0)
		if err := m.SyncDir("/"); err != nil {
			t.Fatal(err)
		}
		m.OnOp(FailNth(kind, 1, failure))
		sync := f.Sync
		if kind == OpSyncFS {
			sync = func() error { return m.SyncFS("/") }
		}
		if err := sync(); !errors.Is(err, failure) {
			t.Errorf("%s: %v", kind, err)
		}
		if err := sync(); err != nil {
			t.Errorf("second %s: %v", kind, err)
		}
		if got := contents(t, m, "/a"); got != "one" {
			t.Errorf("before the cut: %q", got)
		}
		after, _ := m.Crash(KeepNothing, 0)
		if got := contents(t, after, "/a"); strings.Contains(got, "one") {
			t.Errorf("%s that pretended success kept %q", kind, got)
		}
	}
}

func TestAFullDiskTakesWhatFits(t *testing.T) {
	m := NewMemFS()
	m.SetCapacity(10)
	f := write(t, m, "/a", "123456", 0)
	n, err := f.WriteAt([]byte("abcdef"), 6)
	if n != 4 || !IsNoSpace(err) {
		t.Errorf("wrote %d, %v", n, err)
	}
	if _, err := f.WriteAt([]byte("overwrite"), 0); err != nil {
		t.Errorf("overwrite: %v", err)
	}
	if n, err := f.WriteAt([]byte("x"), 50); n != 0 || !IsNoSpace(err) {
		t.Errorf("wrote %d far beyond, %v", n, err)
	}
	if err := m.Remove("/a"); err != nil {
		t.Fatal(err)
	}
	write(t, m, "/b", "0123456789", 0)
}

func TestOperationsAreCountedAndCanBeRefused(t *testing.T) {
	m := NewMemFS()
	var seen []string
	failure := errors.New("no")
	m.OnOp(func(op Op) error {
		seen = append(seen, fmt.Sprintf("%d %s %s", op.Index, op.Kind, op.Name))
		if op.Kind == OpWrite && op.Bytes == 4 {
			return failure
		}
		return nil
	})
	f := write(t, m, "/a", "x", 0)
	if n, err := f.WriteAt([]byte("half"), 0); n != 2 || !errors.Is(err, failure) {
		t.Errorf("refused write: %d, %v", n, err)
	}
	_, _ = f.ReadAt(make([]byte, 1), 0)
	_ = m.Rename("/a", "/b")
	want := "[1 create /a 2 write /a 3 write /a 0 read /a 4 rename /a]"
	if got := fmt.Sprint(seen); got != want || m.Ops() != 4 {
		t.Errorf("operations %s, %d", got, m.Ops())
	}
	if got := contents(t, m, "/b"); got != "ha" {
		t.Errorf("contents %q", got)
	}
}

func TestMisuseOfMemFSIsRefused(t *testing.T) {
	m := NewMemFS()
	f := write(t, m, "/a", "x", 0)
	r, err := m.OpenFile("/a", os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, writeErr := r.WriteAt([]byte("x"), 0)
	_, readErr := f.ReadAt(nil, -1)
	_, negErr := f.WriteAt(nil, -1)
	_, dirErr := m.OpenFile("/", os.O_RDWR, 0)
	_, exclErr := m.OpenFile("/a", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0)
	_, underErr := m.OpenFile("/a/b", os.O_RDWR|os.O_CREATE, 0)
	_, listErr := m.ReadDir("/a")
	for what, err := range map[string]error{
		"write to a file opened for reading": writeErr, "read before the start": readErr, "write before the start": negErr,
		"open a directory": dirErr, "exclusive": exclErr, "file as a directory": underErr, "list a file": listErr,
		"rename of nothing": m.Rename("/x", "/y"), "rename across": errors.Join(m.MkdirAll("/d", 0), nil, m.Rename("/a", "/d/a")),
		"mkdir over a file": m.MkdirAll("/a/b", 0), "sync a file as directory": m.SyncDir("/a"), "remove the root": m.Remove("/"),
		"truncate below nothing": f.Truncate(-1), "rename over a directory": m.Rename("/a", "/d"),
		"close twice": errors.Join(r.Close(), r.Close()),
	} {
		if err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
}

func TestRealFilesOfferTheirDescriptor(t *testing.T) {
	f, err := RealFS().OpenFile(filepath.Join(t.TempDir(), "a"), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	if o, ok := f.(OSFile); !ok || o.OSFile() == nil {
		t.Error("no descriptor")
	}
	if p, ok := f.(Preallocator); ok {
		if err := p.Preallocate(1 << 16); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			t.Error(err)
		}
		if size, err := f.Size(); size != 0 || err != nil {
			t.Errorf("size %d, %v", size, err)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if size, err := f.Size(); err == nil {
		t.Errorf("a closed file has size %d", size)
	}
}

func TestRealFilesWriteInPieces(t *testing.T) {
	f, err := RealFS().OpenFile(filepath.Join(t.TempDir(), "a"), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 2*piece+3)
	for i := range want {
		want[i] = byte(i / 1000)
	}
	if n, err := f.WriteAt(want, 5); n != len(want) || err != nil {
		t.Errorf("wrote %d, %v", n, err)
	}
	got := make([]byte, len(want))
	if _, err := f.ReadAt(got, 5); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read something else, %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := f.WriteAt(want, 0); n != 0 || err == nil {
		t.Errorf("a closed file took %d, %v", n, err)
	}
}

// Both networks keep the same contract.
func TestNetworks(t *testing.T) {
	for name, n := range map[string]Network{"real": RealNetwork(), "memory": NewMemNetwork()} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			l, err := n.Listen(ctx, "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := n.Listen(ctx, l.Addr().String()); err == nil {
				t.Error("one address, two listeners")
			}
			done := make(chan error, 1)
			go func() {
				c, err := l.Accept()
				if err != nil {
					done <- err
					return
				}
				_, err = io.Copy(c, io.LimitReader(c, 1<<20))
				done <- errors.Join(err, c.Close())
			}()
			c, err := n.Dial(ctx, l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if c.RemoteAddr().String() != l.Addr().String() || c.LocalAddr().Network() != "tcp" {
				t.Errorf("connection %s to %s", c.LocalAddr(), c.RemoteAddr())
			}
			data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
			go func() { _, _ = c.Write(data) }()
			got, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("echo of %d bytes: %d, %v", len(data), len(got), err)
			}
			if err := errors.Join(<-done, c.SetDeadline(time.Now().Add(-time.Second))); err != nil {
				t.Error(err)
			}
			if _, err := c.Write([]byte("x")); err == nil {
				t.Error("write after the deadline")
			}
			if err := errors.Join(c.Close(), l.Close()); err != nil {
				t.Error(err)
			}
			if _, err := l.Accept(); err == nil {
				t.Error("a closed listener accepted")
			}
			if _, err := n.Dial(ctx, l.Addr().String()); err == nil {
				t.Error("dialled a closed listener")
			}
		})
	}
}

func pair(t *testing.T, n *MemNetwork) (client, server io.ReadWriteCloser) {
	t.Helper()
	l, err := n.Listen(t.Context(), "broker:9092")
	if err != nil {
		t.Fatal(err)
	}
	client, err = n.Dial(t.Context(), "broker:9092")
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return client, server
}

func TestMemoryConnectionsWaitInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewMemNetwork()
		client, server := pair(t, n)
		c, ok := client.(*memConn)
		if !ok {
			t.Fatal("not a connection in memory")
		}
		began := time.Now()
		if err := c.SetReadDeadline(began.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("read: %v after %s", err, time.Since(began))
		}
		if err := errors.Join(c.SetReadDeadline(time.Time{}), c.SetWriteDeadline(time.Now().Add(time.Second))); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Write(make([]byte, 1<<20)); n != pipeBuffer || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write to a peer that does not read: %d, %v", n, err)
		}
		n.CutAll()
		if _, err := server.Read(make([]byte, 1)); err == nil {
			t.Error("read from a connection that was cut")
		}
		if err := errors.Join(client.Close(), server.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestACloseLetsThePeerReadTheRest(t *testing.T) {
	client, server := pair(t, NewMemNetwork())
	if _, err := client.Write([]byte("bye")); err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if err := client.Close(); err == nil {
		t.Error("closed twice")
	}
	if got, err := io.ReadAll(server); err != nil || string(got) != "bye" {
		t.Errorf("read %q, %v", got, err)
	}
	if _, err := server.Write([]byte("x")); err == nil {
		t.Error("wrote to a peer that is gone")
	}
	if _, err := client.Read(make([]byte, 1)); err == nil {
		t.Error("read from a closed connection")
	}
}

func TestDialGivesUpWithItsContext(t *testing.T) {
	n := NewMemNetwork()
	l, err := n.Listen(t.Context(), "a:1")
	if err != nil {
		t.Fatal(err)
	}
	for range 128 { // fill the queue of connections that nobody accepts
		if _, err := n.Dial(t.Context(), "a:1"); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Dial(ctx, "a:1"); !errors.Is(err, context.Canceled) {
		t.Errorf("dial: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err == nil {
		t.Error("closed twice")
	}
}
