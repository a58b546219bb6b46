// E2B's own JavaScript SDK against the emulator. Started by it, with its variables. Last line: "N passed, N failed".
import assert from 'node:assert/strict'
import { AuthenticationError, CommandExitError, RateLimitError, Sandbox, SandboxNotFoundError } from 'e2b'
import { Sandbox as OldSandbox } from 'e2b-old'
import { Sandbox as Interpreter } from '@e2b/code-interpreter'

let passed = 0
let failed = 0
async function check(name, work) {
  try {
    await work()
    ++passed
  } catch (error) {
    ++failed
    console.log(`FAILED ${name}: ${error?.stack ?? error}`)
  }
}

async function admin(method, path, body) {
  const reply = await fetch(`${process.env.SANDKEY_EMULATOR_URL}/_emulator/${path}`, {
    method,
    headers: { 'X-Emulator-Key': process.env.SANDKEY_EMULATOR_KEY },
    body: body && JSON.stringify(body),
  })
  const text = await reply.text()
  assert.ok(reply.ok, text)
  return text ? JSON.parse(text) : null
}
const fault = (route, made, times = 1) => admin('POST', 'faults', { provider: 'e2b', route, times, fault: made })
const accounts = (await admin('GET', 'accounts')).e2b

// The same life by the newest SDK, which speaks v2 of create and connect, and by an older one, which speaks v1.
for (const [which, Kind] of [['new', Sandbox], ['old', OldSandbox]]) {
  const sandbox = await Kind.create('base', { timeoutMs: 60_000, metadata: { 'k 1': 'v&', which }, envs: { FOO: 'bar' } })
  const named = (what) => `${which}: ${what}`
  await check(named('a command'), async () => {
    const result = await sandbox.commands.run('echo hi $FOO; whoami; pwd; echo no >&2')
    assert.equal(result.stdout, 'hi bar\nuser\n/home/user\n')
    assert.equal(result.stderr, 'no\n')
  })
  await check(named('a command that fails'), async () => {
    const error = await sandbox.commands.run('exit 3').catch((caught) => caught)
    assert.equal(error.exitCode, 3)
    if (Kind === Sandbox) assert.ok(error instanceof CommandExitError)
  })
  await check(named('files'), async () => {
    await sandbox.files.write('/home/user/a/b.txt', 'hello')
    assert.equal(await sandbox.files.read('/home/user/a/b.txt'), 'hello')
    assert.deepEqual((await sandbox.files.list('/home/user/a')).map((each) => each.name), ['b.txt'])
    assert.equal(await sandbox.files.exists('/home/user/none'), false)
  })
  await check(named('a signed URL, which names no sandbox'), async () => {
    const reply = await fetch(await sandbox.downloadUrl('/home/user/a/b.txt', { useSignatureExpiration: 60_000 }))
    assert.equal(await reply.text(), 'hello')
  })
  await check(named('a watch'), async () => {
    const seen = []
    const watch = await sandbox.files.watchDir('/home/user/a', (event) => seen.push(event.name))
    await sandbox.files.write('/home/user/a/new', '1')
    for (let i = 0; i < 200 && !seen.includes('new'); ++i) await new Promise((done) => setTimeout(done, 10))
    assert.ok(seen.includes('new'))
    await watch.stop()
  })
  await check(named('a terminal'), async () => {
    let text = ''
    const decoder = new TextDecoder()
    const pty = await sandbox.pty.create({ cols: 80, rows: 24, onData: (data) => (text += decoder.decode(data)) })
    await sandbox.pty.sendInput(pty.pid, new TextEncoder().encode('echo $((40+2)); exit\n'))
    await pty.wait()
    assert.match(text, /\b42\b/)
  })
  await check(named('what is said of it'), async () => {
    const info = await sandbox.getInfo()
    assert.equal(info.state, 'running')
    assert.equal(info.endAt - info.startedAt, 60_000)
    await sandbox.setTimeout(120_000)
    assert.ok((await sandbox.getInfo()).endAt > info.endAt)
    assert.equal(await sandbox.isRunning(), true)
    assert.ok((await sandbox.getMetrics()).length > 0)
  })
  await check(named('a list by metadata'), async () => {
    const found = await Kind.list({ query: { metadata: { 'k 1': 'v&', which } } }).nextItems()
    assert.deepEqual(found.map((each) => each.sandboxId), [sandbox.sandboxId])
  })
  await check(named('pause and connect, with a process that lives on'), async () => {
    await sandbox.commands.run('sleep 1000', { background: true })
    assert.ok(await sandbox.pause())
    assert.equal(await sandbox.isRunning(), false)
    assert.equal(await sandbox.pause(), false)
    const again = await Kind.connect(sandbox.sandboxId)
    assert.ok((await again.commands.list()).some((each) => each.args.includes('sleep 1000')))
  })
  await check(named('a port'), async () => {
    await sandbox.commands.run('mkdir /tmp/w; cd /tmp/w; echo page > index.html; python3 -m http.server 8000',
                               { background: true, timeoutMs: 0 })
    const ask = () => fetch(`${process.env.E2B_SANDBOX_URL}/`, {
      headers: { 'E2b-Sandbox-Id': sandbox.sandboxId, 'E2b-Sandbox-Port': '8000' } })
    let reply = await ask()
    for (let i = 0; i < 500 && reply.status === 502; ++i) reply = await ask()
    assert.equal(await reply.text(), 'page\n')
  })
  await check(named('its end'), async () => {
    assert.equal(await sandbox.kill(), true)
    assert.equal(await sandbox.kill(), false)
    const error = await Kind.connect(sandbox.sandboxId).catch((caught) => caught)
    assert.equal(error.name, SandboxNotFoundError.name)
  })
}

await check('snapshots and forks', async () => {
  const sandbox = await Sandbox.create()
  await sandbox.files.write('kept', 'contents')
  const snapshot = await sandbox.createSnapshot({ name: 'judged' })
  const copy = await Sandbox.create(snapshot.snapshotId)
  assert.equal(await copy.files.read('kept'), 'contents')
  assert.equal((await sandbox.fork({ count: 2 })).length, 2)
  assert.equal(await Sandbox.deleteSnapshot(snapshot.snapshotId), true)
})
await check('a sandbox that wakes for a command', async () => {
  const sandbox = await Sandbox.create({ lifecycle: { onTimeout: 'pause', autoResume: true } })
  await sandbox.pause()
  assert.equal((await sandbox.commands.run('echo woke')).stdout, 'woke\n')
})
await check('traffic with a token', async () => {
  const sandbox = await Sandbox.create({ network: { allowPublicTraffic: false } })
  assert.match(sandbox.trafficAccessToken, /^[0-9a-f]{64}$/)
})
await check('the code interpreter', async () => {
  const sandbox = await Interpreter.create()
  const execution = await sandbox.runCode('print("hi")\n6 * 7')
  assert.equal(execution.text, '42')
  assert.deepEqual(execution.logs.stdout, ['hi\n'])
  assert.equal((await sandbox.runCode('1/0')).error.name, 'ZeroDivisionError')
})

const refused = async (options) => Sandbox.create('base', options).then(() => null, (caught) => caught)
for (const [account, kind] of [['malformed', AuthenticationError], ['not_hex', AuthenticationError],
                               ['unknown', AuthenticationError], ['revoked', AuthenticationError],
                               ['over_quota', RateLimitError]]) {
  await check(`account ${account}`, async () => assert.ok((await refused({ apiKey: accounts[account] })) instanceof kind))
}
for (const account of ['banned', 'blocked']) {
  await check(`account ${account}`, async () => assert.match((await refused({ apiKey: accounts[account] })).message, /^403/))
}
await check('a rate limit that is waited for', async () => {
  await fault('POST /v2/sandboxes', { kind: 'status', status: 429, headers: { 'Retry-After': '0' },
                                      body: { code: 429, message: 'Rate limit exceeded' } }, 2)
  await Sandbox.create()
})
await check('an answer that is lost leaves a sandbox', async () => {
  const before = (await admin('GET', 'sandboxes')).sandboxes.length
  await fault('POST /v2/sandboxes', { kind: 'drop_after' })
  assert.ok(await refused({}))
  assert.equal((await admin('GET', 'sandboxes')).sandboxes.length, before + 1)
})
await check('a page at a time', async () => {
  const pages = Sandbox.list({ limit: 2 })
  const seen = new Set()
  while (pages.hasNext) for (const each of await pages.nextItems()) seen.add(each.sandboxId)
  assert.equal(seen.size, (await admin('GET', 'sandboxes')).sandboxes.length)
})
await check('the end of all', async () => {
  for (const each of (await admin('GET', 'sandboxes')).sandboxes) await Sandbox.kill(each.id)
  assert.equal((await admin('GET', 'sandboxes')).sandboxes.length, 0)
})

console.log(`${passed} passed, ${failed} failed`)
process.exit(failed === 0 ? 0 : 1)
