package conformance

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestSaramaSuite runs the functional tests of sarama, as go.mod pins it, on one broker.
// The suite is written for five brokers behind a toxiproxy and topics with three replicas:
// all five proxies lead to our one broker here, and a topic gets the replica that can be
// had. What cannot pass so is named in sarama.txt with the reason.
func TestSaramaSuite(t *testing.T) {
	passed := 0
	onCard(t, "sarama's own suite (v1.61.1)", func() string { return fmt.Sprintf("%d of its functional tests, on one broker", passed) })
	t.Parallel() // it waits for most of its time
	b := newBroker(t, "--set", "node.id=1", "--set", "advertised.listeners=PLAINTEXT://127.0.0.1:29091",
		"--set", "auto.create.topics.enable=false", "--set", "broker.rack=1")
	api := startToxiproxy(t, oneReplica(t, b.addr))
	listed := readRatchet(t, "sarama.txt")
	var run []string
	for name, why := range listed {
		if !strings.HasPrefix(why, "not run: ") {
			run = append(run, name)
		}
	}
	out := goTest(t, []string{"TOXIPROXY_ADDR=http://" + api, "KAFKA_VERSION=4.3.1"},
		"-tags", "functional", "-run", "^("+strings.Join(run, "|")+")$", "github.com/IBM/sarama")
	passed = compareRatchet(t, "sarama.txt", listed, out)
}

// startToxiproxy serves the five proxies that the suite looks for and returns the address
// of their API.
func startToxiproxy(t *testing.T, upstream string) string {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	for i := 1; i <= 5; i++ {
		p := toxiproxy.NewProxy(server, fmt.Sprintf("kafka%d", i), fmt.Sprintf("127.0.0.1:%d", 29090+i), upstream)
		if err := server.Collection.Add(p, true); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Stop)
	}
	host, port, err := net.SplitHostPort(freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	go server.Listen(host, port) // has no end of its own
	return net.JoinHostPort(host, port)
}

// oneReplica passes frames on to a broker, and lets topics be created with the one replica
// that it can give.
func oneReplica(t *testing.T, broker string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", broker)
			if err != nil {
				_ = client.Close()
				continue
			}
			go func() {
				_, _ = io.Copy(client, server)
				_ = client.Close()
			}()
			go func() {
				for passRequest(server, client) == nil {
				}
				_ = server.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// passRequest passes one request on.
func passRequest(to io.Writer, from io.Reader) error {
	var size [4]byte
	if _, err := io.ReadFull(from, size[:]); err != nil {
		return err
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(from, frame); err != nil {
		return err
	}
	if req := new(kmsg.CreateTopicsRequest); len(frame) > 8 && int16(binary.BigEndian.Uint16(frame)) == req.Key() {
		req.SetVersion(int16(binary.BigEndian.Uint16(frame[2:])))
		head := kbin.Reader{Src: frame[8:]}
		head.NullableString()
		if req.IsFlexible() {
			head.Uvarint() // no tags
		}
		at := len(frame) - len(head.Src)
		if err := req.ReadFrom(head.Src); err != nil {
			return err
		}
		for i := range req.Topics {
			if req.Topics[i].ReplicationFactor > 1 {
				req.Topics[i].ReplicationFactor = 1
			}
		}
		frame = req.AppendTo(frame[:at:at])
	}
	_, err := to.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...))
	return err
}
