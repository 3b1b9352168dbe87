// Package streams turns topics into other topics: a typed, embeddable stream
// processor for any Kafka.
//
// A [Builder] collects operators; [Builder.Build] checks them and returns a
// [Topology], which an app runs and which streamstest pushes records through
// without a broker. An operator is a method of its stream where the stream
// already fixes the types of the result (Filter, Merge, To) and a function that
// takes the stream first where it brings in a new type ([MapValues], [GroupBy],
// [Aggregate]). Names and semantics are those of Kafka Streams where the meaning
// is the same, the generated names of operators, stores and internal topics
// included.
//
// Nothing here returns an error before Build: a mistake is kept with the name
// of its operator and the line of its caller, and what follows on the handle
// that failed does nothing.
//
// # Nulls
//
// A record with a null key or value reaches the lambdas of a stream as the zero
// value and stays null through Filter, Peek, Merge, Split and To. A null value
// on a table deletes. Aggregations drop records without a key; those without
// windows also drop records without a value.
package streams
