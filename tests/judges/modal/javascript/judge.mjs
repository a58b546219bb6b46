// Modal's JavaScript SDK drives the emulator, which starts this with its variables; with sandboxes of the kind that
// MODAL_SANDBOX_V2 says.
import assert from 'node:assert/strict'
import https from 'node:https'
import {
  AlreadyExistsError, InvalidError, ModalClient, NotFoundError, Probe, ResourceExhaustedError, SandboxFilesystemDirectoryNotEmptyError,
  SandboxFilesystemFileTooLargeError, SandboxFilesystemIsADirectoryError, SandboxFilesystemNotADirectoryError,
  SandboxFilesystemNotFoundError, SandboxFilesystemPathAlreadyExistsError, SandboxFilesystemPermissionError,
} from 'modal'
import { admin, alive, bytes, check, emulated, fail, faultsEnd, finish, raw, text, thrown, until } from './kit.mjs'
import './localhost.mjs'

const { accounts, fault, requests } = await emulated('modal')
const v2 = process.env.MODAL_SANDBOX_V2 === '1'
const of = (route) => `ModalClient/${route}${v2 ? 'V2' : ''}`

const as = (account, more = {}) => {
  const [tokenId, tokenSecret] = accounts[account].split(':')
  return new ModalClient({ tokenId, tokenSecret, logLevel: 'error', ...more })
}
const modal = as('valid')
const APP = 'judged-js'
const app = await modal.apps.fromName(APP, { createIfMissing: true })
const image = modal.images.fromRegistry('alpine:3.20')

const create = (params = {}) => modal.sandboxes.create(app, image, params)
const every = async (iterable) => {
  const found = []
  for await (const each of iterable) found.push(each)
  return found
}
const ids = async (params, who = modal) => (await every(who.sandboxes.list(params))).map((each) => each.sandboxId)
const gone = async (sandbox) => {
  await sandbox.terminate()
  sandbox.detach()
}
const settings = (changed) => admin('POST', 'settings?provider=modal', changed)
const within = async (work, params = {}) => {
  const sandbox = await create(params)
  try {
    await work(sandbox)
  } finally {
    await gone(sandbox)
  }
}
const refused = (code, promise) => thrown(promise, Error).then((error) => assert.equal(error.code, code, String(error)))
const codes = { notFound: 5, unauthenticated: 16, failedPrecondition: 9, permissionDenied: 7, resourceExhausted: 8, unavailable: 14 }

// ---- Accounts

for (const [account, message] of Object.entries({
  malformed: /Token ID is malformed/, swapped: /Token ID is malformed/, unknown: /validation failed/, revoked: /validation failed/,
  wrong_secret: /validation failed/,
})) {
  await check(`accounts: ${account} is refused`, async () => {
    const error = await thrown(as(account).apps.fromName(APP), Error, message)
    assert.equal(error.code, codes.unauthenticated)
  })
}
await check('accounts: half a pair is refused', async () => {
  const [tokenId] = accounts.valid.split(':')
  const [, tokenSecret] = accounts.second.split(':')
  await refused(codes.unauthenticated, new ModalClient({ tokenId, tokenSecret }).apps.fromName(APP))
})
await check('accounts: too old a client', async () => {
  await refused(codes.failedPrecondition, as('old_client').apps.fromName(APP))
})
await check('accounts: a restricted one looks, and changes nothing', async () => {
  const looker = as('restricted')
  assert.deepEqual(await ids({}, looker), [])
  await refused(codes.permissionDenied, looker.apps.fromName(APP, { createIfMissing: true }))
  await refused(codes.permissionDenied, looker.images.fromRegistry('alpine:3.20').build(app))
})
await check('accounts: over its quota', async () => {
  const client = as('over_quota')
  const theirs = await client.apps.fromName(APP, { createIfMissing: true })
  await refused(codes.resourceExhausted, client.sandboxes.create(theirs, client.images.fromRegistry('alpine:3.20')))
})
await check('accounts: one that is throttled waits as long as it is told', async () => {
  const client = as('rate_limited')
  const theirs = await client.apps.fromName(APP, { createIfMissing: true })
  const start = Date.now()
  const sandbox = await client.sandboxes.create(theirs, client.images.fromRegistry('alpine:3.20'))
  assert.ok(Date.now() - start >= 200)
  const [first, second] = (await requests(of('SandboxCreate'))).slice(-2)
  assert.deepEqual([first.grpc_status, second.grpc_status], ['8', '0'])
  assert.equal(second.headers['x-throttle-retry-attempt'], '1')
  assert.equal(first.headers['x-idempotency-key'], second.headers['x-idempotency-key'])
  await sandbox.terminate()
})
await check('accounts: nobody sees what is another’s', async () => {
  const second = as('second')
  const theirs = await second.apps.fromName(APP, { createIfMissing: true })
  assert.notEqual(theirs.appId, app.appId)
  await within(async (sandbox) => {
    assert.deepEqual(await ids({}, second), [])
    const found = await second.sandboxes.fromId(sandbox.sandboxId)
    await refused(codes.notFound, found.poll())
  })
})

// ---- Apps, images, secrets

await check('apps: the same by name, and none that is not there', async () => {
  assert.equal((await modal.apps.fromName(APP)).appId, app.appId)
  assert.match(app.appId, /^ap-[0-9A-Za-z]{22}$/)
  await thrown(modal.apps.fromName('no-such-app'), NotFoundError)
  await thrown(modal.apps.fromName(APP, { environment: 'no-such-environment' }), NotFoundError)
})
await check('images: built once, with what their lines say', async () => {
  const made = modal.images.fromRegistry('debian:12').dockerfileCommands(['ENV COLOUR=blue', 'WORKDIR /work', 'RUN true'])
  const built = await made.build(app)
  assert.match(built.imageId, /^im-[0-9A-Za-z]{22}$/)
  const again = await modal.images.fromRegistry('debian:12').dockerfileCommands(['ENV COLOUR=blue', 'WORKDIR /work', 'RUN true'])
    .build(app)
  assert.equal(again.imageId, built.imageId)
  const sandbox = await modal.sandboxes.create(app, await modal.images.fromId(built.imageId))
  const process = await sandbox.exec(['sh', '-c', 'echo $COLOUR; pwd'])
  assert.equal(await process.stdout.readText(), 'blue\n/work\n')
  await gone(sandbox)
  await modal.images.delete(built.imageId)
  await thrown(modal.images.fromId(built.imageId), NotFoundError)
})
await check('images: builds that fail say so', async () => {
  await thrown(modal.images.fromRegistry('registry.invalid/none:1').build(app), Error, /manifest unknown/)
  await thrown(modal.images.fromRegistry('alpine:3.20').dockerfileCommands(['RUN false']).build(app), Error, /status 1/)
})
await check('secrets: by name and of a dictionary', async () => {
  await thrown(modal.secrets.fromName('no-such-secret'), NotFoundError)
  const secret = await modal.secrets.fromObject({ FROM_SECRET: 'hidden', BOTH: 'secret' })
  await within(async (sandbox) => {
    const process = await sandbox.exec(['sh', '-c', 'echo $FROM_SECRET $BOTH $OWN'], { env: { OWN: 'own' } })
    assert.equal(await process.stdout.readText(), 'hidden env own\n')
  }, { secrets: [secret], env: { BOTH: 'env' } })
})

// ---- Create, list, names, tags

await check('create: ids say which kind it is', async () => {
  await within(async (sandbox) => {
    assert.match(sandbox.sandboxId, v2 ? /^sb-[0-9A-HJKMNP-TV-Z]{26}$/ : /^sb-[0-9A-Za-z]{22}$/)
    assert.equal(await sandbox.poll(), null)
    assert.equal((await modal.sandboxes.fromId(sandbox.sandboxId)).sandboxId, sandbox.sandboxId)
  })
})
await check('create: a call that is repeated makes one', async () => {
  await fault(of('SandboxCreate'), { kind: 'drop_after' })
  await within(async (sandbox) => assert.deepEqual(await ids({ appId: app.appId }), [sandbox.sandboxId]))
})
await check('names: one at a time', async () => {
  const sandbox = await create({ name: 'named' })
  assert.equal((await modal.sandboxes.fromName(APP, 'named')).sandboxId, sandbox.sandboxId)
  await thrown(create({ name: 'named' }), AlreadyExistsError)
  await gone(sandbox)
  await thrown(modal.sandboxes.fromName(APP, 'named'), NotFoundError)
  await gone(await create({ name: 'named' }))
})
if (v2) {
  await check('names: given later', async () => {
    await within(async (sandbox) => {
      await sandbox.experimentalSetName('later')
      assert.equal((await modal.sandboxes.fromName(APP, 'later')).sandboxId, sandbox.sandboxId)
    })
  })
}
await check('tags: set, listed, replaced', async () => {
  const made = []
  for (const n of ['1', '2']) made.push(await create({ tags: { group: 'a', n } }))
  const [first, second] = made.map((each) => each.sandboxId)
  assert.deepEqual(await ids({ tags: { group: 'a' } }), [second, first])
  assert.deepEqual(await ids({ tags: { group: 'a', n: '1' } }), [first])
  assert.deepEqual(await ids({ tags: { group: 'b' } }), [])
  await made[0].setTags({ group: 'b' })
  assert.deepEqual(await made[0].getTags(), { group: 'b' })
  assert.deepEqual(await ids({ tags: { group: 'b' } }), [first])
  for (const each of made) await gone(each)
  assert.deepEqual(await ids({ appId: app.appId }), [])
})

// ---- Commands

await check('exec: input, both outputs, folder, variables, status', async () => {
  await within(async (sandbox) => {
    const process = await sandbox.exec(['sh', '-c', 'cat; pwd; echo $A; echo err >&2; exit 7'], { workdir: '/tmp', env: { A: 'b' } })
    await process.stdin.writeText('one\n')
    await process.stdin.writeText('two\n')
    await process.closeStdin()
    assert.equal(await process.stdout.readText(), 'one\ntwo\n/tmp\nb\n')
    assert.equal(await process.stderr.readText(), 'err\n')
    assert.equal(await process.wait(), 7)
  })
})
await check('exec: output comes while it runs', async () => {
  await within(async (sandbox) => {
    const process = await sandbox.exec(['sh', '-c', 'echo first; read line; echo "$line"'])
    const reader = process.stdout.getReader()
    assert.equal((await reader.read()).value, 'first\n')
    await process.stdin.writeText('second\n')
    assert.equal((await reader.read()).value, 'second\n')
    assert.equal(await process.wait(), 0)
  })
})
await check('exec: output is kept after the end, and read from its beginning', async () => {
  await within(async (sandbox) => {
    const process = await sandbox.exec(['sh', '-c', 'head -c 300000 /dev/zero | tr "\\0" x'])
    assert.equal(await process.wait(), 0)
    assert.equal((await process.stdout.readText()).length, 300000)
  })
})
await check('exec: bytes as they are', async () => {
  await within(async (sandbox) => {
    const process = await sandbox.exec(['cat'], { mode: 'binary' })
    const data = Uint8Array.from({ length: 70000 }, (_, i) => i % 256)
    await process.stdin.writeBytes(data)
    await process.closeStdin()
    assert.deepEqual(Buffer.from(await process.stdout.readBytes()), Buffer.from(data))
  })
})
await check('exec: signals, a program that is not there, a time that is over', async () => {
  await within(async (sandbox) => {
    assert.equal(await (await sandbox.exec(['sh', '-c', 'kill -9 $$'])).wait(), 137)
    assert.equal(await (await sandbox.exec(['no-such-program'])).wait(), 127)
    assert.equal(await (await sandbox.exec(['sleep', '60'], { timeoutMs: 1000 })).wait(), 137)
    await thrown(sandbox.exec(['true'], { workdir: 'relative' }), InvalidError)
  })
})
await check('exec: a terminal', async () => {
  await within(async (sandbox) => {
    const process = await sandbox.exec(['sh', '-c', 'stty size; echo $TERM; test -t 0'], { pty: true })
    assert.equal(await process.stdout.readText(), '24 80\r\nxterm-256color\r\n')
    assert.equal(await process.wait(), 0)
  })
})
await check('exec: many at once', async () => {
  await within(async (sandbox) => {
    const said = await Promise.all(Array.from({ length: 20 }, async (_, n) => {
      const process = await sandbox.exec(['sh', '-c', `echo ${n}`])
      return process.stdout.readText()
    }))
    assert.deepEqual(said, said.map((_, n) => `${n}\n`))
  })
})

// ---- The main process

await check('main: its input and output, and its end is the sandbox’s', async () => {
  const sandbox = await create({ command: ['sh', '-c', 'echo begun; cat; echo err >&2; exit 4'] })
  await sandbox.stdin.writeText('given\n')
  await sandbox.stdin.close()
  assert.equal(await sandbox.wait(), 4)
  assert.equal(await sandbox.poll(), 4)
  assert.equal(await sandbox.stdout.readText(), 'begun\ngiven\n')
  assert.equal(await sandbox.stderr.readText(), 'err\n')
})
await check('life: terminate, and what is asked afterwards', async () => {
  const sandbox = await create()
  const process = await sandbox.exec(['sleep', '60'])
  const late = thrown(process.wait(), Error)
  assert.equal(await sandbox.terminate({ wait: true }), 137)
  await late
  assert.equal(await (await modal.sandboxes.fromId(sandbox.sandboxId)).poll(), 137)
  await thrown((await modal.sandboxes.fromId(sandbox.sandboxId)).exec(['true']), Error)
})
await check('life: time limits', async () => {
  const sandbox = await create({ timeoutMs: 1000 })
  assert.equal(await sandbox.wait(), 124)
  const idle = await create({ idleTimeoutMs: 1000, timeoutMs: 60000 })
  assert.equal(await idle.wait(), 0)
})
await check('life: one that is lost with its worker', async () => {
  const sandbox = await create()
  await fail(sandbox.sandboxId)
  assert.equal(await sandbox.wait(), 1)
})
await check('life: ready when its probe says so', async () => {
  await within(async (sandbox) => {
    await sandbox.waitUntilReady(10000)
  }, { command: ['sh', '-c', 'sleep 0.2; touch /tmp/ready; sleep 60'], readinessProbe: Probe.withExec(['test', '-e', '/tmp/ready']) })
  await within(async (sandbox) => {
    await thrown(sandbox.waitUntilReady(500), Error)
  }, { readinessProbe: Probe.withTcp(8000) })
})

// ---- Files

await check('files: written, read, listed, removed', async () => {
  await within(async ({ filesystem }) => {
    const data = Uint8Array.from({ length: 3_000_000 }, (_, i) => (i * 7) % 256)
    await filesystem.writeBytes(data, '/tmp/a/b/data')
    assert.deepEqual(Buffer.from(await filesystem.readBytes('/tmp/a/b/data')), Buffer.from(data))
    await filesystem.writeText('text ü', '/tmp/a/text')
    assert.equal(await filesystem.readText('/tmp/a/text'), 'text ü')
    await filesystem.writeText('shorter', '/tmp/a/text')
    const about = await filesystem.stat('/tmp/a/text')
    assert.deepEqual([about.name, about.type, about.size], ['text', 'file', 7])
    assert.deepEqual((await filesystem.listFiles('/tmp/a')).map((each) => [each.name, each.type]).sort(),
      [['b', 'directory'], ['text', 'file']])
    await filesystem.makeDirectory('/tmp/a/c/d', { createParents: true })
    await filesystem.remove('/tmp/a/text')
    await filesystem.remove('/tmp/a', { recursive: true })
    await thrown(filesystem.stat('/tmp/a'), SandboxFilesystemNotFoundError)
  })
})
await check('files: refusals by their kind', async () => {
  await within(async ({ filesystem }) => {
    await filesystem.writeText('x', '/tmp/a/file')
    await thrown(filesystem.readText('/tmp/none'), SandboxFilesystemNotFoundError)
    await thrown(filesystem.readText('/tmp/a'), SandboxFilesystemIsADirectoryError)
    await thrown(filesystem.writeText('x', '/tmp/a'), SandboxFilesystemIsADirectoryError)
    await thrown(filesystem.writeText('x', '/tmp/a/file/below'), SandboxFilesystemNotADirectoryError)
    await thrown(filesystem.listFiles('/tmp/a/file'), SandboxFilesystemNotADirectoryError)
    await thrown(filesystem.listFiles('/tmp/none'), SandboxFilesystemNotFoundError)
    await thrown(filesystem.makeDirectory('/tmp/a', { createParents: false }), SandboxFilesystemPathAlreadyExistsError)
    await thrown(filesystem.remove('/tmp/a'), SandboxFilesystemDirectoryNotEmptyError)
    await thrown(filesystem.writeText('x', '/usr/x'), SandboxFilesystemPermissionError)
  })
})
await check('files: a file too large to be read', async () => {
  await within(async (sandbox) => {
    await (await sandbox.exec(['truncate', '-s', '300M', '/tmp/large'])).wait()
    await thrown(sandbox.filesystem.readBytes('/tmp/large'), SandboxFilesystemFileTooLargeError)
  })
})
await check('files: watched', async () => {
  await within(async ({ filesystem }) => {
    await filesystem.makeDirectory('/tmp/watched')
    const seen = []
    const watching = (async () => {
      for await (const event of filesystem.watch('/tmp/watched', { timeoutMs: 20000 })) {
        seen.push(event)
        if (event.paths.some((path) => path.endsWith('/last'))) break
      }
    })()
    let n = 0
    await until('an event', async () => {
      await filesystem.writeText('x', `/tmp/watched/${n++}`)
      return seen.length > 0
    })
    await filesystem.writeText('x', '/tmp/watched/last')
    await watching
    assert.ok(seen.every((each) => each.paths[0].startsWith('/tmp/watched/')))
  })
})

// ---- Ports

const get = (url, headers = {}) => new Promise((done, failed) => {
  https.get(url, { headers: { 'User-Agent': 'sandkey-judge', ...headers } }, async (reply) => {
    done({ status: reply.statusCode, body: Buffer.concat(await every(reply)).toString() })
  }).on('error', failed)
})
const SERVER = ['python3', '-c', `
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = (self.path + " " + self.headers.get("X-Verified-User-Data", "nobody")).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.HTTPServer(("", 8080), Handler).serve_forever()`]

await check('tunnels: by https, with the emulator’s authority, and by no other name', async () => {
  await within(async (sandbox) => {
    await sandbox.waitUntilReady(20000)
    const tunnel = (await sandbox.tunnels())[8080]
    assert.match(tunnel.url, /^https:\/\/[a-z0-9]+\.modal\.localhost:\d+$/)
    assert.deepEqual(await get(`${tunnel.url}/path?q=1`), { status: 200, body: '/path?q=1 nobody' })
    const plain = new URL(process.env.MODAL_SERVER_URL)
    assert.equal((await raw(plain, { headers: { Host: tunnel.host } })).status, 404)
    assert.equal((await get(`${tunnel.url.replace(/\/\/[a-z0-9]+/, '//other')}/`)).status, 404)
    const [host, port] = (await sandbox.tunnels())[8081].tcpSocket
    assert.deepEqual([host, Number.isInteger(port)], ['127.0.0.1', true])
  }, { command: SERVER, encryptedPorts: [8080], unencryptedPorts: [8081], readinessProbe: Probe.withTcp(8080) })
})
await check('tunnels: connect tokens', async () => {
  await within(async (sandbox) => {
    await sandbox.waitUntilReady(20000)
    const { url, token } = await sandbox.createConnectToken({ userMetadata: 'somebody' })
    assert.equal((await get(url)).status, 401)
    assert.deepEqual(await get(url, { Authorization: `Bearer ${token}` }), { status: 200, body: '/ somebody' })
  }, { command: SERVER, readinessProbe: Probe.withTcp(8080) })
})

// ---- Tokens and faults

await check('router: a token that ends is got anew', async () => {
  await settings({ router_token_seconds: 1 })
  try {
    await within(async (sandbox) => {
      const first = await sandbox.exec(['sh', '-c', 'read line; echo "$line"'])
      await until('its end', async () => {
        const entries = await requests('TaskCommandRouter/TaskExecStart')
        if (entries.some((each) => each.grpc_status === '16')) return true
        await (await sandbox.exec(['true'])).wait()
        return false
      })
      await first.stdin.writeText('on\n')
      assert.equal(await first.stdout.readText(), 'on\n')
    })
  } finally {
    await settings({ router_token_seconds: 3600 })
  }
})
if (v2) {
  await check('router: asked for where creating does not tell', async () => {
    await settings({ create_tells_router: false })
    try {
      await within(async (sandbox) => {
        assert.equal(await (await sandbox.exec(['true'])).wait(), 0)
        assert.equal((await requests('ModalClient/SandboxGetCommandRouterAccess')).length, 1)
      })
    } finally {
      await settings({ create_tells_router: true })
    }
  })
}
await check('faults: a stream that is cut goes on where it was', async () => {
  await within(async (sandbox) => {
    const process = await sandbox.exec(['sh', '-c', 'seq 1 50000'])
    await fault('TaskCommandRouter/TaskExecStdioRead', { kind: 'cut', bytes: 50000 }, 2)
    const lines = (await process.stdout.readText()).trimEnd().split('\n')
    assert.deepEqual([lines.length, lines[0], lines.at(-1)], [50000, '1', '50000'])
    const reads = (await requests('TaskCommandRouter/TaskExecStdioRead')).map((each) => JSON.parse(each.body))
    const offsets = reads.filter((each) => each.exec_id === reads.at(-1).exec_id).map((each) => Number(each.offset ?? 0))
    assert.equal(offsets.length, 3)
    assert.ok(offsets[0] === 0 && offsets[1] > 0 && offsets[2] > offsets[1], String(offsets))
  })
})
await check('faults: input that breaks off goes on where it was', async () => {
  await within(async ({ filesystem }) => {
    const data = Uint8Array.from({ length: 2_000_000 }, (_, i) => (i * 13) % 256)
    for (const made of [{ kind: 'grpc_status', grpc_status: 14, message: 'soon' }, { kind: 'drop_after' }]) {
      await requests('TaskCommandRouter/TaskExecStdinStatus')
      await fault('TaskCommandRouter/TaskExecStdinWriteStream', made)
      await filesystem.writeBytes(data, '/tmp/data')
      assert.deepEqual(Buffer.from(await filesystem.readBytes('/tmp/data')), Buffer.from(data))
      assert.equal((await requests('TaskCommandRouter/TaskExecStdinStatus')).length, 1)
    }
  })
})
await check('faults: what is unavailable is tried again, and what is throttled later', async () => {
  await fault(of('SandboxCreate'), { kind: 'grpc_status', grpc_status: 14, message: 'soon' }, 2)
  await fault(of('SandboxCreate'), { kind: 'grpc_status', grpc_status: 8, message: 'slowly', retry_after_milliseconds: 300 })
  const start = Date.now()
  await gone(await create())
  assert.ok(Date.now() - start >= 500)
  const entries = (await requests(of('SandboxCreate'))).slice(-4)
  assert.deepEqual(entries.map((each) => each.grpc_status), ['14', '14', '8', '0'])
})
await check('faults: an answer that breaks off, is no gRPC, or never comes in time', async () => {
  for (const made of [{ kind: 'half' }, { kind: 'garbage' }, { kind: 'status', status: 503 }, { kind: 'drop_before' }]) {
    await fault(of('SandboxTagsGet'), made)
    await within(async (sandbox) => assert.deepEqual(await sandbox.getTags(), {}), {}).catch((error) => {
      assert.ok(made.kind === 'garbage', `${made.kind}: ${error}`)
    })
  }
  await faultsEnd()
})
await check('faults: a token that is sent back in a message', async () => {
  await within(async (sandbox) => {
    await fault(of('SandboxTagsGet'), { kind: 'echo' })
    await thrown(sandbox.getTags(), InvalidError, /ak-/)
  })
})
await check('warnings are told', async () => {
  const told = []
  const logger = { debug() {}, info() {}, error() {}, warn: (message, ...more) => told.push([message, ...more].join(' ')) }
  await settings({ warning: 'old, and soon gone: ü' })
  try {
    await as('valid', { logger, logLevel: 'warn' }).apps.fromName(APP)
  } finally {
    await settings({ warning: '' })
  }
  assert.ok(told.some((each) => each.includes('old, and soon gone: ü')), told.join('\n'))
})
await check('the journal shows messages, and no secrets', async () => {
  await within(async (sandbox) => {
    await (await sandbox.exec(['echo', 'shown'])).wait()
    const { entries } = await admin('GET', 'journal?provider=modal')
    const start = entries.filter((each) => each.route === 'TaskCommandRouter/TaskExecStart').at(-1)
    assert.deepEqual(JSON.parse(start.body).command_args, ['echo', 'shown'])
    assert.match(start.headers.authorization, /^Bearer \S+\.\[router token of ta-\w+\]\.\[router token of ta-\w+\]$/)
    const whole = JSON.stringify(entries)
    for (const key of Object.values(accounts)) for (const part of key.split(':')) assert.ok(!whole.includes(part))
  })
})
await check('what is not served is refused as such', async () => {
  await within(async (sandbox) => {
    const error = await thrown(sandbox.snapshotFilesystem(), Error)
    assert.equal(error.code, 12, String(error))
  })
})
await check('nothing is left behind', async () => assert.deepEqual(await alive(), []))

modal.close()
finish()
