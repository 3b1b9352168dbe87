// Package conformance runs clients and tools that nobody here wrote against the
// weir binary: sarama, franz-go, kcat and Kafka's own dump tool. It is a module
// of its own so that the product does not depend on what only tests need.
//
// CONFORMANCE_BIN names the binary; without it the tests build it. KAFKA_LIBS names a
// folder with Kafka's jars; without it the tests that need Java are skipped.
package conformance
