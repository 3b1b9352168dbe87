package streams_test

import (
	"time"

	"github.com/weirstream/weir/streams"
)

func both(_, l, r string) string      { return l + r }
func joinWindow() streams.JoinWindows { return streams.Within(time.Minute).Grace(10 * time.Second) }

func rekeyed(s *strs) *strs { return streams.SelectKey(s, value) }

// describedJoins holds the joins of streams of testdata/describe.txt.
func describedJoins() map[string]func(b *builder) {
	join := func(l, r *strs, opts ...streams.Option) *strs { return streams.Join(l, r, both, joinWindow(), opts...) }
	left := func(l, r *strs, opts ...streams.Option) *strs {
		return streams.LeftJoin(l, r, orRight, joinWindow(), opts...)
	}
	outer := func(l, r *strs, opts ...streams.Option) *strs {
		return streams.OuterJoin(l, r, orEither, joinWindow(), opts...)
	}
	return map[string]func(b *builder){
		"join":       func(b *builder) { to(join(from(b, "a"), from(b, "b")), "out", str) },
		"join-left":  func(b *builder) { to(left(from(b, "a"), from(b, "b")), "out", str) },
		"join-outer": func(b *builder) { to(outer(from(b, "a"), from(b, "b")), "out", str) },
		"join-named": func(b *builder) {
			to(outer(from(b, "a"), from(b, "b"), named("jn")).Peek(look), "out", str)
		},
		"join-store": func(b *builder) { to(join(from(b, "a"), from(b, "b"), store("st")), "out", str) },
		"join-left-named-store": func(b *builder) {
			to(left(from(b, "a"), from(b, "b"), named("jn"), store("st")), "out", str)
		},
		"join-outer-store": func(b *builder) { to(outer(from(b, "a"), from(b, "b"), store("st")), "out", str) },
		"join-rekeyed": func(b *builder) {
			l := rekeyed(from(b, "a"))
			to(join(l, rekeyed(from(b, "b"))), "out", str)
		},
		"join-rekeyed-right": func(b *builder) {
			to(left(from(b, "a"), streams.Map(from(b, "b"), pair)).Peek(look), "out", str)
		},
		"join-rekeyed-named": func(b *builder) {
			l := rekeyed(from(b, "a"))
			to(join(l, rekeyed(from(b, "b")), named("jn")), "out", str)
		},
		"join-rekeyed-twice": func(b *builder) {
			k := rekeyed(from(b, "a"))
			to(join(k, from(b, "b")), "o1", str)
			to(join(k, from(b, "c")).Peek(look), "o2", str)
		},
		"join-rekeyed-by-name": func(b *builder) {
			to(join(streams.SelectKey(from(b, "a"), value, named("sk")), from(b, "b")), "out", str)
		},
		"join-itself": func(b *builder) { s := from(b, "a"); to(join(s, s).Peek(look), "out", str) },
		"join-itself-named": func(b *builder) {
			s := from(b, "a")
			to(join(s, s, named("jn"), store("st")), "out", str)
		},
		"join-itself-rekeyed": func(b *builder) {
			s := rekeyed(from(b, "a"))
			to(join(s, s).Peek(look), "out", str)
		},
		"join-itself-left": func(b *builder) { s := from(b, "a"); to(left(s, s), "out", str) },
		"join-then-count": func(b *builder) {
			out(streams.GroupByKey(join(from(b, "a"), from(b, "b"))).Count(), "out", i64)
		},
	}
}

// describedTableJoins holds those of streams with tables.
func describedTableJoins() map[string]func(b *builder) {
	table := func(b *builder, opts ...streams.Option) *streams.Table[string, string] {
		return streams.TableFrom(b, "t", str, str, opts...)
	}
	counted := func(_, v string, _ int64) string { return v }
	return map[string]func(b *builder){
		"jointable": func(b *builder) {
			a := from(b, "a")
			to(streams.JoinTable(a, table(b), both), "out", str)
		},
		"jointable-left": func(b *builder) {
			t := table(b)
			to(streams.LeftJoinTable(from(b, "a"), t, orRight).Peek(look), "out", str)
		},
		"jointable-named": func(b *builder) {
			t := table(b, store("rows"))
			to(streams.LeftJoinTable(from(b, "a"), t, orRight, named("jn")).Peek(look), "out", str)
		},
		"jointable-rekeyed": func(b *builder) {
			t := table(b)
			to(streams.JoinTable(rekeyed(from(b, "a")), t, both).Peek(look), "out", str)
		},
		"jointable-rekeyed-named": func(b *builder) {
			t := table(b)
			to(streams.JoinTable(rekeyed(from(b, "a")), t, both, named("jn")).Peek(look), "out", str)
		},
		"jointable-count": func(b *builder) {
			t := streams.GroupByKey(from(b, "t")).Count()
			to(streams.JoinTable(from(b, "a"), t, counted), "out", str)
		},
		"jointable-own": func(b *builder) {
			a := from(b, "a")
			t := byValue(a).Count()
			to(streams.JoinTable(rekeyed(a), t, counted), "out", str)
		},
		"jointable-twice": func(b *builder) {
			t := table(b)
			to(streams.JoinTable(from(b, "a"), t, both), "o1", str)
			to(streams.JoinTable(from(b, "b"), t, both), "o2", str)
		},
	}
}

// describedGlobals holds those of streams with global tables.
func describedGlobals() map[string]func(b *builder) {
	global := func(b *builder, topic string, opts ...streams.Option) *streams.GlobalTable[string, string] {
		return streams.GlobalTableFrom(b, topic, str, str, opts...)
	}
	return map[string]func(b *builder){
		"joinglobal": func(b *builder) {
			g := global(b, "g")
			to(streams.JoinGlobal(from(b, "a"), g, byText, both), "out", str)
		},
		"joinglobal-left-named": func(b *builder) {
			g := global(b, "g", store("rows"))
			to(streams.LeftJoinGlobal(from(b, "a"), g, byText, orRight, named("jn")), "out", str)
		},
		"joinglobal-named-table": func(b *builder) {
			g := global(b, "g", named("gt"))
			to(streams.JoinGlobal(from(b, "a"), g, byText, both).Peek(look), "out", str)
		},
		"joinglobal-two": func(b *builder) {
			to(from(b, "x"), "y", str)
			g, h := global(b, "g"), global(b, "h")
			a := from(b, "a")
			to(streams.JoinGlobal(a, g, byText, both), "o1", str)
			streams.GroupByKey(streams.JoinGlobal(rekeyed(a), h, byText, both)).Count()
		},
		"joinglobal-alone": func(b *builder) { global(b, "g"); to(from(b, "a"), "out", str) },
	}
}

// byText is the value as the key of a row, unless it is empty.
func byText(_, v string) (string, bool) { return v, v != "" }
