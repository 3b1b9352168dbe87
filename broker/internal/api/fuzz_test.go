package api

import (
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker/internal/api/route"
)

// FuzzRequests: whatever stands behind the header of a request of any key and version, it is answered
// or refused, and the answer can be read. The first byte picks the key, the second the version.
func FuzzRequests(f *testing.F) {
	for i, r := range Table(Deps{}) {
		for version := r.Min; version <= r.Max; version++ {
			req := kmsg.RequestForKey(r.Key)
			req.SetVersion(version)
			f.Add(req.AppendTo([]byte{byte(i), byte(version)}))
		}
	}
	var once sync.Once
	var table []route.Route
	f.Fuzz(func(t *testing.T, in []byte) {
		once.Do(func() { table = Table(emptyDeps(t)) })
		if len(in) < 2 {
			return
		}
		r := &table[int(in[0])%len(table)]
		if version := int16(in[1]); r.Serves(version) && version <= r.Max {
			check(t, r, version, in[2:])
		}
	})
}
