package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Broker is a process under measurement.
type Broker struct {
	Name string
	Addr string
	Null bool
	cmd  *exec.Cmd
	done chan struct{}
}

// PID is the broker's process.
func (b *Broker) PID() int { return b.cmd.Process.Pid }

// memory returns what tells the memory that a broker needs: that of a process, and of Java, which
// takes memory long before and keeps it long after it needs it, what lives in its heap.
func (b *Broker) memory(ctx context.Context) func() (int64, error) {
	if b.Name != kafka {
		return func() (int64, error) { return residentBytes(b.PID()) }
	}
	return func() (int64, error) { return liveHeap(ctx, b.PID()) }
}

// Stop ends the broker, softly at first, and waits for its end.
func (b *Broker) Stop() {
	_ = b.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-b.done:
	case <-time.After(10 * time.Second):
		b.Kill()
	}
}

// Kill ends the broker at once and waits for its end.
func (b *Broker) Kill() {
	_ = b.cmd.Process.Kill()
	<-b.done
}

// StartOurs runs the program itself as a broker in dir, with more key=value settings.
func StartOurs(ctx context.Context, program, dir string, settings ...string) (*Broker, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	arguments := []string{"server", "--data", filepath.Join(dir, "data"), "--listen", addr, "--admin", "", "--log-level", "warn"}
	for _, s := range settings {
		arguments = append(arguments, "--set", s)
	}
	return start(ctx, &Broker{Name: "weir", Addr: addr}, dir, program, arguments...)
}

// StartNull runs the program itself as the null broker.
func StartNull(ctx context.Context, program, dir string) (*Broker, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	return start(ctx, &Broker{Name: "null", Addr: addr, Null: true}, dir, program, "bench", "null", "--data", filepath.Join(dir, "data"), "--listen", addr)
}

// ErrNoKafka says that Apache Kafka cannot be run here.
var ErrNoKafka = errors.New("no Java, or no Apache Kafka jars in KAFKA_LIBS")

// StartKafka runs Apache Kafka from a directory of jars as one node with Kafka's defaults.
func StartKafka(ctx context.Context, libs, dir string) (*Broker, error) {
	java, err := exec.LookPath("java")
	if err != nil || libs == "" {
		return nil, ErrNoKafka
	}
	addr, errAddr := freeAddr()
	controller, errController := freeAddr()
	if err := errors.Join(errAddr, errController); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "server.properties")
	text := strings.NewReplacer("ADDR", addr, "CONTROLLER", controller, "DIR", filepath.Join(dir, "data")).Replace(kafkaProperties)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	classes := filepath.Join(libs, "*")
	format := exec.CommandContext(ctx, java, "-cp", classes, "kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", config) //nolint:gosec // the operator names the jars
	if out, err := format.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("format for kafka: %w: %s", err, out)
	}
	return start(ctx, &Broker{Name: "kafka", Addr: addr}, dir, java, "-Xms1G", "-Xmx1G", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
		"-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent", "-cp", classes, "kafka.Kafka", config)
}

const kafkaProperties = `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@CONTROLLER
listeners=PLAINTEXT://ADDR,CTL://CONTROLLER
controller.listener.names=CTL
listener.security.protocol.map=CTL:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=DIR
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.segment.delete.delay.ms=1000
log.initial.task.delay.ms=1000
log.cleaner.backoff.ms=1000
`

// start runs a command and waits until it answers as a broker does.
func start(ctx context.Context, b *Broker, dir, program string, arguments ...string) (*Broker, error) {
	log, err := os.Create(filepath.Join(dir, b.Name+".log")) //nolint:gosec // the caller's own directory
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	b.cmd = exec.Command(program, arguments...) //nolint:gosec,noctx // Stop ends it, and waits
	b.cmd.Stdout, b.cmd.Stderr = log, log
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	b.done = make(chan struct{})
	go func() {
		_ = b.cmd.Wait()
		close(b.done)
	}()
	if err := b.ready(ctx); err != nil {
		b.Kill()
		text, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("%s does not answer: %w: %s", b.Name, err, text)
	}
	return b, nil
}

// ready waits until the broker answers.
func (b *Broker) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := b.probe(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-b.done:
			return errors.New("it ended")
		case <-ctx.Done():
			return err
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (b *Broker) probe(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", b.Addr)
	if err != nil {
		return err
	}
	_ = conn.Close()
	if b.Null {
		return nil
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr))
	if err != nil {
		return err
	}
	defer client.Close()
	return client.Ping(ctx)
}

func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed at once
	if err != nil {
		return "", err
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String(), nil
}
