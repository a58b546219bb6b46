// The scenario of compare.py by E2B's JavaScript SDK: the same steps as client_scenario.cpp, answered in the same way.
import { Sandbox } from 'e2b'
import './localhost.mjs'
import { play } from './player.mjs'

const sid = process.argv[2]
const metadata = { sandkey: 'true', 'sandkey-sid': sid }
let sandbox

const find = async (filter) =>
  (await Sandbox.list({ query: { metadata: filter }, order: 'asc' }).nextItems()).map((each) => each.sandboxId)

const steps = {
  async authenticate() {
    await Sandbox.list({ query: { state: ['running'] }, limit: 1 }).nextItems()
    return true
  },
  async create() {
    sandbox = await Sandbox.create('base', {
      metadata, envs: { COLOUR: 'blue' }, allowInternetAccess: false, timeoutMs: 300_000, network: { allowPublicTraffic: false },
    })
    return sandbox.sandboxId
  },
  find: () => find({ 'sandkey-sid': sid }),
  list: () => find({ sandkey: 'true' }),
  async describe() {
    const info = await sandbox.getInfo()
    return { state: info.state, template: info.name, seconds: Math.round((info.endAt - info.startedAt) / 1000) }
  },
  async timeout() {
    await sandbox.setTimeout(600_000)
    return true
  },
  pause: () => sandbox.pause(),
  'pause-again': () => sandbox.pause(),
  async resume() {
    await sandbox.connect({ timeoutMs: 300_000 })
    return true
  },
  async attach() {
    sandbox = await Sandbox.connect(sandbox.sandboxId, { timeoutMs: 1000 })
    return true
  },
  async port() {
    return { url: `https://${sandbox.getHost(8000)}`, headers: { 'E2B-Traffic-Access-Token': sandbox.trafficAccessToken } }
  },
  async 'commands-and-upload'() {
    const options = { envs: { KEY: 'value' }, timeoutMs: 0 }
    await sandbox.commands.run('echo absent', options)
    await sandbox.files.write('.sandkey/agent.part', 'the agent', { gzip: true })
    await sandbox.commands.run('echo started', options)
    return true
  },
  kill: () => sandbox.kill(),
  'kill-again': () => sandbox.kill(),
}

await play(steps)
