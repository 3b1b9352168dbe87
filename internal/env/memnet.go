package env

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"
)

// MemNetwork is a network inside the process: buffered, ordered, without loss until CutAll. Make
// it inside the synctest bubble that uses it. Addresses are host:port; the host part is taken as
// it is, port 0 picks a free port.
type MemNetwork struct {
	mu        sync.Mutex
	listeners map[string]*memListener
	conns     map[*memConn]struct{}
	nextPort  int
}

// NewMemNetwork returns a network without listeners.
func NewMemNetwork() *MemNetwork {
	return &MemNetwork{listeners: map[string]*memListener{}, conns: map[*memConn]struct{}{}, nextPort: 40000}
}

// Listen takes an address until the listener is closed.
func (n *MemNetwork) Listen(_ context.Context, addr string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if port == "0" {
		port = strconv.Itoa(n.port())
	}
	at := memAddr(net.JoinHostPort(host, port))
	if _, taken := n.listeners[string(at)]; taken {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: at, Err: syscall.EADDRINUSE}
	}
	l := &memListener{net: n, addr: at, queue: make(chan *memConn, 128), closed: make(chan struct{})}
	n.listeners[string(at)] = l
	return l, nil
}

// port returns a port number nobody has had. The caller holds the mutex.
func (n *MemNetwork) port() int {
	n.nextPort++
	return n.nextPort
}

// Dial connects to a listener; without one it is refused at once.
func (n *MemNetwork) Dial(ctx context.Context, addr string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[addr]
	local := memAddr("127.0.0.1:" + strconv.Itoa(n.port()))
	n.mu.Unlock()
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: memAddr(addr), Err: syscall.ECONNREFUSED}
	if l == nil {
		return nil, refused
	}
	client, server := n.pair(local, l.addr)
	select {
	case l.queue <- server:
		return client, nil
	case <-l.closed:
		return nil, errors.Join(refused, client.Close())
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("dial %s: %w", addr, ctx.Err()), client.Close())
	}
}

// CutAll resets every connection, as when a machine loses its power. Listeners stay.
func (n *MemNetwork) CutAll() {
	n.mu.Lock()
	conns := make([]*memConn, 0, len(n.conns))
	for c := range n.conns {
		conns = append(conns, c)
	}
	n.mu.Unlock()
	for _, c := range conns {
		c.in.fail(syscall.ECONNRESET)
		c.out.fail(syscall.ECONNRESET)
	}
}

func (n *MemNetwork) pair(client, server memAddr) (*memConn, *memConn) {
	up, down := newPipe(), newPipe()
	a := &memConn{net: n, in: down, out: up, local: client, remote: server}
	b := &memConn{net: n, in: up, out: down, local: server, remote: client}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[a], n.conns[b] = struct{}{}, struct{}{}
	return a, b
}

type memAddr string

func (memAddr) Network() string  { return "tcp" }
func (a memAddr) String() string { return string(a) }

type memListener struct {
	net    *MemNetwork
	addr   memAddr
	queue  chan *memConn
	once   sync.Once
	closed chan struct{}
}

// Accept waits for a connection.
func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
}

// Close frees the address and ends connections that were not accepted.
func (l *memListener) Close() error {
	err := error(&net.OpError{Op: "close", Net: "tcp", Addr: l.addr, Err: net.ErrClosed})
	l.once.Do(func() {
		err = nil
		l.net.mu.Lock()
		delete(l.net.listeners, string(l.addr))
		l.net.mu.Unlock()
		close(l.closed)
		for {
			select {
			case c := <-l.queue:
				_ = c.Close() // nobody will
			default:
				return
			}
		}
	})
	return err
}

// Addr is the address listened on.
func (l *memListener) Addr() net.Addr { return l.addr }
