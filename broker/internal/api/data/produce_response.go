package data

import (
	"encoding/binary"

	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/partition"
	"github.com/weirstream/weir/broker/internal/wire"
)

// Respond appends the answer and ends the use of the request.
func (o *produce) Respond(out *wire.Out) error {
	flexible := o.flexible()
	var hints []hint
	b := wire.AppendArrayLen(out.Buf, len(o.topics), flexible)
	for i := range o.topics {
		t := &o.topics[i]
		b = appendTopic(b, &t.topicRef, o.version, flexible)
		b = wire.AppendArrayLen(b, t.end-t.first, flexible)
		for j := t.first; j < t.end; j++ {
			var h hint
			var hinted bool
			if o.version >= 10 {
				h, hinted = hintFor(&t.topicRef, o.parts[j].index, o.parts[j].err)
			}
			b = o.appendPart(b, &o.parts[j])
			if hinted {
				hints = append(hints, h)
				b = wire.AppendTagged(append(b, 1), 0, h.append(nil))
			} else if flexible {
				b = append(b, 0)
			}
		}
		if flexible {
			b = append(b, 0)
		}
	}
	b = appendThrottle(b, o.throttle)
	if flexible {
		b = appendNodes(b, o.image, o.session.Listener, hints)
	}
	out.Buf = b
	o.recycle()
	return nil
}

// appendPart appends a partition's outcome without its tagged fields.
func (o *produce) appendPart(b []byte, p *producePart) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(p.index))
	code := int16(0)
	if p.err != nil {
		code = route.LogCode(o.deps.Logger, p.err)
		p.result.BaseOffset, p.result.LogAppendTime = -1, -1
	}
	b = binary.BigEndian.AppendUint16(b, uint16(code))
	b = binary.BigEndian.AppendUint64(b, uint64(p.result.BaseOffset))
	b = binary.BigEndian.AppendUint64(b, uint64(p.result.LogAppendTime))
	if o.version >= 5 {
		b = binary.BigEndian.AppendUint64(b, uint64(p.result.LogStart))
	}
	if o.version >= 8 {
		b = appendRecordErrors(b, p.result.RecordErrors, o.flexible())
		b = wire.AppendNullString(b, p.result.Message, o.flexible())
	}
	return b
}

func appendRecordErrors(b []byte, errs []partition.RecordError, flexible bool) []byte {
	b = wire.AppendArrayLen(b, len(errs), flexible)
	for _, e := range errs {
		b = binary.BigEndian.AppendUint32(b, uint32(e.Index))
		b = wire.AppendNullString(b, e.Message, flexible)
		if flexible {
			b = append(b, 0)
		}
	}
	return b
}
