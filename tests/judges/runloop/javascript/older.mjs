// An older JavaScript SDK of Runloop's against the emulator, which starts this with its variables: the last of those that speak
// HTTP/1.1, ask for states instead of being told, and give the URL of one port.
import assert from 'node:assert/strict'
import { toFile } from '@runloop/api-client'
import {
  AuthenticationError, BadRequestError, InternalServerError, PermissionDeniedError, Runloop, RunloopSDK,
} from 'runloop-before-long-polls'
import { alive, check, emulated, finish, raw, thrown, until } from './kit.mjs'
import './localhost.mjs'

const { accounts, fault, requests } = await emulated('runloop')

const sdk = new RunloopSDK()
const { devboxes, blueprints } = sdk.api
const as = (account) => new Runloop({ bearerToken: accounts[account], maxRetries: 0 })
const once = as('valid')
const soon = { polling: { initialDelayMs: 50, pollingIntervalMs: 50 } }
const devbox = await sdk.devbox.create({
  name: 'older', metadata: { k: 'v' }, launch_parameters: { available_ports: [8000], resource_size_request: 'SMALL' }, prebuilt: 'x',
}, soon)
const { id, cmd, file } = devbox

await check('accounts: refused, restricted', async () => {
  for (const account of ['malformed', 'unknown', 'revoked']) {
    await thrown(as(account).devboxes.list({ limit: 1 }), AuthenticationError, /^401 /)
  }
  await thrown(as('over_quota').devboxes.create(), PermissionDeniedError, /quota/)
  await thrown(as('read_only').devboxes.create(), PermissionDeniedError)
})
await check('create: waited for', async () => {
  const seen = await devbox.getInfo()
  assert.deepEqual([seen.name, seen.status, seen.metadata], ['older', 'running', { k: 'v' }])
  const failed = await devboxes.create({ blueprint_name: 'fails_out_of_memory' })
  await thrown(devboxes.awaitRunning(failed.id, soon), Error, /non-running state failure/)
  const page = await devboxes.list({ limit: 1, status: 'running' })
  assert.deepEqual([page.devboxes.map((each) => each.id), page.has_more], [[id], false])
  await thrown(devboxes.retrieve('dbx_nonexistent12345'), BadRequestError)
})
await check('commands: waited for, streamed, whole', async () => {
  const done = await cmd.exec('echo out; echo err >&2; exit 3', {}, soon)
  assert.deepEqual([done.exitCode, await done.stdout(), await done.stderr()], [3, 'out\n', 'err\n'])
  let said = ''
  const streamed = await cmd.exec('for i in 1 2 3; do echo $i; sleep 0.05; done', { stdout: (text) => { said += text } }, soon)
  assert.deepEqual([said, streamed.exitCode], ['1\n2\n3\n', 0])
  const many = await cmd.exec('seq 1000', {}, soon)
  assert.equal((await many.stdout()).split('\n').length, 1001)
  const shell = devbox.shell('older')
  await shell.exec('cd /tmp; X=1')
  assert.equal(await (await shell.exec('echo "$PWD $X"')).stdout(), '/tmp 1\n')
  const running = await cmd.execAsync('sleep 300')
  await running.kill()
  assert.notEqual((await running.result()).exitCode, 0)
})
await check('commands: streams opened again where they went idle', async () => {
  const { execution_id } = await devboxes.executeAndAwaitCompletion(id, { command: 'echo first; echo second' })
  await fault('GET /v1/devboxes/{id}/executions/{execution_id}/stream_stdout_updates', {
    kind: 'status', status: 200, headers: { 'Content-Type': 'text/event-stream' },
    body: 'data: {"output":"first\\n","offset":6}\n\nevent: error\ndata: {"code":408,"message":"idle"}\n\n',
  })
  let said = ''
  for await (const each of await devboxes.executions.streamStdoutUpdates(id, execution_id, {})) said += each.output
  assert.equal(said, 'first\nsecond\n')
})
await check('files', async () => {
  await file.write({ file_path: 'a.txt', contents: 'text ü' })
  assert.equal(await file.read({ file_path: 'a.txt' }), 'text ü')
  await file.upload({ path: '/tmp/b', file: await toFile(Buffer.from('bytes'), 'b') })
  assert.equal(await (await file.download({ path: '/tmp/b' })).text(), 'bytes')
})
await check('tunnels: the URL of one port, and the later kind', async () => {
  await cmd.execAsync('cd /tmp && echo served > page && exec python3 -m http.server 8000')
  const tunnel = await devboxes.createTunnel(id, { port: 8000 })
  assert.deepEqual([tunnel.devbox_id, tunnel.port], [id, 8000])
  await until('the server', async () => (await raw(`${tunnel.url}/page`)).status === 200)
  assert.equal(await (await raw(`${tunnel.url}/page`)).text(), 'served\n')
  const later = await devboxes.enableTunnel(id)
  assert.ok(new URL(tunnel.url).hostname.startsWith(`8000-${later.tunnel_key}.tunnel.`))
  await devboxes.removeTunnel(id, { port: 8000 })
  assert.equal((await raw(`${tunnel.url}/page`)).status, 404)
  await thrown(devboxes.createTunnel(id, { port: 0 }), BadRequestError)
})
await check('snapshots and blueprints', async () => {
  const snapshot = await devbox.snapshotDisk({ name: 'older' })
  const copy = await snapshot.createDevbox({}, soon)
  assert.equal(await copy.file.read({ file_path: 'a.txt' }), 'text ü')
  await copy.shutdown()
  await snapshot.delete()
  const built = await blueprints.createAndAwaitBuildCompleted({ name: 'older', system_setup_commands: ['echo built > ~/built'] }, soon)
  assert.equal((await blueprints.preview({ name: 'p' })).dockerfile.startsWith('FROM '), true)
  await blueprints.delete(built.id)
})
await check('life: suspended, resumed, kept alive', async () => {
  await devbox.suspend()
  await devbox.awaitSuspended()
  await devbox.resume()
  assert.equal((await devbox.awaitRunning()).status, 'running')
  await devbox.keepAlive()
  assert.equal(await file.read({ file_path: 'a.txt' }), 'text ü')
  await thrown(devboxes.createSSHKey(id), InternalServerError, /^501 /)
})
await check('wire: HTTP/1.1, and who it is', async () => {
  await requests('')
  await once.devboxes.retrieve(id)
  const [{ headers }] = await requests('GET /v1/devboxes/{id}')
  assert.deepEqual([headers['user-agent'], headers.connection], ['Runloop/JS 1.10.3', 'keep-alive'])
})
await check('the end: nothing is left', async () => {
  await devbox.shutdown()
  await until('nothing', async () => (await alive()).length === 0)
})
finish()
