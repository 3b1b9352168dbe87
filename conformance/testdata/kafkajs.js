// Produce with gzip, read as a group, use transactions, and administer.
const assert = require('assert')
const { Kafka, CompressionTypes, logLevel } = require('kafkajs')

const kafka = new Kafka({ brokers: [process.argv[2]], logLevel: logLevel.ERROR })
const topic = 'kafkajs'

async function main() {
  const admin = kafka.admin()
  await admin.connect()
  assert(await admin.createTopics({ topics: [{ topic, numPartitions: 2 }] }))
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  for (const compression of [CompressionTypes.None, CompressionTypes.GZIP]) {
    const messages = Array.from({ length: 500 }, (_, i) => ({ key: `k${i % 7}`, value: `${i}`, headers: { h: '1' } }))
    await producer.send({ topic, compression, messages })
  }
  await producer.disconnect()
  const consumer = kafka.consumer({ groupId: 'kafkajs' })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  let seen = 0
  await new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`${seen} of 1000 read`)), 20000).unref()
    consumer.run({ eachMessage: async ({ message }) => {
      assert.strictEqual(message.headers.h.toString(), '1')
      if (++seen === 1000) resolve()
    } }).catch(reject)
  })
  await consumer.disconnect()
  const ends = await admin.fetchTopicOffsets(topic)
  assert.strictEqual(ends.reduce((sum, p) => sum + Number(p.high), 0), 1000)
  const committed = await admin.fetchOffsets({ groupId: 'kafkajs', topics: [topic] })
  assert.strictEqual(committed[0].partitions.reduce((sum, p) => sum + Number(p.offset), 0), 1000)
  const writer = kafka.producer({ transactionalId: 'kafkajs', idempotent: true, maxInFlightRequests: 1 })
  await writer.connect()
  for (const commit of [true, false]) {
    const transaction = await writer.transaction()
    await transaction.send({ topic, messages: [{ value: commit ? 'committed' : 'aborted' }] })
    const offset = commit ? '1' : '2'
    await transaction.sendOffsets({ consumerGroupId: 'kafkajs', topics: [{ topic, partitions: [{ partition: 0, offset }] }] })
    await (commit ? transaction.commit() : transaction.abort())
  }
  await writer.disconnect()
  const moved = await admin.fetchOffsets({ groupId: 'kafkajs', topics: [topic] })
  assert.strictEqual(moved[0].partitions.find((p) => p.partition === 0).offset, '1')
  assert((await admin.listGroups()).groups.some((g) => g.groupId === 'kafkajs'))
  await admin.deleteGroups(['kafkajs'])
  await admin.deleteTopics({ topics: [topic] })
  await admin.disconnect()
}

main().then(() => process.exit(0), (err) => { console.error(err); process.exit(1) })
