package wire

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Decoder decodes the requests of one API key within a budget. It is safe for
// concurrent use.
type Decoder struct {
	key, min, max int16
}

// NewDecoder returns a Decoder for the versions min to max of an API key.
func NewDecoder(key, min, max int16) *Decoder {
	return &Decoder{key: key, min: min, max: max}
}

// Decode returns the request in body, which it copies. The result is independent
// of body.
func (d *Decoder) Decode(version int16, body []byte) (kmsg.Request, error) {
	req := kmsg.RequestForKey(d.key)
	req.SetVersion(version)
	return req, req.ReadFrom(append([]byte(nil), body...))
}
