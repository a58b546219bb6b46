// Runloop's newest JavaScript SDK and what takes the cloud minutes, under an emulator whose clock is moved.
import assert from 'node:assert/strict'
import { RunloopSDK } from '@runloop/api-client'
import { admin, alive, check, finish, until } from './kit.mjs'

const sdk = new RunloopSDK()
const { devboxes } = sdk.api
// Moves the clock until it holds: what waits may begin to do so only after it was moved.
const later = (what, seconds, holds) => until(what, async () => {
  if (await holds()) return true
  await admin('POST', 'clock', { advance_seconds: seconds })
  return false
})
// Those that are still being answered as well.
const requests = async (route) =>
  (await admin('GET', 'journal?provider=runloop')).entries.filter((each) => each.route.endsWith(route))
const settled = (promise) => {
  let done = false
  promise.then(() => { done = true }, () => { done = true })
  return () => done
}

await check('a stream that goes idle ends in-band, and goes on where it was', async () => {
  const devbox = await sdk.devbox.create({ launch_parameters: { keep_alive_time_seconds: 172_800 } })
  const { executionId } = await devbox.cmd.execAsync('echo early; while [ ! -e ~/go ]; do sleep 0.02; done; echo late')
  const chunks = []
  const reads = (async () => {
    for await (const each of await devboxes.executions.streamStdoutUpdates(devbox.id, executionId)) chunks.push(each.output)
  })()
  await until('its first words', () => chunks.length > 0)
  await later('its second stream', 61, async () => (await requests('/stream_stdout_updates')).length > 1)
  await devbox.cmd.exec('touch ~/go')
  await reads
  assert.deepEqual(chunks, ['early\n', 'late\n'])
  const queries = (await requests('/stream_stdout_updates')).map((each) => each.query.replace('?', ''))
  assert.deepEqual([queries[0], queries[1]], ['offset=0', 'offset=6'])
  await devbox.shutdown()
})
await check('a devbox that takes a minute is waited for', async () => {
  const created = sdk.devbox.create({ blueprint_name: 'slow' })
  await later('its start', 5, settled(created))
  assert.equal((await (await created).getInfo()).status, 'running')
  assert.equal((await requests('{id}/wait_for_status')).at(-1).status, 200)
  await (await created).shutdown()
})
await check('a command that takes longer than its answer is waited for', async () => {
  const devbox = await sdk.devbox.create({ launch_parameters: { keep_alive_time_seconds: 172_800 } })
  const done = devbox.cmd.exec('while [ ! -e ~/go ]; do sleep 0.02; done; exit 5')
  await later('a wait that is cut off', 26, async () =>
    (await requests('{execution_id}/wait_for_status')).some((each) => each.status === 408))
  await devboxes.executeSync(devbox.id, { command: 'touch ~/go' })
  assert.equal((await done).exitCode, 5)
  await devbox.shutdown()
})
await check('an hour that is over', async () => {
  const devbox = await sdk.devbox.create()
  await admin('POST', 'clock', { advance_seconds: 3599 })
  assert.equal((await devbox.getInfo()).status, 'running')
  await admin('POST', 'clock', { advance_seconds: 2 })
  assert.equal((await devbox.getInfo()).shutdown_reason, 'ttl_expired')
  await until('nothing', async () => (await alive()).length === 0)
})
finish()
