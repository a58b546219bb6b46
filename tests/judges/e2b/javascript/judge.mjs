// E2B's newest JavaScript SDK drives the emulator, which starts this with its variables.
import assert from 'node:assert/strict'
import https from 'node:https'
import {
  ApiClient, AuthenticationError, BuildError, CommandExitError, ConnectionConfig, FileNotFoundError, InvalidArgumentError,
  RateLimitError, Sandbox, SandboxError, SandboxNotFoundError, Secret, ServiceBusyError, Template, TimeoutError, Volume,
} from 'e2b'
import { admin, alive, bytes, check, emulated, fail, faultsEnd, finish, raw, text, thrown, until } from './kit.mjs'

const { accounts, fault, requests } = await emulated('e2b')

const ids = (list) => list.map((each) => each.sandboxId)
const all = async (paginator) => {
  const found = []
  while (paginator.hasNext) found.push(...(await paginator.nextItems()))
  return found
}

// ---- Accounts

await check('accounts: a working key lists', async () => {
  assert.deepEqual(await Sandbox.list().nextItems(), [])
})
for (const [account, message] of [
  ['malformed', /authorization header is malformed/],
  ['not_hex', /Invalid API key format/],
  ['unknown', /Cannot get the team for the given API key/],
  ['revoked', /Cannot get the team for the given API key/],
]) {
  await check(`accounts: ${account} is refused everywhere`, async () => {
    const options = { apiKey: accounts[account] }
    await thrown(Sandbox.list(options).nextItems(), AuthenticationError, message)
    await thrown(Sandbox.create('base', options), AuthenticationError, message)
    await thrown(Sandbox.kill('i00000000000000000000', options), AuthenticationError, message)
  })
}
await check('accounts: banned is refused everywhere', async () => {
  const error = await thrown(Sandbox.list({ apiKey: accounts.banned }).nextItems(), SandboxError, /^403: team is banned/)
  assert.equal(error.statusCode, 403)
})
await check('accounts: blocked may look and kill only', async () => {
  const options = { apiKey: accounts.blocked }
  assert.deepEqual(await Sandbox.list(options).nextItems(), [])
  assert.equal(await Sandbox.kill('i00000000000000000000', options), false)
  await thrown(Sandbox.create('base', options), SandboxError, /^403: team is blocked/)
  await thrown(Sandbox.pause('i00000000000000000000', options), SandboxError, /^403: team is blocked/)
})
await check('accounts: over its quota, which is not waited for', async () => {
  const before = Date.now()
  await thrown(Sandbox.create('base', { apiKey: accounts.over_quota }), RateLimitError, /maximum number of concurrent/)
  assert.ok(Date.now() - before < 5000)
  assert.equal((await requests('POST /v2/sandboxes')).at(-1).status, 429)
  assert.deepEqual(await Sandbox.list({ apiKey: accounts.over_quota }).nextItems(), [])
})
await check('accounts: what is for people who are logged in, and not for keys', async () => {
  for (const [method, path] of [['GET', 'teams'], ['GET', 'api-keys'], ['POST', 'api-keys'], ['POST', 'access-tokens']]) {
    const reply = await raw(`${process.env.E2B_API_URL}/${path}`, { method, headers: { 'X-API-Key': accounts.valid } })
    assert.equal(reply.status, 401, path)
  }
})
await check('accounts: nobody sees what is another’s', async () => {
  const sandbox = await Sandbox.create()
  const options = { apiKey: accounts.second }
  assert.deepEqual(await Sandbox.list(options).nextItems(), [])
  assert.equal(await Sandbox.kill(sandbox.sandboxId, options), false)
  await thrown(Sandbox.connect(sandbox.sandboxId, options), SandboxNotFoundError)
  await thrown(Sandbox.getInfo(sandbox.sandboxId, options), SandboxNotFoundError)
  await thrown(Sandbox.setTimeout(sandbox.sandboxId, 1000, options), SandboxNotFoundError)
  assert.equal(await sandbox.kill(), true)
})

// ---- Create

await check('create: what is asked for is what it is', async () => {
  const sandbox = await Sandbox.create('base', {
    timeoutMs: 90_000, metadata: { 'k 1': 'v&=ü', b: '' }, envs: { COLOUR: 'blue', QUOTED: '"$x"' },
    allowInternetAccess: false, lifecycle: { onTimeout: 'pause', autoResume: true },
  })
  assert.match(sandbox.sandboxId, /^i[a-z0-9]{20}$/)
  const info = await sandbox.getInfo()
  assert.equal(info.sandboxId, sandbox.sandboxId)
  assert.equal(info.name, 'base')
  assert.deepEqual(info.metadata, { 'k 1': 'v&=ü', b: '' })
  assert.equal(info.state, 'running')
  assert.equal(info.endAt - info.startedAt, 90_000)
  assert.ok(Math.abs(info.startedAt - Date.now()) < 5000)
  assert.equal(info.allowInternetAccess, false)
  assert.deepEqual(info.lifecycle, { onTimeout: 'pause', autoResume: true })
  assert.ok(info.cpuCount > 0 && info.memoryMB > 0)
  assert.match(info.envdVersion, /^\d+\.\d+\.\d+$/)
  const result = await sandbox.commands.run('echo "$COLOUR $QUOTED $E2B_SANDBOX $E2B_SANDBOX_ID"')
  assert.equal(result.stdout, `blue "$x" true ${sandbox.sandboxId}\n`)
  await sandbox.kill()
})
await check('create: no time said is five minutes', async () => {
  const sandbox = await Sandbox.create()
  const info = await sandbox.getInfo()
  assert.equal(info.endAt - info.startedAt, 300_000)
  assert.equal(info.lifecycle.onTimeout, 'kill')
  await sandbox.kill()
})
await check('create: a template that is not there, or not ours', async () => {
  await thrown(Sandbox.create('no-such-template'), SandboxError, /^404: /)
  await thrown(Sandbox.create('private-of-second'), SandboxError, /^40[34]: /)
  const theirs = await Sandbox.create('private-of-second', { apiKey: accounts.second })
  await theirs.kill({ apiKey: accounts.second })
})
await check('create: a time that is none, or too long', async () => {
  await thrown(Sandbox.create('base', { timeoutMs: 0 }), SandboxError, /^400: /)
  await thrown(Sandbox.create('base', { timeoutMs: 86_401_000 }), SandboxError, /^400: /)
  const longest = await Sandbox.create('base', { timeoutMs: 86_400_000 })
  await longest.kill()
})
await check('create: bigger templates are bigger', async () => {
  const [small, large] = await Promise.all(['small', 'large'].map((each) => Sandbox.create(each)))
  const [one, other] = [await small.getInfo(), await large.getInfo()]
  assert.ok(one.cpuCount < other.cpuCount && one.memoryMB < other.memoryMB)
  await Promise.all([small.kill(), large.kill()])
})
await check('create: the network that is asked for is shown again', async () => {
  const sandbox = await Sandbox.create({
    network: { allowOut: ['1.1.1.1', 'example.org'], denyOut: ['0.0.0.0/0'], allowPublicTraffic: false, maskRequestHost: 'h:${PORT}' },
  })
  assert.match(sandbox.trafficAccessToken, /^[0-9a-f]{64}$/)
  const { network } = await sandbox.getInfo()
  assert.deepEqual(network.allowOut, ['1.1.1.1', 'example.org'])
  assert.deepEqual(network.denyOut, ['0.0.0.0/0'])
  assert.equal(network.allowPublicTraffic, false)
  assert.equal(network.maskRequestHost, 'h:${PORT}')
  await sandbox.updateNetwork({ denyOut: ['8.8.8.8'] }) // replaces: what is left out is gone
  const after = (await sandbox.getInfo()).network
  assert.deepEqual(after.denyOut, ['8.8.8.8'])
  assert.deepEqual(after.allowOut ?? [], [])
  assert.equal(after.allowPublicTraffic, false)
  await thrown(sandbox.updateNetwork({ allowOut: ['example.org'] }), SandboxError, /^400: /)
  await sandbox.kill()
})
await check('create: ten at once', async () => {
  const made = await Promise.all(Array.from({ length: 10 }, (_, i) => Sandbox.create({ metadata: { i: `${i}` } })))
  const said = await Promise.all(made.map((each, i) => each.commands.run(`echo ${i} $E2B_SANDBOX_ID`)))
  assert.deepEqual(said.map((each) => each.stdout), made.map((each, i) => `${i} ${each.sandboxId}\n`))
  assert.deepEqual((await Promise.all(made.map((each) => each.kill()))), made.map(() => true))
})

// ---- List

await check('list: metadata, states, templates, time, order, pages', async () => {
  const group = 'a b&c=d%/+'
  const made = []
  for (const n of ['1', '2', '3', '4', '5']) {
    made.push(await Sandbox.create(n === '5' ? 'small' : 'base', { metadata: { group, n } }))
  }
  const expected = ids(made)
  const find = async (query, rest = {}) => ids(await all(Sandbox.list({ query, ...rest })))
  assert.deepEqual(await find({ metadata: { group } }, { order: 'asc' }), expected)
  assert.deepEqual(await find({ metadata: { group } }), expected.toReversed())
  assert.deepEqual(await find({ metadata: { group, n: '3' } }), [expected[2]])
  assert.deepEqual(await find({ metadata: { group: 'a' } }), [])
  assert.deepEqual(await find({ metadata: { group }, template: 'small' }), [expected[4]])
  assert.deepEqual(await find({ metadata: { group }, template: 'no-such-template' }), [])
  await made[1].pause()
  assert.deepEqual(await find({ metadata: { group }, state: ['paused'] }), [expected[1]])
  assert.deepEqual(await find({ metadata: { group }, state: ['running'] }), expected.toReversed().filter((id) => id !== expected[1]))
  assert.equal((await find({ metadata: { group }, state: ['running', 'paused'] })).length, 5)
  const third = (await made[2].getInfo()).startedAt
  const later = await find({ metadata: { group }, startedAfter: new Date(+third + 1) }, { order: 'asc' })
  assert.deepEqual(later, expected.slice(3))
  for (const order of ['asc', 'desc']) {
    const pages = Sandbox.list({ query: { metadata: { group } }, limit: 2, order })
    const sizes = []
    const seen = []
    while (pages.hasNext) {
      const page = await pages.nextItems()
      sizes.push(page.length)
      seen.push(...ids(page))
    }
    assert.deepEqual(sizes, [2, 2, 1])
    assert.deepEqual(order === 'asc' ? seen : seen.toReversed(), expected)
  }
  await thrown(Sandbox.list({ limit: 101 }).nextItems(), SandboxError, /^400: validation error: /)
  await thrown(Sandbox.list({ nextToken: 'nonsense' }).nextItems(), SandboxError, /^400: /)
  await Promise.all(made.map((each) => each.kill()))
  assert.deepEqual(await find({ metadata: { group } }), [])
})

// ---- One sandbox for what happens inside

const sandbox = await Sandbox.create({ envs: { COLOUR: 'blue' }, timeoutMs: 600_000 })
const { commands, files, pty } = sandbox

await check('commands: output, environment, user, folder', async () => {
  const result = await commands.run('echo hi; echo err >&2; pwd; whoami; echo $COLOUR $A $HOME $USER', { envs: { A: '1' } })
  assert.deepEqual([result.exitCode, result.stdout, result.stderr], [0, 'hi\n/home/user\nuser\nblue 1 /home/user user\n', 'err\n'])
  assert.equal((await commands.run('pwd; echo $COLOUR', { cwd: '/tmp', envs: { COLOUR: 'red' } })).stdout, '/tmp\nred\n')
})
await check('commands: how they fail', async () => {
  const error = await thrown(commands.run('echo out; echo err >&2; exit 7'), CommandExitError)
  assert.deepEqual([error.exitCode, error.stdout, error.stderr], [7, 'out\n', 'err\n'])
  assert.equal((await thrown(commands.run('no-such-program'), CommandExitError)).exitCode, 127)
  await thrown(commands.run('pwd', { cwd: '/nowhere' }), InvalidArgumentError, /does not exist/)
  await thrown(commands.run('pwd', { user: 'mallory' }), AuthenticationError)
})
await check('commands: output as it comes, characters whole', async () => {
  const pieces = []
  const result = await commands.run('for i in 1 2 3; do echo $i ü; sleep 0.05; done; echo e >&2', {
    onStdout: (data) => pieces.push(data), onStderr: (data) => pieces.push(`E${data}`),
  })
  assert.deepEqual(pieces, ['1 ü\n', '2 ü\n', '3 ü\n', 'Ee\n'])
  assert.equal(result.stdout, '1 ü\n2 ü\n3 ü\n')
  const split = await commands.run(`printf '\\303'; sleep 0.1; printf '\\274\\n'`)
  assert.equal(split.stdout, 'ü\n')
})
await check('commands: three megabytes of output', async () => {
  const { stdout } = await commands.run('head -c 3000000 /dev/zero | tr "\\0" x')
  assert.equal(stdout.length, 3_000_000)
  assert.equal(stdout, 'x'.repeat(3_000_000))
})
await check('commands: time runs out', async () => {
  await thrown(commands.run('sleep 60', { timeoutMs: 400 }), TimeoutError)
  const background = await commands.run('sleep 60', { background: true, timeoutMs: 400 })
  await thrown(background.wait(), TimeoutError)
  await until('their end', async () => (await commands.list()).length === 0) // the SDK has a clock of its own
})
await check('commands: in the background, listed and killed', async () => {
  const handle = await commands.run('echo started; sleep 60', { background: true, cwd: '/tmp', envs: { N: '1' } })
  const [listed, ...others] = await commands.list()
  assert.deepEqual(others, [])
  assert.equal(listed.pid, handle.pid)
  assert.equal(listed.cmd, '/bin/bash')
  assert.deepEqual(listed.args, ['-l', '-c', 'echo started; sleep 60'])
  assert.equal(listed.cwd, '/tmp')
  assert.equal(listed.envs.N, '1')
  await until('its output', () => handle.stdout === 'started\n')
  assert.equal(await handle.kill(), true)
  const error = await thrown(handle.wait(), CommandExitError, /signal: killed/)
  assert.equal(error.exitCode, -1)
  assert.equal(error.stdout, 'started\n')
  assert.equal(await commands.kill(handle.pid), false)
  assert.deepEqual(await commands.list(), [])
})
await check('commands: stdin', async () => {
  const handle = await commands.run('cat; echo end', { background: true, stdin: true })
  await commands.sendStdin(handle.pid, 'one\n')
  await handle.sendStdin(bytes('two ü\n'))
  await commands.closeStdin(handle.pid)
  const result = await handle.wait()
  assert.equal(result.stdout, 'one\ntwo ü\nend\n')
  assert.equal((await commands.run('cat; echo none')).stdout, 'none\n') // no stdin is an empty one
})
await check('commands: left, and connected to by another', async () => {
  const handle = await commands.run('while read x; do echo got $x; done', { background: true, stdin: true })
  await handle.disconnect()
  let seen = ''
  const other = await Sandbox.connect(sandbox.sandboxId)
  const second = await other.commands.connect(handle.pid, { onStdout: (data) => void (seen += data) })
  await other.commands.sendStdin(handle.pid, 'a\n')
  await until('its output', () => seen === 'got a\n')
  await other.commands.closeStdin(handle.pid)
  assert.equal((await second.wait()).exitCode, 0)
  await thrown(commands.connect(999_999), SandboxError)
})
await check('commands: two who listen, twenty at once', async () => {
  const handle = await commands.run('read x; echo for both', { background: true, stdin: true })
  const second = await commands.connect(handle.pid)
  await commands.sendStdin(handle.pid, '\n')
  assert.deepEqual((await Promise.all([handle.wait(), second.wait()])).map((each) => each.stdout), ['for both\n', 'for both\n'])
  const many = await Promise.all(Array.from({ length: 20 }, (_, i) => commands.run(`echo ${i}`)))
  assert.deepEqual(many.map((each) => each.stdout), many.map((_, i) => `${i}\n`))
})
await check('commands: what a child keeps open is waited for', async () => {
  const start = Date.now()
  assert.equal((await commands.run('sleep 0.5 & echo now')).stdout, 'now\n')
  assert.ok(Date.now() - start >= 450)
})
await check('git: a repository by the SDK’s own commands', async () => {
  const path = '/home/user/repository'
  await sandbox.git.init(path, { initialBranch: 'main' })
  await sandbox.git.configureUser('Judge', 'judge@example.org', { scope: 'local', path })
  await files.write(`${path}/a.txt`, 'a\n')
  assert.equal((await sandbox.git.status(path)).hasChanges, true)
  await sandbox.git.add(path)
  await sandbox.git.commit(path, 'first')
  assert.equal((await sandbox.git.status(path)).isClean, true)
  await sandbox.git.createBranch(path, 'other')
  assert.deepEqual((await sandbox.git.branches(path)).branches.toSorted(), ['main', 'other'])
})

// ---- Terminals

await check('terminals: size, input, end', async () => {
  let said = ''
  const terminal = await pty.create({ cols: 91, rows: 33, envs: { MARK: 'here' }, onData: (data) => void (said += text(data)) })
  await pty.sendInput(terminal.pid, bytes('stty size; echo $TERM-$MARK; exit 3\n'))
  assert.equal((await thrown(terminal.wait(), CommandExitError)).exitCode, 3)
  assert.match(said, /33 91/)
  assert.match(said, /xterm-256color-here/)
})
await check('terminals: another size, another listener, killed', async () => {
  let said = ''
  const terminal = await pty.create({ cols: 80, rows: 24, onData: () => {} })
  const second = await pty.connect(terminal.pid, { onData: (data) => void (said += text(data)) })
  await pty.resize(terminal.pid, { cols: 100, rows: 50 })
  await pty.sendInput(terminal.pid, bytes('stty size\n'))
  await until('its new size', () => /50 100/.test(said))
  assert.equal(await pty.kill(terminal.pid), true)
  await thrown(second.wait(), CommandExitError)
  assert.equal(await pty.kill(terminal.pid), false)
})

// ---- Files

await check('files: written and read in every form', async () => {
  const info = await files.write('dir/a b ü.txt', 'content ü')
  assert.equal(info.path, '/home/user/dir/a b ü.txt')
  assert.equal(info.name, 'a b ü.txt')
  assert.equal(info.type, 'file')
  assert.equal(await files.read('dir/a b ü.txt'), 'content ü')
  assert.equal(text(await files.read('dir/a b ü.txt', { format: 'bytes' })), 'content ü')
  assert.equal(await (await files.read('dir/a b ü.txt', { format: 'blob' })).text(), 'content ü')
  let streamed = ''
  for await (const piece of await files.read('dir/a b ü.txt', { format: 'stream' })) streamed += text(piece)
  assert.equal(streamed, 'content ü')
  await files.write('dir/a b ü.txt', '') // replaced, and empty
  assert.equal(await files.read('dir/a b ü.txt'), '')
})
await check('files: many at once; bytes, blobs, streams', async () => {
  const written = await files.write([
    { path: 'm/1', data: 'one' }, { path: '/tmp/2', data: bytes('two').buffer }, { path: 'm/3', data: new Blob(['three']) },
  ])
  assert.deepEqual(written.map((each) => each.path), ['/home/user/m/1', '/tmp/2', '/home/user/m/3'])
  assert.deepEqual(await Promise.all(['m/1', '/tmp/2', 'm/3'].map((each) => files.read(each))), ['one', 'two', 'three'])
  await files.write('s', new Blob(['streamed']).stream(), { useOctetStream: true })
  assert.equal(await files.read('s'), 'streamed')
})
await check('files: compressed on the way', async () => {
  const content = 'compressible '.repeat(10_000)
  await files.write('g.txt', content, { gzip: true })
  assert.equal(await files.read('g.txt', { gzip: true }), content)
  assert.equal(await files.read('g.txt'), content)
})
await check('files: twenty megabytes there and back', async () => {
  const big = Buffer.alloc(20_000_000, 'sandkey')
  await files.write('big', new Blob([big]))
  assert.ok(big.equals(Buffer.from(await files.read('big', { format: 'bytes' }))))
  assert.equal((await files.getInfo('big')).size, 20_000_000)
  await files.remove('big')
})
await check('files: metadata of theirs', async () => {
  await files.write('md.txt', 'x', { metadata: { Author: 'me' } })
  assert.deepEqual((await files.getInfo('md.txt')).metadata, { author: 'me' })
  await files.write('md.txt', 'y') // without: it is cleared
  assert.deepEqual((await files.getInfo('md.txt')).metadata ?? {}, {})
})
await check('files: what is not there, and what is no file', async () => {
  await thrown(files.read('none'), FileNotFoundError)
  await thrown(files.getInfo('none'), FileNotFoundError)
  await thrown(files.list('none'), FileNotFoundError)
  await thrown(files.rename('none', 'other'), FileNotFoundError)
  await thrown(files.read('/tmp'), InvalidArgumentError)
  await thrown(files.list('md.txt'), InvalidArgumentError)
  await thrown(files.write('/tmp', 'x'), InvalidArgumentError)
  await thrown(files.makeDir('md.txt'), InvalidArgumentError)
})
await check('files: listed to a depth', async () => {
  await files.write('l/a/b/c', '1')
  await files.write('l/z', '22')
  assert.deepEqual((await files.list('l')).map((each) => [each.name, each.type, each.path]), [
    ['a', 'dir', '/home/user/l/a'], ['z', 'file', '/home/user/l/z'],
  ])
  const deep = await files.list('l', { depth: 3 })
  assert.deepEqual(deep.map((each) => each.path.slice('/home/user/'.length)).toSorted(), ['l/a', 'l/a/b', 'l/a/b/c', 'l/z'])
  assert.equal(deep.find((each) => each.name === 'z').size, 2)
  await thrown(files.list('l', { depth: 0 }), InvalidArgumentError)
})
await check('files: made, moved, removed', async () => {
  assert.equal(await files.exists('nope'), false)
  assert.equal(await files.makeDir('md/x/y'), true)
  assert.equal(await files.makeDir('md/x/y'), false)
  assert.equal(await files.exists('md/x/y'), true)
  await files.write('r1', 'q')
  assert.equal((await files.rename('r1', '/tmp/deep/r2')).path, '/tmp/deep/r2')
  assert.equal(await files.exists('r1'), false)
  assert.equal(await files.read('/tmp/deep/r2'), 'q')
  await files.remove('md')
  await files.remove('md') // what is not there need not be removed
  assert.equal(await files.exists('md'), false)
})
await check('files: modes, owners, links', async () => {
  await commands.run('mkdir i; cd i; echo hello > f; chmod 640 f; ln -s f link; ln -s nowhere dead')
  const info = await files.getInfo('i/f')
  assert.deepEqual([info.permissions, info.mode, info.size, info.owner, info.group], ['-rw-r-----', 0o640, 6, 'user', 'user'])
  assert.ok(Math.abs(info.modifiedTime - Date.now()) < 30_000)
  const link = await files.getInfo('i/link')
  assert.deepEqual([link.symlinkTarget, link.type, link.permissions], ['/home/user/i/f', 'file', 'Lrwxrwxrwx'])
  assert.equal((await files.getInfo('i')).permissions, 'drwxr-xr-x')
  assert.deepEqual((await files.list('i')).map((each) => each.name).toSorted(), ['f', 'link']) // the SDK hides a broken link
})
await check('files: watched', async () => {
  await files.makeDir('w')
  const seen = []
  const watch = await files.watchDir('w', (event) => void seen.push(`${event.type} ${event.name}`), { recursive: true })
  await files.write('w/x.txt', '1')
  await files.makeDir('w/sub')
  await until('a folder seen', () => seen.includes('create sub'))
  await files.write('w/sub/y', '2')
  await files.rename('w/x.txt', 'w/z.txt')
  await commands.run('chmod 600 w/z.txt')
  await files.remove('w/z.txt')
  const wanted = ['create x.txt', 'write x.txt', 'create sub', 'write sub/y', 'rename x.txt', 'create z.txt', 'chmod z.txt', 'remove z.txt']
  await until(`all of ${wanted}`, () => wanted.every((each) => seen.includes(each)))
  await watch.stop()
  await thrown(files.watchDir('none', () => {}), FileNotFoundError)
  await thrown(files.watchDir('md.txt', () => {}), InvalidArgumentError)
})
await check('files: events with their entries', async () => {
  await files.makeDir('we')
  let entry
  const watch = await files.watchDir('we', (event) => void (entry ??= event.entry), { includeEntry: true })
  await files.write('we/f', '123')
  await until('an entry', () => entry)
  assert.equal(entry.path, '/home/user/we/f')
  await watch.stop()
})

// ---- Signed addresses

await check('signed: down and up, by anybody', async () => {
  const up = await sandbox.uploadUrl('up/ü +.txt', { useSignatureExpiration: 60 })
  const form = new FormData()
  form.append('file', new Blob(['signed']), 'ignored.txt')
  const uploaded = await raw(up, { method: 'POST', body: form })
  assert.equal(uploaded.status, 200, await uploaded.text())
  assert.equal(await files.read('up/ü +.txt'), 'signed')
  const down = await sandbox.downloadUrl('up/ü +.txt')
  assert.equal(await (await raw(down)).text(), 'signed')
  const part = await raw(down, { headers: { Range: 'bytes=1-3' } })
  assert.deepEqual([part.status, await part.text()], [206, 'ign'])
  const named = await sandbox.downloadUrl('/home/user/up/ü +.txt', { user: 'user' })
  assert.equal(await (await raw(named)).text(), 'signed')
})
await check('signed: forged, for another path, or too late', async () => {
  const down = await sandbox.downloadUrl('up/ü +.txt', { useSignatureExpiration: 1 })
  assert.equal((await raw(down)).status, 200)
  const inside = { headers: { 'E2b-Sandbox-Id': sandbox.sandboxId, 'E2b-Sandbox-Port': '49983' } }
  assert.equal((await raw(down.replace('v1_', 'v1_x'), inside)).status, 401)
  assert.equal((await raw(down.replace('.txt', '.txt2'), inside)).status, 401)
  assert.equal((await raw(down, { ...inside, method: 'POST', body: new FormData() })).status, 401)
  await until('its end', async () => (await raw(down, inside)).status === 401)
})

// ---- The SDK's own client of what it does not use itself

await check('envd: its metrics and variables', async () => {
  const { envdApi } = sandbox
  const metrics = (await envdApi.api.GET('/metrics')).data
  assert.ok(metrics.cpu_count > 0 && metrics.mem_total > 0 && metrics.disk_total > 0)
  assert.equal((await envdApi.api.GET('/envs')).data.COLOUR, 'blue')
})
await check('envd: a token of somebody else’s', async () => {
  const other = await Sandbox.create()
  const stranger = new sandbox.constructor({
    sandboxId: sandbox.sandboxId, envdVersion: '0.6.13', envdAccessToken: other.envdAccessToken,
  })
  await thrown(stranger.commands.run('echo in'), AuthenticationError)
  await thrown(stranger.files.read('dir/a b ü.txt'), AuthenticationError)
  await thrown(stranger.files.list('/'), AuthenticationError)
  await other.kill()
})
await check('control: what is measured', async () => {
  const [sample] = await sandbox.getMetrics()
  assert.ok(sample.cpuCount > 0 && sample.memTotal > 0 && sample.diskTotal > 0 && sample.memUsed <= sample.memTotal)
  assert.ok(Math.abs(sample.timestamp - Date.now()) < 5000)
  assert.deepEqual(await sandbox.getMetrics({ end: new Date(Date.now() - 60_000) }), [])
  const client = new ApiClient(new ConnectionConfig())
  const many = await client.api.GET('/sandboxes/metrics', { params: { query: { sandbox_ids: [sandbox.sandboxId] } } })
  assert.ok(many.data.sandboxes[sandbox.sandboxId].memTotal > 0)
})

// ---- Ports

await check('ports: by the host that getHost names, over TLS', async () => {
  await commands.run('mkdir -p /tmp/w; cd /tmp/w; echo page > index.html; exec python3 -m http.server 8000', { background: true, timeoutMs: 0 })
  const [host, port] = sandbox.getHost(8000).split(':')
  assert.ok(host.startsWith(`8000-${sandbox.sandboxId}.`))
  const ask = () => new Promise((resolve, reject) => {
    const options = { host, port, path: '/index.html', headers: { 'User-Agent': 'sandkey-judge' },
                      lookup: (_, how, done) => (how.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4)) }
    https.get(options, (reply) => {
      let body = ''
      reply.on('data', (data) => (body += data))
      reply.on('end', () => resolve({ status: reply.statusCode, body }))
    }).on('error', reject)
  })
  await until('its server', async () => (await ask()).status === 200)
  assert.equal((await ask()).body, 'page\n')
  const nobody = await raw(process.env.E2B_SANDBOX_URL, { headers: { 'E2b-Sandbox-Id': sandbox.sandboxId, 'E2b-Sandbox-Port': '8001' } })
  assert.equal(nobody.status, 502)
  assert.deepEqual([(await nobody.json()).port], [8001])
})
await check('ports: a token where traffic is not public', async () => {
  const closed = await Sandbox.create({ network: { allowPublicTraffic: false } })
  await closed.commands.run('mkdir -p /tmp/w; cd /tmp/w; echo page > index.html; exec python3 -m http.server 8000', { background: true, timeoutMs: 0 })
  const ask = (token) => raw(process.env.E2B_SANDBOX_URL, {
    headers: { 'E2b-Sandbox-Id': closed.sandboxId, 'E2b-Sandbox-Port': '8000', ...(token && { 'E2B-Traffic-Access-Token': token }) } })
  await until('its server', async () => (await ask(closed.trafficAccessToken)).status === 200)
  assert.equal((await ask()).status, 403)
  assert.equal((await ask('0'.repeat(64))).status, 403)
  const again = await Sandbox.connect(closed.sandboxId) // which tells the token again
  assert.equal(again.trafficAccessToken, closed.trafficAccessToken)
  await closed.kill()
})

// ---- Life

await check('life: timeouts shorten and lengthen, connecting only lengthens', async () => {
  const one = await Sandbox.create('base', { timeoutMs: 100_000 })
  const left = async () => Math.round(((await one.getInfo()).endAt - Date.now()) / 1000)
  const near = async (wanted) => assert.ok(Math.abs((await left()) - wanted) <= 3, `${await left()} s left, not ${wanted}`)
  await one.setTimeout(500_000)
  await near(500)
  await Sandbox.setTimeout(one.sandboxId, 50_000)
  await near(50)
  await Sandbox.connect(one.sandboxId, { timeoutMs: 10_000 })
  await near(50)
  await one.connect({ timeoutMs: 200_000 })
  await near(200)
  await one.setTimeout(86_400_000 * 2) // no more than its plan allows
  await near(86_400)
  await one.kill()
})
await check('life: it ends when its time has come', async () => {
  const one = await Sandbox.create('base', { timeoutMs: 1000 })
  assert.equal(await one.isRunning(), true)
  await until('its end', async () => !(await alive()).includes(one.sandboxId))
  assert.equal(await one.isRunning(), false)
  await thrown(one.getInfo(), SandboxNotFoundError)
  await thrown(one.setTimeout(1000), SandboxNotFoundError)
  await thrown(one.commands.run('echo'), SandboxNotFoundError)
  await thrown(one.files.read('x'), TimeoutError)
  assert.equal(await one.kill(), false)
})
await check('life: it is paused when its time has come, and wakes for a command', async () => {
  const one = await Sandbox.create('base', { timeoutMs: 1000, lifecycle: { onTimeout: 'pause', autoResume: true } })
  await one.files.write('kept', 'x')
  await until('its pause', async () => (await one.getInfo()).state === 'paused')
  assert.equal((await one.commands.run('cat kept; echo woke')).stdout, 'xwoke\n')
  assert.equal((await one.getInfo()).state, 'running')
  await one.kill()
})
await check('life: paused, and what ran runs on', async () => {
  const one = await Sandbox.create('base', { metadata: { which: 'paused' } })
  const counter = await one.commands.run('i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done', { background: true, timeoutMs: 0 })
  await until('a first number', () => counter.stdout.length > 0)
  const broken = counter.wait().then(() => 'ended', (error) => error)
  assert.equal(await one.pause(), true)
  assert.ok((await broken) instanceof Error) // its stream breaks
  assert.equal(await one.isRunning(), false)
  assert.equal(await one.pause(), false)
  assert.equal((await one.getInfo()).state, 'paused')
  await thrown(one.setTimeout(1000), SandboxNotFoundError)
  await thrown(one.commands.run('echo'), SandboxNotFoundError)
  assert.deepEqual(ids(await Sandbox.list({ query: { metadata: { which: 'paused' }, state: ['paused'] } }).nextItems()), [one.sandboxId])
  const again = await Sandbox.connect(one.sandboxId, { timeoutMs: 60_000 })
  assert.equal((await again.getInfo()).state, 'running')
  let seen = ''
  const second = await again.commands.connect(counter.pid, { onStdout: (data) => void (seen += data) })
  await until('a next number', () => seen.length > 0)
  assert.ok(parseInt(seen, 10) > parseInt(counter.stdout.split('\n').at(-2), 10))
  await second.kill()
  assert.equal(await again.kill(), true)
})
await check('life: paused without memory, files stay', async () => {
  const one = await Sandbox.create()
  await one.files.write('kept', 'contents')
  await one.commands.run('sleep 1000', { background: true, timeoutMs: 0 })
  assert.equal(await one.pause({ keepMemory: false }), true)
  const again = await Sandbox.connect(one.sandboxId)
  assert.deepEqual(await again.commands.list(), [])
  assert.equal(await again.files.read('kept'), 'contents')
  await again.pause()
  const rebooted = await Sandbox.connect(one.sandboxId, { onResume: 'reboot' })
  assert.equal(await rebooted.files.read('kept'), 'contents')
  await rebooted.kill()
})
await check('life: a paused one is killed', async () => {
  const one = await Sandbox.create()
  await one.pause()
  assert.equal(await one.kill(), true)
  await thrown(Sandbox.connect(one.sandboxId), SandboxNotFoundError)
})
await check('life: one that was never there', async () => {
  const id = 'i00000000000000000000'
  await thrown(Sandbox.connect(id), SandboxNotFoundError)
  await thrown(Sandbox.getInfo(id), SandboxNotFoundError)
  await thrown(Sandbox.pause(id), SandboxNotFoundError)
  await thrown(Sandbox.setTimeout(id, 1000), SandboxNotFoundError)
  await thrown(Sandbox.createSnapshot(id), SandboxNotFoundError)
  await thrown(Sandbox.fork(id), SandboxNotFoundError)
  assert.equal(await Sandbox.kill(id), false)
  await thrown(Sandbox.getInfo('a-b-c'), SandboxError, /^400: /)
})

// ---- Snapshots, forks, templates

await check('snapshots: made, listed, used, deleted', async () => {
  const one = await Sandbox.create()
  await one.files.write('kept', 'contents')
  const snapshot = await one.createSnapshot({ name: 'judged' })
  assert.ok(snapshot.names.some((each) => each.includes('judged')))
  const unnamed = await one.createSnapshot()
  await one.files.write('kept', 'later')
  const copy = await Sandbox.create(snapshot.snapshotId)
  assert.equal(await copy.files.read('kept'), 'contents')
  const listed = await all(one.listSnapshots({ limit: 1 }))
  assert.deepEqual(listed.map((each) => each.snapshotId).toSorted(), [snapshot.snapshotId, unnamed.snapshotId].toSorted())
  assert.deepEqual((await all(Sandbox.listSnapshots({ name: 'judged' }))).map((each) => each.snapshotId), [snapshot.snapshotId])
  assert.deepEqual(await all(copy.listSnapshots()), [])
  for (const each of [snapshot, unnamed]) assert.equal(await Sandbox.deleteSnapshot(each.snapshotId), true)
  assert.equal(await Sandbox.deleteSnapshot(snapshot.snapshotId), false)
  await thrown(Sandbox.create(snapshot.snapshotId), SandboxError, /^404: /)
  await Promise.all([one.kill(), copy.kill()])
})
await check('forks: two of one, each its own', async () => {
  const one = await Sandbox.create({ metadata: { forked: 'yes' } })
  await one.files.write('kept', 'contents')
  const forks = await one.fork({ count: 2, timeoutMs: 60_000 })
  assert.equal(forks.length, 2)
  for (const fork of forks) {
    assert.ok(fork instanceof Sandbox)
    assert.equal(await fork.files.read('kept'), 'contents')
    await fork.files.write('kept', fork.sandboxId)
  }
  assert.equal(await one.files.read('kept'), 'contents')
  await Promise.all([one, ...forks].map((each) => each.kill()))
})
await check('templates: which there are', async () => {
  assert.equal(await Template.exists('base'), true)
  assert.equal(await Template.exists('no-such-template'), false)
  assert.equal(await Template.aliasExists('private-of-second'), true) // it is somebody's
  assert.deepEqual((await Template.getTags('base')).map((each) => each.tag), ['default'])
})
await check('templates, volumes, secrets: what the emulator does not do, it says', async () => {
  const refused = /does not do this/
  await thrown(Template.build(Template().fromBaseImage(), 'made'), BuildError, refused)
  await thrown(Template.assignTags('base:default', 'other'), Error, refused)
  await thrown(Template.removeTags('base', 'other'), Error, refused)
  await thrown(Volume.list(), Error, refused)
  await thrown(Volume.create('v'), Error, refused)
  await thrown(Volume.getInfo('v'), Error, refused)
  await thrown(Volume.destroy('v'), Error, refused)
  await thrown(Secret.list().nextItems(), Error, refused)
  await thrown(Secret.create({ name: 's', value: 'v' }), Error, refused)
  await thrown(Secret.getInfo('s'), Error, refused)
  await thrown(Secret.update('s', { value: 'w' }), Error, refused)
  await thrown(Secret.destroy('s'), Error, refused)
})

// ---- When things go wrong

await check('faults: a rate limit is waited for, as long as it says', async () => {
  await fault('POST /v2/sandboxes', { kind: 'status', status: 429, headers: { 'Retry-After': '1' },
                                      body: { code: 429, message: 'Rate limit exceeded' } }, 2)
  await requests('POST /v2/sandboxes')
  const start = Date.now()
  const one = await Sandbox.create()
  assert.ok(Date.now() - start >= 1900)
  assert.deepEqual((await requests('POST /v2/sandboxes')).map((each) => each.status), [429, 429, 201])
  await one.kill()
})
await check('faults: no room', async () => {
  await fault('POST /v2/sandboxes', { kind: 'status', status: 503,
                                      body: { code: 503, message: 'Failed to place sandbox', error_code: 'sandbox_capacity_unavailable' } })
  await thrown(Sandbox.create(), ServiceBusyError, /Failed to place sandbox/)
})
await check('faults: an answer that is lost leaves a sandbox', async () => {
  const before = await alive()
  await fault('POST /v2/sandboxes', { kind: 'drop_after' })
  await thrown(Sandbox.create(), Error)
  const left = (await alive()).filter((id) => !before.includes(id))
  assert.equal(left.length, 1)
  assert.equal(await Sandbox.kill(left[0]), true)
})
await check('faults: answers that are none', async () => {
  for (const kind of ['garbage', 'half', 'drop_before']) {
    await fault('GET /v2/sandboxes', { kind })
    await thrown(Sandbox.list().nextItems(), Error)
  }
  await fault('GET /v2/sandboxes', { kind: 'hang' })
  await thrown(Sandbox.list({ requestTimeoutMs: 300 }).nextItems(), Error)
  await fault('envd POST /process.Process/Start', { kind: 'half' })
  await thrown(commands.run('echo'), Error)
  assert.equal((await commands.run('echo again')).stdout, 'again\n')
  await faultsEnd()
})
await check('faults: a machine that fails under a command', async () => {
  const one = await Sandbox.create()
  const running = await one.commands.run('echo up; sleep 60', { background: true })
  await until('its output', () => running.stdout === 'up\n')
  const end = running.wait().then(() => null, (error) => error)
  await fail(one.sandboxId)
  assert.match(String((await end)?.message), /sandbox/i)
  assert.ok((await end) instanceof TimeoutError, (await end)?.constructor.name)
  assert.equal(await one.isRunning(), false)
  await thrown(one.getInfo(), SandboxNotFoundError)
})

await check('the end: nothing is left', async () => {
  assert.equal(await sandbox.kill(), true)
  assert.deepEqual(await alive(), [])
})
finish()
