package conformance

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// kafkaLibs is the folder with Kafka's jars; without it the test is skipped.
func kafkaLibs(t *testing.T) string {
	t.Helper()
	libs := os.Getenv("KAFKA_LIBS")
	if libs == "" {
		t.Skip("KAFKA_LIBS names no folder of Kafka's jars")
	}
	return libs
}

// newKafka starts one node of Apache Kafka without the features that Weir does not
// have yet, and returns its address.
func newKafka(t *testing.T, extra ...string) string {
	t.Helper()
	libs, dir, addr, quorum := kafkaLibs(t), t.TempDir(), freeAddr(t), freeAddr(t)
	lines := append([]string{
		"process.roles=broker,controller", "node.id=1", "controller.quorum.voters=1@" + quorum,
		"listeners=PLAINTEXT://" + addr + ",CONTROLLER://" + quorum, "controller.listener.names=CONTROLLER",
		"log.dirs=" + filepath.Join(dir, "data"), "offsets.topic.replication.factor=1", "offsets.topic.num.partitions=1",
		"transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1", "transaction.state.log.num.partitions=1",
		"group.initial.rebalance.delay.ms=0",
	}, extra...)
	properties := filepath.Join(dir, "server.properties")
	if err := os.WriteFile(properties, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	java := func(args ...string) *exec.Cmd {
		cmd := exec.Command("java", append([]string{"-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", libs + "/*"}, args...)...)
		cmd.Dir = dir
		return cmd
	}
	format := java("kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", properties, "--feature", "transaction.version=2", "--feature", "group.version=0", "--feature", "eligible.leader.replicas.version=0")
	if out, err := format.CombinedOutput(); err != nil {
		t.Fatalf("format: %v\n%s", err, out)
	}
	cmd := java("kafka.Kafka", properties)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan string, 1)
	go func() {
		var said []string
		for lines := bufio.NewScanner(out); lines.Scan(); {
			said = append(said[max(0, len(said)-20):], lines.Text())
		}
		_ = cmd.Wait()
		ended <- strings.Join(said, "\n")
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		<-ended
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		select {
		case said := <-ended:
			ended <- ""
			t.Fatalf("Kafka ended: %s", said)
		default:
		}
		s := &side{name: "kafka", addr: addr}
		if resp, ok := s.send(&kmsg.MetadataRequest{Version: 9, Topics: []kmsg.MetadataRequestTopic{}}).(*kmsg.MetadataResponse); ok && len(resp.Brokers) == 1 {
			s.hangUp()
			return addr
		}
		s.hangUp()
		if time.Now().After(deadline) {
			t.Fatal("Kafka is not ready after a minute")
		}
	}
}

// side is one of the two brokers, with a connection and what its answers said
// that later requests need: topic ids, member ids, producer ids.
type side struct {
	name, addr string
	conn       net.Conn
	ids        map[string][16]byte // of topics
	text       map[string]string
	number     map[string]int64
}

// outcome is what came instead of an answer.
type outcome string

const (
	closed  outcome = "the connection was closed"
	silence outcome = "no answer came"
)

// send gives the answer, or an outcome; broken answers are one too.
func (s *side) send(req kmsg.Request) any {
	if r, ok := req.(raw); ok {
		return s.sendBytes(r.Request, r.bytes, false)
	}
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("duel")).AppendRequest(nil, req, 7)
	p, noAnswer := req.(*kmsg.ProduceRequest)
	return s.sendBytes(req, frame, noAnswer && p.Acks == 0)
}

func (s *side) sendBytes(req kmsg.Request, frame []byte, oneWay bool) any {
	if s.conn == nil {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			return outcome("no connection")
		}
		s.conn = conn
	}
	wait := 4 * time.Second
	if oneWay {
		wait = 300 * time.Millisecond
	}
	_ = s.conn.SetDeadline(time.Now().Add(wait))
	if _, err := s.conn.Write(frame); err != nil {
		s.hangUp()
		return closed
	}
	var size [4]byte
	if _, err := io.ReadFull(s.conn, size[:]); err != nil {
		s.hangUp()
		if os.IsTimeout(err) {
			return silence
		}
		return closed
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(s.conn, body); err != nil {
		s.hangUp()
		return closed
	}
	return decode(req, body)
}

func decode(req kmsg.Request, body []byte) any {
	const correlation = 4
	if len(body) < correlation || binary.BigEndian.Uint32(body) != 7 {
		return outcome(fmt.Sprintf("wrong correlation id in %x", body))
	}
	resp := req.ResponseKind()
	body = body[correlation:]
	if resp.IsFlexible() && resp.Key() != int16(kmsg.ApiVersions) {
		if len(body) == 0 || body[0] != 0 {
			return outcome(fmt.Sprintf("header tags in %x", body))
		}
		body = body[1:]
	}
	if resp.Key() == int16(kmsg.ApiVersions) && len(body) > 1 && body[1] == 35 {
		resp.SetVersion(0)
	}
	if err := resp.ReadFrom(body); err != nil {
		return outcome(fmt.Sprintf("an answer that cannot be read (%v): %x", err, body))
	}
	if back := resp.AppendTo(nil); len(back) != len(body) {
		return outcome(fmt.Sprintf("an answer of %d bytes that holds %d: %x", len(body), len(back), body))
	}
	return resp
}

func (s *side) hangUp() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

// raw is a request whose bytes are not what its kind would write.
type raw struct {
	kmsg.Request
	bytes []byte
}

// duel sends the same requests to both brokers and notes how answers differ.
type duel struct {
	t           *testing.T
	kafka, weir *side
	ranges      map[int16][2]int16 // what Kafka answers to ApiVersions, for the keys Weir serves
	seen        map[int16]map[int16]int
	found       []string // "api vN what: field kafka=... weir=..."
	exchanges   int
	number      int
}

// do sends what build makes for each side and compares the answers, which it returns.
func (d *duel) do(what string, version int16, build func(s *side) kmsg.Request) (kafka, weir any) {
	d.t.Helper()
	k := build(d.kafka)
	w := build(d.weir)
	k.SetVersion(version)
	w.SetVersion(version)
	var ours sync.WaitGroup // at the same time: groups have clocks
	ours.Go(func() { weir = d.weir.send(w) })
	kafka = d.kafka.send(k)
	ours.Wait()
	if kafka == silence || weir == silence {
		d.t.Logf("%s v%d %s: kafka %T, weir %T", kmsg.NameForKey(k.Key()), version, what, kafka, weir)
	}
	d.exchanges++
	if d.seen[k.Key()] == nil {
		d.seen[k.Key()] = map[int16]int{}
	}
	d.seen[k.Key()][version]++
	a, b := d.kafka.flatten(kafka), d.weir.flatten(weir)
	missing := "\x00"
	for _, path := range slices.Sorted(keysOf(a, b)) {
		if strings.HasPrefix(path, missing) {
			continue // one line for an element, not one for each of its fields
		}
		av, aok := a[path]
		bv, bok := b[path]
		if !aok {
			av = "absent"
		}
		if !bok {
			bv = "absent"
		}
		if av != bv {
			if strings.HasSuffix(path, "]") && aok != bok {
				missing = path + "."
			}
			d.found = append(d.found, fmt.Sprintf("%s v%d %s: %s kafka=%s weir=%s", kmsg.NameForKey(k.Key()), version, what, path, av, bv))
		}
	}
	return kafka, weir
}

// each runs f for every version of the key.
func (d *duel) each(key kmsg.Key, f func(v int16)) {
	d.t.Helper()
	r, ok := d.ranges[int16(key)]
	if !ok {
		d.t.Errorf("%s is not served by both", key.Name())
		return
	}
	for v := r[0]; v <= r[1]; v++ {
		f(v)
	}
}

// last is the highest version of a key.
func (d *duel) last(key kmsg.Key) int16 { return d.ranges[int16(key)][1] }

// clip is the version of a key nearest to v.
func (d *duel) clip(key kmsg.Key, v int16) int16 {
	r := d.ranges[int16(key)]
	return max(r[0], min(v, r[1]))
}

// both runs f on each side with its answer.
func both[R kmsg.Response](d *duel, kafka, weir any, f func(s *side, r R)) {
	if r, ok := kafka.(R); ok {
		f(d.kafka, r)
	}
	if r, ok := weir.(R); ok {
		f(d.weir, r)
	}
}

// topic makes a topic on both sides and waits until both serve it.
func (d *duel) topic(name string, partitions int32, configs ...string) {
	d.t.Helper()
	if !slices.Contains(configs, "retention.ms") { // records of long ago must stay
		configs = append(configs, "retention.ms", "-1")
	}
	for _, s := range []*side{d.kafka, d.weir} {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Version, req.TimeoutMillis = 7, 10_000
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
		for i := 0; i < len(configs); i += 2 {
			c := kmsg.NewCreateTopicsRequestTopicConfig()
			c.Name, c.Value = configs[i], &configs[i+1]
			topic.Configs = append(topic.Configs, c)
		}
		req.Topics = append(req.Topics, topic)
		resp, ok := s.send(req).(*kmsg.CreateTopicsResponse)
		if !ok || resp.Topics[0].ErrorCode != 0 {
			d.t.Fatalf("%s: create %s: %+v", s.name, name, resp)
		}
		s.ids[name] = resp.Topics[0].TopicID
		d.await(s, name, partitions)
	}
}

// await waits until a side says that a topic has so many led partitions; Kafka
// answers CreateTopics before it does.
func (d *duel) await(s *side, name string, partitions int32) {
	d.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		req := kmsg.NewPtrListOffsetsRequest()
		req.Version, req.ReplicaID = 5, -1
		topic := kmsg.NewListOffsetsRequestTopic()
		topic.Topic = name
		for p := range partitions {
			part := kmsg.NewListOffsetsRequestTopicPartition()
			part.Partition, part.Timestamp = p, -1
			topic.Partitions = append(topic.Partitions, part)
		}
		req.Topics = append(req.Topics, topic)
		if resp, ok := s.send(req).(*kmsg.ListOffsetsResponse); ok {
			if !slices.ContainsFunc(resp.Topics[0].Partitions, func(p kmsg.ListOffsetsResponseTopicPartition) bool { return p.ErrorCode != 0 }) {
				return
			}
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("%s does not serve %s after ten seconds", s.name, name)
		}
	}
}

// flatten turns an answer into fields by path, with what must differ masked.
func (s *side) flatten(answer any) map[string]string {
	f := fields{into: map[string]string{}, topics: map[[16]byte]string{}}
	for name, id := range s.ids {
		f.topics[id] = name
	}
	if o, ok := answer.(outcome); ok {
		f.into["outcome"] = string(o)
		return f.into
	}
	f.walk("", "", reflect.ValueOf(answer).Elem())
	return f.into
}

// fields are the fields of an answer by path; topics names the topics by their ids.
type fields struct {
	into   map[string]string
	topics map[[16]byte]string
}

func (f fields) walk(path, field string, v reflect.Value) {
	if id, ok := reflect.TypeAssert[[16]byte](v); ok {
		f.into[path] = fmt.Sprintf("%q", f.topics[id])
		if f.topics[id] == "" && id != [16]byte{} {
			f.into[path] = "set"
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			part := v.Type().Field(i)
			if part.Name == "Version" && path == "" || part.Name == "UnknownTags" || !part.IsExported() {
				continue
			}
			f.walk(path+"."+part.Name, part.Name, v.Field(i))
		}
	case reflect.Pointer:
		if v.IsNil() {
			f.into[path] = "null"
			if field == "ErrorMessage" {
				f.into[path] = "zero"
			}
			return
		}
		f.walk(path, field, v.Elem())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			f.into[path] = fmt.Sprintf("%d:%x", v.Len(), maskedBatches(field, v.Bytes()))
			if v.IsNil() {
				f.into[path] = "null"
			}
			return
		}
		f.list(path, field, v)
	default:
		f.into[path] = masked(field, v)
	}
}

// list names the elements of an array by what identifies them, so that the order
// in which a broker walks its own tables does not count.
func (f fields) list(path, field string, v reflect.Value) {
	f.into[path+"[]"] = fmt.Sprint(v.Len())
	if v.IsNil() {
		f.into[path+"[]"] = "null"
	}
	uses := map[string]int{}
	for i := range v.Len() {
		name, ok := f.identity(v.Index(i))
		if !ok {
			name = fmt.Sprint(i)
		}
		uses[name]++
		if n := uses[name]; n > 1 {
			name = fmt.Sprintf("%s#%d", name, n)
		}
		if v.Index(i).Kind() == reflect.Struct {
			f.into[path+"["+name+"]"] = "there"
		}
		f.walk(path+"["+name+"]", field, v.Index(i))
	}
}

func (f fields) identity(v reflect.Value) (string, bool) {
	if v.Kind() != reflect.Struct {
		return "", false
	}
	if p, ok := reflect.TypeAssert[kmsg.DescribeProducersResponseTopicPartitionActiveProducer](v); ok {
		return fmt.Sprintf("epoch %d, sequence %d", p.ProducerEpoch, p.LastSequence), true // in the order of ids, which each broker gives its own way
	}
	var parts []string
	for _, name := range []string{"TransactionalID", "TopicID", "Topic", "Name", "Group", "Key", "ApiKey", "ConfigName", "ResourceType", "ResourceName", "InstanceID", "Partition"} {
		part := v.FieldByName(name)
		if !part.IsValid() {
			continue
		}
		if id, ok := reflect.TypeAssert[[16]byte](part); ok {
			if f.topics[id] != "" && reflect.Indirect(v.FieldByName("Topic")).IsZero() {
				parts = append(parts, "id of "+f.topics[id])
			}
			continue
		}
		if part.Kind() == reflect.Pointer {
			if part.IsNil() {
				continue
			}
			part = part.Elem()
		}
		parts = append(parts, fmt.Sprint(part.Interface()))
	}
	return strings.Join(parts, "/"), len(parts) > 0
}

var uuid = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|-[A-Za-z0-9_-]{22}$`)

// masked is a value, or "set" for what no two brokers share.
func masked(field string, v reflect.Value) string {
	switch field {
	case "ClusterID", "Host", "ErrorMessage", "ErrMsg", "Dir", "Port", "ProducerID", "SessionID", "TotalBytes", "UsableBytes", "Documentation", "FinalizedFeaturesEpoch", "StartTimestamp", "LastTimestamp":
		switch {
		case v.IsZero() && field != "ProducerID":
			return "zero"
		case v.CanInt() && v.Int() < 0:
			return "negative"
		case field == "ProducerID":
			return "set"
		default:
			return "set"
		}
	}
	if field == "LogAppendTime" && v.Int() > sentAt+1_000_000 {
		return "now"
	}
	if v.Kind() == reflect.String {
		return uuid.ReplaceAllString(fmt.Sprintf("%q", v.String()), "UUID")
	}
	return fmt.Sprint(v.Interface())
}

// maskedBatches are batches without what no two brokers share: ids of transactional producers, the
// times of markers, and therefore checksums.
func maskedBatches(field string, batches []byte) []byte {
	const crc, attributes, timestamps, producer, epoch, header = 17, 21, 27, 43, 51, 61
	const transactional, control = 1 << 4, 1 << 5
	if field != "RecordBatches" {
		return batches
	}
	out := slices.Clone(batches)
	for at := 0; len(out)-at >= header; at += 12 + int(binary.BigEndian.Uint32(out[at+8:])) {
		b := out[at:]
		if b[attributes+1]&transactional != 0 {
			clear(b[crc:attributes])
			clear(b[producer:epoch])
		}
		if b[attributes+1]&control != 0 {
			clear(b[timestamps:producer])
		}
	}
	return out
}

func keysOf(a, b map[string]string) func(func(string) bool) {
	all := map[string]bool{}
	for k := range a {
		all[k] = true
	}
	for k := range b {
		all[k] = true
	}
	return func(yield func(string) bool) {
		for k := range all {
			if !yield(k) {
				return
			}
		}
	}
}
