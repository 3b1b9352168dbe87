// Package route is what an API handler is: the route that binds an API key and
// its versions to a function, the session it serves, the answer it may owe for a
// while, whom it asks for permission, and the one mapping of errors to codes.
package route

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/wire"
)

// Handler answers one API key. It starts on the connection's reader, in the order
// of the requests, and must not block. It fills resp and returns nil, or returns a
// Pending and fills resp before it calls Complete from anywhere. req is the
// handler's to keep; resp has the version of the request and kmsg's defaults.
// ctx ends with the connection or the broker, whichever is first.
type Handler[Req kmsg.Request, Resp kmsg.Response] func(ctx context.Context, s *Session, req Req, resp Resp) *Pending

// Raw answers one API key that reads its own bytes. body is the request without
// its header and may be changed, but not kept past the return. A nil Response with
// a nil error means that there is nothing to answer; an error closes the
// connection, with one log line.
type Raw func(ctx context.Context, s *Session, version int16, body []byte) (Response, *Pending, error)

// Response writes one answer. The server calls Respond at most once, on the
// connection's writing side, after the Pending was completed and all earlier
// answers were written into out; an error closes the connection. When the
// connection ends first, Respond is not called at all, so a Response holds nothing
// that must be given back.
type Response interface {
	Respond(out *wire.Out) error
}

// Poll is a Response that waits only for more to tell. Hurry completes it early,
// with what there is, because the connection or the broker ends. It may be called
// at any time, also after completion, from any goroutine, and must not block.
type Poll interface {
	Hurry()
}

// Route binds one API key and its version range to the function that answers it.
// It is immutable and safe for concurrent use.
type Route struct {
	Key      int16
	Min, Max int16 // versions served and advertised
	Name     string

	flexible int16 // first flexible version
	lenient  bool
	start    Raw
}

// New declares a handler over kmsg's types. Key and name come from the request type.
func New[Req kmsg.Request, Resp kmsg.Response](lo, hi int16, h Handler[Req, Resp]) Route {
	key := keyOf[Req]()
	r := declare(key, lo, hi)
	decoder := wire.NewDecoder(key, lo, hi)
	r.start = func(ctx context.Context, s *Session, version int16, body []byte) (Response, *Pending, error) {
		decoded, err := decoder.Decode(version, body)
		if err != nil {
			return nil, nil, err
		}
		req, okReq := decoded.(Req)
		resp, okResp := decoded.ResponseKind().(Resp)
		if !okReq || !okResp {
			return nil, nil, fmt.Errorf("route %s: request %T answers with %T", r.Name, decoded, decoded.ResponseKind())
		}
		return encoded{resp}, h(ctx, s, req, resp), nil
	}
	return r
}

// NewRaw declares a handler that reads and writes its own bytes. Only the key and
// the first flexible version are taken from kmsg.
func NewRaw[Req kmsg.Request](lo, hi int16, h Raw) Route {
	r := declare(keyOf[Req](), lo, hi)
	r.start = h
	return r
}

// Lenient returns the route changed so that versions outside its range reach the
// handler too, as ApiVersions needs (KIP-511); their header is flexible.
func (r Route) Lenient() Route {
	r.lenient = true
	return r
}

// Serves says whether a version may be started.
func (r Route) Serves(version int16) bool {
	return r.lenient || r.Min <= version && version <= r.Max
}

// Flexible says whether requests and answers of that version have tagged fields.
func (r Route) Flexible(version int16) bool { return version >= r.flexible }

// FlexibleHeader says whether the response header of that version has tagged
// fields. The answer to ApiVersions never does: a client has to read it before it
// knows what the broker speaks.
func (r Route) FlexibleHeader(version int16) bool {
	return r.Flexible(version) && r.Key != int16(kmsg.ApiVersions)
}

// Start runs the handler; see Raw for what it returns.
func (r Route) Start(ctx context.Context, s *Session, version int16, body []byte) (Response, *Pending, error) {
	return r.start(ctx, s, version, body)
}

func keyOf[Req kmsg.Request]() int16 {
	var none Req // a nil pointer: kmsg's Key methods do not look at it
	return none.Key()
}

func declare(key, lo, hi int16) Route {
	r := Route{Key: key, Min: lo, Max: hi, Name: kmsg.NameForKey(key), flexible: hi + 1}
	req := kmsg.RequestForKey(key)
	for v := hi; v >= 0; v-- {
		if req.SetVersion(v); req.IsFlexible() {
			r.flexible = v
		}
	}
	return r
}

// encoded is a Response of kmsg's.
type encoded struct{ resp kmsg.Response }

// Respond appends the encoded response.
func (e encoded) Respond(out *wire.Out) error {
	out.Buf = e.resp.AppendTo(out.Buf)
	return nil
}

// Kmsg returns the kmsg response behind r, and false where the route was declared
// with NewRaw.
func Kmsg(r Response) (kmsg.Response, bool) {
	e, ok := r.(encoded)
	return e.resp, ok
}
