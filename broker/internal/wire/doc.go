// Package wire reads requests and writes answers of the Kafka protocol: frames,
// headers, decoding within a memory budget, and answers whose log ranges are never
// copied into them.
package wire
