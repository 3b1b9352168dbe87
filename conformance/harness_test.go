package conformance

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// weirBin is the binary under test; TestMain sets it once.
var weirBin string

func TestMain(m *testing.M) {
	if addr := os.Getenv("CONFORMANCE_RELAY"); addr != "" {
		if err := runRelay(addr, os.Getenv("CONFORMANCE_RELAY_DIR")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	weirBin = os.Getenv("CONFORMANCE_BIN")
	if weirBin == "" {
		dir, err := os.MkdirTemp("", "weir-bin")
		if err != nil {
			panic(err)
		}
		weirBin = filepath.Join(dir, "weir")
		build := exec.Command("go", "build", "-o", weirBin, "./cmd/weir")
		build.Dir = ".."
		if out, err := build.CombinedOutput(); err != nil {
			panic(fmt.Sprintf("build weir: %v\n%s", err, out))
		}
		code := run(m)
		os.RemoveAll(dir)
		os.Exit(code)
	}
	os.Exit(run(m))
}

// run runs the tests and, where it is asked for, writes down what they showed.
func run(m *testing.M) int {
	code := m.Run()
	if path := os.Getenv("CONFORMANCE_CARD"); path != "" {
		if err := writeCard(path); err != nil {
			panic(err)
		}
	}
	return code
}

// broker is one weir process that keeps its address and folder over restarts.
type broker struct {
	t    *testing.T
	addr string
	dir  string
	args []string
	cmd  *exec.Cmd
	done chan error
}

func newBroker(t *testing.T, args ...string) *broker {
	t.Helper()
	b := &broker{t: t, addr: freeAddr(t), dir: t.TempDir(), args: args}
	b.start()
	t.Cleanup(func() {
		if b.cmd != nil {
			b.kill()
		}
	})
	return b
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs the process and waits until it says that it is ready.
func (b *broker) start() {
	b.t.Helper()
	args := append([]string{"server", "--data", b.dir, "--listen", b.addr, "--set", "weir.admin.listener=", "--set", "group.initial.rebalance.delay.ms=0", "--log-level", "warn"}, b.args...)
	b.cmd = exec.Command(weirBin, args...)
	stderr, err := b.cmd.StderrPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	ready := make(chan bool, 1)
	b.done = make(chan error, 1)
	cmd, done := b.cmd, b.done
	go func() {
		lines := bufio.NewScanner(stderr)
		var said []string
		for lines.Scan() {
			said = append(said, lines.Text())
			if strings.Contains(lines.Text(), "weir is ready") {
				ready <- true
			}
		}
		err := cmd.Wait()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, strings.Join(said, "\n"))
		}
		done <- err
		select {
		case ready <- false:
		default:
		}
	}()
	select {
	case ok := <-ready:
		if !ok {
			b.t.Fatalf("weir ended: %v", <-b.done)
		}
	case <-time.After(60 * time.Second):
		b.t.Fatal("weir is not ready after a minute")
	}
}

// kill ends the process without warning.
func (b *broker) kill() {
	b.t.Helper()
	if err := b.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		b.t.Fatal(err)
	}
	<-b.done
	b.cmd = nil
}

// stop ends the process as an operator does, and wants exit code 0.
func (b *broker) stop() {
	b.t.Helper()
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		b.t.Fatal(err)
	}
	if err := <-b.done; err != nil {
		b.t.Errorf("a graceful stop ended with %v", err)
	}
	b.cmd = nil
}

func (b *broker) client(opts ...kgo.Opt) *kgo.Client {
	b.t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.addr)}, opts...)...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(c.Close)
	return c
}

func (b *broker) createTopic(topic string, partitions int32) {
	b.t.Helper()
	adm := kadm.NewClient(b.client())
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	if _, err := adm.CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
		b.t.Fatalf("create %s: %v", topic, err)
	}
}

// readAll reads a topic from its start to the end it has now.
func (b *broker) readAll(topic string) []*kgo.Record {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 2*time.Minute)
	defer cancel()
	client := b.client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil {
		b.t.Fatal(err)
	}
	var want int64
	ends.Each(func(o kadm.ListedOffset) { want += o.Offset })
	var records []*kgo.Record
	for int64(len(records)) < want {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			b.t.Fatalf("read %s after %d of %d records: %v", topic, len(records), want, err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}
