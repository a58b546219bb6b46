// The scenario of compare.py by Runloop's JavaScript SDK: the same steps as client_scenario.cpp, answered in the same way.
import { RunloopSDK, toFile } from '@runloop/api-client'
import { play } from './player.mjs'

const sid = process.argv[2]
const LEASE = 5 * 60
let sdk
let devbox

const states = { running: 'running', suspended: 'paused' }
const named = async (wanted) => {
  const ids = []
  for await (const each of sdk.api.devboxes.list({ limit: 500, include_total_count: false })) {
    const ended = ['shutdown', 'failure'].includes(each.status)
    if (!ended && Object.entries(wanted).every(([name, value]) => each.metadata[name] === value)) ids.push(each.id)
  }
  return ids
}
const steps = {
  async authenticate() {
    sdk = new RunloopSDK()
    await sdk.api.accounts.me()
    return true
  },
  async create() {
    const { id } = await sdk.api.devboxes.create({
      name: `sandkey-${sid}`, environment_variables: { COLOUR: 'blue' }, metadata: { sandkey: 'true', 'sandkey-sid': sid },
      launch_parameters: { after_idle: { idle_time_seconds: LEASE, on_idle: 'shutdown' } },
      tunnel: { auth_mode: 'authenticated', http_keep_alive: false },
    })
    devbox = sdk.devbox.fromId(id)
    return id
  },
  find: () => named({ 'sandkey-sid': sid }),
  list: async () => (await named({ sandkey: 'true' })).reverse(),
  async describe() {
    const { status, launch_parameters, blueprint_id } = await devbox.getInfo()
    return { state: states[status], template: blueprint_id ?? '', seconds: launch_parameters.after_idle.idle_time_seconds }
  },
  async timeout() {
    await devbox.keepAlive()
    return true
  },
  async pause() {
    await devbox.suspend()
    await devbox.awaitSuspended()
    return true
  },
  'pause-again': () => steps.pause(),
  async resume() {
    await devbox.resume()
    return true
  },
  async attach() {
    sdk = new RunloopSDK()
    devbox = sdk.devbox.fromId(devbox.id)
    await devbox.getTunnel()
    return true
  },
  async port() {
    const { tunnel_key, auth_token } = await devbox.getTunnel()
    const { port } = new URL(process.env.RUNLOOP_BASE_URL)
    return {
      url: `http://8000-${tunnel_key}.tunnel.localhost:${port}`,
      headers: { 'X-Runloop-Tunnel-Authorization': `Bearer ${auth_token}` },
    }
  },
  async 'commands-and-upload'() {
    const upload = async (path) => devbox.file.upload({ path, file: await toFile(Buffer.from('content'), 'file') })
    await upload('.sandkey-script')
    await devbox.cmd.exec('sh ~/.sandkey-script')
    await upload('.sandkey/agent.part')
    await upload('.sandkey-script')
    await devbox.cmd.exec('sh ~/.sandkey-script')
    return true
  },
  async kill() {
    await devbox.shutdown()
    return true
  },
  'kill-again': () => steps.kill(),
}

await play(steps)
