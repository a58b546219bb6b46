// What the JavaScript judges share: cases, the emulator's other side, and requests that are no SDK's.
// `setup` puts it beside each judge's own programs.
import assert from 'node:assert/strict'

const counts = { passed: 0, failed: 0 }

// One case: it passes, or says why not. One that hangs has failed.
export async function check(name, work, seconds = 30) {
  const start = Date.now()
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no end after ${seconds} s`)), seconds * 1000)
  })
  try {
    await Promise.race([work(), late])
    ++counts.passed
    console.log(`ok      ${name} (${Date.now() - start} ms)`)
  } catch (error) {
    ++counts.failed
    console.log(`FAILED  ${name}: ${error?.stack ?? error}`)
  } finally {
    clearTimeout(timer)
  }
}

export function finish() {
  console.log(`${counts.passed} passed, ${counts.failed} failed`)
  process.exit(counts.failed === 0 ? 0 : 1)
}

// What was thrown, of that kind.
export async function thrown(promise, kind, message = /^/) {
  let error
  try {
    await promise
  } catch (caught) {
    error = caught
  }
  assert.ok(error, 'nothing was thrown')
  assert.ok(error instanceof kind, `${error?.constructor?.name} instead of ${kind.name}: ${error?.message}`)
  assert.match(error.message, message)
  return error
}

// Until it holds, which is soon.
export async function until(what, holds) {
  for (let i = 0; i < 1000; ++i) {
    if (await holds()) return
    await new Promise((done) => setTimeout(done, 10))
  }
  assert.fail(`it never came true: ${what}`)
}

// A request of the judge's own, which counts for no SDK.
export function raw(url, { headers, ...rest } = {}) {
  return fetch(url, { ...rest, headers: { 'User-Agent': 'sandkey-judge', ...headers } })
}

export async function admin(method, path, body) {
  const reply = await raw(`${process.env.SANDKEY_EMULATOR_URL}/_emulator/${path}`, {
    method,
    headers: { 'X-Emulator-Key': process.env.SANDKEY_EMULATOR_KEY },
    body: body && JSON.stringify(body),
  })
  const text = await reply.text()
  assert.ok(reply.ok, text)
  return text ? JSON.parse(text) : null
}

export const faultsEnd = () => admin('DELETE', 'faults')
export const alive = async () => (await admin('GET', 'sandboxes')).sandboxes.map((each) => each.id)
export const fail = (id) => admin('POST', `sandboxes/${id}/kill`)

// One cloud of the emulator: its accounts, faults on its routes, and the requests of a route since this was last asked about any.
export async function emulated(provider) {
  let last = 0
  return {
    accounts: (await admin('GET', 'accounts'))[provider],
    fault: (route, made, times = 1) => admin('POST', 'faults', { provider, route, times, fault: made }),
    async requests(route) {
      const { entries } = await admin('GET', `journal?provider=${provider}&since=${last}`)
      if (entries.length > 0) last = entries.at(-1).number
      return entries.filter((each) => each.route === route)
    },
  }
}

export const bytes = (text) => new TextEncoder().encode(text)
export const text = (data) => new TextDecoder().decode(data)
