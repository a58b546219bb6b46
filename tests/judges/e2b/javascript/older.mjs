// Older releases of E2B's JavaScript SDK, which speak the first version of what the newest speaks in its second.
// The oldest knows E2B_DOMAIN only, so it goes by hosts' names over TLS. Names below .localhost are this machine: not every
// system's resolver knows that, so it is told here.
import assert from 'node:assert/strict'
import * as One from 'e2b-v1'
import * as Two from 'e2b-v2'
import { alive, check, emulated, fail, finish, raw, text, thrown, until } from './kit.mjs'
import './localhost.mjs'

const { accounts, requests } = await emulated('e2b')

const ids = (list) => list.map((each) => each.sandboxId)

for (const [which, { Sandbox, AuthenticationError, CommandExitError, NotFoundError, RateLimitError }] of [['1.13', One], ['2.45', Two]]) {
  const named = (what) => `${which}: ${what}`
  const secure = which !== '1.13' // the first kind of sandbox has no token
  let sandbox
  await check(named('create'), async () => {
    sandbox = await Sandbox.create('base', { timeoutMs: 60_000, metadata: { 'k 1': 'v&', which }, envs: { FOO: 'bar' } })
    const [made] = await requests('POST /sandboxes')
    assert.equal(made.status, 201)
    assert.equal(JSON.parse(made.body).secure === true, secure)
    const info = await sandbox.getInfo()
    assert.equal(info.endAt - info.startedAt, 60_000)
    assert.deepEqual(info.metadata, { 'k 1': 'v&', which })
    assert.equal(await sandbox.isRunning(), true)
  })
  await check(named('commands'), async () => {
    const result = await sandbox.commands.run('echo hi $FOO; whoami; pwd; echo no >&2')
    assert.deepEqual([result.stdout, result.stderr], ['hi bar\nuser\n/home/user\n', 'no\n'])
    assert.equal((await thrown(sandbox.commands.run('exit 3'), CommandExitError)).exitCode, 3)
    const handle = await sandbox.commands.run('read x; echo got $x; sleep 60', { background: true, ...(secure && { stdin: true }) })
    await sandbox.commands.sendStdin(handle.pid, 'it\n')
    await until('its output', () => handle.stdout === 'got it\n')
    assert.deepEqual((await sandbox.commands.list()).map((each) => each.pid), [handle.pid])
    assert.equal(await handle.kill(), true)
    await thrown(handle.wait(), CommandExitError)
  })
  await check(named('terminal'), async () => {
    let said = ''
    const pty = await sandbox.pty.create({ cols: 80, rows: 24, onData: (data) => void (said += text(data)) })
    await sandbox.pty.sendInput(pty.pid, new TextEncoder().encode('echo $((40+2)); exit\n'))
    await pty.wait()
    assert.match(said, /\b42\b/)
  })
  await check(named('files'), async () => {
    await sandbox.files.write('a/b.txt', 'hello')
    assert.equal(await sandbox.files.read('/home/user/a/b.txt'), 'hello')
    assert.deepEqual((await sandbox.files.list('a')).map((each) => each.name), ['b.txt'])
    assert.equal(await sandbox.files.exists('none'), false)
    await thrown(sandbox.files.read('none'), NotFoundError)
    const seen = []
    const watch = await sandbox.files.watchDir('a', (event) => void seen.push(event.name))
    await sandbox.files.write('a/new', '1')
    await until('the new file', () => seen.includes('new'))
    await watch.stop()
    await sandbox.files.rename('a/new', 'a/newer')
    await sandbox.files.remove('a/newer')
    assert.equal(await sandbox.files.makeDir('a'), false)
  })
  await check(named('an address of a file'), async () => {
    const down = await raw(await sandbox.downloadUrl('a/b.txt'))
    assert.equal(await down.text(), 'hello')
  })
  await check(named('list'), async () => {
    const listed = Sandbox.list({ query: { metadata: { 'k 1': 'v&', which } } })
    const found = secure ? await listed.nextItems() : await listed
    assert.deepEqual(ids(found), [sandbox.sandboxId])
    assert.equal((await requests(secure ? 'GET /v2/sandboxes' : 'GET /sandboxes')).length, 1)
    const none = Sandbox.list({ query: { metadata: { which: 'none' } } })
    assert.deepEqual(secure ? await none.nextItems() : await none, [])
  })
  await check(named('set the timeout, measure'), async () => {
    const before = (await sandbox.getInfo()).endAt
    await sandbox.setTimeout(120_000)
    assert.ok((await sandbox.getInfo()).endAt - before > 50_000)
    assert.ok((await sandbox.getMetrics())[0].memTotal > 0)
  })
  if (secure) {
    await check(named('pause and connect, with a process that lives on'), async () => {
      await sandbox.commands.run('sleep 1000', { background: true, timeoutMs: 0 })
      assert.ok(await sandbox.pause())
      assert.equal(await sandbox.isRunning(), false)
      const again = await Sandbox.connect(sandbox.sandboxId)
      assert.equal((await requests('POST /sandboxes/{sandboxID}/connect')).at(-1).status, 201)
      assert.ok((await again.commands.list()).some((each) => each.args.includes('sleep 1000')))
    })
  } else {
    await check(named('connect, which asks nobody'), async () => {
      const again = await Sandbox.connect(sandbox.sandboxId)
      assert.equal((await again.commands.run('echo again')).stdout, 'again\n')
    })
    await check(named('a sandbox that is secured'), async () => {
      const secured = await Sandbox.create('base', { secure: true })
      assert.equal((await secured.commands.run('echo in')).stdout, 'in\n')
      const stranger = new Sandbox({ sandboxId: secured.sandboxId, envdVersion: '0.6.13' })
      await thrown(stranger.commands.run('echo in'), AuthenticationError)
      await secured.kill()
    })
  }
  await check(named('keys that are refused'), async () => {
    await thrown(Sandbox.create('base', { apiKey: accounts.unknown }), secure ? AuthenticationError : Error, /Invalid API key/)
    await thrown(Sandbox.create('base', { apiKey: accounts.banned }), Error, /team is banned/)
    await thrown(Sandbox.create('base', { apiKey: accounts.over_quota }), RateLimitError)
  })
  await check(named('its end'), async () => {
    assert.equal(await Sandbox.kill(sandbox.sandboxId), true)
    assert.equal(await Sandbox.kill(sandbox.sandboxId), false)
    await thrown(sandbox.getInfo(), Error)
    await thrown(sandbox.commands.run('echo'), Error)
    const failed = await Sandbox.create()
    await fail(failed.sandboxId)
    assert.equal(await failed.isRunning(), false)
    assert.deepEqual(await alive(), [])
  })
}
finish()
