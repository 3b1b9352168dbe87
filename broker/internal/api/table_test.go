package api

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/admin"
	"github.com/weirstream/weir/broker/internal/api/data"
	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/api/txn"
	"github.com/weirstream/weir/broker/internal/auth"
	"github.com/weirstream/weir/broker/internal/coordinator"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/quota"
	txns "github.com/weirstream/weir/broker/internal/txn"
	"github.com/weirstream/weir/broker/internal/wire"
	"github.com/weirstream/weir/internal/config"
	"github.com/weirstream/weir/internal/env"
)

// kafka is what Apache Kafka 4.3.1 answers to ApiVersions for the keys served here.
func kafka() map[int16][2]int16 {
	return map[int16][2]int16{
		0: {0, 13}, 1: {4, 18}, 2: {1, 11}, 3: {0, 13}, 8: {2, 10}, 9: {1, 10}, 10: {0, 6}, 11: {0, 9}, 12: {0, 4},
		13: {0, 5}, 14: {0, 5}, 15: {0, 6}, 16: {0, 5}, 18: {0, 4}, 19: {2, 7}, 20: {1, 6}, 21: {0, 2}, 22: {0, 5},
		23: {2, 4}, 24: {0, 5}, 25: {0, 4}, 26: {0, 5}, 27: {1, 2}, 28: {0, 5}, 32: {1, 4}, 33: {0, 2}, 35: {1, 5}, 37: {0, 3}, 42: {0, 2}, 44: {0, 1}, 47: {0, 0}, 57: {0, 2}, 60: {0, 2}, 61: {0, 0}, 65: {0, 0}, 66: {0, 2}, 75: {0, 0},
	}
}

func TestTheTableHasKafkasRanges(t *testing.T) {
	got := map[int16][2]int16{}
	last := int16(-1)
	for _, r := range Table(Deps{}) {
		got[r.Key] = [2]int16{r.Min, r.Max}
		if r.Key <= last {
			t.Errorf("%s stands behind key %d", r.Name, last)
		}
		last = r.Key
	}
	if diff := cmp.Diff(kafka(), got); diff != "" {
		t.Errorf("Kafka's ranges and ours (-kafka +weir):\n%s", diff)
	}
}

// nothing is a broker that serves nothing.
type nothing struct{}

func (nothing) Partition(string) int32 { return 0 }
func (nothing) Partitions() int32      { return 1 }
func (nothing) Query(int32, any) (any, error) {
	return nil, kerr.NotCoordinator
}

func (nothing) Submit(_ int32, _ any, done coordinator.Done) { done(nil, kerr.NotCoordinator) }

// noTransactions coordinate nothing and end nothing.
type noTransactions struct{}

func (noTransactions) AddPartitions(_ *txns.AddPartitions, done func([]error, error)) {
	done(nil, kerr.NotCoordinator)
}

func (noTransactions) WriteMarkers(w *txns.WriteMarkers, done func([]error)) {
	errs := make([]error, len(w.Partitions))
	for i := range errs {
		errs[i] = kerr.UnknownTopicOrPartition
	}
	done(errs)
}

type noPartitions struct{}

func (noPartitions) Partition(string, int32) (*partition.Partition, error) {
	return nil, kerr.NotLeaderForPartition
}

func emptyDeps(t *testing.T) Deps {
	t.Helper()
	image, _ := metadata.ApplyCommand(metadata.Empty(), 1, metadata.RegisterBroker{ClusterID: "c", Broker: metadata.Broker{ID: 1}})
	images := func() *metadata.Image { return image }
	refuse := func(context.Context, metadata.Command) (metadata.Result, error) {
		return metadata.Result{}, kerr.NotController
	}
	var all []config.Key
	for name, value := range map[string]string{
		"auto.create.topics.enable": "true", "delete.topic.enable": "true", "num.partitions": "1", "default.replication.factor": "1",
		"max.request.partition.size.limit": "2000", "offsets.topic.num.partitions": "50", "offsets.topic.replication.factor": "1",
		"offsets.topic.segment.bytes": "104857600", "transaction.state.log.num.partitions": "50", "transaction.state.log.replication.factor": "1",
		"transaction.state.log.segment.bytes": "104857600", "transaction.state.log.min.isr": "1",
	} {
		all = append(all, config.Key{Name: name, Type: config.String, Default: value})
	}
	keys, err := config.NewSet(all...)
	if err != nil {
		t.Fatal(err)
	}
	log, may := slog.New(slog.DiscardHandler), auth.AllowAll{}
	return Deps{
		Data: data.Deps{
			Image: images, Partitions: noPartitions{}, Transactions: noTransactions{}, Authorizer: may, Quota: quota.Unlimited{}, Clock: env.RealClock(),
			Logger: log, Random: mathrand.Int32,
		},
		Admin: admin.Deps{
			NodeID: 1, Image: images, Propose: refuse, TopicKeys: keys, BrokerKeys: keys, Authorizer: may,
			Quota: quota.Unlimited{}, Rand: rand.Reader, Logger: log, LogDirs: func() []admin.LogDir { return nil },
		},
		Txn: txn.Deps{
			Coordinator: nothing{}, GroupPartition: nothing{}.Partition, ProducerIDs: txn.NewProducerIDs(1, refuse), Image: images, Authorizer: may, Logger: log,
		},
		Coordinator: nothing{}, EnsureTopic: func(context.Context, string) error { return kerr.NotController },
		Random: rand.Reader, Logger: log,
	}
}

type waiter chan struct{}

func (w waiter) Ready() { close(w) }

// serve starts a request and reads its answer with kmsg.
func serve(r *route.Route, version int16, body []byte) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	s := &route.Session{Principal: auth.Anonymous, Client: new(auth.Client)}
	resp, pending, err := r.Start(context.Background(), s, version, body)
	if errors.Is(err, wire.ErrMalformed) || errors.Is(err, route.ErrClose) || resp == nil {
		return nil
	}
	if err != nil {
		return err
	}
	if pending != nil {
		w := make(waiter)
		pending.Wait(w)
		if p, ok := resp.(route.Poll); ok {
			p.Hurry()
		}
		<-w
		if pending.Err() != nil {
			return pending.Err()
		}
	}
	var out wire.Out
	if err := resp.Respond(&out); err != nil {
		return err
	}
	answer := kmsg.ResponseForKey(r.Key)
	answer.SetVersion(version)
	if err := answer.ReadFrom(out.Buf); err != nil {
		return fmt.Errorf("the answer %x: %w", out.Buf, err)
	}
	return nil
}

// scramble fills v with random values, arrays with up to three elements.
func scramble(rng *mathrand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; name != "Version" && name != "UnknownTags" {
				scramble(rng, v.Field(i))
			}
		}
	case reflect.Pointer:
		if rng.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			scramble(rng, v.Elem())
		}
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice {
			v.Set(reflect.MakeSlice(v.Type(), rng.IntN(4), 4))
		}
		for i := range v.Len() {
			scramble(rng, v.Index(i))
		}
	case reflect.String:
		v.SetString(strings.Repeat("x", rng.IntN(5)))
	case reflect.Bool:
		v.SetBool(rng.IntN(2) > 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(rng.Int64N(200) - 100)
	default:
	}
}

func TestEveryVersionOfEveryKeyIsAnsweredOrRefused(t *testing.T) {
	for _, r := range Table(emptyDeps(t)) {
		t.Run(r.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := mathrand.New(mathrand.NewPCG(uint64(r.Key), 1))
				for version := r.Min; version <= r.Max; version++ {
					req := kmsg.RequestForKey(r.Key)
					req.SetVersion(version)
					for round := range 30 {
						if round > 0 {
							scramble(rng, reflect.ValueOf(req).Elem())
						}
						body := req.AppendTo(nil)
						hostile := append([]byte(nil), body...)
						for range 1 + round%3 {
							if len(hostile) > 0 {
								hostile[rng.IntN(len(hostile))] = byte(rng.Uint32())
							}
						}
						for _, b := range [][]byte{body, hostile, body[:len(body)/2], append(hostile, hostile...)} {
							check(t, &r, version, b)
						}
					}
				}
			})
		})
	}
}

func check(t *testing.T, r *route.Route, version int16, body []byte) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := serve(r, version, append([]byte(nil), body...)); err != nil {
		t.Fatalf("version %d: %v\nfor %x", version, err, body)
	}
	runtime.ReadMemStats(&after)
	if spent := after.TotalAlloc - before.TotalAlloc; spent > 1<<20+uint64(64*len(body)) {
		t.Fatalf("version %d: %d bytes cost %d bytes of memory", version, len(body), spent)
	}
}
