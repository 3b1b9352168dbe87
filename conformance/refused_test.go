package conformance

import (
	"os"
	"os/exec"
	"testing"
)

// TestStreamsOnKafka runs the tests of streams that depend on what a broker refuses,
// and on topics that come and go, on Apache Kafka: they pass on Weir's broker by
// themselves.
func TestStreamsOnKafka(t *testing.T) {
	t.Parallel()
	onCard(t, "Weir's streams on Apache Kafka 4.3.1", does("records that are refused one by one, topics by pattern"))
	cmd := exec.Command("go", "test", "-count=1", "-run", "(Refused|Pattern).*OnBroker", "./streams")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "WEIR_TEST_BROKERS="+newKafka(t))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
