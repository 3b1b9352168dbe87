package wire

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// everyRequest calls f for every version of every key that has a hand in no other reader.
func everyRequest(t *testing.T, f func(t *testing.T, key, version int16)) {
	t.Helper()
	for key := range int16(100) {
		req := kmsg.RequestForKey(key)
		if req == nil {
			continue
		}
		t.Run(kmsg.NameForKey(key), func(t *testing.T) {
			for version := range req.MaxVersion() + 1 {
				f(t, key, version)
			}
		})
	}
}

// scramble fills a struct with random values, arrays with up to three elements.
func scramble(rng *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			switch v.Type().Field(i).Name {
			case "Version":
			case "UnknownTags":
				if rng.IntN(4) == 0 {
					var tags kmsg.Tags
					tags.Set(1<<20, []byte("later"))
					v.Field(i).Set(reflect.ValueOf(tags))
				}
			default:
				scramble(rng, v.Field(i))
			}
		}
	case reflect.Pointer:
		if rng.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			scramble(rng, v.Elem())
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), rng.IntN(4), 4))
		for i := range v.Len() {
			scramble(rng, v.Index(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			scramble(rng, v.Index(i))
		}
	case reflect.String:
		v.SetString(string(make([]byte, rng.IntN(5))))
	case reflect.Bool:
		v.SetBool(rng.IntN(2) > 0)
	case reflect.Float64:
		v.SetFloat(rng.Float64())
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(rng.Int64N(200) - 100)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(rng.Uint64N(200))
	default:
	}
}

func scrambled(rng *rand.Rand, key, version int16) kmsg.Request {
	req := kmsg.RequestForKey(key)
	req.SetVersion(version)
	scramble(rng, reflect.ValueOf(req).Elem())
	return req
}

func TestEveryRequestOfEveryVersionIsWalkedToItsEnd(t *testing.T) {
	everyRequest(t, func(t *testing.T, key, version int16) {
		t.Helper()
		rng := rand.New(rand.NewPCG(uint64(key), uint64(version)))
		d := NewDecoder(key, version, version)
		for range 20 {
			want := scrambled(rng, key, version)
			body := want.AppendTo(nil)
			got, err := d.Decode(version, body)
			if err != nil {
				t.Fatalf("version %d: %v\n%x", version, err, body)
			}
			again := got.AppendTo(nil)
			if diff := cmp.Diff(body, again, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("version %d: what was decoded encodes otherwise (-sent +decoded):\n%s", version, diff)
			}
			for cut := range body {
				if _, err := d.Decode(version, body[:cut]); err == nil {
					t.Fatalf("version %d: accepted %d of %d bytes", version, cut, len(body))
				}
			}
			if _, err := d.Decode(version, append(body, make([]byte, 1+d.spare(d.shape(version)))...)); err == nil {
				t.Fatalf("version %d: accepted bytes after the end", version)
			}
		}
	})
}
