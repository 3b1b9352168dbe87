package main

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"time"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"
	"github.com/lovoo/goka/storage"
	"golang.org/x/sync/errgroup"
)

// Everything in this file is plain goka: it knows nothing of Weir.

// The topics and groups. A group keeps its table in "<group>-table".
const (
	profiles  goka.Stream = "profiles"  // user -> country
	countries goka.Stream = "countries" // country -> region
	clicks    goka.Stream = "clicks"    // user -> page
	regions   goka.Stream = "region-clicks"

	userGroup    goka.Group = "users"
	countryGroup goka.Group = "country-regions"
	clickGroup   goka.Group = "click-counts"
)

const partitions = 4

// visits is what is kept of a user.
type visits struct {
	Clicks int    `json:"clicks"`
	Region string `json:"region"`
}

// visitsCodec keeps visits as JSON.
type visitsCodec struct{}

// Encode implements goka.Codec.
func (visitsCodec) Encode(value any) ([]byte, error) { return json.Marshal(value) }

// Decode implements goka.Codec.
func (visitsCodec) Decode(data []byte) (any, error) {
	var v visits
	return v, json.Unmarshal(data, &v)
}

// graphs are the processors: two that keep what comes as a table, and one that counts
// the clicks of each user, beside a join with the user's own row and a lookup of the
// region in a table that is keyed by country.
func graphs() []*goka.GroupGraph {
	text := new(codec.String)
	keep := func(ctx goka.Context, msg any) { ctx.SetValue(msg) }
	users, byCountry := goka.GroupTable(userGroup), goka.GroupTable(countryGroup)
	count := func(ctx goka.Context, _ any) {
		v, _ := ctx.Value().(visits)
		v.Clicks++
		v.Region = "nowhere"
		if country, ok := ctx.Join(users).(string); ok {
			if region, ok := ctx.Lookup(byCountry, country).(string); ok {
				v.Region = region
			}
		}
		ctx.SetValue(v)
		ctx.Emit(regions, v.Region, ctx.Key())
	}
	return []*goka.GroupGraph{
		goka.DefineGroup(userGroup, goka.Input(profiles, text, keep), goka.Persist(text)),
		goka.DefineGroup(countryGroup, goka.Input(countries, text, keep), goka.Persist(text)),
		goka.DefineGroup(clickGroup,
			goka.Input(clicks, text, count), goka.Output(regions, text),
			goka.Join(users, text), goka.Lookup(byCountry, text), goka.Persist(visitsCodec{})),
	}
}

// app is the goka application on some Kafka.
type app struct {
	brokers []string
	dir     string // of the tables
	tables  func(dir string) storage.Builder
	log     goka.Logger
}

func (a *app) topics() goka.TopicManagerBuilder {
	c := goka.NewTopicManagerConfig()
	c.Table.Replication, c.Stream.Replication = 1, 1
	return goka.TopicManagerBuilderWithTopicManagerConfig(c)
}

// create makes the streams; goka makes the tables.
func (a *app) create() (err error) {
	manager, err := a.topics()(a.brokers)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, manager.Close()) }()
	for _, s := range []goka.Stream{profiles, countries, clicks, regions} {
		if err := manager.EnsureStreamExists(string(s), partitions); err != nil {
			return err
		}
	}
	return nil
}

// start runs the processors and returns once they and a view of the counts have caught
// up. Goka begins to read a stream at its end, so what it is to see comes after the start;
// the tables are full before the processor that joins them begins.
func (a *app) start(ctx context.Context, parts *errgroup.Group) (*goka.View, error) {
	rows := map[goka.Group]traffic{userGroup: {profiles, profile}, countryGroup: {countries, country}}
	for _, g := range graphs() {
		p, err := goka.NewProcessor(a.brokers, g, goka.WithLogger(a.log), goka.WithTopicManagerBuilder(a.topics()),
			goka.WithStorageBuilder(a.tables(filepath.Join(a.dir, string(g.Group())))))
		if err != nil {
			return nil, err
		}
		parts.Go(func() error { return p.Run(ctx) })
		if err := p.WaitForReadyContext(ctx); err != nil {
			return nil, err
		}
		if fill, ok := rows[g.Group()]; ok {
			if err := a.fill(ctx, p, fill); err != nil {
				return nil, err
			}
		}
	}
	view, err := goka.NewView(a.brokers, goka.GroupTable(clickGroup), visitsCodec{}, goka.WithViewLogger(a.log),
		goka.WithViewTopicManagerBuilder(a.topics()), goka.WithViewStorageBuilder(a.tables(filepath.Join(a.dir, "view"))))
	if err != nil {
		return nil, err
	}
	parts.Go(func() error { return view.Run(ctx) })
	select {
	case <-view.WaitRunning():
		return view, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// fill emits rows and waits until the table of a processor has them all.
func (a *app) fill(ctx context.Context, p *goka.Processor, rows traffic) error {
	if err := a.emit(ctx, rows); err != nil {
		return err
	}
	for i := 0; ; i++ {
		key, want, ok := rows.next(i)
		if !ok {
			return nil
		}
		if err := poll(ctx, func() (bool, error) {
			got, err := p.Get(key)
			return got == want, err
		}); err != nil {
			return err
		}
	}
}

// poll asks again and again until the answer is yes.
func poll(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// emit sends all of the traffic.
func (a *app) emit(ctx context.Context, t traffic) (err error) {
	e, err := goka.NewEmitter(a.brokers, t.stream, new(codec.String), goka.WithEmitterLogger(a.log), goka.WithEmitterTopicManagerBuilder(a.topics()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Finish()) }()
	var failed error // promises run before Finish returns
	for i := 0; ctx.Err() == nil; i++ {
		key, value, ok := t.next(i)
		if !ok {
			break
		}
		promise, err := e.Emit(key, value)
		if err != nil {
			return err
		}
		promise.Then(func(err error) {
			if err != nil {
				failed = err
			}
		})
	}
	return errors.Join(ctx.Err(), failed)
}
