package streamstest

import (
	"github.com/weirstream/weir/internal/deadletter"
	"github.com/weirstream/weir/streams/processor"
)

// Letter says why a record is a dead letter.
type Letter = deadletter.Letter

// DeadLetter is a record that was given up.
type DeadLetter struct {
	Record processor.Message // as the task read it, in the place that Letter.Origin tells
	Letter Letter
}

// DeadLetters returns the dead letters since the last call, in order. Drain does
// not return them again.
func (d *Driver) DeadLetters() []DeadLetter {
	var letters []DeadLetter
	rest := d.sent[:0:0]
	for _, m := range d.sent {
		if m.Topic != d.letters() {
			rest = append(rest, m)
			continue
		}
		letters = append(letters, open(m))
	}
	d.sent = rest
	return letters
}

// open tells a letter from the record in it.
func open(m processor.Message) DeadLetter {
	headers := make([]deadletter.Header, len(m.Headers))
	for i, h := range m.Headers {
		headers[i] = deadletter.Header(h)
	}
	l, _, _ := deadletter.Read(headers)
	m.Topic, m.Partition, m.Offset, m.Timestamp = l.Origin.Topic, l.Origin.Partition, l.Origin.Offset, l.Origin.Timestamp
	m.Headers = nil
	for _, h := range deadletter.Original(headers) {
		m.Headers = append(m.Headers, processor.Header(h))
	}
	return DeadLetter{Record: m, Letter: l}
}
