package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sys/unix"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/wire"
)

func TestSilentConnectionsCostNoGoroutine(t *testing.T) {
	b := makeBed(t, Options{}, rest{})
	b.sleeper()
	before := runtime.NumGoroutine()
	for range 100 {
		b.sleeper()
	}
	for runtime.NumGoroutine() > before {
		runtime.Gosched() // the last ones are about to end
	}
}

func TestASleeperTakesFewBytes(t *testing.T) {
	b := makeBed(t, Options{}, rest{})
	const n = 300
	port := b.Addrs()["PLAINTEXT"].(*net.TCPAddr).Port
	request := frame(1, "now")
	nap := func() int { // a client that takes no memory of this process
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
		}
		if err == nil {
			_, err = unix.Write(fd, request)
		}
		if err != nil {
			t.Fatal(err)
		}
		b.find(<-b.kept)
		return fd
	}
	live := func() int {
		runtime.GC()
		runtime.GC() // what pools held goes with the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	fds := make([]int, 0, 2*n)
	for range n {
		fds = append(fds, nap())
	}
	before := live()
	for range n {
		fds = append(fds, nap())
	}
	if each := (live() - before) / n; each > 500 {
		t.Errorf("a connection that sleeps takes %d bytes", each)
	}
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
	b.forgotten(2 * n)
}

func TestSleepersAreAnswered(t *testing.T) {
	var sessions []*route.Session
	r := route.New(0, 4, func(_ context.Context, s *route.Session, _ *kmsg.HeartbeatRequest, _ *kmsg.HeartbeatResponse) *route.Pending {
		sessions = append(sessions, s)
		return nil
	})
	b := makeBed(t, Options{Routes: []route.Route{r}}, rest{})
	c, _ := b.sleeper()
	for i, piece := range []int{1 << 10, 1, 7} {
		b.clock.pass(2 * time.Second) // so that one request alone lets it sleep again
		b.ask(c, int32(i)+10, piece)
		b.find(<-b.kept)
	}
	b.clock.pass(2 * time.Second)
	if _, err := c.Write(append(frame(20, "now"), frame(21, "now")...)); err != nil {
		t.Fatal(err)
	}
	if one, two := answer(t, c), answer(t, c); one != 20 || two != 21 {
		t.Errorf("two requests at once: answers to %d and %d", one, two)
	}
	b.find(<-b.kept)
	for _, s := range sessions {
		if s != sessions[0] || s.ClientAddr != "127.0.0.1" || s.ClientID != "test" {
			t.Errorf("the session of a connection that slept is %+v, was %+v", s, sessions[0])
		}
	}
}

// fileBody is an answer, and the file that makes most of it.
type fileBody struct{ file *os.File }

func (b fileBody) Respond(out *wire.Out) error            { out.Splice(b); return nil }
func (b fileBody) Len() int                               { return fileBytes }
func (b fileBody) ReadAt(p []byte, at int64) (int, error) { return b.file.ReadAt(p, at) }
func (b fileBody) File() (*os.File, int64, bool)          { return b.file, 0, true }
func (b fileBody) Release()                               {}

const fileBytes = 8 << 20

func TestASleeperIsAnsweredFromAFile(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "body"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	want := bytes.Repeat([]byte("0123456789abcdef"), fileBytes/16)
	if _, err := file.Write(want); err != nil {
		t.Fatal(err)
	}
	heart, _ := heartbeat()
	b := makeBed(t, Options{Routes: []route.Route{heart, route.NewRaw[*kmsg.FetchRequest](0, 4,
		func(context.Context, *route.Session, int16, []byte) (route.Response, *route.Pending, error) {
			return fileBody{file}, nil, nil
		})}}, rest{})
	c, _ := b.sleeper()
	for range 2 { // from a woken socket, and from one that was kept as a file
		b.clock.pass(2 * time.Second)
		if _, err := c.Write(kmsg.NewRequestFormatter().AppendRequest(nil, &kmsg.FetchRequest{Version: 4}, 3)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 8+fileBytes)
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got[8:], want) {
			t.Fatalf("other bytes, %v", err)
		}
		b.find(<-b.kept)
	}
}

func TestABusyConnectionStaysAwake(t *testing.T) {
	b := makeBed(t, Options{}, rest{})
	c, _ := b.sleeper()
	for i := range int32(100) {
		b.ask(c, i, 1<<10)
	}
	if len(b.kept) > 0 {
		t.Error("a connection slept between two requests that follow each other at once")
	}
}

func TestConnectionsSleepAfterALateAnswerAndWithoutAnyRequest(t *testing.T) {
	r, later := heartbeat()
	b := makeBed(t, Options{Routes: []route.Route{r}}, rest{})
	b.dial()
	c := b.dial()
	if _, err := c.Write(frame(1, "later")); err != nil {
		t.Fatal(err)
	}
	p := <-later
	first := b.find(<-b.kept) // the silent one, after a second; the other one is owed an answer
	p.Complete()
	if got := answer(t, c); got != 1 {
		t.Errorf("got the answer to %d", got)
	}
	if second := b.find(<-b.kept); second == first {
		t.Error("a connection slept twice")
	}
}

func TestAClientMayGoWhileItsConnectionSleeps(t *testing.T) {
	b := makeBed(t, Options{}, rest{})
	for range 50 {
		c, _ := b.sleeper()
		_ = c.Close()
	}
	b.forgotten(50)
	if len(b.refused) > 0 {
		t.Errorf("refused: %v", <-b.refused)
	}
}

func TestSleepersAreClosedWhenIdle(t *testing.T) {
	b := makeBed(t, Options{MaxIdle: time.Minute}, rest{})
	first, _ := b.sleeper()
	b.clock.pass(40 * time.Second)
	second, _ := b.sleeper()
	woken, _ := b.sleeper()
	b.clock.pass(30 * time.Second)
	if answer(t, first) != -1 || <-b.refused != Idle || len(b.refused) > 0 {
		t.Error("the first was not closed as idle, or not alone")
	}
	b.ask(woken, 5, 1<<10)
	b.find(<-b.kept)
	b.clock.pass(31 * time.Second)
	if answer(t, second) != -1 || <-b.refused != Idle || len(b.refused) > 0 {
		t.Error("the second was not closed as idle, or not alone")
	}
	b.clock.pass(time.Minute)
	if answer(t, woken) != -1 || <-b.refused != Idle {
		t.Error("the one that was woken was not closed as idle")
	}
	b.forgotten(3)
	b.clock.pass(time.Hour)
	late, _ := b.sleeper()
	b.clock.pass(time.Hour)
	if answer(t, late) != -1 {
		t.Error("a connection after all others is never closed")
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestStopEndsSleepers(t *testing.T) {
	warm := makeBed(t, Options{}, rest{}) // opens what Go itself keeps
	warm.sleeper()
	if err := warm.end(); err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	b := makeBed(t, Options{}, rest{})
	var clients []net.Conn
	for range 100 {
		c, _ := b.sleeper()
		clients = append(clients, c)
	}
	if err := b.end(); err != nil {
		t.Fatal(err)
	}
	b.forgotten(100)
	for _, c := range clients {
		if answer(t, c) != -1 {
			t.Error("a connection outlived its server")
		}
		_ = c.Close()
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
	for _, timer := range b.clock.timers {
		if timer.Stop() {
			t.Error("a timer outlived its server")
		}
	}
}

func TestConnectionsThatCannotSleepStayAwake(t *testing.T) {
	for name, c := range map[string]struct {
		rest rest
		want string
	}{
		"no set of sockets": {rest: rest{noSockets: syscall.EMFILE}, want: "silent connections cannot sleep"},
		"no descriptor":     {rest: rest{noKeeping: syscall.EMFILE}, want: "connection cannot sleep"},
	} {
		t.Run(name, func(t *testing.T) {
			b := makeBed(t, Options{}, c.rest)
			client := b.dial()
			for i := range int32(3) {
				b.ask(client, i, 1<<10)
			}
			if c.rest.noKeeping != nil {
				<-b.kept
				b.ask(client, 3, 1<<10)
			}
			if err := b.end(); err != nil || !strings.Contains(b.log.String(), c.want) {
				t.Errorf("ended with %v, log: %s", err, b.log)
			}
			b.forgotten(1)
		})
	}
}

// TestBuffersAreAsLargeAsAsked: the kernel doubles what it is told, for its own needs.
func TestBuffersAreAsLargeAsAsked(t *testing.T) {
	for _, o := range []Options{{SendBuffer: 50_000}, {ReceiveBuffer: 60_000}, {SendBuffer: 70_000, ReceiveBuffer: 80_000}} {
		b := makeBed(t, o, rest{})
		_, c := b.sleeper()
		for option, asked := range map[int]int{unix.SO_SNDBUF: o.SendBuffer, unix.SO_RCVBUF: o.ReceiveBuffer} {
			got, err := unix.GetsockoptInt(int(c.asleep.fd), unix.SOL_SOCKET, option)
			if err != nil || (got == 2*asked) != (asked > 0) {
				t.Errorf("%+v: option %d is %d, %v", o, option, got, err)
			}
		}
	}
}

func TestAServerThatCannotWakeSleepersEnds(t *testing.T) {
	b := makeBed(t, Options{}, rest{awake: io.ErrNoProgress})
	if err := <-b.ended; !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("ended with %v", err)
	}
}

func TestASleeperThatFailsWhileItIsWokenEndsOnce(t *testing.T) {
	for name, fail := range map[string]func(b *bedroom, c *conn){
		"kicked":  func(_ *bedroom, c *conn) { c.fail(route.ErrClose) },
		"idle":    func(b *bedroom, _ *conn) { b.clock.pass(time.Hour) },
		"drained": func(_ *bedroom, c *conn) { c.drain() },
	} {
		for _, woken := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				b := makeBed(t, Options{}, rest{})
				client, c := b.sleeper()
				var group sync.WaitGroup
				if woken {
					b.unlist(c)
					fail(b, c)
					c.fail(wire.ErrIdle) // its sleep is over, but it is not awake
					c.rise(t.Context(), &group)
				} else {
					fail(b, c)
				}
				fail(b, c)
				if answer(t, client) != -1 {
					t.Error("the connection lives on")
				}
				group.Wait()
				b.forgotten(1)
			})
		}
	}
}

func TestManySleepAndWakeAndFailAtOnce(t *testing.T) {
	b := makeBed(t, Options{MaxIdle: 1e6 * time.Hour}, rest{})
	b.clock.hurry = 2 * time.Second // every request is the first in a while
	var clients, victims sync.WaitGroup
	for i := range uint64(8) {
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(i, 1))
			c := b.dial()
			for n := range int32(200) {
				if b.ask(c, n, 1+rng.IntN(60)); rng.IntN(20) == 0 {
					_ = c.Close()
					c = b.dial()
				}
			}
		})
	}
	calm, answered := make(chan struct{}), make(chan struct{})
	victim := kmsg.NewRequestFormatter(kmsg.FormatterClientID("victim")).AppendRequest(nil, &kmsg.HeartbeatRequest{Version: 4}, 1)
	for range 4 {
		victims.Go(func() {
			for c := b.dial(); ; {
				if _, err := c.Write(victim); err != nil || answer(t, c) == -1 {
					_ = c.Close()
					c = b.dial()
				}
				select {
				case <-calm:
					return
				case answered <- struct{}{}:
				}
			}
		})
	}
	victims.Go(func() {
		for {
			select {
			case <-calm:
				return
			case <-answered:
				b.kick("victim")
			}
		}
	})
	clients.Wait()
	close(calm)
	victims.Wait()
	if len(b.kept) < 8*200/2 {
		t.Errorf("slept %d times only", len(b.kept))
	}
	if err := b.end(); err != nil {
		t.Error(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.conns) != 0 || b.asleep.first != nil {
		t.Errorf("%d connections are left", len(b.conns))
	}
}
