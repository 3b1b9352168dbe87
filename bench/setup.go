package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// prepare makes the topic anew, so that every run begins with an empty one.
func prepare(ctx context.Context, l *Load) error {
	if l.Raw {
		return nil
	}
	return createTopic(ctx, l.Addr, l.Topic, l.Partitions, nil)
}

// createTopic makes a topic anew, with a configuration of its own or none.
func createTopic(ctx context.Context, addr, topic string, partitions int, config map[string]*string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	if _, err := admin.DeleteTopics(ctx, topic); err != nil {
		return err
	}
	for { // until the deletion is done and the leaders answer
		_, err := admin.CreateTopic(ctx, int32(partitions), 1, config, topic)
		if err == nil || errors.Is(err, kerr.TopicAlreadyExists) {
			if offsets, err := admin.ListEndOffsets(ctx, topic); err == nil && offsets.Error() == nil && err == nil && empty(offsets, partitions) {
				return nil
			}
		} else if ctx.Err() != nil {
			return fmt.Errorf("create topic %s: %w", topic, err)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// deleteTopic deletes a topic, and is done when the broker says so.
func deleteTopic(ctx context.Context, addr, topic string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = kadm.NewClient(client).DeleteTopic(ctx, topic)
	return err
}

func empty(offsets kadm.ListedOffsets, partitions int) bool {
	n := 0
	offsets.Each(func(o kadm.ListedOffset) {
		if o.Offset == 0 {
			n++
		}
	})
	return n == partitions
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
