package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/streams/internal/assign"
	"github.com/weirstream/weir/streams/internal/graph"
	"github.com/weirstream/weir/streams/internal/runtime"
)

func TestErrorsThatAreFinal(t *testing.T) {
	for _, test := range []struct {
		err   error
		retry bool
	}{
		{kerr.NotLeaderForPartition, true},
		{kerr.IllegalGeneration, true},
		{kgo.ErrAborting, true},
		{errors.New("connection refused"), true},
		{kerr.MessageTooLarge, false},
		{kerr.TopicAuthorizationFailed, false},
		{kerr.UnknownTopicOrPartition, false},
		{kgo.ErrClientClosed, false},
		{context.Canceled, false},
		{kerr.FencedInstanceID, false},
	} {
		err := classify(fmt.Errorf("request: %w", test.err))
		if errors.Is(err, runtime.ErrRetry) != test.retry || !errors.Is(err, test.err) {
			t.Errorf("%v became %v", test.err, err)
		}
		if again := classify(err); !errors.Is(again, test.err) {
			t.Errorf("classified twice: %v", again)
		}
	}
	if classify(nil) != nil {
		t.Error("nil became an error")
	}
	if !errors.Is(classify(kerr.FencedInstanceID), ErrFenced) {
		t.Error("a copy of a state directory has no name")
	}
}

func TestPartitionerFollowsSend(t *testing.T) {
	w := &sender{refused: &refusals{}}
	part := partitioner("t")
	pick := func(o runtime.Outgoing) int {
		r := w.slab.record(&o)
		r.Partition, r.Offset = o.Partition, 0
		if o.Partition < 0 {
			r.Partition, r.Offset = -1, int64(w.spread(&o))
		}
		return part(r, 5)
	}
	if got := pick(runtime.Outgoing{Partition: 3, Key: []byte("abc")}); got != 3 {
		t.Errorf("explicit partition became %d", got)
	}
	if got := pick(runtime.Outgoing{Partition: -1, Key: []byte("abc")}); got != int(runtime.Partition([]byte("abc"), 5)) {
		t.Errorf("key went to %d", got)
	}
	if got := pick(runtime.Outgoing{Partition: -1, Key: []byte("abc12345678"), PartitionKey: []byte("abc")}); got != int(runtime.Partition([]byte("abc"), 5)) {
		t.Errorf("partition key went to %d", got)
	}
	seen := map[int]int{}
	for range 5 * run {
		seen[pick(runtime.Outgoing{Partition: -1})]++
	}
	for p := range 5 {
		if seen[p] < run-1 || seen[p] > run+1 {
			t.Errorf("records without a key: %v", seen)
		}
	}
}

func TestSlabCopies(t *testing.T) {
	var s slab
	key, value := []byte("key"), bytes.Repeat([]byte("v"), slabBytes)
	var records []*kgo.Record
	for i := range 3 * slabRecords {
		key[0] = byte(i)
		o := runtime.Outgoing{Topic: "t", Key: key, Timestamp: int64(i), Headers: []runtime.Header{{Key: "h", Value: key}}}
		switch i {
		case 1:
			o.Value = value
		case 2:
			o.Value = []byte{}
		}
		records = append(records, s.record(&o))
	}
	for i, r := range records {
		if r.Key[0] != byte(i) || string(r.Key[1:]) != "ey" || r.Timestamp.UnixMilli() != int64(i) || r.Headers[0].Value[0] != byte(i) {
			t.Fatalf("record %d is %v", i, r)
		}
	}
	if len(records[1].Value) != slabBytes || records[2].Value == nil || records[3].Value != nil {
		t.Error("values changed")
	}
	n := testing.AllocsPerRun(1000, func() { s.record(&runtime.Outgoing{Topic: "t", Key: key, Value: key}) })
	if n > 0.1 {
		t.Errorf("%v allocations a record", n)
	}
}

func TestConvertKeepsPositionsOfMarkers(t *testing.T) {
	marker := &kgo.Record{Offset: 7, Attrs: kgo.RecordAttrs{}}
	fetches := kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: "t", Partitions: []kgo.FetchPartition{
		{Partition: 1, HighWatermark: 9, Records: []*kgo.Record{
			{Offset: 5, Key: []byte("k"), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("x")}}}, marker,
		}},
		{Partition: 2, HighWatermark: 3},
		{Partition: 3, Err: errors.New("boom")},
	}}}}}
	var p polled
	for range 2 { // the memory of the first poll serves the second
		got := p.convert(fetches)
		if len(got) != 2 || got[0].Next != 8 || got[0].End != 9 || got[1].Next != -1 || got[1].End != 3 {
			t.Fatalf("converted to %+v", got)
		}
		if m := got[0].Messages[0]; m.Topic != "t" || m.Partition != 1 || m.Offset != 5 || m.Headers[0].Key != "h" {
			t.Errorf("message %+v", m)
		}
	}
}

func layout(t *testing.T) *runtime.Layout {
	t.Helper()
	b := graph.NewBuilder()
	if err := b.AddSource("s", "a", "b"); err != nil {
		t.Fatal(err)
	}
	return runtime.NewLayout("app", b.Build())
}

func balance(t *testing.T, g kgo.GroupMemberBalancer, topics map[string]int32) []kmsg.SyncGroupRequestGroupAssignment {
	t.Helper()
	b, ok := g.(kgo.GroupMemberBalancerOrError)
	if !ok {
		t.Fatalf("%T cannot fail", g)
	}
	plan, err := b.BalanceOrError(topics)
	if err != nil {
		t.Fatal(err)
	}
	return plan.IntoSyncAssignment()
}

func TestBalancerAssignsWholeTasks(t *testing.T) {
	one := &balancer{layout: layout(t), process: "p1", worker: &nobody{}}
	two := &balancer{layout: layout(t), process: "p2", worker: &nobody{}}
	owned := map[string][]int32{"a": {0, 1}, "b": {0, 1}}
	members := []kmsg.JoinGroupResponseMember{
		{MemberID: "m1", ProtocolMetadata: one.JoinGroupMetadata([]string{"a", "b"}, nil, 3)},
		{MemberID: "m2", ProtocolMetadata: two.JoinGroupMetadata([]string{"a", "b"}, owned, 3)},
	}
	if !bytes.Equal(members[1].ProtocolMetadata, two.JoinGroupMetadata([]string{"a", "b"}, owned, 3)) {
		t.Error("the same member says different things")
	}
	b, topics, err := one.MemberBalancer(members)
	if err != nil {
		t.Fatal(err)
	}
	if len(topics) != 2 || one.ProtocolName() != "streams" || !one.IsCooperative() {
		t.Errorf("topics %v", topics)
	}
	got := map[string]map[string][]int32{}
	for _, a := range balance(t, b, map[string]int32{"a": 4, "b": 3}) {
		plan, err := one.ParseSyncAssignment(a.MemberAssignment)
		if err != nil {
			t.Fatal(err)
		}
		got[a.MemberID] = plan
	}
	want := map[string]map[string][]int32{
		"m1": {"a": {2, 3}, "b": {2}},
		"m2": {"a": {0, 1}, "b": {0, 1}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, _, err := one.MemberBalancer([]kmsg.JoinGroupResponseMember{{ProtocolMetadata: []byte{9}}}); err == nil {
		t.Error("balanced a member that makes no sense")
	}
}

// stateful is a layout of tasks that count.
func stateful(t *testing.T) *runtime.Layout {
	t.Helper()
	b := graph.NewBuilder()
	for _, err := range []error{
		b.AddSource("s", "a"), b.AddProcessor("count", "s"),
		b.AddStore(graph.Store{Name: "counts", Logged: true}), b.Connect("count", "counts"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return runtime.NewLayout("app", b.Build())
}

func TestBalancerTellsOfCopies(t *testing.T) {
	zero, one := runtime.TaskID{}, runtime.TaskID{Partition: 1}
	for name, test := range map[string]struct {
		end             int64
		err             error
		standby, warmup []runtime.TaskID
		moves           bool
	}{
		"state is far away":           {end: 10_001, standby: []runtime.TaskID{zero}, warmup: []runtime.TaskID{one}},
		"state is small":              {end: 10_000, standby: []runtime.TaskID{zero}, moves: true},
		"nobody knows where logs end": {err: kerr.NotLeaderForPartition, standby: []runtime.TaskID{zero}, moves: true},
	} {
		t.Run(name, func(t *testing.T) {
			old := &nobody{state: map[runtime.TaskID]int64{zero: assign.Latest, one: assign.Latest}}
			fresh := &nobody{}
			var asked []runtime.TP
			of := func(process string, n *nobody) *balancer {
				return &balancer{
					layout: stateful(t), process: process, worker: n, log: slog.New(slog.DiscardHandler),
					wishes: assign.Options{Standbys: 1, AcceptableLag: 10_000, Warmups: 2},
					ends: func(tps []runtime.TP) (map[runtime.TP]int64, error) {
						asked = tps
						return map[runtime.TP]int64{tps[0]: test.end, tps[1]: test.end}, test.err
					},
				}
			}
			b := of("p1", old)
			g, _, err := b.MemberBalancer([]kmsg.JoinGroupResponseMember{
				{MemberID: "m1", ProtocolMetadata: b.JoinGroupMetadata([]string{"a"}, map[string][]int32{"a": {0, 1}}, 3)},
				{MemberID: "m2", ProtocolMetadata: of("p2", fresh).JoinGroupMetadata([]string{"a"}, nil, -1)},
			})
			if err != nil {
				t.Fatal(err)
			}
			members := map[string]*balancer{"m1": b, "m2": of("p2", fresh)}
			for _, a := range balance(t, g, map[string]int32{"a": 2}) {
				if _, err := members[a.MemberID].ParseSyncAssignment(a.MemberAssignment); err != nil {
					t.Fatal(err)
				}
			}
			log := "app-counts-changelog"
			if diff := cmp.Diff([]runtime.TP{{Topic: log}, {Topic: log, Partition: 1}}, asked); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.standby, fresh.standby); diff != "" {
				t.Error("standbys", diff)
			}
			if diff := cmp.Diff(test.warmup, fresh.warmup); diff != "" {
				t.Error("warm-ups", diff)
			}
			runs := []runtime.TaskID{zero, one}
			if test.moves {
				runs = runs[:1]
			}
			if diff := cmp.Diff(runs, old.active); diff != "" || len(fresh.active) > 0 {
				t.Error("runs", diff, fresh.active)
			}
		})
	}
}

func TestCopiesThatMakeNoSense(t *testing.T) {
	n := &nobody{}
	b := &balancer{layout: stateful(t), worker: n, log: slog.New(slog.DiscardHandler)}
	given := kmsg.NewConsumerMemberAssignment()
	for _, data := range []string{"", "{", `{"standby":["x"],"new":1}`} {
		given.UserData = []byte(data)
		if _, err := b.ParseSyncAssignment(given.AppendTo(nil)); err != nil || len(n.standby) > 0 {
			t.Errorf("%s: %v, %v", data, n.standby, err)
		}
	}
	given.Topics = []kmsg.ConsumerMemberAssignmentTopic{{Topic: "a", Partitions: []int32{1, 2}}}
	given.UserData = []byte("all of it")
	whole := given.AppendTo(nil)
	if got := string(userDataOf(whole)); got != "all of it" {
		t.Errorf("user data is %q", got)
	}
	for n := range whole {
		if got := userDataOf(whole[:n]); got != nil {
			t.Errorf("of %d bytes, user data is %q", n, got)
		}
	}
	if _, err := b.ParseSyncAssignment([]byte{1}); err == nil {
		t.Error("half an assignment makes sense")
	}
	meta := kmsg.NewConsumerMemberMetadata()
	meta.UserData = []byte(`{"process":"p","state":{"0_1":5,"x":7}}`)
	m := b.member(&kmsg.JoinGroupResponseMember{MemberID: "m"}, &meta)
	if diff := cmp.Diff(map[runtime.TaskID]int64{{Partition: 1}: 5}, m.State); diff != "" || m.Process != "p" {
		t.Error(m.Process, diff)
	}
}

// TestTopicsOfPatternsCountOnceAllKnow: until then those who do not are told.
func TestTopicsOfPatternsCountOnceAllKnow(t *testing.T) {
	graphs := graph.NewBuilder()
	for _, err := range []error{graphs.AddSource("s", "a"), graphs.AddPattern("p", graph.NewPattern(regexp.MustCompile("x.*")))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	told := 0
	b := &balancer{layout: runtime.NewLayout("app", graphs.Build()), process: "p", worker: &nobody{}, noticed: func() { told++ }}
	for _, tc := range []struct {
		mine, theirs []string
		want         []string
		told         int
	}{
		{[]string{"a", "x1"}, []string{"a", "x1"}, []string{"a", "x1"}, 0},
		{[]string{"a", "x1", "x2"}, []string{"a", "x1"}, []string{"a", "x1"}, 2},
		{[]string{"x1"}, []string{"a"}, []string{"a"}, 2},
	} {
		told = 0
		g, topics, err := b.MemberBalancer([]kmsg.JoinGroupResponseMember{
			{MemberID: "m1", ProtocolMetadata: b.JoinGroupMetadata(tc.mine, nil, 1)},
			{MemberID: "m2", ProtocolMetadata: b.JoinGroupMetadata(tc.theirs, nil, 1)},
		})
		if err != nil {
			t.Fatal(err)
		}
		counts := map[string]int32{}
		for topic := range topics {
			counts[topic] = 1
		}
		var got []string
		for _, a := range balance(t, g, counts) {
			given, err := b.ParseSyncAssignment(a.MemberAssignment)
			if err != nil {
				t.Fatal(err)
			}
			got = slices.AppendSeq(got, maps.Keys(given))
		}
		slices.Sort(got)
		if diff := cmp.Diff(tc.want, got); diff != "" || told != tc.told {
			t.Errorf("%v and %v: %d told; %s", tc.mine, tc.theirs, told, diff)
		}
	}
}

func TestMoveTakesTwoRounds(t *testing.T) {
	b := &balancer{layout: layout(t), process: "p", worker: &nobody{}}
	owned := map[string][]int32{"a": {0, 1}, "b": {0, 1}}
	members := []kmsg.JoinGroupResponseMember{
		{MemberID: "m1", ProtocolMetadata: b.JoinGroupMetadata([]string{"a", "b"}, owned, 3)},
		{MemberID: "m2", ProtocolMetadata: b.JoinGroupMetadata([]string{"a", "b"}, nil, 3)},
	}
	g, _, err := b.MemberBalancer(members)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range balance(t, g, map[string]int32{"a": 2, "b": 2}) {
		plan, err := b.ParseSyncAssignment(a.MemberAssignment)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(plan["a"]) + len(plan["b"]); a.MemberID == "m2" && n != 0 || a.MemberID == "m1" && n != 2 {
			t.Errorf("%s gets %v before it was revoked", a.MemberID, plan)
		}
	}
}

func TestLoggerKeepsWarnings(t *testing.T) {
	var out strings.Builder
	l := newLogger(t.Context(), slog.New(slog.NewTextHandler(&out, nil)))
	if l.Level() != kgo.LogLevelWarn {
		t.Errorf("level %v", l.Level())
	}
	l.Log(kgo.LogLevelInfo, "chatter")
	l.Log(kgo.LogLevelWarn, "trouble", "broker", 1)
	if got := out.String(); !strings.Contains(got, "trouble") || strings.Contains(got, "chatter") {
		t.Error(got)
	}
	debug := newLogger(t.Context(), slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if debug.Level() != kgo.LogLevelInfo {
		t.Errorf("level %v", debug.Level())
	}
}

// nobody is a rebalancer that has some state, and remembers what it is to follow.
type nobody struct {
	state                   map[runtime.TaskID]int64
	active, standby, warmup []runtime.TaskID
}

func (*nobody) Assigned(context.Context, []runtime.TP) {}
func (*nobody) Revoked(context.Context, []runtime.TP)  {}
func (*nobody) Lost(context.Context, []runtime.TP)     {}

func (n *nobody) Holds() (state map[runtime.TaskID]int64, following []runtime.TaskID) {
	return n.state, n.standby
}

func (n *nobody) Follow(active, standby, warmup []runtime.TaskID) {
	n.active, n.standby, n.warmup = active, standby, warmup
}

func options(t *testing.T) Options {
	t.Helper()
	return Options{
		Brokers: []string{"127.0.0.1:1"}, Group: "g", ClientID: "c", Instance: "i", Process: "p", Layout: layout(t), Topics: []string{"a", "b"},
		Changelogs: []string{"log"}, ResetToEnd: true, SessionTimeout: 45e9, Logger: slog.New(slog.DiscardHandler),
	}
}

func TestWorkerWithoutABroker(t *testing.T) {
	w, err := Dial(t.Context(), options(t), &nobody{})
	if err != nil {
		t.Fatal(err)
	}
	tp := runtime.TP{Topic: "a"}
	w.Pause([]runtime.TP{tp})
	w.Resume([]runtime.TP{tp})
	w.Seek(map[runtime.TP]int64{tp: 3})
	if got, err := w.Poll(t.Context(), 0, 10); err != nil || len(got) != 0 {
		t.Errorf("polled %v, %v", got, err)
	}
	if err := w.Restore(map[runtime.TP]int64{{Topic: "log"}: 0}); err != nil {
		t.Error(err)
	}
	w.EndRestore([]runtime.TP{{Topic: "log"}})
	if _, ok := w.Acked(runtime.TP{Topic: "log"}); ok {
		t.Error("something was acknowledged")
	}
	if err := w.Send(&runtime.Outgoing{Topic: "log", Key: []byte("k")}); err != nil {
		t.Error(err)
	}
	w.Kill()
	if err := w.Commit(t.Context(), nil); err == nil {
		t.Error("committed a record that nobody took")
	}
	if err := w.Send(&runtime.Outgoing{Topic: "log"}); err == nil {
		t.Error("sent after a failure")
	}
	if _, err := w.Committed(t.Context(), []runtime.TP{tp}); err == nil {
		t.Error("read commits of no broker")
	}
	if _, err := w.Ends(t.Context(), []runtime.TP{tp}); err == nil {
		t.Error("read ends of no broker")
	}
	if got, err := w.Starts(t.Context(), nil); err != nil || len(got) != 0 {
		t.Errorf("starts of nothing: %v, %v", got, err)
	}
	_ = w.Close(t.Context(), true)
}

func TestOptionsThatMakeNoClient(t *testing.T) {
	o := options(t)
	o.Extra = []kgo.Opt{kgo.ClientID("x"), kgo.FetchMaxBytes(-1), kgo.MaxConcurrentFetches(-1), kgo.BrokerMaxReadBytes(-1)}
	if _, err := Dial(t.Context(), o, &nobody{}); err == nil {
		t.Error("dialled with options that make no sense")
	}
	if _, err := NewAdmin(t.Context(), o.Brokers, "g", "c", o.Logger, o.Extra...); err == nil {
		t.Error("made an admin with options that make no sense")
	}
}
