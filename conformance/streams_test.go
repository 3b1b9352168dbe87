package conformance

import (
	"os"
	"os/exec"
	"testing"
)

// TestStreamsOnBrokers runs the tests of streams that need a broker, for which theirs is
// in the same process, on a Weir process and on Apache Kafka.
func TestStreamsOnBrokers(t *testing.T) {
	t.Parallel()
	t.Run("weir", func(t *testing.T) { streamsOn(t, "Weir's broker", newBroker(t).addr) })
	t.Run("kafka", func(t *testing.T) { streamsOn(t, "Apache Kafka 4.3.1", newKafka(t)) })
}

func streamsOn(t *testing.T, name, addr string) {
	t.Helper()
	onCard(t, "Weir's streams on "+name, does("word counts over kills, three instances that come and go, topics by pattern, records that are refused one by one"))
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-run", "OnBroker", "./streams")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "WEIR_TEST_BROKERS="+addr)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
