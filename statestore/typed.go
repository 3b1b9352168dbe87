package statestore

import "errors"

// stub until the stores are in place
var errTodo = errors.New("todo")

func Open(db DB, spec Spec, log Changelog) (Store, error) { return nil, errTodo }
func AsKeyValue[K, V any](s Store, key Codec[K], value Codec[V]) (KeyValue[K, V], error) {
	return nil, errTodo
}
func AsWindow[K, V any](s Store, key Codec[K], value Codec[V]) (Window[K, V], error) {
	return nil, errTodo
}
func AsSession[K, V any](s Store, key Codec[K], value Codec[V]) (Session[K, V], error) {
	return nil, errTodo
}
func Memory() Engine { return nil }
