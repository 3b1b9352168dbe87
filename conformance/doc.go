// Package conformance runs clients and tools that nobody here wrote against the
// weir binary, and asks Apache Kafka and Weir the same questions: sarama, franz-go
// and its own test suite, kcat, two Python clients, kafkajs, the Java client and
// Kafka's command line tools. It is a module of its own so that the product does
// not depend on what only tests need. What is not installed is skipped by name.
//
// CONFORMANCE_BIN names the binary; without it the tests build it. KAFKA_LIBS names a
// folder with Kafka's jars; without it the tests that need Java are skipped.
// CONFORMANCE_CARD names the file that takes the report card, CONFORMANCE_RATCHET=write
// adds newly passing tests of suites to their lists, and CONFORMANCE_DIFF names the
// one chapter of the comparison to run.
package conformance
