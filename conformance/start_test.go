package conformance

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestKafkasPropertiesFileStartsWeir takes a file of Kafka as it stands, but for
// its folder and ports, and reports how long it takes from the start of the
// process to the answer of an acks=all produce to an existing topic.
func TestKafkasPropertiesFileStartsWeir(t *testing.T) {
	client, controller := freeAddr(t), freeAddr(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "server.properties")
	text := fmt.Sprintf("process.roles=controller,broker\nnode.id=1\ncontroller.quorum.voters=1@%s\nlisteners=PLAINTEXT://%s,CONTROLLER://%s\nlog.dirs=%s\n",
		controller, client, controller, filepath.Join(dir, "logs"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var took []time.Duration
	for start := range 6 {
		cmd := exec.Command(weirBin, "server", "--config", file, "--set", "weir.admin.listener=", "--log-level", "error")
		began := time.Now()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		c, err := kgo.NewClient(kgo.SeedBrokers(client), kgo.DefaultProduceTopic("there"), kgo.DisableIdempotentWrite(), kgo.ProducerLinger(0), kgo.RetryBackoffFn(func(int) time.Duration { return time.Millisecond }))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		for c.Ping(ctx) != nil && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		if start == 0 {
			if _, err := kadm.NewClient(c).CreateTopic(ctx, 1, 1, nil, "there"); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.ProduceSync(ctx, kgo.StringRecord("x")).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if start > 0 {
			took = append(took, time.Since(began))
		}
		cancel()
		c.Close()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("a graceful stop: %v", err)
		}
	}
	t.Logf("start to the first answer: %v", took)
}
