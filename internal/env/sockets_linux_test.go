package env

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// kept returns a set of sockets and the two ends of a connection.
func kept(t *testing.T) (set Sockets, client net.Conn, server Socket) {
	t.Helper()
	set, err := RealNetwork().(SocketKeeper).Sockets()
	if err != nil {
		t.Fatal(err)
	}
	l, err := RealNetwork().Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if client, err = RealNetwork().Dial(t.Context(), l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	server = accepted.(*net.TCPConn)
	t.Cleanup(func() {
		_ = set.Close()
		_ = client.Close()
		_ = server.Close()
	})
	return set, client, server
}

// wake keeps a connection, lets its peer send something, and returns it again.
func wake(t *testing.T, set Sockets, id uint64, client net.Conn, server Socket, send string) Socket {
	t.Helper()
	fd, err := set.Keep(server, id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.Write([]byte("x")); !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrClosed) {
		t.Errorf("a connection that is kept can be written to: %v", err)
	}
	if _, err := client.Write([]byte(send)); err != nil {
		t.Fatal(err)
	}
	if ids, err := set.Wait([]uint64{7}); err != nil || len(ids) != 2 || ids[0] != 7 || ids[1] != id {
		t.Fatalf("waited for %v, %v; want [7 %d]", ids, err, id)
	}
	return set.Wake(fd)
}

func wantBytes(t *testing.T, from io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(from, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

func TestKeptSocketsWakeAndAreKeptAgain(t *testing.T) {
	set, client, server := kept(t)
	defer func() { _ = server.Close() }()
	for round, id := range []uint64{1, 1<<63 + 5, 3, 4} {
		server = wake(t, set, id, client, server, "hello")
		wantBytes(t, server, "hello")
		if round%2 == 0 { // it waits, so that it is a file when it is kept again
			go func() { _, _ = client.Write([]byte("more")) }()
			wantBytes(t, server, "more")
		}
		if _, err := server.Write([]byte("answer")); err != nil {
			t.Fatal(err)
		}
		wantBytes(t, client, "answer")
	}
	_ = client.Close()
	fd, err := set.Keep(server, 9)
	if err != nil {
		t.Fatal(err)
	}
	if ids, err := set.Wait(nil); err != nil || len(ids) != 1 || ids[0] != 9 {
		t.Fatalf("the end of a kept connection: %v, %v", ids, err)
	}
	server = set.Wake(fd)
	if n, err := server.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after the end %d bytes were read, %v", n, err)
	}
}

func TestAWokenSocketKeepsDeadlines(t *testing.T) {
	set, client, server := kept(t)
	server = wake(t, set, 1, client, server, "hello")
	defer func() { _ = server.Close() }()
	past := func() time.Time { return time.Now().Add(-time.Second) }
	_ = server.SetReadDeadline(past())
	_ = server.SetWriteDeadline(past())
	wantBytes(t, server, "hello") // it is there
	for _, again := range []bool{false, true} {
		if _, err := server.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read, again %v: %v", again, err)
		}
		_ = server.SetReadDeadline(past())
	}
	if _, err := server.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: %v", err)
	}
	_ = server.SetWriteDeadline(time.Time{})
	if _, err := server.Write([]byte("x")); err != nil {
		t.Errorf("write without a deadline: %v", err)
	}
}

func TestAWokenSocketWritesMoreThanFits(t *testing.T) {
	set, client, server := kept(t)
	server = wake(t, set, 1, client, server, "x")
	wantBytes(t, server, "x") // what is unread at the end resets the connection
	want := bytes.Repeat([]byte("0123456789"), 2<<20)
	got := make(chan []byte)
	go func() {
		all, _ := io.ReadAll(client)
		got <- all
	}()
	if n, err := server.Write(want); n != len(want) || err != nil {
		t.Errorf("wrote %d bytes, %v", n, err)
	}
	_ = server.Close()
	if all := <-got; !bytes.Equal(all, want) {
		t.Errorf("%d bytes arrived, or others", len(all))
	}
}

func TestAWokenSocketWhosePeerIsGoneFails(t *testing.T) {
	set, client, server := kept(t)
	server = wake(t, set, 1, client, server, "x")
	defer func() { _ = server.Close() }()
	_ = client.(*net.TCPConn).SetLinger(0)
	_ = client.Close() // with what it was sent unread: a reset
	if _, err := io.ReadAll(server); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v", err)
	}
	if _, err := server.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write: %v", err)
	}
}

func TestClosedSocketsSaySo(t *testing.T) {
	for name, file := range map[string]bool{"socket": false, "file": true} {
		t.Run(name, func(t *testing.T) {
			set, client, server := kept(t)
			server = wake(t, set, 1, client, server, "x")
			if file {
				if _, err := server.SyscallConn(); err != nil {
					t.Fatal(err)
				}
			}
			if err := server.Close(); err != nil {
				t.Fatal(err)
			}
			_, read := server.Read(make([]byte, 1))
			_, write := server.Write(make([]byte, 1))
			for what, err := range map[string]error{"read": read, "write": write, "close": server.Close()} {
				if !errors.Is(err, os.ErrClosed) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if _, err := set.Keep(server, 2); err == nil {
				t.Error("a closed connection is kept")
			}
			if _, err := client.Read(make([]byte, 1)); err == nil {
				t.Error("the peer does not see the end")
			}
		})
	}
}

func TestDroppedSocketsAreClosed(t *testing.T) {
	set, client, server := kept(t)
	fd, err := set.Keep(server, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := set.Drop(fd); err != nil {
		t.Error(err)
	}
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the peer of a dropped socket reads %v", err)
	}
	if err := set.Drop(fd); !errors.Is(err, syscall.EBADF) {
		t.Errorf("dropped twice: %v", err)
	}
}

func TestAClosedSetKeepsNothingMore(t *testing.T) {
	set, client, server := kept(t)
	light := wake(t, set, 1, client, server, "x")
	fd, err := set.Keep(light, 1)
	if err != nil {
		t.Fatal(err)
	}
	waited := make(chan error)
	go func() { // x is unread: told once more
		ids, err := set.Wait(nil)
		if err == nil && len(ids) == 1 {
			_, err = set.Wait(nil)
		}
		waited <- err
	}()
	if err := set.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; !errors.Is(err, net.ErrClosed) {
		t.Errorf("who waits for a closed set gets %v", err)
	}
	light = set.Wake(fd)
	defer func() { _ = light.Close() }()
	for range 2 { // as a socket, then as a file
		if _, err := set.Keep(light, 1); err == nil {
			t.Error("a closed set keeps a connection")
		}
		if _, err := light.Write([]byte("x")); err != nil {
			t.Errorf("a connection that was not kept: %v", err)
		}
		if _, err := light.SyscallConn(); err != nil {
			t.Error(err)
		}
	}
	wantBytes(t, light, "x")
}

func TestWithoutDescriptorsNothingIsKept(t *testing.T) {
	set, client, server := kept(t)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	few := limit
	few.Cur = 1
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	_, noKeeping := set.Keep(server, 1)
	_, noSet := RealNetwork().(SocketKeeper).Sockets()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"keep": noKeeping, "set": noSet} {
		if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%s without descriptors: %v", what, err)
		}
	}
	_, _ = client.Write([]byte("hello"))
	wantBytes(t, server, "hello") // it is as it was
}
