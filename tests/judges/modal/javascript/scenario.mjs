// The scenario of compare.py by Modal's JavaScript SDK: the same steps as client_scenario.cpp, answered in the same way.
import { ModalClient } from 'modal'
import { play } from './player.mjs'

const sid = process.argv[2]
const name = `sandkey-${sid}`
const AGENT_PORT = 49990
let modal
let app
let image
let sandbox

const every = async (iterable) => {
  const found = []
  for await (const each of iterable) found.push(each)
  return found
}
const run = async (command) => {
  const process = await sandbox.exec(command)
  const [said] = await Promise.all([process.stdout.readText(), process.stderr.readText(), process.wait()])
  return said
}

const steps = {
  async authenticate() {
    modal = new ModalClient({ logLevel: 'error' })
    await modal.cpClient.tokenInfoGet({})
    return true
  },
  async create() {
    app = await modal.apps.fromName('sandkey', { createIfMissing: true })
    image = await modal.images.fromRegistry('python:3.12-slim-bookworm').build(app)
    sandbox = await modal.sandboxes.create(app, image, {
      name, tags: { sandkey: 'true' }, env: { COLOUR: 'blue' }, command: ['sh', '-c', 'sleep 86400'], encryptedPorts: [AGENT_PORT],
      timeoutMs: 24 * 3600 * 1000, idleTimeoutMs: 3600 * 1000, outboundCidrAllowlist: [],
    })
    return sandbox.sandboxId
  },
  find: async () => [(await modal.sandboxes.fromName('sandkey', name)).sandboxId],
  list: async () => (await every(modal.sandboxes.list({ appId: app.appId, tags: { sandkey: 'true' } }))).map((each) => each.sandboxId),
  async describe() {
    const tags = await sandbox.getTags()
    await every(modal.sandboxes.list({ appId: app.appId, tags }))
    return { state: 'running', template: image.imageId, seconds: 86400 }
  },
  async attach() {
    modal = new ModalClient({ logLevel: 'error' })
    await modal.cpClient.tokenInfoGet({})
    sandbox = await modal.sandboxes.fromId(sandbox.sandboxId)
    await sandbox.tunnels()
    await run(['sh', '-c', 'printf %s "$COLOUR"'])
    return true
  },
  async port() {
    const { url, token } = await sandbox.createConnectToken({ port: 8000 })
    return { url, headers: { Authorization: `Bearer ${token}` } }
  },
  async 'commands-and-upload'() {
    await run(['sh', '-c', 'uname -m'])
    const process = await sandbox.exec(['sh', '-c', 'cat >/tmp/agent'])
    await process.stdin.writeText('agent')
    await process.closeStdin()
    await Promise.all([process.stdout.readText(), process.stderr.readText(), process.wait()])
    await run(['sh', '-c', 'true'])
    return true
  },
  async kill() {
    await sandbox.terminate({ wait: true })
    return true
  },
  async 'kill-again'() {
    await sandbox.terminate({ wait: true })
    return true
  },
}
await play(steps)
