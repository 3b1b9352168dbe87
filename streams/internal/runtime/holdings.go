package runtime

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
)

// Holdings knows how far the state of each task in one state directory is: what
// its positions in the changelogs add up to, or assign.Latest where it runs. It
// may be used from any goroutine.
type Holdings struct {
	mu sync.Mutex
	at map[TaskID]int64
}

// NewHoldings returns holdings without any state.
func NewHoldings() *Holdings { return &Holdings{at: map[TaskID]int64{}} }

// Set notes how far the state of a task is; 0 is none.
func (h *Holdings) Set(id TaskID, at int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at[id] = at
	if at <= 0 {
		delete(h.at, id)
	}
}

// State returns a copy of what is known.
func (h *Holdings) State() map[TaskID]int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.at)
}

// Read notes how far the database of a task is that nobody has open.
func (h *Holdings) Read(id TaskID, dbs Databases, setup *Setup) error {
	changelogs := setup.Layout.Changelogs(id)
	if len(changelogs) == 0 {
		return nil
	}
	db, err := dbs.Open(id)
	if err != nil {
		return fmt.Errorf("state of task %s: %w", id, err)
	}
	positions, err := db.Position()
	if closed := db.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("state of task %s: %w", id, err)
	}
	at := int64(0)
	for _, tp := range changelogs {
		at += positions[positionKey(tp.Topic, setup.TopicIDs)]
	}
	h.Set(id, at)
	return nil
}

// positionKey is under which a database keeps the position of a changelog.
func positionKey(topic string, ids map[string]string) string {
	if id := ids[topic]; id != "" {
		return topic + "@" + id
	}
	return topic
}

// ParseTaskID reads what TaskID.String returns, and nothing else.
func ParseTaskID(text string) (id TaskID, ok bool) {
	sub, partition, _ := strings.Cut(text, "_")
	s, err1 := strconv.Atoi(sub)
	p, err2 := strconv.ParseInt(partition, 10, 32)
	id = TaskID{Subtopology: s, Partition: int32(p)}
	return id, err1 == nil && err2 == nil && id.String() == text
}
