package broker

import (
	"testing"

	"github.com/weirstream/weir/broker/internal/metadata"
)

func TestATopicIsOpenedOnceHoweverManyOfItsPartitionsChange(t *testing.T) {
	a, b := &metadata.Topic{Name: "a"}, &metadata.Topic{Name: "b"}
	delta := metadata.Delta{
		Created: []*metadata.Topic{b},
		Grown:   []metadata.TopicChange{{New: a}},
		Led:     []metadata.LeaderChange{{Topic: a, Partition: 0}, {Topic: a, Partition: 1}},
	}
	if got := touched(delta); len(got) != 2 || got[0] != a || got[1] != b {
		t.Errorf("touched %v", got)
	}
}
