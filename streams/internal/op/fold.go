package op

// Fold is how one record changes an aggregate. has says whether there is one
// yet. If ok is false the result is nothing, which deletes the row.
type Fold[K, V, A any] func(key K, value V, nullValue bool, old A, has bool) (agg A, ok bool)

// Count returns the fold that counts.
func Count[K, V any](_ K, _ V, _ bool, old int64, _ bool) (int64, bool) { return old + 1, true }

// Reduce returns the fold that combines values two by two. A null value that
// comes first leaves nothing.
func Reduce[K, V any](combine func(aggregate, value V) V) Fold[K, V, V] {
	return func(_ K, value V, nullValue bool, old V, has bool) (V, bool) {
		if !has {
			return value, !nullValue
		}
		return combine(old, value), true
	}
}

// Aggregator returns the fold that adds to what initial makes.
func Aggregator[K, V, A any](initial func() A, add func(K, V, A) A) Fold[K, V, A] {
	return func(key K, value V, _ bool, old A, has bool) (A, bool) {
		if !has {
			old = initial()
		}
		return add(key, value, old), true
	}
}
