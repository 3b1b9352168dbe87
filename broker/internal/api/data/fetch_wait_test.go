package data

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/internal/env"
)

// deaf is a timer that fired before it was stopped.
type deaf struct{ env.Timer }

func (deaf) Stop() bool { return false }

// A fetch is used again while a timer, or a partition, may still be about to end its former wait.
func TestAWaitThatIsOverEndsNoOther(t *testing.T) {
	inBubble(t, func(r *rig) {
		id := r.topic("t", 2)
		other := r.parts[metadata.TopicPartition{Topic: "t", Partition: 1}]
		r.put(id, 1, batch(1, 10))
		req := fetchOf(13, "t", id, 0, 0)
		req.MaxWaitMillis = 60_000
		c := r.start(req)
		f, ok := c.resp.(*fetch)
		if !ok || c.pending == nil {
			t.Fatal("it does not wait")
		}
		alarm, wait, watch := f.alarm, f.wait, &f.watches[0]
		alarm.timer.Stop()
		alarm.timer = deaf{}
		f.Hurry()
		watch.Advanced(other)
		c.body()

		again := f.start()
		if again == nil || f.alarm == nil || f.alarm == alarm {
			t.Fatal("it does not wait again, with an alarm of its own")
		}
		c = &call{r: r, ready: make(chan struct{})}
		again.Wait(c)
		alarm.ring()
		f.end(wait, false)
		watch.Advanced(other)
		synctest.Wait()
		if c.done() {
			t.Error("the former wait has ended this one")
		}
		began := time.Now()
		<-c.ready
		if waited := time.Since(began); waited != time.Minute {
			t.Errorf("it waited %s", waited)
		}
	})
}

func TestAFetchWaitsAgainAndAgain(t *testing.T) {
	inBubble(t, func(r *rig) {
		id := r.topic("t", 3)
		for i := range int64(50) {
			req := fetchOf(13, "t", id, i, 0, 1, 2)
			for at := range req.Topics[0].Partitions[1:] {
				req.Topics[0].Partitions[at+1].FetchOffset = 0
			}
			req.MaxWaitMillis = 500
			c, began := r.start(req), time.Now()
			switch i % 3 {
			case 0:
				r.put(id, 0, batch(1, 10))
				<-c.ready
				if time.Since(began) > 0 {
					t.Errorf("%d: woken after %s", i, time.Since(began))
				}
			case 1:
				<-c.ready
				if time.Since(began) != 500*time.Millisecond {
					t.Errorf("%d: in vain for %s", i, time.Since(began))
				}
				r.put(id, 0, batch(1, 10))
			default:
				if f, ok := c.resp.(*fetch); ok {
					f.Hurry()
				}
				<-c.ready
				r.put(id, 0, batch(1, 10))
			}
			c.body()
		}
	})
}
