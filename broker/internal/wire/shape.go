package wire

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// kind is how a field stands on the wire.
type kind int

const (
	fixed kind = iota // width bytes
	str               // string, never null
	nullStr
	blob      // bytes
	array     // count, then that many of elem
	nullable  // one byte, below 0 for null, then the fields of elem
	structure // the fields, then tagged fields
)

// field is one field of a request as it stands on the wire in one version.
type field struct {
	kind   kind
	width  int
	least  int     // the fewest bytes it takes
	memory int     // of one of it in Go, without what it points to
	elem   *field  // of array and nullable
	fields []field // of structure
}

// What kmsg allocates for a tagged field that it does not know, and for a string.
const (
	tagMemory    = 128
	stringMemory = 16
)

// shapeOf learns how kmsg lays a request out in its present version, from its
// encoder: a field that changes the encoding is on the wire, and the place of the
// first changed byte tells the order and whether it is a tagged field. So a new
// version or key of kmsg's needs no table here. req is left without its defaults.
func shapeOf(req kmsg.Request) field {
	p := prober{req}
	version := req.GetVersion()
	reflect.ValueOf(req).Elem().SetZero()
	req.SetVersion(version)
	return p.structure(reflect.ValueOf(req).Elem())
}

// prober encodes one request again and again while its fields are set one by one.
type prober struct{ req kmsg.Request }

// differs returns the place of the first byte that set changes, or -1.
func (p prober) differs(set func()) int {
	before := p.req.AppendTo(nil)
	set()
	after := p.req.AppendTo(nil)
	for i := range min(len(before), len(after)) {
		if before[i] != after[i] {
			return i
		}
	}
	if len(before) == len(after) {
		return -1
	}
	return min(len(before), len(after))
}

// placed is a field and where it was found.
type placed struct {
	at int
	field
}

// structure learns the fields of v, a zero struct that is reachable from the request.
func (p prober) structure(v reflect.Value) field {
	tags := len(p.req.AppendTo(nil))
	if p.req.IsFlexible() {
		unknown := v.FieldByName("UnknownTags")
		tags = p.differs(func() {
			var one kmsg.Tags
			one.Set(1<<20, nil)
			unknown.Set(reflect.ValueOf(one))
		})
		unknown.SetZero()
	}
	var found []placed
	for i := range v.NumField() {
		name, f := v.Type().Field(i).Name, v.Field(i)
		if name == "Version" || name == "UnknownTags" {
			continue
		}
		if at := p.differs(func() { fill(f) }); at >= 0 && at < tags {
			found = append(found, placed{at, p.learn(f)})
		}
		f.SetZero()
	}
	slices.SortFunc(found, func(a, b placed) int { return a.at - b.at })
	s := field{kind: structure, memory: int(v.Type().Size())}
	for _, f := range found {
		s.fields = append(s.fields, f.field)
		s.least += f.least
	}
	if p.req.IsFlexible() {
		s.least++
	}
	return s
}

// fill gives a field a value whose every byte differs from the zero value's.
func fill(f reflect.Value) {
	switch f.Kind() {
	case reflect.Bool:
		f.SetBool(true)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		f.SetInt(0x0101010101010101 >> (64 - f.Type().Bits()))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		f.SetUint(0x0101010101010101 >> (64 - f.Type().Bits()))
	case reflect.Float64:
		f.SetFloat(-1.1)
	case reflect.String:
		f.SetString("x")
	case reflect.Pointer:
		f.Set(reflect.New(f.Type().Elem()))
		fill(f.Elem())
	case reflect.Slice:
		f.Set(reflect.MakeSlice(f.Type(), 1, 1))
	case reflect.Array:
		for i := range f.Len() {
			fill(f.Index(i))
		}
	case reflect.Struct:
		for i := range f.NumField() {
			if name := f.Type().Field(i).Name; name != "UnknownTags" {
				fill(f.Field(i))
			}
		}
	default:
		panic(fmt.Sprintf("bug: kmsg has a field of kind %s", f.Kind()))
	}
}

// learn tells how f, which fill has filled, stands on the wire.
func (p prober) learn(f reflect.Value) field {
	t := f.Type()
	wide, narrow := 4, 2
	if p.req.IsFlexible() {
		wide, narrow = 1, 1
	}
	switch f.Kind() {
	case reflect.String:
		return field{kind: str, least: narrow, memory: stringMemory}
	case reflect.Pointer:
		if t.Elem().Kind() == reflect.String {
			return field{kind: nullStr, least: narrow, memory: 8 + stringMemory}
		}
		f.Elem().SetZero()
		elem := p.structure(f.Elem())
		return field{kind: nullable, least: 1, memory: 8, elem: &elem}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return field{kind: blob, least: wide, memory: int(t.Size())}
		}
		elem := p.learn(f.Index(0))
		return field{kind: array, least: wide, memory: int(t.Size()), elem: &elem}
	case reflect.Struct:
		f.SetZero()
		return p.structure(f)
	default:
		return field{kind: fixed, width: int(t.Size()), least: int(t.Size()), memory: int(t.Size())}
	}
}

// walk reads one f and returns about how much memory kmsg allocates for what f points to.
func (f *field) walk(r *Reader) int {
	switch f.kind {
	case fixed:
		r.Span(f.width)
	case str:
		return len(r.String())
	case nullStr:
		s, _ := r.NullString()
		return len(s)
	case blob:
		r.Bytes() // aliased by kmsg
	case array:
		n := r.ArrayLen(f.elem.least)
		memory := max(n, 0) * f.elem.memory
		for i := 0; i < n && r.Ok(); i++ {
			memory += f.elem.walk(r)
		}
		return memory
	case nullable:
		if r.Int8() >= 0 && r.Ok() {
			return f.elem.memory + f.elem.walk(r)
		}
	case structure:
		memory := 0
		for i := range f.fields {
			memory += f.fields[i].walk(r)
		}
		return memory + r.Tags(nil)*tagMemory
	}
	return 0
}

// holds says whether f is or contains a field of that kind.
func (f *field) holds(k kind) bool {
	return f.kind == k || f.elem != nil && f.elem.holds(k) ||
		slices.ContainsFunc(f.fields, func(f field) bool { return f.holds(k) })
}
