// Daytona's newest JavaScript SDK drives the control plane of the emulator, which starts this with its variables.
import assert from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import {
  Daytona, DaytonaAuthenticationError, DaytonaAuthorizationError, DaytonaBadGatewayError, DaytonaBadRequestError, DaytonaConflictError,
  DaytonaConnectionError, DaytonaError, DaytonaInternalServerError, DaytonaNotFoundError, DaytonaRateLimitError,
  DaytonaServiceUnavailableError, DaytonaTimeoutError, DaytonaUnprocessableEntityError, Image,
} from '@daytonaio/sdk'
import { admin, alive, check, emulated, fail, finish, raw, thrown, until } from './kit.mjs'
import './localhost.mjs'

const { accounts, fault, requests } = await emulated('daytona')

// Asks for a state ten times a second. What it does by default, once a second and with events beside it, has its own case.
const as = (account) => new Daytona({ apiKey: accounts[account], useDeprecatedPolling: true })
const daytona = as('valid')
const NOBODY = '00000000-0000-4000-8000-000000000000'
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

const every = async (iterable) => {
  const found = []
  for await (const each of iterable) found.push(each)
  return found
}
const ids = async (query, who = daytona) => (await every(who.list(query))).map((each) => each.id)
// Lists tell later what is so: for what has just changed they are asked until they show it.
const listed = async (query, expected, who = daytona) => {
  let found
  const holds = async () => assert.deepEqual(found = await ids(query, who), expected)
  await until('the list', () => holds().then(() => true, () => false)).catch(() => assert.deepEqual(found, expected))
}
const gone = async (sandbox, who = daytona) => {
  await sandbox.delete(60, true)
  await thrown(who.get(sandbox.id), DaytonaNotFoundError)
}

// ---- Accounts

await check('accounts: a working key lists', async () => {
  assert.deepEqual(await ids(), [])
})
for (const account of ['malformed', 'unknown', 'revoked', 'expired']) {
  await check(`accounts: ${account} is refused everywhere`, async () => {
    const stranger = as(account)
    for (const work of [
      () => ids({}, stranger), () => stranger.create(), () => stranger.get(NOBODY), () => stranger.snapshot.list(),
      () => stranger.volume.list(),
    ]) {
      const error = await thrown(work(), DaytonaAuthenticationError, /^Invalid credentials$/)
      assert.equal(error.statusCode, 401)
    }
  })
}
await check('accounts: a key without scopes looks, and changes nothing', async () => {
  const looker = as('scopeless')
  assert.deepEqual(await ids({}, looker), [])
  assert.ok((await looker.snapshot.list()).total > 0)
  for (const work of [
    () => looker.create(), () => looker.snapshot.create({ name: 'no', image: 'alpine:3.20' }), () => looker.volume.create('no'),
    () => looker.volume.list(),
  ]) {
    const error = await thrown(work(), DaytonaAuthorizationError, /^Access denied$/)
    assert.equal(error.statusCode, 403)
  }
})
await check('accounts: a suspended organisation looks, and creates nothing', async () => {
  const suspended = as('suspended')
  assert.deepEqual(await ids({}, suspended), [])
  await thrown(suspended.create(), DaytonaAuthorizationError, /^Organization is suspended/)
})
await check('accounts: keys with some of the scopes', async () => {
  const sandbox = await daytona.create()
  const [looker, maker] = [as('read_only'), as('no_delete')]
  const seen = await looker.get(sandbox.id)
  assert.equal((await seen.process.executeCommand('echo in')).result.trimEnd(), 'in') // membership is enough
  for (const work of [() => seen.stop(), () => seen.delete(), () => seen.setLabels({}), () => seen.createSshAccess()]) {
    await thrown(work(), DaytonaAuthorizationError, /^Access denied$/)
  }
  const same = await maker.get(sandbox.id)
  await same.setLabels({ by: 'maker' })
  await thrown(same.delete(), DaytonaAuthorizationError, /^Access denied$/)
  await gone(sandbox)
})
await check('accounts: a person’s token, with an organisation', async () => {
  const sandbox = await daytona.create()
  const { organizationId } = sandbox
  const person = new Daytona({ jwtToken: accounts.jwt, organizationId, useDeprecatedPolling: true })
  await listed({}, [sandbox.id], person)
  assert.equal((await (await person.get(sandbox.id)).process.executeCommand('echo in')).result.trimEnd(), 'in')
  const lost = new Daytona({ jwtToken: accounts.jwt, organizationId: NOBODY, useDeprecatedPolling: true })
  await thrown(ids({}, lost), DaytonaAuthorizationError, /Invalid authentication context/)
  await gone(sandbox)
})
await check('accounts: maintenance, for one', async () => {
  const error = await thrown(as('maintenance').create(), DaytonaServiceUnavailableError, /maintenance/i)
  assert.equal(error.statusCode, 503)
})
await check('accounts: too many requests, for one', async () => {
  const hasty = as('throttled')
  let refused
  for (let i = 0; i < 200 && !refused; ++i) refused = await ids({}, hasty).then(() => null, (error) => error)
  assert.ok(refused instanceof DaytonaRateLimitError, String(refused))
  assert.match(refused.message, /Too Many Requests/)
  assert.ok(Number(refused.headers['retry-after-authenticated']) > 0)
})
await check('accounts: over its quota is a bad request', async () => {
  await thrown(as('over_quota').create(), DaytonaBadRequestError, /Total CPU limit exceeded\. Maximum allowed: \d+/)
  assert.deepEqual(await ids({}, as('over_quota')), [])
})
await check('accounts: nobody sees what is another’s', async () => {
  const sandbox = await daytona.create({ name: 'mine' })
  const other = as('second')
  assert.deepEqual(await ids({}, other), [])
  await thrown(other.get(sandbox.id), DaytonaNotFoundError, /Sandbox with ID or name .* not found/)
  await thrown(other.get('mine'), DaytonaNotFoundError)
  const theirs = await other.create({ name: 'mine' }) // names are an organisation's own
  assert.notEqual(theirs.organizationId, sandbox.organizationId)
  await gone(theirs, other)
  await gone(sandbox)
})

// ---- Create

await check('create: what is asked for is what it is', async () => {
  const before = Date.now()
  const sandbox = await daytona.create({
    name: 'judged', envVars: { COLOUR: 'blue', QUOTED: '"$x"' }, labels: { 'k 1': 'v&=ü', b: '' }, language: 'typescript',
    autoStopInterval: 0, autoArchiveInterval: 60, autoDeleteInterval: 120, networkBlockAll: true,
  })
  assert.match(sandbox.id, UUID)
  assert.equal(sandbox.state, 'started')
  const seen = await daytona.get(sandbox.id)
  assert.equal(seen.name, 'judged')
  assert.deepEqual(seen.labels, { 'k 1': 'v&=ü', b: '', 'code-toolbox-language': 'typescript' })
  assert.deepEqual(seen.env, { COLOUR: 'blue', QUOTED: '"$x"' })
  assert.deepEqual([seen.state, seen.desiredState], ['started', 'started'])
  assert.deepEqual([seen.autoStopInterval, seen.autoArchiveInterval, seen.autoDeleteInterval], [0, 60, 120])
  assert.deepEqual([seen.public, seen.networkBlockAll, seen.user], [false, true, 'daytona'])
  assert.ok(seen.cpu > 0 && seen.memory > 0 && seen.disk > 0 && seen.gpu === 0)
  assert.ok(seen.snapshot)
  assert.ok(seen.target)
  assert.equal(seen.backupState, 'None')
  assert.ok(Math.abs(new Date(seen.createdAt) - before) < 5000)
  const { result } = await sandbox.process.executeCommand('echo "$COLOUR $QUOTED $DAYTONA_SANDBOX_ID $DAYTONA_SANDBOX_USER"')
  assert.equal(result.trimEnd(), `blue "$x" ${sandbox.id} daytona`)
  assert.equal((await daytona.get('judged')).id, sandbox.id)
  await gone(sandbox)
})
await check('create: nothing said', async () => {
  const sandbox = await daytona.create()
  assert.equal(sandbox.name, sandbox.id)
  assert.deepEqual([sandbox.autoStopInterval, sandbox.autoArchiveInterval, sandbox.autoDeleteInterval], [15, 10080, -1])
  assert.deepEqual(sandbox.labels, { 'code-toolbox-language': 'python' })
  assert.deepEqual(sandbox.env, {})
  await gone(sandbox)
})
await check('create: snapshots have sizes', async () => {
  const sizes = []
  for (const snapshot of ['daytona-small', 'daytona-medium', 'daytona-large']) {
    const sandbox = await daytona.create({ snapshot })
    assert.equal(sandbox.snapshot, snapshot)
    sizes.push([sandbox.cpu, sandbox.memory, sandbox.disk])
    await gone(sandbox)
  }
  assert.deepEqual(sizes, [[1, 1, 3], [2, 4, 8], [4, 8, 10]])
})
await check('create: an image is a build, and has the size that is asked for', async () => {
  const sandbox = await daytona.create({ image: 'debian:12-slim', resources: { cpu: 2, memory: 4, disk: 6 } })
  assert.deepEqual([sandbox.state, sandbox.cpu, sandbox.memory, sandbox.disk], ['started', 2, 4, 6])
  assert.equal(sandbox.buildInfo.dockerfileContent, 'FROM debian:12-slim\n')
  await gone(sandbox)
  const lines = []
  const built = await daytona.create(
    { image: Image.base('alpine:3.20').runCommands('apk add git').env({ A: 'b' }) },
    { onSnapshotCreateLogs: (line) => void lines.push(line) })
  assert.match(lines.join('\n'), /RUN apk add git/)
  assert.match(built.buildInfo.dockerfileContent, /^FROM alpine:3\.20\n(.*\n)*RUN apk add git\n/)
  assert.deepEqual([built.cpu, built.memory, built.disk], [1, 1, 3])
  await gone(built)
  const copies = Image.base('alpine:3.20').addLocalFile(fileURLToPath(import.meta.url), '/judge.mjs')
  await thrown(daytona.create({ image: copies }), DaytonaServiceUnavailableError) // files of its own need a storage for them
})
await check('create: ephemeral ones are gone when they stop', async () => {
  const sandbox = await daytona.create({ ephemeral: true })
  assert.equal(sandbox.autoDeleteInterval, 0)
  await thrown(sandbox.archive(), DaytonaBadRequestError)
  await sandbox.stop()
  await until('its end', () => alive().then((all) => !all.includes(sandbox.id)))
  await thrown(daytona.get(sandbox.id), DaytonaNotFoundError)
})
await check('create: what is refused', async () => {
  await thrown(daytona.create({ snapshot: 'no-such-snapshot' }), DaytonaBadRequestError, /no-such-snapshot/)
  await thrown(daytona.create({ snapshot: 'daytona-small', resources: { cpu: 2 } }), DaytonaBadRequestError)
  await thrown(daytona.create({ image: 'alpine:3.20', snapshot: 'daytona-small' }), DaytonaBadRequestError)
  await thrown(daytona.create({ image: 'alpine:3.20', resources: { cpu: 99 } }), DaytonaBadRequestError, /CPU/)
  await thrown(daytona.create({ volumes: [{ volumeId: 'no-such-volume', mountPath: '/data' }] }), DaytonaError)
  const nowhere = new Daytona({ apiKey: accounts.valid, target: 'nowhere', useDeprecatedPolling: true })
  await thrown(nowhere.create(), DaytonaNotFoundError, /Region not found/)
  const first = await daytona.create({ name: 'taken' })
  await thrown(daytona.create({ name: 'taken' }), DaytonaConflictError, /Sandbox with name taken already exists/)
  await first.delete() // the name is free at once
  const second = await daytona.create({ name: 'taken' })
  await gone(second)
  assert.deepEqual(await alive(), [])
})
await check('create: ten at once', async () => {
  const made = await Promise.all(Array.from({ length: 10 }, (_, i) => daytona.create({ labels: { i: `${i}` } })))
  const said = await Promise.all(made.map((each, i) => each.process.executeCommand(`echo ${i} $DAYTONA_SANDBOX_ID`)))
  assert.deepEqual(said.map((each) => each.result.trimEnd()), made.map((each, i) => `${i} ${each.id}`))
  await Promise.all(made.map((each) => gone(each)))
}, 60)
await check('create: with events, as it is by default', async () => {
  const listening = new Daytona()
  const sandbox = await listening.create({ image: 'alpine:3.20' })
  assert.equal(sandbox.state, 'started')
  await sandbox.stop()
  assert.equal(sandbox.state, 'stopped')
  await sandbox.start()
  assert.equal(sandbox.state, 'started')
  await sandbox.delete(60, true)
  await listening[Symbol.asyncDispose]()
}, 60)

// ---- List

await check('list: labels, names, states, sizes, time, order, pages', async () => {
  const group = 'a b&c=d%/+"'
  const made = []
  for (const n of ['1', '2', '3', '4', '5']) {
    made.push(await daytona.create({
      name: `listed-${n}`, labels: { group, n }, public: n === '4', snapshot: n === '5' ? 'daytona-large' : 'daytona-small',
    }))
  }
  const expected = made.map((each) => each.id)
  const labels = { group }
  const oldest = { sort: 'createdAt', order: 'asc' }
  await listed({ labels, ...oldest }, expected)
  assert.deepEqual(await ids({ labels, sort: 'createdAt', order: 'desc' }), expected.toReversed())
  assert.deepEqual(await ids({ labels, sort: 'name', order: 'desc' }), expected.toReversed())
  assert.equal((await ids({ labels, sort: 'cpu', order: 'desc' }))[0], expected[4])
  assert.deepEqual(await ids({ labels: { group, n: '3' } }), [expected[2]])
  assert.deepEqual(await ids({ labels: { group: 'a' } }), [])
  assert.deepEqual(await ids({ name: 'LISTED-', ...oldest }), expected)
  assert.deepEqual(await ids({ name: 'isted' }), []) // how it begins
  assert.deepEqual(await ids({ id: expected[1].slice(0, 13) }), [expected[1]])
  assert.deepEqual(await ids({ labels, snapshots: ['daytona-large'] }), [expected[4]])
  assert.deepEqual(await ids({ labels, minCpu: 4 }), [expected[4]])
  assert.deepEqual(await ids({ labels, maxMemoryGib: 1, minDiskGib: 3, ...oldest }), expected.slice(0, 4))
  assert.deepEqual(await ids({ labels, isPublic: true }), [expected[3]])
  await made[1].stop()
  await listed({ labels, states: ['stopped'] }, [expected[1]])
  assert.equal((await ids({ labels, states: ['stopped', 'started'] })).length, 5)
  assert.deepEqual(await ids({ labels, createdAtAfter: new Date(+new Date(made[2].createdAt) + 1), ...oldest }), expected.slice(3))
  for (const order of ['asc', 'desc']) {
    assert.deepEqual(await ids({ labels, limit: 2, sort: 'createdAt', order }), order === 'asc' ? expected : expected.toReversed())
    assert.equal((await requests('GET /api/sandbox')).slice(-3).filter((each) => each.query.includes('limit=2')).length, 3)
  }
  await thrown(ids({ limit: 201 }), DaytonaBadRequestError)
  const [item] = await every(daytona.list({ id: expected[0] }))
  assert.equal((await item.process.executeCommand('echo found')).result.trimEnd(), 'found')
  await Promise.all(made.map((each) => gone(each)))
  await listed({ labels }, [])
}, 60)

// ---- Life

await check('life: stopped, started, its files kept', async () => {
  const sandbox = await daytona.create()
  await sandbox.fs.uploadFile(Buffer.from('kept'), 'kept.txt')
  const token = (await sandbox.getPreviewLink(3000)).token
  await sandbox.stop()
  assert.equal(sandbox.state, 'stopped')
  assert.deepEqual([(await daytona.get(sandbox.id)).state, (await daytona.get(sandbox.id)).desiredState], ['stopped', 'stopped'])
  await thrown(sandbox.process.executeCommand('echo'), DaytonaError)
  await thrown(sandbox.stop(), DaytonaBadRequestError, /not in a stoppable state|not started/i)
  await sandbox.start()
  assert.equal(sandbox.state, 'started')
  assert.equal(`${await sandbox.fs.downloadFile('kept.txt')}`, 'kept')
  assert.notEqual((await sandbox.getPreviewLink(3000)).token, token) // another with each cold start
  await sandbox.start() // one that runs stays as it is
  await sandbox.stop(60, true)
  await gone(sandbox)
}, 60)
await check('life: archived, and started from there', async () => {
  const sandbox = await daytona.create()
  await sandbox.fs.uploadFile(Buffer.from('kept'), 'kept.txt')
  await thrown(sandbox.archive(), DaytonaBadRequestError, /Sandbox is not stopped/)
  await sandbox.stop()
  await sandbox.archive()
  await until('it is archived', async () => (await daytona.get(sandbox.id)).state === 'archived')
  await sandbox.start()
  assert.equal(`${await sandbox.fs.downloadFile('kept.txt')}`, 'kept')
  await gone(sandbox)
}, 60)
await check('life: labels, intervals, network', async () => {
  const sandbox = await daytona.create({ labels: { old: '1' } })
  assert.deepEqual(await sandbox.setLabels({ new: '2' }), { new: '2' })
  await sandbox.setAutostopInterval(30)
  await sandbox.setAutoArchiveInterval(0) // the longest there is
  await sandbox.setAutoDeleteInterval(90)
  await sandbox.updateNetworkSettings({ networkAllowList: '10.0.0.0/8' })
  await sandbox.refreshActivity()
  const seen = await daytona.get(sandbox.id)
  assert.deepEqual(seen.labels, { new: '2' })
  assert.deepEqual([seen.autoStopInterval, seen.autoArchiveInterval, seen.autoDeleteInterval], [30, 43200, 90])
  assert.deepEqual([seen.networkBlockAll, seen.networkAllowList], [false, '10.0.0.0/8'])
  await sandbox.updateNetworkSettings({ networkBlockAll: true })
  assert.equal((await daytona.get(sandbox.id)).networkBlockAll, true)
  await thrown(sandbox.updateNetworkSettings({ networkAllowList: 'everywhere' }), DaytonaBadRequestError)
  await gone(sandbox)
})
await check('life: another size, a time to live', async () => {
  const sandbox = await daytona.create({ image: 'alpine:3.20' })
  await sandbox.resize({ cpu: 2, memory: 3 })
  assert.deepEqual([sandbox.state, sandbox.cpu, sandbox.memory, sandbox.disk], ['started', 2, 3, 3])
  await thrown(sandbox.resize({ cpu: 1 }), DaytonaBadRequestError) // only up while it runs
  await thrown(sandbox.resize({ disk: 5 }), DaytonaBadRequestError) // only while it is stopped
  await sandbox.stop()
  await sandbox.resize({ cpu: 1, disk: 5 })
  assert.deepEqual([sandbox.state, sandbox.cpu, sandbox.disk], ['stopped', 1, 5])
  await thrown(sandbox.resize({ disk: 4 }), DaytonaBadRequestError)
  await sandbox.setTtl(60)
  const { autoDestroyAt, createdAt } = await daytona.get(sandbox.id)
  assert.ok(Math.abs(new Date(autoDestroyAt) - new Date(createdAt) - 3_600_000) < 1000, autoDestroyAt)
  await gone(sandbox)
}, 60)
await check('life: what containers do not do', async () => {
  const sandbox = await daytona.create()
  await thrown(sandbox.setAutoPauseInterval(5), DaytonaUnprocessableEntityError)
  await thrown(sandbox.pause(), DaytonaUnprocessableEntityError)
  await thrown(sandbox.fork(), DaytonaUnprocessableEntityError)
  await thrown(sandbox.recover(), DaytonaBadRequestError, /Sandbox is not in a recoverable state/)
  await gone(sandbox)
})
await check('life: errors, and the way back', async () => {
  const lost = await thrown(daytona.create({ name: 'broken', snapshot: 'emulator-fails' }), DaytonaError, /failed to start with status: error/)
  assert.match(lost.message, /error reason: ./)
  const broken = await daytona.get('broken')
  assert.deepEqual([broken.state, broken.recoverable], ['error', false])
  await thrown(broken.stop(), DaytonaBadRequestError, /Sandbox is in an errored state/)
  await thrown(broken.start(), DaytonaBadRequestError, /Sandbox is in an errored state/)
  await thrown(broken.recover(), DaytonaBadRequestError, /Sandbox is not in a recoverable state/)
  await gone(broken)
  await thrown(daytona.create({ name: 'mended', snapshot: 'emulator-recoverable' }), DaytonaError)
  const mended = await daytona.get('mended')
  assert.deepEqual([mended.state, mended.recoverable], ['error', true])
  await listed({ isRecoverable: true }, [mended.id])
  await mended.recover()
  assert.equal(mended.state, 'started')
  assert.equal((await mended.process.executeCommand('echo back')).result.trimEnd(), 'back')
  await gone(mended)
  await thrown(daytona.create({ name: 'refused', snapshot: 'emulator-refused' }), DaytonaBadRequestError, /Sandbox failed to start: /)
  await gone(await daytona.get('refused'))
  await thrown(daytona.create({ snapshot: 'emulator-full' }), DaytonaBadRequestError, /No available runners/)
  await thrown(daytona.create({ snapshot: 'emulator-inactive' }), DaytonaBadRequestError)
  await thrown(daytona.create({ name: 'unbuilt', image: 'alpine:emulator-build-fails' }), DaytonaError, /build_failed/)
  await gone(await daytona.get('unbuilt'))
}, 60)
await check('life: changes take time, and others must wait for them', async () => {
  const sandbox = await daytona.create({ snapshot: 'emulator-slow' })
  assert.equal(sandbox.state, 'started')
  const stopping = sandbox.stop()
  await until('it is on its way', async () => (await daytona.get(sandbox.id)).state === 'stopping')
  const same = await daytona.get(sandbox.id)
  await thrown(same.delete(), DaytonaConflictError)
  await stopping
  assert.equal(sandbox.state, 'stopped')
  await gone(sandbox)
  const stale = await daytona.create({ snapshot: 'emulator-stale' })
  assert.equal(stale.state, 'started')
  await gone(stale)
}, 60)
await check('life: a machine that fails', async () => {
  const sandbox = await daytona.create()
  await fail(sandbox.id)
  await thrown(daytona.get(sandbox.id), DaytonaNotFoundError)
  await thrown(sandbox.process.executeCommand('echo'), DaytonaError)
})
await check('life: one that was never there', async () => {
  const sandbox = await daytona.create()
  await gone(sandbox)
  for (const work of [
    () => daytona.get(NOBODY), () => sandbox.start(), () => sandbox.stop(), () => sandbox.delete(), () => sandbox.setLabels({}),
    () => sandbox.archive(), () => sandbox.getPreviewLink(80), () => sandbox.setAutostopInterval(1), () => sandbox.refreshActivity(),
  ]) {
    await thrown(work(), DaytonaNotFoundError)
  }
})
await check('life: SSH is given out and taken back', async () => {
  const sandbox = await daytona.create()
  const access = await sandbox.createSshAccess(5)
  assert.match(access.token, /^[A-Za-z0-9_-]{32}$/)
  assert.equal(access.sandboxId, sandbox.id)
  assert.match(access.sshCommand, new RegExp(access.token))
  assert.ok(Math.abs(new Date(access.expiresAt) - Date.now() - 300_000) < 5000)
  await sandbox.revokeSshAccess(access.token)
  await gone(sandbox)
})

// ---- Ports

await check('ports: preview links, with their token only', async () => {
  const sandbox = await daytona.create()
  await sandbox.process.createSession('web')
  await sandbox.process.executeSessionCommand('web', { command: 'cd /tmp && echo served > page && python3 -m http.server 8000', runAsync: true })
  const { url, token } = await sandbox.getPreviewLink(8000)
  const page = `${url.replace(/\/$/, '')}/page`
  const got = (headers, address = page) => raw(address, { headers, redirect: 'manual' })
  await until('the server', async () => (await got({ 'x-daytona-preview-token': token })).status === 200)
  assert.equal(await (await got({ 'x-daytona-preview-token': token })).text(), 'served\n')
  assert.equal((await got({ Authorization: `Bearer ${accounts.valid}` })).status, 200)
  assert.equal((await got({}, `${page}?DAYTONA_SANDBOX_AUTH_KEY=${token}`)).status, 200)
  for (const headers of [{}, { 'x-daytona-preview-token': 'x'.repeat(32) }, { Authorization: `Bearer ${accounts.second}` }]) {
    assert.equal((await got(headers)).status, 307)
  }
  const signed = await sandbox.getSignedPreviewUrl(8000, 600)
  assert.match(signed.token, /^[a-z0-9]{16}$/)
  assert.equal(signed.port, 8000)
  const signedPage = `${signed.url.replace(/\/$/, '')}/page`
  assert.equal(await (await got({}, signedPage)).text(), 'served\n')
  await sandbox.expireSignedPreviewUrl(8000, signed.token)
  await until('its end', async () => (await got({}, signedPage)).status !== 200)
  const short = await sandbox.getSignedPreviewUrl(8000, 1)
  await until('its end by time', async () => (await got({}, `${short.url.replace(/\/$/, '')}/page`)).status !== 200)
  await thrown(sandbox.getSignedPreviewUrl(8000, 86_401), DaytonaBadRequestError)
  await thrown(sandbox.getPreviewLink(0), DaytonaBadRequestError)
  await gone(sandbox)
}, 60)
await check('ports: public ones are open', async () => {
  const sandbox = await daytona.create({ public: true })
  await sandbox.process.createSession('web')
  await sandbox.process.executeSessionCommand('web', { command: 'cd /tmp && echo open > page && python3 -m http.server 8000', runAsync: true })
  const { url } = await sandbox.getPreviewLink(8000)
  await until('the server', async () => (await raw(`${url.replace(/\/$/, '')}/page`, { redirect: 'manual' })).status === 200)
  await gone(sandbox)
})

// ---- Snapshots and volumes

await check('snapshots: made of an image, listed, used, deleted', async () => {
  const logs = []
  const made = await daytona.snapshot.create(
    { name: 'judged-snapshot', image: Image.base('alpine:3.20'), resources: { cpu: 2, memory: 2, disk: 5 } },
    { onLogs: (line) => void logs.push(line) })
  assert.deepEqual([made.state, made.cpu, made.mem, made.disk, made.general], ['active', 2, 2, 5, false])
  assert.ok(logs.some((line) => /Created snapshot judged-snapshot/.test(line)), logs.join('\n'))
  assert.equal((await daytona.snapshot.get('judged-snapshot')).id, made.id)
  assert.equal((await daytona.snapshot.get(made.id)).name, 'judged-snapshot')
  const { items, total } = await daytona.snapshot.list(1, 200)
  assert.equal(items.length, total)
  assert.ok(items.some((each) => each.id === made.id))
  const page = await daytona.snapshot.list(2, 1)
  assert.deepEqual([page.items.length, page.page, page.totalPages], [1, 2, total])
  const sandbox = await daytona.create({ snapshot: 'judged-snapshot' })
  assert.deepEqual([sandbox.cpu, sandbox.memory, sandbox.disk, sandbox.snapshot], [2, 2, 5, 'judged-snapshot'])
  await gone(sandbox)
  await thrown(daytona.snapshot.create({ name: 'judged-snapshot', image: 'alpine:3.20' }), DaytonaConflictError)
  await thrown(daytona.snapshot.create({ name: 'other', image: 'alpine:latest' }), DaytonaBadRequestError)
  await thrown(as('second').snapshot.get(made.id), DaytonaNotFoundError)
  await daytona.snapshot.delete(made)
  await until('its end', () => daytona.snapshot.get('judged-snapshot').then(() => false, (error) => error instanceof DaytonaNotFoundError))
  await thrown(daytona.create({ snapshot: 'judged-snapshot' }), DaytonaBadRequestError)
  const general = await daytona.snapshot.get('daytona-small')
  assert.equal(general.general, true)
  await thrown(daytona.snapshot.delete(general), DaytonaAuthorizationError)
}, 60)
await check('snapshots: made of a sandbox', async () => {
  const sandbox = await daytona.create()
  await sandbox.fs.uploadFile(Buffer.from('kept'), 'kept.txt')
  await sandbox.createSnapshot('judged-copy')
  await until('it is there', async () => (await daytona.snapshot.get('judged-copy')).state === 'active')
  const copy = await daytona.create({ snapshot: 'judged-copy' })
  assert.equal(`${await copy.fs.downloadFile('kept.txt')}`, 'kept')
  await gone(copy)
  await gone(sandbox)
  await daytona.snapshot.delete('judged-copy')
}, 60)
await check('volumes: made, asked for by sandboxes, deleted', async () => {
  const volume = await daytona.volume.get('judged-volume', true)
  await until('it is ready', async () => (await daytona.volume.get('judged-volume')).state === 'ready')
  assert.deepEqual((await daytona.volume.list()).map((each) => each.id), [volume.id])
  await thrown(daytona.volume.create('judged-volume'), DaytonaBadRequestError)
  await thrown(as('second').volume.get('judged-volume'), DaytonaNotFoundError)
  const [one, two] = await Promise.all([1, 2].map(() => daytona.create({ volumes: [{ volumeId: volume.id, mountPath: '/workspace/data' }] })))
  assert.deepEqual(one.volumes.map((each) => [each.volumeId, each.mountPath]), [[volume.id, '/workspace/data']])
  await thrown(daytona.volume.delete(volume), DaytonaConflictError)
  await Promise.all([gone(one), gone(two)])
  await daytona.volume.delete(volume)
  await until('its end', async () => (await daytona.volume.list()).length === 0)
  await thrown(daytona.volume.get('judged-volume'), DaytonaNotFoundError)
}, 60)

// ---- What the cloud can be like

const settings = (wanted) => admin('POST', 'settings?provider=daytona', wanted)
await check('settings: creates take time, and are waited for', async () => {
  await settings({ create_seconds: 0.5 })
  const made = daytona.create({ name: 'patience' })
  await until('it is on its way', async () => ['creating', 'started'].includes((await daytona.get('patience').catch(() => ({}))).state))
  const sandbox = await made
  assert.equal(sandbox.state, 'started')
  const looks = (await requests('GET /api/sandbox/{id}')).length
  assert.ok(looks > 3, `${looks} looks`)
  await settings({ create_seconds: 0 })
  await gone(sandbox)
})
await check('settings: maintenance, for everybody', async () => {
  await settings({ maintenance: true })
  for (const work of [() => daytona.create(), () => ids(), () => daytona.snapshot.list()]) {
    await thrown(work(), DaytonaServiceUnavailableError, /maintenance/i)
  }
  await settings({ maintenance: false })
  await ids()
})
await check('settings: too many keys that are none', async () => {
  await settings({ failed_auths_per_minute: 0 })
  const error = await thrown(ids({}, as('unknown')), DaytonaRateLimitError, /Too Many Requests/)
  assert.ok(Number(error.headers['retry-after']) > 0)
  await settings({ failed_auths_per_minute: 1000 })
})

// ---- What goes wrong on the way

const ERROR = { path: '/api/sandbox', timestamp: '2026-01-01T00:00:00.000Z' }
await check('faults: what statuses are to the SDK', async () => {
  for (const [status, kind] of [
    [429, DaytonaRateLimitError], [500, DaytonaInternalServerError], [502, DaytonaBadGatewayError],
    [503, DaytonaServiceUnavailableError], [504, DaytonaTimeoutError],
  ]) {
    await fault('GET /api/sandbox', { kind: 'status', status, body: { ...ERROR, statusCode: status, message: 'made up' } })
    const error = await thrown(ids(), kind, /made up/)
    assert.equal(error.statusCode, status)
  }
})
await check('faults: a rate limit says when', async () => {
  await fault('POST /api/sandbox', {
    kind: 'status', status: 429, headers: { 'Retry-After-sandbox-create': '7' },
    body: { ...ERROR, statusCode: 429, error: 'Too Many Requests', message: 'ThrottlerException: Too Many Requests' },
  })
  const error = await thrown(daytona.create(), DaytonaRateLimitError)
  assert.equal(error.headers['retry-after-sandbox-create'], '7')
})
await check('faults: a connection that closes is tried again where nothing can be done twice', async () => {
  await fault('GET /api/sandbox', { kind: 'drop_before' })
  await ids()
  await fault('POST /api/sandbox', { kind: 'drop_after' })
  await thrown(daytona.create({ name: 'lost' }), DaytonaConnectionError)
  const lost = await daytona.get('lost')
  await thrown(daytona.create({ name: 'lost' }), DaytonaConflictError)
  await lost.waitUntilStarted()
  await gone(lost)
})
await check('the end: nothing is left', async () => {
  await until('nothing', async () => (await alive()).length === 0)
  assert.deepEqual(await daytona.volume.list(), [])
  assert.equal((await admin('GET', 'sandboxes')).sandboxes.length, 0)
})
finish()
