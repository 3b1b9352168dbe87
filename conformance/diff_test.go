package conformance

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestSameAnswersAsKafka sends the same requests, byte for byte where no id of a
// topic, member or producer is in them, to Apache Kafka and to Weir, in every
// version of every API that Weir serves, and compares the answers field by field.
// differences.txt lists what may differ, with the reason of each.
func TestSameAnswersAsKafka(t *testing.T) {
	var summary string
	onCard(t, "comparison with Kafka", func() string { return summary })
	kafka := newKafka(t)
	weir := newBroker(t, "--set", "node.id=1", "--set", "offsets.topic.num.partitions=1")
	d := &duel{t: t, kafka: newSide("kafka", kafka), weir: newSide("weir", weir.addr), seen: map[int16]map[int16]int{}, ranges: map[int16][2]int16{}}
	defer d.kafka.hangUp()
	defer d.weir.hangUp()
	d.compareRanges()
	steps := []struct {
		name string
		run  func(*duel)
	}{
		{"versions", diffVersions},
		{"metadata", diffMetadata},
		{"topics", diffTopics},
		{"configs", diffConfigs},
		{"produce", diffProduce},
		{"fetch", diffFetch},
		{"offsets", diffOffsets},
		{"groups", diffGroups},
		{"transactions", diffTransactions},
		{"broken frames", diffBroken},
	}
	for _, s := range steps {
		start := time.Now()
		before := d.exchanges
		if only := os.Getenv("CONFORMANCE_DIFF"); only == "" || strings.Contains(only, s.name) {
			s.run(d)
		}
		t.Logf("%s: %d exchanges in %v", s.name, d.exchanges-before, time.Since(start).Round(time.Millisecond))
	}
	summary = d.judge()
}

func newSide(name, addr string) *side {
	return &side{name: name, addr: addr, ids: map[string][16]byte{}, text: map[string]string{}, number: map[string]int64{}}
}

// compareRanges wants our range of every key to be Kafka's.
func (d *duel) compareRanges() {
	d.t.Helper()
	read := func(s *side) map[int16][2]int16 {
		resp, ok := s.send(&kmsg.ApiVersionsRequest{Version: 4, ClientSoftwareName: "duel", ClientSoftwareVersion: "1"}).(*kmsg.ApiVersionsResponse)
		if !ok {
			d.t.Fatalf("%s does not answer ApiVersions", s.name)
		}
		ranges := map[int16][2]int16{}
		for _, k := range resp.ApiKeys {
			ranges[k.ApiKey] = [2]int16{k.MinVersion, k.MaxVersion}
		}
		return ranges
	}
	ours, theirs := read(d.weir), read(d.kafka)
	for key, r := range ours {
		if theirs[key] != r {
			d.t.Errorf("%s: we serve %d to %d, Kafka %d to %d", kmsg.NameForKey(key), r[0], r[1], theirs[key][0], theirs[key][1])
		}
		d.ranges[key] = theirs[key]
	}
	if len(ours) < 28 {
		d.t.Errorf("%d APIs are served, want at least 28", len(ours))
	}
	if r := d.ranges[int16(kmsg.Produce)]; r[0] == 0 { // announced for old clients, and refused
		d.ranges[int16(kmsg.Produce)] = [2]int16{3, r[1]}
	}
}

// diffVersions asks in versions that are not served.
func diffVersions(d *duel) {
	for v := range int16(7) {
		d.do("versions", v, same(&kmsg.ApiVersionsRequest{ClientSoftwareName: "duel", ClientSoftwareVersion: "1"}))
		d.do("no client name", v, same(&kmsg.ApiVersionsRequest{}))
		d.do("a bad client name", v, same(&kmsg.ApiVersionsRequest{ClientSoftwareName: "a b!", ClientSoftwareVersion: "1"}))
	}
	for key := range d.ranges {
		if key == int16(kmsg.ApiVersions) {
			continue
		}
		for _, v := range []int16{d.ranges[key][0] - 1, d.ranges[key][1] + 1, 99, -1} {
			req := kmsg.RequestForKey(key)
			d.do("a version that is not served", v, same(raw{req, frameOf(key, v, nil)}))
		}
	}
	for _, key := range []int16{4, 7, 52, 200, -1, 32000} {
		d.do("an API that is not served", 0, same(raw{unserved(key), frameOf(key, 0, nil)}))
	}
}

// unserved stands for a key without messages.
func unserved(key int16) kmsg.Request {
	if r := kmsg.RequestForKey(key); r != nil {
		return r
	}
	return kmsg.NewPtrListGroupsRequest()
}

// frameOf is a request of any key and version with a header of version 1.
func frameOf(key, version int16, body []byte) []byte {
	out := []byte{0, 0, 0, 0, byte(key >> 8), byte(key), byte(version >> 8), byte(version), 0, 0, 0, 7, 0, 4, 'd', 'u', 'e', 'l'}
	out = append(out, body...)
	n := len(out) - 4
	out[0], out[1], out[2], out[3] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	return out
}

// diffBroken cuts a good frame of every API and version, and lengthens some.
func diffBroken(d *duel) {
	for _, key := range slices.Sorted(mapKeys(d.ranges)) {
		d.each(kmsg.Key(key), func(v int16) {
			req := kmsg.RequestForKey(key)
			req.SetVersion(v)
			whole := kmsg.NewRequestFormatter(kmsg.FormatterClientID("duel")).AppendRequest(nil, req, 7)
			if body := req.AppendTo(nil); len(body) > 0 && key != int16(kmsg.ApiVersions) {
				cut := resize(whole[:len(whole)-1])
				d.do("a byte less", v, same(raw{req, cut}))
				if key == int16(kmsg.ListOffsets) {
					d.do("a byte more", v, same(raw{req, resize(append(slices.Clone(whole), 0))}))
				}
			}
		})
	}
}

func resize(frame []byte) []byte {
	out := slices.Clone(frame)
	n := len(out) - 4
	out[0], out[1], out[2], out[3] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	return out
}

func mapKeys[K comparable, V any](m map[K]V) func(func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// rule is one line of differences.txt: a pattern over "api vN what: field", and
// why the answers differ there.
type rule struct {
	pattern *regexp.Regexp
	reason  string
	used    int
}

func readRules(t *testing.T) []*rule {
	t.Helper()
	text, err := os.ReadFile("differences.txt")
	if err != nil {
		t.Fatal(err)
	}
	var rules []*rule
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		pattern, reason, ok := strings.Cut(line, " | ")
		if !ok || reason == "" {
			t.Errorf("differences.txt: no reason in %q", line)
		}
		expression := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(pattern)), `\*`, ".*")
		rules = append(rules, &rule{pattern: regexp.MustCompile("^" + expression + "$"), reason: reason})
	}
	if len(rules) > 25 {
		t.Errorf("%d intended differences, want at most 25", len(rules))
	}
	return rules
}

// judge fails on every difference that no rule allows and on every rule that allows nothing.
func (d *duel) judge() string {
	rules := readRules(d.t)
	unexplained := 0
	for _, f := range d.found {
		explained := false
		for _, r := range rules {
			if r.pattern.MatchString(f) {
				explained = true
				r.used++
				break
			}
		}
		if !explained {
			unexplained++
			d.t.Error(f)
		}
	}
	if os.Getenv("CONFORMANCE_DIFF") == "" {
		for _, r := range rules {
			if r.used == 0 {
				d.t.Errorf("differences.txt: nothing differs any more by %q", r.pattern)
			}
		}
	}
	versions := 0
	for key, r := range d.ranges {
		for v := range d.seen[key] {
			if v >= r[0] && v <= r[1] {
				versions++
			}
		}
	}
	d.t.Logf("%d fields differ by intention, %d without", len(d.found)-unexplained, unexplained)
	return fmt.Sprintf("%d requests, over %d APIs and %d versions of them, to both brokers", d.exchanges, len(d.ranges), versions)
}
