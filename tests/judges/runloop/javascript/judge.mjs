// Runloop's newest JavaScript SDK drives the control plane of the emulator, which starts this with its variables.
import assert from 'node:assert/strict'
import {
  APIConnectionError, APIError, AuthenticationError, BadRequestError, ConflictError, InternalServerError, PermissionDeniedError,
  PollingTimeoutError, RateLimitError, Runloop, RunloopSDK,
} from '@runloop/api-client'
import { alive, check, emulated, fail, finish, raw, thrown, until } from './kit.mjs'
import './localhost.mjs'

const { accounts, fault, requests } = await emulated('runloop')

// As it is out of the box: HTTP/2 without TLS, since the address is http://.
const sdk = new RunloopSDK()
const { api } = sdk
const { devboxes } = api
// What is refused is not asked for again: by default the SDK waits half a minute over a 409, a 429 or a 5xx.
const as = (account, more) => new Runloop({ bearerToken: accounts[account], maxRetries: 0, ...more })
const once = as('valid')
const NOBODY = 'dbx_nonexistent12345'

const every = async (pages) => {
  const found = []
  for await (const each of pages) found.push(each)
  return found
}
const gone = async (id, client = api) => {
  assert.equal((await client.devboxes.shutdown(id)).status, 'shutdown')
}
const states = (view) => view.state_transitions.map((each) => each.status)
const run = async (id, command) => (await devboxes.executeAndAwaitCompletion(id, { command })).stdout

// ---- Accounts

await check('accounts: whose key it is', async () => {
  const me = await api.accounts.me()
  assert.deepEqual([me.account_status, me.tier], ['ACCOUNT_STATUS_ENABLED', 'ACCOUNT_TIER_PRO'])
  assert.ok(me.id && me.name && !Number.isNaN(Date.parse(me.created_at)))
  assert.equal(me.billing.account_billing_type, 'STRIPE')
  assert.notEqual((await as('second').accounts.me()).id, me.id)
})
for (const account of ['malformed', 'unknown', 'revoked']) {
  await check(`accounts: ${account} is refused everywhere`, async () => {
    const stranger = as(account)
    for (const work of [
      () => stranger.accounts.me(), () => stranger.devboxes.list({ limit: 1 }), () => stranger.devboxes.create(),
      () => stranger.devboxes.retrieve(NOBODY), () => stranger.blueprints.list(), () => stranger.secrets.list(),
      () => stranger.devboxes.listDiskSnapshots(),
    ]) {
      const error = await thrown(work(), AuthenticationError, /^401 Unauthorized/)
      assert.equal(error.status, 401)
      assert.ok(!error.message.includes(accounts[account]))
    }
  })
}
await check('accounts: disabled ones look, end, and make nothing', async () => {
  for (const [account, status, words] of [
    ['blocked', 'ACCOUNT_STATUS_DISABLED_BY_ADMIN', /^403 .*disabled/],
    ['trial_over', 'ACCOUNT_STATUS_TRIAL_CANCELLED', /^403 .*trial/],
    ['over_quota', 'ACCOUNT_STATUS_DISABLED_QUOTA_REACHED', /^403 .*quota/],
  ]) {
    const disabled = as(account)
    assert.equal((await disabled.accounts.me()).account_status, status)
    assert.deepEqual((await disabled.devboxes.list()).devboxes, [])
    for (const work of [
      () => disabled.devboxes.create(), () => disabled.devboxes.createAndAwaitRunning(), () => disabled.blueprints.create({ name: 'no' }),
      () => disabled.secrets.create({ name: 'NO', value: 'no' }),
    ]) {
      await thrown(work(), PermissionDeniedError, words)
    }
  }
})
await check('accounts: restricted keys', async () => {
  const made = await devboxes.createAndAwaitRunning({ name: 'looked at' })
  const restricted = as('restricted')
  await thrown(restricted.accounts.me(), PermissionDeniedError, /RESOURCE_TYPE_ACCOUNT/)
  const own = await restricted.devboxes.createAndAwaitRunning()
  await gone(own.id, restricted)
  const looker = as('read_only')
  assert.ok((await looker.accounts.me()).id)
  assert.deepEqual((await looker.devboxes.list()).devboxes, [])
  for (const work of [
    () => looker.devboxes.create(), () => looker.devboxes.shutdown(made.id), () => looker.devboxes.keepAlive(made.id),
    () => looker.devboxes.executeAsync(made.id, { command: 'true' }), () => looker.blueprints.create({ name: 'no' }),
  ]) {
    await thrown(work(), PermissionDeniedError, /ACCESS_LEVEL_WRITE/)
  }
  const prover = as('account_only')
  assert.ok((await prover.accounts.me()).id)
  await thrown(prover.devboxes.list(), PermissionDeniedError, /RESOURCE_TYPE_DEVBOXES/)
  await gone(made.id)
})
await check('accounts: as many devboxes as it may have', async () => {
  const error = await thrown(as('at_limit').devboxes.create(), RateLimitError, /^429 /)
  assert.equal(error.headers['x-runloop-error-code'], 'devbox_limit_reached')
})
await check('accounts: nobody sees what is another’s', async () => {
  const made = await devboxes.createAndAwaitRunning()
  const other = as('second')
  assert.deepEqual((await other.devboxes.list()).devboxes, [])
  for (const work of [
    () => other.devboxes.retrieve(made.id), () => other.devboxes.shutdown(made.id), () => other.devboxes.awaitRunning(made.id),
    () => other.devboxes.executeAsync(made.id, { command: 'true' }),
  ]) {
    await thrown(work(), BadRequestError, /^400 .*was not found/)
  }
  await gone(made.id)
})

// ---- Transport

await check('transport: HTTP/2 by default, HTTP/1.1 on demand', async () => {
  const headers = async (client) => {
    await requests('')
    await client.accounts.me()
    return (await requests('GET /v1/accounts/me'))[0].headers
  }
  assert.equal((await headers(api)).connection, undefined) // HTTP/2 has no such header
  assert.equal((await headers(new Runloop({ http2: false }))).connection, 'keep-alive')
})
await check('transport: thirty at once', async () => {
  const seen = await Promise.all(Array.from({ length: 30 }, () => api.accounts.me()))
  assert.equal(new Set(seen.map((each) => each.id)).size, 1)
})
await check('transport: what is sent again makes no second one', async () => {
  const before = (await alive()).length
  await fault('POST /v1/devboxes/create_and_await_running', { kind: 'drop_after' })
  const made = await devboxes.createAndAwaitRunning({ name: 'once' })
  assert.equal((await alive()).length, before + 1)
  const asked = await requests('POST /v1/devboxes/create_and_await_running')
  assert.equal(asked.length, 2)
  assert.match(asked[0].headers['x-request-id'], /^stainless-node-retry-/)
  assert.equal(asked[0].headers['x-request-id'], asked[1].headers['x-request-id'])
  assert.deepEqual(asked.map((each) => each.headers['x-stainless-retry-count']), ['0', '1'])
  await gone(made.id)
})
await check('transport: refusals that pass, by their headers', async () => {
  for (const headers of [{ 'Retry-After': '0.05' }, { 'Retry-After-Ms': '20' }]) {
    await fault('GET /v1/devboxes', { kind: 'status', status: 429, headers, body: { message: 'Slow down' } })
    await requests('')
    await devboxes.list()
    assert.deepEqual((await requests('GET /v1/devboxes')).map((each) => each.status), [429, 200])
  }
  await fault('GET /v1/devboxes', { kind: 'status', status: 503, headers: { 'X-Should-Retry': 'false' }, body: { message: 'Down' } })
  await thrown(devboxes.list(), InternalServerError, /^503 Down$/)
  await fault('GET /v1/devboxes', { kind: 'drop_before' })
  await thrown(once.devboxes.list(), APIConnectionError)
})

// ---- Create

await check('create: what is asked for is what it is', async () => {
  const before = Date.now()
  const made = await devboxes.create({
    name: 'judged', metadata: { 'k 1': 'v&=ü', b: '' }, environment_variables: { COLOUR: 'blue', QUOTED: '"$x"' },
    file_mounts: { '/home/user/one.txt': 'one ü' }, mounts: [{ type: 'file_mount', target: '/home/user/d/two.txt', content: 'two' }],
    launch_parameters: {
      resource_size_request: 'SMALL', keep_alive_time_seconds: 900, launch_commands: ['echo launched > ~/launched'],
      available_ports: [3000],
    },
  })
  assert.match(made.id, /^dbx_/)
  assert.equal(made.status, 'provisioning')
  assert.equal((await devboxes.awaitRunning(made.id)).id, made.id)
  const seen = await devboxes.retrieve(made.id)
  assert.deepEqual([seen.name, seen.status, seen.end_time_ms], ['judged', 'running', null])
  assert.deepEqual(seen.metadata, { 'k 1': 'v&=ü', b: '' })
  assert.deepEqual(states(seen), ['provisioning', 'initializing', 'running'])
  assert.deepEqual([seen.launch_parameters.resource_size_request, seen.launch_parameters.keep_alive_time_seconds], ['SMALL', 900])
  assert.deepEqual([seen.initiator_type, seen.capabilities], ['api', []])
  assert.ok(Math.abs(seen.create_time_ms - before) < 10_000)
  assert.equal(await run(made.id, 'echo "$COLOUR $QUOTED"; cat one.txt d/two.txt launched; pwd'), 'blue "$x"\none ütwolaunched\n/home/user\n')
  await gone(made.id)
})
await check('create: nothing said, nulls, and what is not known', async () => {
  const made = await devboxes.create()
  const other = await devboxes.create({ name: null, metadata: null, launch_parameters: null, tunnel: null, unheard_of: 1 })
  for (const each of [made, other]) {
    const seen = await devboxes.awaitRunning(each.id)
    assert.deepEqual([seen.name, seen.metadata, seen.tunnel], [undefined, {}, undefined])
    assert.equal(seen.launch_parameters.keep_alive_time_seconds, 3600)
    await gone(each.id)
  }
})
await check('create: sizes', async () => {
  for (const size of ['X_SMALL', 'MEDIUM', 'LARGE', 'X_LARGE', 'XX_LARGE']) {
    const made = await devboxes.create({ launch_parameters: { resource_size_request: size } })
    assert.equal(made.launch_parameters.resource_size_request, size)
    await gone(made.id)
  }
  const launch_parameters = { resource_size_request: 'CUSTOM_SIZE', custom_cpu_cores: 0.5, custom_gb_memory: 2, custom_disk_size: 6 }
  const custom = await devboxes.create({ launch_parameters })
  assert.deepEqual(custom.launch_parameters, { ...launch_parameters, keep_alive_time_seconds: 3600 })
  await gone(custom.id)
  for (const wrong of [
    { ...launch_parameters, custom_cpu_cores: 3 }, { ...launch_parameters, custom_gb_memory: 64 },
    { ...launch_parameters, custom_disk_size: 65 }, { resource_size_request: 'HUGE' }, { keep_alive_time_seconds: 172_801 },
  ]) {
    await thrown(devboxes.create({ launch_parameters: wrong }), BadRequestError)
  }
})
await check('create: an answer before it runs, and one that waits for a place', async () => {
  const view = await devboxes.create()
  await fault('POST /v1/devboxes/create_and_await_running', { kind: 'status', status: 200, body: { ...view, status: 'provisioning' } })
  await requests('')
  const made = await devboxes.createAndAwaitRunning()
  assert.deepEqual([made.id, made.status], [view.id, 'running'])
  assert.equal((await requests('POST /v1/devboxes/{id}/wait_for_status')).length, 1)
  const queued = await devboxes.create({ launch_parameters: { provisioning_tier: 'flex', user_parameters: { username: 'judge', uid: 1234 } } })
  assert.equal(queued.status, 'queued')
  assert.deepEqual(states(await devboxes.awaitRunning(queued.id)), ['queued', 'provisioning', 'initializing', 'running'])
  assert.equal(await run(queued.id, 'whoami; pwd'), 'judge\n/home/judge\n')
  await gone(made.id)
  await gone(queued.id)
})
await check('create: the SDK’s own objects', async () => {
  const devbox = await sdk.devbox.create({ name: 'object' })
  assert.equal((await devbox.getInfo()).status, 'running')
  assert.deepEqual((await sdk.devbox.list({ limit: 1 })).map((each) => each.id), [devbox.id])
  assert.equal(await (await sdk.devbox.fromId(devbox.id).cmd.exec('echo in')).stdout(), 'in\n')
  await devbox.shutdown()
  const seen = await devbox.getInfo()
  assert.deepEqual([seen.status, seen.shutdown_reason], ['shutdown', 'api_shutdown'])
  assert.ok(seen.end_time_ms >= seen.create_time_ms)
})
await check('create: what is refused', async () => {
  for (const wrong of [
    { blueprint_id: 'bpt_none' }, { blueprint_name: 'no such blueprint' }, { snapshot_id: 'snp_none' },
    { blueprint_name: 'base', snapshot_id: 'snp_none' }, { secrets: { TOKEN: 'NO_SUCH_SECRET' } },
    { launch_parameters: { after_idle: { idle_time_seconds: 5, on_idle: 'dream' } } }, { tunnel: { auth_mode: 'public' } },
  ]) {
    await thrown(devboxes.create(wrong), BadRequestError, /^400 /)
  }
  await thrown(devboxes.retrieve(NOBODY), BadRequestError, /^400 .*was not found/)
})
await check('create: those that fail say why', async () => {
  for (const reason of ['out_of_memory', 'out_of_disk', 'execution_failed', 'health_check_failed']) {
    const made = await devboxes.create({ blueprint_name: `fails_${reason}` })
    await thrown(devboxes.awaitRunning(made.id), Error, /is in non-running state failure/)
    const seen = await devboxes.retrieve(made.id)
    assert.deepEqual([seen.status, seen.failure_reason, seen.state_transitions.at(-1).failure_reason], ['failure', reason, reason])
  }
  await thrown(devboxes.createAndAwaitRunning({ launch_parameters: { launch_commands: ['exit 3'] } }), Error, /non-running state failure/)
})
await check('create: an entrypoint is its life', async () => {
  const made = await devboxes.createAndAwaitRunning({ entrypoint: 'while [ ! -e /tmp/end ]; do sleep 0.05; done' })
  await devboxes.executeAsync(made.id, { command: 'touch /tmp/end' })
  await until('its end', async () => (await devboxes.retrieve(made.id)).status === 'shutdown')
  assert.equal((await devboxes.retrieve(made.id)).shutdown_reason, 'entrypoint_exit')
})
await check('create: eight at once', async () => {
  const made = await Promise.all(Array.from({ length: 8 }, (_, i) => devboxes.createAndAwaitRunning({ metadata: { i: `${i}` } })))
  assert.deepEqual(made.map((each) => each.metadata.i), ['0', '1', '2', '3', '4', '5', '6', '7'])
  await Promise.all(made.map((each) => gone(each.id)))
}, 60)

// ---- Waiting

await check('wait: no answer but a wanted status, or 408', async () => {
  const made = await devboxes.create({ blueprint_name: 'stuck' })
  await thrown(devboxes.awaitRunning(made.id, { longPoll: { timeoutMs: 300 } }), PollingTimeoutError)
  const path = `/v1/devboxes/${made.id}/wait_for_status`
  const error = await thrown(once.post(path, { body: { statuses: ['running'], timeout_seconds: 0.1 } }), APIError, /^408 /)
  assert.equal(error.status, 408)
  assert.equal((await once.post(path, { body: { statuses: ['scheduled', 'provisioning'] } })).status, 'provisioning')
  await thrown(once.post(path, { body: { statuses: [] } }), BadRequestError)
  const waits = devboxes.awaitRunning(made.id).catch((thrown) => thrown)
  await gone(made.id)
  assert.match((await waits).message, /non-running state shutdown/)
})
await check('wait: asked again after 408, each time as another request', async () => {
  const made = await devboxes.create()
  await fault('POST /v1/devboxes/{id}/wait_for_status', { kind: 'status', status: 408, body: { message: 'Not yet' } }, 3)
  await requests('')
  assert.equal((await devboxes.awaitRunning(made.id)).status, 'running')
  const asked = await requests('POST /v1/devboxes/{id}/wait_for_status')
  assert.deepEqual(asked.map((each) => each.status), [408, 408, 408, 200])
  assert.equal(new Set(asked.map((each) => each.headers['x-request-id'])).size, 4)
  await gone(made.id)
})

// ---- List, update

await check('list: newest first, pages, states, and how many', async () => {
  const made = []
  for (let n = 0; n < 5; ++n) made.unshift((await devboxes.create({ name: `listed-${n}` })).id)
  await Promise.all(made.map((id) => devboxes.awaitRunning(id)))
  const page = await devboxes.list({ limit: 2 })
  assert.deepEqual([page.devboxes.map((each) => each.id), page.has_more], [made.slice(0, 2), true])
  assert.ok(page.total_count >= 5)
  const next = await page.getNextPage()
  assert.deepEqual(next.devboxes.map((each) => each.id), made.slice(2, 4))
  const running = (await every(devboxes.list({ limit: 2, status: 'running' }))).map((each) => each.id)
  assert.deepEqual(running, made)
  assert.deepEqual((await devboxes.list({ limit: 2, status: 'running', starting_after: made[3] })).devboxes.map((each) => each.id), [made[4]])
  const uncounted = await devboxes.list({ limit: 1, include_total_count: false }).asResponse()
  assert.equal((await uncounted.json()).total_count, undefined)
  await gone(made[0])
  assert.ok((await every(devboxes.list({ status: 'shutdown' }))).some((each) => each.id === made[0]))
  await thrown(devboxes.list({ status: 'asleep' }), BadRequestError)
  await Promise.all(made.slice(1).map((id) => gone(id)))
})
await check('update: what is named, and no more', async () => {
  const made = await devboxes.createAndAwaitRunning({ name: 'first', metadata: { a: '1' } })
  assert.deepEqual((await devboxes.update(made.id, { name: 'second' })).metadata, { a: '1' })
  const seen = await devboxes.update(made.id, { metadata: { b: '2' } })
  assert.deepEqual([seen.name, seen.metadata], ['second', { b: '2' }])
  assert.equal((await devboxes.update(made.id, { name: null })).name, 'second')
  const cleared = await devboxes.update(made.id, { name: '', metadata: {} })
  assert.deepEqual([cleared.name || undefined, cleared.metadata], [undefined, {}])
  await gone(made.id)
})

// ---- Life

await check('life: suspended and resumed, its files kept and its processes not', async () => {
  const lifecycle = { lifecycle_hooks: { suspend_commands: ['echo hook >> ~/hooks', 'exit 3'] } }
  const devbox = await sdk.devbox.create({ launch_parameters: { launch_commands: ['echo start >> ~/starts'], lifecycle } })
  const running = await devbox.cmd.execAsync('echo $$ > ~/pid; sleep 300')
  await devbox.file.write({ file_path: 'kept.txt', contents: 'kept' })
  assert.match((await devbox.suspend()).status, /^suspend/)
  assert.equal((await devbox.awaitSuspended()).status, 'suspended')
  await thrown(once.devboxes.executeAsync(devbox.id, { command: 'true' }), BadRequestError, /not running/)
  assert.equal((await running.getState()).status, 'completed')
  assert.equal((await devbox.suspend()).status, 'suspended')
  assert.equal((await devbox.resume()).status, 'running')
  assert.equal(await devbox.file.read({ file_path: 'kept.txt' }), 'kept')
  assert.equal(await run(devbox.id, 'cat hooks starts; kill -0 $(cat pid) 2>/dev/null && echo lives'), 'hook\nstart\nstart\n')
  assert.deepEqual(states(await devbox.getInfo()).slice(-5), ['running', 'suspending', 'suspended', 'resuming', 'running'])
  const usage = await devboxes.retrieveResourceUsage(devbox.id)
  assert.deepEqual([usage.id, usage.status], [devbox.id, 'running'])
  assert.ok(usage.total_elapsed_seconds >= usage.total_active_seconds && usage.vcpu_seconds >= 0 && usage.disk_gb_seconds >= 0)
  await devbox.shutdown()
  await thrown(once.devboxes.resume(devbox.id), BadRequestError, /cannot be resumed/)
})
await check('life: kept alive, or idle', async () => {
  const devbox = await sdk.devbox.create({ launch_parameters: { after_idle: { idle_time_seconds: 2, on_idle: 'suspend' } } })
  assert.deepEqual(await devbox.keepAlive(), {})
  await devbox.awaitSuspended()
  await devbox.resume()
  await devbox.shutdown()
  const other = await sdk.devbox.create({ launch_parameters: { keep_alive_time_seconds: 1 } })
  await until('its end', async () => (await other.getInfo()).status === 'shutdown')
  assert.equal((await other.getInfo()).shutdown_reason, 'ttl_expired')
  await thrown(once.devboxes.keepAlive(other.id), BadRequestError)
})
await check('life: shut down twice, and for good', async () => {
  const made = await devboxes.createAndAwaitRunning()
  await gone(made.id)
  await gone(made.id)
  assert.equal((await devboxes.shutdown(made.id, { force: 'true' })).status, 'shutdown')
  await thrown(devboxes.awaitRunning(made.id), Error, /non-running state shutdown/)
  await thrown(once.devboxes.suspend(made.id), BadRequestError, /cannot be suspended/)
})
await check('life: a machine that fails', async () => {
  const made = await devboxes.createAndAwaitRunning()
  await fail(made.id)
  const seen = await devboxes.retrieve(made.id)
  assert.deepEqual([seen.status, seen.failure_reason], ['failure', 'health_check_failed'])
})
await check('life: nothing is evicted, and the stream says so', async () => {
  const stream = await devboxes.watchEvictions({ headers: { Accept: 'text/event-stream' } })
  stream.controller.abort()
  const devbox = await sdk.devbox.create()
  await requests('')
  devbox.onEvict(() => assert.fail('it was evicted'))
  await until('its request', async () => (await requests('GET /v1/devboxes/evictions/watch')).length > 0)
  devbox.cancelOnEvict()
  await devbox.shutdown()
})

// ---- Tunnels

const apiPort = new URL(process.env.RUNLOOP_BASE_URL).port
const through = (tunnel, headers = {}, port = 8000) => raw(`http://${port}-${tunnel.tunnel_key}.tunnel.localhost:${apiPort}/page`, { headers })
const serve = async (devbox) => {
  await devbox.cmd.execAsync('cd /tmp && echo served > page && exec python3 -m http.server 8000')
  await until('the server', async () => await run(devbox.id, 'python3 -c "import socket; socket.create_connection((\'127.0.0.1\', 8000)); print(1)"') === '1\n')
}

await check('tunnels: with the devbox, and with its token only', async () => {
  const devbox = await sdk.devbox.create({ tunnel: { auth_mode: 'authenticated', http_keep_alive: false } })
  const tunnel = await devbox.getTunnel()
  assert.deepEqual([tunnel.auth_mode, tunnel.http_keep_alive, tunnel.wake_on_http], ['authenticated', false, false])
  assert.equal(await devbox.getTunnelUrl(8000), `https://8000-${tunnel.tunnel_key}.tunnel.127.0.0.1`)
  await serve(devbox)
  const bearer = `Bearer ${tunnel.auth_token}`
  for (const headers of [{ 'X-Runloop-Tunnel-Authorization': bearer }, { Authorization: bearer }]) {
    assert.equal(await (await through(tunnel, headers)).text(), 'served\n')
  }
  for (const headers of [{}, { 'X-Runloop-Tunnel-Authorization': `${bearer}x` }, { Authorization: `Bearer ${accounts.valid}` }]) {
    assert.equal((await through(tunnel, headers)).status, 401)
  }
  assert.equal((await through(tunnel, { Authorization: bearer }, 8001)).status, 503)
  await devbox.shutdown()
  assert.equal((await through(tunnel, { Authorization: bearer })).status, 404)
})
await check('tunnels: open, one for all, removed, made anew', async () => {
  const devbox = await sdk.devbox.create()
  assert.equal(await devbox.getTunnel(), null)
  await thrown(devbox.getTunnelUrl(8000), Error, /No tunnel/)
  const tunnel = await devbox.net.enableTunnel({})
  assert.deepEqual([tunnel.auth_mode, tunnel.auth_token, tunnel.http_keep_alive], ['open', undefined, true])
  assert.deepEqual(await devbox.net.enableTunnel({ auth_mode: 'authenticated' }), tunnel)
  assert.deepEqual((await devbox.getInfo()).tunnel, tunnel)
  await serve(devbox)
  assert.equal(await (await through(tunnel)).text(), 'served\n')
  assert.deepEqual(await devbox.net.removeTunnel(), {})
  assert.equal(await devbox.getTunnel(), null)
  assert.equal((await through(tunnel)).status, 404)
  const other = await devbox.net.enableTunnel({ auth_mode: 'authenticated' })
  assert.notEqual(other.tunnel_key, tunnel.tunnel_key)
  assert.equal((await through(other)).status, 401)
  assert.equal((await through(other, { 'X-Runloop-Tunnel-Authorization': `Bearer ${other.auth_token}` })).status, 200)
  await devbox.shutdown()
})
await check('tunnels: a request wakes one that may wake', async () => {
  const devbox = await sdk.devbox.create({
    tunnel: {}, launch_parameters: {
      lifecycle: { resume_triggers: { http: true } },
      launch_commands: ['cd /tmp; echo served > page; nohup python3 -m http.server 8000 >/dev/null 2>&1 &'],
    },
  })
  const tunnel = await devbox.getTunnel()
  await devbox.suspend()
  await devbox.awaitSuspended()
  await until('an answer', async () => (await through(tunnel)).status === 200)
  assert.equal((await devbox.getInfo()).status, 'running')
  await devbox.shutdown()
})

// ---- Snapshots

await check('snapshots: made at once and later, used, listed, changed, deleted', async () => {
  const devbox = await sdk.devbox.create()
  await devbox.file.write({ file_path: 'kept.txt', contents: 'kept' })
  const now = await devboxes.snapshotDisk(devbox.id, { name: 'now', metadata: { k: 'v 1' }, commit_message: 'first' })
  assert.match(now.id, /^snp_/)
  assert.deepEqual([now.name, now.metadata, now.commit_message, now.source_devbox_id], ['now', { k: 'v 1' }, 'first', devbox.id])
  const later = await devbox.snapshotDisk({ name: 'later' })
  const { status, snapshot } = await later.getInfo()
  assert.deepEqual([status, snapshot.name], ['complete', 'later'])
  const begun = await devbox.snapshotDiskAsync({ metadata: { k: 'w' } })
  assert.equal((await begun.awaitCompleted()).status, 'complete')
  const found = async (query) => (await every(devboxes.listDiskSnapshots(query))).map((each) => each.id)
  assert.deepEqual(await found({ devbox_id: devbox.id, limit: 1 }), [begun.id, later.id, now.id])
  assert.deepEqual(await found({ 'metadata[k]': 'v 1' }), [now.id])
  assert.deepEqual(await found({ 'metadata[k][in]': 'v 1,w' }), [begun.id, now.id])
  assert.deepEqual((await every(devboxes.diskSnapshots.list({ devbox_id: devbox.id }))).length, 3)
  assert.equal((await sdk.snapshot.list({ devbox_id: devbox.id })).length, 3)
  await later.update({ name: 'renamed', metadata: { other: 'x' } })
  assert.deepEqual((await later.queryStatus()).snapshot.metadata, { other: 'x' })
  const copy = await sdk.devbox.createFromSnapshot(now.id, { name: 'copy' })
  assert.equal((await copy.getInfo()).snapshot_id, now.id)
  assert.equal(await copy.file.read({ file_path: 'kept.txt' }), 'kept')
  const other = await sdk.snapshot.fromId(now.id).createDevbox()
  await Promise.all([copy.shutdown(), other.shutdown(), devbox.shutdown()])
  await devboxes.deleteDiskSnapshot(now.id)
  await later.delete()
  await begun.delete()
  assert.deepEqual(await found({ devbox_id: devbox.id }), [])
  assert.equal((await later.queryStatus()).status, 'deleted')
  await thrown(devboxes.create({ snapshot_id: now.id }), BadRequestError)
})
await check('snapshots: one that fails, and one that keeps its devbox', async () => {
  const devbox = await sdk.devbox.create()
  await thrown(devbox.snapshotDisk({ name: 'fails' }), Error, /failed/)
  const slow = await devbox.snapshotDiskAsync({ name: 'slow' })
  assert.equal((await slow.queryStatus()).status, 'in_progress')
  await thrown(once.devboxes.shutdown(devbox.id), ConflictError, /^409 /)
  assert.equal((await devboxes.shutdown(devbox.id, { force: 'true' })).status, 'shutdown')
})

// ---- Blueprints

await check('blueprints: built, used, told of, deleted', async () => {
  const blueprint = await sdk.blueprint.create({
    name: 'judged', system_setup_commands: ['echo built > ~/built'], file_mounts: { '/home/user/mounted.txt': 'mounted' },
    metadata: { k: 'v' }, launch_parameters: { resource_size_request: 'MEDIUM' },
  })
  const seen = await blueprint.getInfo()
  assert.match(seen.id, /^bpt_/)
  assert.deepEqual([seen.name, seen.status, seen.state, seen.is_public], ['judged', 'build_complete', 'created', false])
  assert.deepEqual(seen.parameters.system_setup_commands, ['echo built > ~/built'])
  assert.ok(seen.build_finish_time_ms >= seen.create_time_ms)
  const { blueprint_id, logs } = await blueprint.logs()
  assert.equal(blueprint_id, blueprint.id)
  assert.ok(logs.some((each) => each.message.includes('echo built')) && logs.every((each) => each.level && each.timestamp_ms > 0))
  const created = [await sdk.devbox.createFromBlueprintId(blueprint.id), await sdk.devbox.createFromBlueprintName('judged')]
  for (const devbox of created) {
    const view = await devbox.getInfo()
    assert.deepEqual([view.blueprint_id, view.launch_parameters.resource_size_request], [blueprint.id, 'MEDIUM'])
    assert.equal(await run(devbox.id, 'cat built mounted.txt'), 'built\nmounted')
    await devbox.shutdown()
  }
  const child = await api.blueprints.createAndAwaitBuildCompleted({ name: 'judged-child', base_blueprint_id: blueprint.id })
  assert.equal(child.base_blueprint_id, blueprint.id)
  assert.deepEqual((await sdk.blueprint.list({ name: 'judged' })).map((each) => each.id), [blueprint.id])
  assert.deepEqual((await every(api.blueprints.list({ limit: 1 }))).map((each) => each.id), [child.id, blueprint.id])
  await blueprint.delete()
  await api.blueprints.delete(child.id)
  assert.equal((await blueprint.getInfo()).state, 'deleted')
  assert.deepEqual((await api.blueprints.list()).blueprints, [])
  await thrown(devboxes.create({ blueprint_id: blueprint.id }), BadRequestError)
  await thrown(devboxes.create({ blueprint_name: 'judged' }), BadRequestError)
})
await check('blueprints: one that fails, public ones, and a look ahead', async () => {
  await thrown(sdk.blueprint.create({ name: 'fails' }), Error, /non-complete state failed/)
  const failed = await api.blueprints.create({ name: 'broken', system_setup_commands: ['exit 3'] })
  await thrown(api.blueprints.awaitBuildComplete(failed.id), Error, /non-complete state failed/)
  assert.equal((await api.blueprints.retrieve(failed.id)).failure_reason, 'build_failed')
  for (const each of (await api.blueprints.list()).blueprints) await api.blueprints.delete(each.id)
  const shared = await every(api.blueprints.listPublic())
  assert.ok(shared.length > 0 && shared.every((each) => each.is_public))
  const { dockerfile } = await api.blueprints.preview({ name: 'p', dockerfile: 'FROM debian:12', system_setup_commands: ['apt update'] })
  assert.equal(dockerfile, 'FROM debian:12\nRUN apt update\n')
  await thrown(api.blueprints.create({ name: '' }), BadRequestError)
})

// ---- Secrets

await check('secrets: made, used, changed, deleted', async () => {
  const secret = await sdk.secret.create({ name: 'JUDGED', value: 'judge-of-secrets' })
  const { id, name, create_time_ms, update_time_ms, ...rest } = await secret.getInfo()
  assert.match(id, /^sec_/)
  assert.deepEqual([name, rest], ['JUDGED', {}])
  assert.ok(create_time_ms > 0 && update_time_ms >= create_time_ms)
  await thrown(once.secrets.create({ name: 'JUDGED', value: 'again' }), ConflictError)
  assert.deepEqual((await api.secrets.list()).secrets.map((each) => each.name), ['JUDGED'])
  const before = await sdk.devbox.create({ secrets: { TOKEN: secret } })
  await secret.update({ value: 'another-secret' })
  const after = await sdk.devbox.create({ secrets: { TOKEN: 'JUDGED' } })
  assert.deepEqual([await run(before.id, 'echo $TOKEN'), await run(after.id, 'echo $TOKEN')], ['judge-of-secrets\n', 'another-secret\n'])
  await Promise.all([before.shutdown(), after.shutdown()])
  await secret.delete()
  assert.deepEqual((await api.secrets.list()).secrets, [])
  await thrown(secret.getInfo(), BadRequestError)
})

// ---- What is not there

await check('what is not emulated says so at once', async () => {
  const every = (part, configure) => [
    () => part.list(), () => part.create(configure), () => part.retrieve('x'), () => part.update('x', {}), () => part.delete('x'),
  ]
  for (const work of [
    () => devboxes.createSSHKey(NOBODY), () => devboxes.createPtyTunnel(NOBODY), () => devboxes.createGatewayToken(NOBODY, {}),
    () => devboxes.createMcpToken(NOBODY, {}), () => api.apikeys.create(), () => api.restrictedKeys.create(),
    () => api.objects.list(), () => api.objects.listPublic(), () => api.objects.create({ name: 'o', content_type: 'text' }),
    () => api.objects.retrieve('x'), () => api.objects.download('x'), () => api.objects.complete('x'), () => api.objects.delete('x'),
    ...every(api.networkPolicies, { name: 'n' }), ...every(api.gatewayConfigs, { name: 'g' }), ...every(api.mcpConfigs, { name: 'm' }),
    () => api.agents.list(), () => api.agents.create({ name: 'a' }), () => api.agents.retrieve('x'),
    () => api.scenarios.list(), () => api.scenarios.create({}), () => api.benchmarks.list(), () => api.benchmarks.create({}),
  ]) {
    const error = await thrown(work(), InternalServerError, /is not emulated/)
    assert.equal(error.status, 501)
  }
})
await check('the end: nothing is left', async () => {
  await until('nothing', async () => (await alive()).length === 0)
})
finish()
