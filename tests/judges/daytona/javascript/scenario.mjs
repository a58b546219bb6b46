// The scenario of compare.py by Daytona's JavaScript SDK: the same steps as client_scenario.cpp, answered in the same way.
import { ApiKeysApi } from '@daytona/api-client'
import { Daytona } from '@daytonaio/sdk'
import { play } from './player.mjs'

const sid = process.argv[2]
const name = `sandkey-${sid}`
const AGENT_PORT = 49990
let daytona
let sandbox

const states = { started: 'running', stopped: 'paused' }
const steps = {
  async authenticate() {
    daytona = new Daytona({ useDeprecatedPolling: true })
    await new ApiKeysApi(daytona.clientConfig).getCurrentApiKey()
    return true
  },
  async create() {
    sandbox = await daytona.create({
      name, labels: { sandkey: 'true', 'sandkey-sid': sid }, envVars: { COLOUR: 'blue' }, networkBlockAll: true,
      autoStopInterval: 5, autoArchiveInterval: 60, autoDeleteInterval: 0,
    })
    return sandbox.id
  },
  find: async () => [(await daytona.get(name)).id],
  async list() {
    const ids = []
    for await (const each of daytona.list({ labels: { sandkey: 'true' } })) ids.push(each.id)
    return ids
  },
  async describe() {
    const { state, snapshot, createdAt, lastActivityAt, autoStopInterval } = await daytona.get(sandbox.id)
    const seconds = Math.round((new Date(lastActivityAt) - new Date(createdAt)) / 1000) + 60 * autoStopInterval
    return { state: states[state], template: snapshot, seconds }
  },
  async timeout() {
    await sandbox.setAutostopInterval(10)
    await sandbox.refreshActivity()
    return true
  },
  async pause() {
    await sandbox.setAutoDeleteInterval(7 * 24 * 60)
    await sandbox.stop()
    return true
  },
  async 'pause-again'() {
    await sandbox.setAutoDeleteInterval(7 * 24 * 60)
    await sandbox.refreshData()
    return sandbox.state === 'stopped'
  },
  async resume() {
    await sandbox.start()
    await sandbox.setAutoDeleteInterval(0)
    return true
  },
  async attach() {
    sandbox = await new Daytona({ useDeprecatedPolling: true }).get(sandbox.id)
    await sandbox.getPreviewLink(AGENT_PORT)
    return true
  },
  async port() {
    const { url, token } = await sandbox.getPreviewLink(8000)
    return { url, headers: { 'X-Daytona-Preview-Token': token } }
  },
  async 'commands-and-upload'() {
    await sandbox.process.executeCommand('echo absent', undefined, { KEY: 'value' }, 60)
    await sandbox.fs.uploadFile(Buffer.from('the agent'), '.sandkey/agent.part')
    await sandbox.process.executeCommand('echo started', undefined, { KEY: 'value' }, 60)
    return true
  },
  async kill() {
    await sandbox.delete()
    return true
  },
  async 'kill-again'() {
    for (;;) {
      const status = await sandbox.delete().then(() => 200, (error) => error.statusCode)
      if (status !== 409) return status === 404
    }
  },
}

await play(steps)
