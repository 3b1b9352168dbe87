package metadata_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"pgregory.net/rapid"

	"github.com/weirstream/weir/broker/internal/metadata"
)

// TestTranscripts runs commands against an image and prints what they did.
//
//	apply       kind, then its data as JSON: result and image
//	raw         bytes of an entry
//	diff        what changed since the last diff
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		img, index, since := metadata.Empty(), int64(0), metadata.Empty()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "apply":
				index++
				entry := fmt.Sprintf(`{"v":0,"kind":%q,"data":%s}`, d.CmdArgs[0].Key, d.Input)
				var r metadata.Result
				img, r = metadata.Apply(img, index, []byte(entry))
				return showResult(r)
			case "raw":
				index++
				var r metadata.Result
				img, r = metadata.Apply(img, index, []byte(d.Input))
				return showResult(r)
			case "image":
				return showImage(t, img)
			case "diff":
				out := showDelta(metadata.Diff(since, img))
				since = img
				return out
			}
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		})
	})
}

func showResult(r metadata.Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "index %d", r.Index)
	if r.First != 0 {
		fmt.Fprintf(&b, " first %d", r.First)
	}
	b.WriteString("\n")
	if r.Err != nil {
		fmt.Fprintln(&b, showError(r.Err))
	}
	for i, err := range r.Items {
		fmt.Fprintf(&b, "%d: %s\n", i, showError(err))
	}
	return b.String()
}

func showError(err error) string {
	if err == nil {
		return "ok"
	}
	if errors.Is(err, metadata.ErrUndecodable) {
		return "undecodable"
	}
	code, ok := errors.AsType[*kerr.Error](err)
	if !ok {
		return "no code: " + err.Error()
	}
	return code.Message + ": " + err.Error()
}

func showImage(t *testing.T, img *metadata.Image) string {
	b, err := metadata.Snapshot(img)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", " "); err != nil {
		t.Fatal(err)
	}
	return out.String() + "\n"
}

func showDelta(d metadata.Delta) string {
	var b strings.Builder
	for _, t := range d.Deleted {
		fmt.Fprintf(&b, "deleted %s %s\n", t.Name, t.ID)
	}
	for _, t := range d.Created {
		fmt.Fprintf(&b, "created %s %s partitions=%d\n", t.Name, t.ID, len(t.Partitions))
	}
	for _, c := range d.Grown {
		fmt.Fprintf(&b, "grown %s %d->%d\n", c.New.Name, len(c.Old.Partitions), len(c.New.Partitions))
	}
	for _, c := range d.Reconfigured {
		fmt.Fprintf(&b, "reconfigured %s %v->%v\n", c.New.Name, c.Old.Configs, c.New.Configs)
	}
	for _, c := range d.Led {
		now := c.Topic.Partitions[c.Partition]
		fmt.Fprintf(&b, "led %s-%d %d@%d->%d@%d\n", c.Topic.Name, c.Partition, c.Old.Leader, c.Old.LeaderEpoch, now.Leader, now.LeaderEpoch)
	}
	for _, r := range d.Configs {
		fmt.Fprintf(&b, "broker configs %q\n", r.Name)
	}
	fmt.Fprintf(&b, "brokers %v\n", d.Brokers)
	return b.String()
}

// commands draws commands over a few names, so that they meet.
func commands() *rapid.Generator[metadata.Command] {
	name := rapid.SampledFrom([]string{"a", "b", "a.b", "a_b", "__consumer_offsets", "", "x y"})
	id := rapid.Custom(func(t *rapid.T) metadata.ID { return metadata.ID{byte(rapid.IntRange(0, 6).Draw(t, "id"))} })
	replicas := rapid.SliceOfN(rapid.SliceOfN(rapid.Int32Range(0, 3), 0, 3), 0, 3)
	value := rapid.SampledFrom([]string{"", "1", "x", "x,y", " y , z"})
	key := rapid.SampledFrom([]string{"k", "l", "m"})
	return rapid.Custom(func(t *rapid.T) metadata.Command {
		switch rapid.IntRange(0, 6).Draw(t, "kind") {
		case 0:
			var c metadata.CreateTopics
			for range rapid.IntRange(0, 3).Draw(t, "topics") {
				c.Topics = append(c.Topics, metadata.NewTopic{Name: name.Draw(t, "name"), ID: id.Draw(t, "id"), Assignments: replicas.Draw(t, "replicas"), Configs: rapid.MapOfN(key, value, 0, 2).Draw(t, "configs")})
			}
			return c
		case 1:
			return metadata.DeleteTopics{IDs: rapid.SliceOfN(id, 0, 2).Draw(t, "ids")}
		case 2:
			return metadata.CreatePartitions{Topics: []metadata.NewPartitions{{Topic: name.Draw(t, "name"), From: rapid.Int32Range(0, 3).Draw(t, "from"), Assignments: replicas.Draw(t, "replicas")}}}
		case 3:
			var ops []metadata.ConfigOp
			for range rapid.IntRange(0, 3).Draw(t, "ops") {
				ops = append(ops, metadata.ConfigOp{Key: key.Draw(t, "key"), Op: metadata.Op(rapid.IntRange(0, 4).Draw(t, "op")), Value: value.Draw(t, "value"), Base: value.Draw(t, "base")})
			}
			kind := rapid.SampledFrom([]metadata.ResourceType{metadata.TopicResource, metadata.BrokerResource, 77}).Draw(t, "type")
			return metadata.SetConfigs{Changes: []metadata.ConfigChange{{Resource: metadata.Resource{Type: kind, Name: name.Draw(t, "name")}, Replace: rapid.Bool().Draw(t, "replace"), Ops: ops}}}
		case 4:
			return metadata.RegisterBroker{ClusterID: rapid.SampledFrom([]string{"c", "c", "c", "d", ""}).Draw(t, "cluster"), Broker: metadata.Broker{ID: rapid.Int32Range(-1, 3).Draw(t, "broker"), Endpoints: []metadata.Endpoint{{Listener: "L", Host: "h", Port: 1}}}}
		case 5:
			return metadata.AllocateProducerIDs{Broker: 1}
		default:
			return metadata.SetFeatures{Features: map[string]int16{key.Draw(t, "feature"): rapid.Int16Range(-1, 3).Draw(t, "level")}}
		}
	})
}

// entries draws a log of commands and, now and then, garbage.
func entries(t *rapid.T) [][]byte {
	log := [][]byte{}
	for _, c := range rapid.SliceOfN(commands(), 0, 25).Draw(t, "log") {
		b, err := metadata.Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		if rapid.IntRange(0, 9).Draw(t, "damage") == 0 && len(b) > 0 {
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "with"))
		}
		log = append(log, b)
	}
	return log
}

func run(img *metadata.Image, from int64, log [][]byte) *metadata.Image {
	for i, e := range log {
		img, _ = metadata.Apply(img, from+int64(i)+1, e)
	}
	return img
}

func bytesOf(t *rapid.T, img *metadata.Image) string {
	b, err := metadata.Snapshot(img)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestReplayOfALogGivesTheSameImage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := entries(t)
		if a, b := bytesOf(t, run(metadata.Empty(), 0, log)), bytesOf(t, run(metadata.Empty(), 0, log)); a != b {
			t.Fatalf("two replays differ:\n%s\n%s", a, b)
		}
	})
}

func TestASnapshotInTheMiddleChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := entries(t)
		cut := rapid.IntRange(0, len(log)).Draw(t, "cut")
		live := run(metadata.Empty(), 0, log)
		middle := run(metadata.Empty(), 0, log[:cut])
		restored, err := metadata.Restore([]byte(bytesOf(t, middle)))
		if err != nil {
			t.Fatal(err)
		}
		if a, b := bytesOf(t, live), bytesOf(t, run(restored, int64(cut), log[cut:])); a != b {
			t.Fatalf("live and restored differ:\n%s\n%s", a, b)
		}
		if live.PartitionCount() != count(live) {
			t.Fatalf("%d partitions counted, %d there", live.PartitionCount(), count(live))
		}
	})
}

func count(img *metadata.Image) (n int) {
	for _, t := range img.Topics() {
		n += len(t.Partitions)
	}
	return n
}

func TestOldImagesNeverChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		img := metadata.Empty()
		var images []*metadata.Image
		var want []string
		for i, e := range entries(t) {
			img, _ = metadata.Apply(img, int64(i)+1, e)
			images, want = append(images, img), append(want, bytesOf(t, img))
		}
		for i := range images {
			if got := bytesOf(t, images[i]); got != want[i] {
				t.Fatalf("image %d was changed later:\n%s\n%s", i, want[i], got)
			}
		}
	})
}

// applyDelta changes topics as a delta says, from nothing but the delta and the
// old topics.
func applyDelta(topics map[string]metadata.Topic, d metadata.Delta) {
	for _, t := range d.Deleted {
		delete(topics, t.Name)
	}
	for _, t := range d.Created {
		topics[t.Name] = *t
	}
	for _, c := range d.Reconfigured {
		t := topics[c.New.Name]
		t.Configs = c.New.Configs
		topics[c.New.Name] = t
	}
	for _, c := range d.Grown {
		t := topics[c.New.Name]
		t.Partitions = append(slices.Clone(t.Partitions), c.New.Partitions[len(c.Old.Partitions):]...)
		topics[c.New.Name] = t
	}
	for _, c := range d.Led {
		t := topics[c.Topic.Name]
		t.Partitions = slices.Clone(t.Partitions)
		t.Partitions[c.Partition] = c.Topic.Partitions[c.Partition]
		topics[c.Topic.Name] = t
	}
}

func TestADiffAppliedToTheOldImageGivesTheNew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := entries(t)
		cut := rapid.IntRange(0, len(log)).Draw(t, "cut")
		from := run(metadata.Empty(), 0, log[:cut])
		to := run(from, int64(cut), log[cut:])
		d := metadata.Diff(from, to)
		got := map[string]metadata.Topic{}
		for _, topic := range from.Topics() {
			got[topic.Name] = *topic
		}
		applyDelta(got, d)
		want := map[string]metadata.Topic{}
		for _, topic := range to.Topics() {
			want[topic.Name] = *topic
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		if d.Brokers == cmp.Equal(from.Brokers(), to.Brokers()) {
			t.Fatalf("brokers differ: %v", d.Brokers)
		}
		for _, name := range []string{"", "a", "b", "a.b", "a_b", "x y"} {
			r := metadata.Resource{Type: metadata.BrokerResource, Name: name}
			if slices.Contains(d.Configs, r) == maps.Equal(from.Config(r), to.Config(r)) {
				t.Fatalf("configs of broker %q: told %v", name, d.Configs)
			}
		}
	})
}

func TestApplyIsTotalOnBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		img := run(metadata.Empty(), 0, entries(t))
		entry := rapid.SliceOf(rapid.Byte()).Draw(t, "entry")
		next, r := metadata.Apply(img, 99, entry)
		if next.Version() != 99 || !errors.Is(r.Err, metadata.ErrUndecodable) {
			t.Fatalf("version %d, error %v", next.Version(), r.Err)
		}
	})
}

func FuzzRestore(f *testing.F) {
	b, err := metadata.Snapshot(run(metadata.Empty(), 0, nil))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"v":0,"topics":[null]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := metadata.Restore(data); err != nil && !errors.Is(err, metadata.ErrSnapshot) {
			t.Fatal(err)
		}
	})
}

func TestRestoreRefusesWhatSnapshotNeverWrites(t *testing.T) {
	topic := `{"name":"a","id":"AQAAAAAAAAAAAAAAAAAAAA","partitions":[{"leader":1}]}`
	for name, data := range map[string]string{
		"no JSON":               `{`,
		"a later version":       `{"v":1}`,
		"a null topic":          `{"v":0,"topics":[null]}`,
		"a topic without parts": `{"v":0,"topics":[{"name":"a","id":"AQAAAAAAAAAAAAAAAAAAAA"}]}`,
		"a topic twice":         `{"v":0,"topics":[` + topic + `,` + topic + `]}`,
		"brokers out of order":  `{"v":0,"brokers":[{"id":2},{"id":1}]}`,
		"an id too short":       `{"v":0,"topics":[{"name":"a","id":"AQ"}]}`,
		"an id of other bytes":  `{"v":0,"topics":[{"name":"a","id":"!!!"}]}`,
	} {
		if _, err := metadata.Restore([]byte(data)); !errors.Is(err, metadata.ErrSnapshot) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnOfflineViewHasNoLeaderAndLeavesTheImageAlone(t *testing.T) {
	img := bigImage(t, 3)
	view := img.Offline(map[metadata.TopicPartition]bool{{Topic: "t-000001", Partition: 0}: true, {Topic: "gone", Partition: 0}: true, {Topic: "t-000001", Partition: 9}: true})
	at := func(i *metadata.Image) int32 {
		topic, ok := i.Topic("t-000001")
		if !ok {
			t.Fatal("the topic is gone")
		}
		return topic.Partitions[0].Leader
	}
	if at(view) != -1 || at(img) != 1 || view.PartitionCount() != 3 {
		t.Fatalf("view %d, image %d, %d partitions", at(view), at(img), view.PartitionCount())
	}
	if byID, ok := view.TopicByID(metadata.ID{1, 0, 0, 1}); !ok || byID.Partitions[0].Leader != -1 {
		t.Fatal("the view shows another leader by id")
	}
	if img.Offline(nil) != img {
		t.Fatal("nothing offline is another image")
	}
}

// bigImage has n topics of one partition.
func bigImage(t testing.TB, n int) *metadata.Image {
	t.Helper()
	img, r := metadata.ApplyCommand(metadata.Empty(), 1, metadata.RegisterBroker{ClusterID: "c", Broker: metadata.Broker{ID: 1}})
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	var c metadata.CreateTopics
	for i := range n {
		c.Topics = append(c.Topics, metadata.NewTopic{Name: fmt.Sprintf("t-%06d", i), ID: metadata.ID{1, byte(i >> 16), byte(i >> 8), byte(i)}, Assignments: [][]int32{{1}}})
	}
	img, r = metadata.ApplyCommand(img, 2, c)
	if err := errors.Join(r.Items...); err != nil {
		t.Fatal(err)
	}
	return img
}

func TestOneTopicAmongTenThousandIsCheapToChange(t *testing.T) {
	img := bigImage(t, 10_000)
	c := metadata.SetConfigs{Changes: []metadata.ConfigChange{{Resource: metadata.Resource{Type: metadata.TopicResource, Name: "t-000500"}, Ops: []metadata.ConfigOp{{Key: "k", Value: "v"}}}}}
	allocs := testing.AllocsPerRun(10, func() { metadata.ApplyCommand(img, 3, c) })
	if allocs > 100 {
		t.Fatalf("%v allocations", allocs)
	}
}

func BenchmarkChangeOneOfTenThousand(b *testing.B) {
	img := bigImage(b, 10_000)
	c := metadata.SetConfigs{Changes: []metadata.ConfigChange{{Resource: metadata.Resource{Type: metadata.TopicResource, Name: "t-000500"}, Ops: []metadata.ConfigOp{{Key: "k", Value: "v"}}}}}
	for b.Loop() {
		next, _ := metadata.ApplyCommand(img, 3, c)
		metadata.Diff(img, next)
	}
}

func TestPlaceGoesRoundTheBrokers(t *testing.T) {
	img := metadata.Empty()
	for id := range int32(3) {
		img, _ = metadata.ApplyCommand(img, int64(id), metadata.RegisterBroker{ClusterID: "c", Broker: metadata.Broker{ID: id + 1}})
	}
	got, err := img.Place(4, 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	if want := [][]int32{{2, 3}, {3, 1}, {1, 2}, {2, 3}}; !cmp.Equal(want, got) {
		t.Fatal(cmp.Diff(want, got))
	}
	for name, c := range map[string]struct {
		partitions, factor int32
		want               *kerr.Error
	}{
		"too many replicas": {1, 4, kerr.InvalidReplicationFactor},
		"no replica":        {1, 0, kerr.InvalidReplicationFactor},
		"no partition":      {0, 1, kerr.InvalidPartitions},
	} {
		if _, err := img.Place(c.partitions, c.factor, 0); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "A.b_c-9": true, strings.Repeat("x", 249): true,
		"": false, ".": false, "..": false, "...": true, "a b": false, "ä": false, "a\x00": false, strings.Repeat("x", 250): false,
	} {
		if err := metadata.CheckName(name); (err == nil) != ok || err != nil && !errors.Is(err, kerr.InvalidTopicException) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if !metadata.IsInternal("__consumer_offsets") || !metadata.IsInternal("__transaction_state") || metadata.IsInternal("x") {
		t.Error("internal topics")
	}
}

func TestTheListOfBrokersAnswersByID(t *testing.T) {
	img := bigImage(t, 1)
	if b, ok := img.Broker(1); !ok || b.Epoch != 1 {
		t.Fatal("broker 1 is not there")
	}
	if _, ok := img.Broker(2); ok {
		t.Fatal("broker 2 is there")
	}
	b := metadata.Broker{Endpoints: []metadata.Endpoint{{Listener: "A", Host: "h", Port: 9}}}
	if e, ok := b.Endpoint("A"); !ok || e.Port != 9 {
		t.Fatal("endpoint A")
	}
	if _, ok := b.Endpoint("B"); ok {
		t.Fatal("endpoint B")
	}
	if img.ClusterID() != "c" || img.TopicCount() != 1 || img.NextProducerID() != 0 || len(img.Features()) != 0 {
		t.Fatal("counts")
	}
}
