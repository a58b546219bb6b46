// E2B's code interpreter SDK for JavaScript against the interpreter of the emulator's sandboxes.
import assert from 'node:assert/strict'
import { InvalidArgumentError, Sandbox, SandboxError, TimeoutError } from '@e2b/code-interpreter'
import { alive, check, fail, finish, thrown, until } from './kit.mjs'

const sandbox = await Sandbox.create({ envs: { COLOUR: 'blue' }, timeoutMs: 600_000 })
const run = (code, options) => sandbox.runCode(code, options)

await check('results and what was printed', async () => {
  const execution = await run('import sys\nfor i in range(3): print(i)\nprint("e", file=sys.stderr)\n6 * 7')
  assert.equal(execution.text, '42')
  assert.equal(execution.error, undefined)
  assert.equal(execution.logs.stdout.join(''), '0\n1\n2\n')
  assert.equal(execution.logs.stderr.join(''), 'e\n')
  assert.equal(execution.results.length, 1)
  assert.equal(execution.results[0].isMainResult, true)
  assert.ok(execution.executionCount >= 1)
}, 60)
await check('what one run leaves, the next one has', async () => {
  await run('x = [1, 2]')
  assert.equal((await run('x')).text, '[1, 2]')
  assert.equal((await run('"text"')).text, 'text')
  assert.equal((await run('y = 1')).text, undefined)
})
await check('errors', async () => {
  const { error, results } = await run('def f():\n  return 1 / 0\nf()')
  assert.equal(error.name, 'ZeroDivisionError')
  assert.equal(error.value, 'division by zero')
  assert.match(error.traceback, /line 2/)
  assert.deepEqual(results, [])
  assert.equal((await run('1 +')).error.name, 'SyntaxError')
})
await check('told as it comes', async () => {
  const seen = []
  await run('import time, sys\nprint("a")\ntime.sleep(0.1)\nprint("b", file=sys.stderr)\n3', {
    onStdout: (out) => void seen.push(out.line), onStderr: (out) => void seen.push(`E${out.line}`),
    onResult: (result) => void seen.push(result.text), onError: (error) => void seen.push(error.name),
  })
  assert.deepEqual(seen, ['a\n', 'Eb\n', '3'])
})
await check('more than text', async () => {
  const { results } = await run('from IPython.display import HTML, Markdown, JSON, display\ndisplay(HTML("<b>"))\ndisplay(JSON({"a": 1}))\nMarkdown("# m")')
  assert.equal(results.length, 3)
  assert.equal(results[0].html, '<b>')
  assert.equal(results[0].isMainResult, false)
  assert.deepEqual(results[1].json, { a: 1 })
  assert.equal(results[2].markdown, '# m')
  assert.equal(results[2].isMainResult, true)
})
await check('contexts', async () => {
  const context = await sandbox.createCodeContext({ cwd: '/tmp' })
  assert.deepEqual([context.cwd, context.language], ['/tmp', 'python'])
  assert.equal((await run('import os; os.getcwd()', { context })).text, '/tmp')
  await run('q = 5', { context })
  assert.equal((await run('q')).error.name, 'NameError') // each has its own
  assert.ok((await sandbox.listCodeContexts()).some((each) => each.id === context.id))
  await sandbox.restartCodeContext(context)
  assert.equal((await run('q', { context })).error.name, 'NameError')
  await sandbox.removeCodeContext(context)
  assert.ok(!(await sandbox.listCodeContexts()).some((each) => each.id === context.id))
  await thrown(run('1', { context }), Error, /not found/i)
  await thrown(run('1', { context, language: 'python' }), InvalidArgumentError)
}, 60)
await check('variables of the sandbox, and of one run', async () => {
  assert.equal((await run('import os; os.environ["COLOUR"]')).text, 'blue')
  assert.equal((await run('os.environ["A"]', { envs: { A: 'b' } })).text, 'b')
  assert.equal((await run('os.environ.get("A", "gone")')).text, 'gone')
})
await check('files and commands beside it', async () => {
  await sandbox.files.write('data.txt', 'from a file')
  assert.equal((await run('open("data.txt").read()')).text, 'from a file')
  await run('open("made.txt", "w").write("by a cell")')
  assert.equal((await sandbox.commands.run('cat made.txt')).stdout, 'by a cell')
})
await check('time that runs out interrupts', async () => {
  await thrown(run('import time; time.sleep(30)', { timeoutMs: 500 }), TimeoutError)
  const start = Date.now()
  assert.equal((await run('"alive"')).text, 'alive')
  assert.ok(Date.now() - start < 4000) // it was the client's leaving that ended it
})
await check('a language that is not there', async () => {
  await thrown(run('1', { language: 'r' }), SandboxError)
})
await check('a sandbox that dies under it', async () => {
  const other = await Sandbox.create()
  await other.runCode('1')
  let started = false
  const end = other.runCode('print("up", flush=True)\nimport time; time.sleep(60)', { onStdout: () => void (started = true) })
    .then(() => null, (error) => error)
  await until('its start', () => started)
  await fail(other.sandboxId)
  assert.ok((await end) instanceof TimeoutError, String(await end))
  await thrown(other.runCode('1'), Error)
}, 60)
await check('paused and resumed, its state is kept', async () => {
  await run('kept = "state"')
  await sandbox.pause()
  const again = await Sandbox.connect(sandbox.sandboxId)
  assert.equal((await again.runCode('kept')).text, 'state')
})
await check('the end', async () => {
  assert.equal(await sandbox.kill(), true)
  assert.deepEqual(await alive(), [])
})
finish()
