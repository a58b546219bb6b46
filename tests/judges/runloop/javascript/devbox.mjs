// Runloop's newest JavaScript SDK drives what is inside a devbox of the emulator, which starts this with its variables.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { APIError, BadRequestError, Runloop, RunloopSDK, toFile } from '@runloop/api-client'
import { alive, check, emulated, fail, finish, thrown, until } from './kit.mjs'
import './localhost.mjs'

const { fault, requests } = await emulated('runloop')

const sdk = new RunloopSDK()
const { devboxes } = sdk.api
const { executions } = devboxes
const once = new Runloop({ maxRetries: 0 })
const devbox = await sdk.devbox.create({ environment_variables: { OUTER: 'yes' } })
const { id, cmd, file } = devbox
const read = async (stream) => {
  const chunks = []
  for await (const each of stream) chunks.push(each)
  return chunks
}
const words = (chunks) => chunks.map((each) => each.output).join('')

// ---- Commands

await check('commands: outputs, status, folder, variables', async () => {
  const done = await cmd.exec('echo out; echo err >&2; pwd; echo $OUTER; whoami; exit 42')
  assert.deepEqual([done.exitCode, done.success, done.failed], [42, false, true])
  assert.equal(await done.stdout(), 'out\n/home/user\nyes\nuser\n')
  assert.equal(await done.stderr(), 'err\n')
  assert.match(done.executionId, /^[0-9a-f]{8}-[0-9a-f]{4}-7/)
  const { devbox_id, status, stdout_truncated } = done.result
  assert.deepEqual([devbox_id, status, stdout_truncated], [id, 'completed', false])
})
await check('commands: quotes, lines, characters, long ones', async () => {
  assert.equal(await (await cmd.exec('x="a b"\ncat <<"E"\n$x \'ü\' 🙂\nE\necho "$x"')).stdout(), '$x \'ü\' 🙂\na b\n')
  const long = 'x'.repeat(200_000)
  assert.equal(await (await cmd.exec(`s=${long}; echo \${#s}`)).stdout(), '200000\n')
  assert.equal((await cmd.exec('no-such-program')).exitCode, 127)
  assert.equal((await cmd.exec('kill -9 $$')).exitCode, 137)
})
await check('commands: twenty at once', async () => {
  const done = await Promise.all(Array.from({ length: 20 }, (_, i) => cmd.exec(`echo ${i}; exit ${i}`)))
  assert.deepEqual(await Promise.all(done.map((each) => each.stdout())), Array.from({ length: 20 }, (_, i) => `${i}\n`))
  assert.deepEqual(done.map((each) => each.exitCode), Array.from({ length: 20 }, (_, i) => i))
})
await check('commands: an id of one’s own makes it once', async () => {
  const command_id = '019a0000-0000-7000-8000-000000000001'
  for (let i = 0; i < 2; ++i) {
    const done = await devboxes.execute(id, { command: 'echo once >> ~/once; wc -l < ~/once', command_id })
    assert.deepEqual([done.execution_id, done.stdout], [command_id, '1\n'])
  }
})
await check('commands: an answer before their end', async () => {
  const begun = await devboxes.execute(id, { command: 'while [ ! -e ~/go ]; do sleep 0.02; done; echo went', optimistic_timeout: 0 })
  assert.deepEqual([begun.status, begun.exit_status, begun.stdout], ['running', undefined, undefined])
  const early = executions.retrieve(id, begun.execution_id)
  assert.equal((await early).status, 'running')
  const wait = { statuses: ['completed'], timeout_seconds: 0 }
  const error = await thrown(once.devboxes.waitForCommand(id, begun.execution_id, wait), APIError, /^408 /)
  assert.equal(error.headers['x-should-retry'], 'true')
  assert.equal((await devboxes.waitForCommand(id, begun.execution_id, { statuses: ['running'] })).status, 'running')
  const waits = executions.awaitCompleted(id, begun.execution_id)
  await cmd.exec('touch ~/go')
  assert.deepEqual([(await waits).stdout, (await waits).exit_status], ['went\n', 0])
  await requests('')
  const slow = await devboxes.executeAndAwaitCompletion(id, { command: 'sleep 0.3; echo slow', optimistic_timeout: 0 })
  assert.equal(slow.stdout, 'slow\n')
  assert.equal((await requests('POST /v1/devboxes/{id}/executions/{execution_id}/wait_for_status')).length, 1)
})
await check('commands: the old way, whole', async () => {
  const done = await devboxes.executeSync(id, { command: 'seq 200; echo e >&2; exit 3', shell_name: 'sync' })
  assert.deepEqual([done.devbox_id, done.exit_status, done.shell_name, done.stderr], [id, 3, 'sync', 'e\n'])
  assert.equal(done.stdout.split('\n').length, 201)
  assert.equal((await executions.executeSync(id, { command: 'echo again' })).stdout, 'again\n')
  const tools = devboxes.tools.shellTools(id)
  assert.match(await tools.execute_command.execute({ command: 'echo tool' }), /"stdout": "tool\\n"/)
})
await check('commands: the last lines, and all of them', async () => {
  const five = await devboxes.execute(id, { command: 'seq 5; seq 3 >&2', last_n: '3' })
  assert.deepEqual([five.stdout, five.stdout_truncated, five.stderr, five.stderr_truncated], ['3\n4\n5\n', true, '1\n2\n3\n', false])
  const many = await cmd.exec('seq 2000; seq 1000 >&2')
  assert.deepEqual([many.result.stdout_truncated, many.result.stderr_truncated], [true, true])
  assert.equal(many.result.stdout.split('\n').length, 101)
  assert.equal(await many.stdout(), Array.from({ length: 2000 }, (_, i) => `${i + 1}\n`).join(''))
  assert.equal((await many.stderr()).split('\n').length, 1001)
  assert.equal(await many.stdout(2), '1999\n2000')
  assert.equal((await executions.retrieve(id, many.executionId, { last_n: '1' })).stdout, '2000\n')
  assert.equal((await devboxes.waitForCommand(id, many.executionId, { statuses: ['completed'], last_n: '2' })).stdout, '1999\n2000\n')
})
await check('commands: what is refused', async () => {
  await thrown(devboxes.executeAsync(id, { command: '' }), BadRequestError)
  await thrown(executions.retrieve(id, 'no-such-execution'), BadRequestError, /was not found/)
  await thrown(devboxes.executeSync(id, { command: 'cat', attach_stdin: true }), BadRequestError)
  await thrown(devboxes.execute(id, { command: 'echo', last_n: 'many' }), BadRequestError)
})

// ---- Streams

await check('streams: as it comes, both outputs', async () => {
  const [out, err, both] = [[], [], []]
  const done = await cmd.exec('for i in 1 2 3; do echo o$i; echo e$i >&2; sleep 0.05; done; exit 4', {
    stdout: (text) => void out.push(text), stderr: (text) => void err.push(text), output: (text) => void both.push(text),
  })
  assert.deepEqual([out.join(''), err.join(''), done.exitCode], ['o1\no2\no3\n', 'e1\ne2\ne3\n', 4])
  assert.equal(both.join('').length, 18)
  let first
  const running = await cmd.execAsync('echo early; while [ ! -e ~/on ]; do sleep 0.02; done; echo late', { stdout: (text) => { first ??= text } })
  await until('its first words', () => first !== undefined)
  assert.equal(first, 'early\n')
  await cmd.exec('touch ~/on')
  const result = await running.result()
  assert.deepEqual([await result.stdout(), running.devboxId, running.executionId], ['early\nlate\n', id, result.executionId])
})
await check('streams: offsets, and an ended one again', async () => {
  const { execution_id } = await devboxes.executeAndAwaitCompletion(id, { command: 'printf "ü-one\\ntwo\\n"; echo err >&2' })
  const whole = await read(await executions.streamStdoutUpdates(id, execution_id))
  assert.equal(words(whole), 'ü-one\ntwo\n')
  assert.equal(whole.at(-1).offset, 11)
  assert.equal(words(await read(await executions.streamStdoutUpdates(id, execution_id, { offset: '7' }))), 'two\n')
  assert.deepEqual(await read(await executions.streamStdoutUpdates(id, execution_id, { offset: '11' })), [])
  assert.equal(words(await read(await executions.streamStderrUpdates(id, execution_id))), 'err\n')
  await thrown(executions.streamStdoutUpdates(id, 'no-such-execution'), BadRequestError)
})
await check('streams: opened again where they went idle', async () => {
  const { execution_id } = await devboxes.executeAndAwaitCompletion(id, { command: 'echo first; echo second' })
  for (const [code, how] of [[408, 'a number'], ['408', 'text']]) {
    const body = `data: {"output":"first\\n","offset":6}\n\n: still there\n\nevent: error\ndata: ${JSON.stringify({ code, message: how })}\n\n`
    await fault('GET /v1/devboxes/{id}/executions/{execution_id}/stream_stdout_updates',
      { kind: 'status', status: 200, headers: { 'Content-Type': 'text/event-stream' }, body })
    await requests('')
    assert.equal(words(await read(await executions.streamStdoutUpdates(id, execution_id))), 'first\nsecond\n')
    const asked = await requests('GET /v1/devboxes/{id}/executions/{execution_id}/stream_stdout_updates')
    assert.deepEqual(asked.map((each) => each.query.replace('?', '')), ['offset=0', 'offset=6'])
  }
  await fault('GET /v1/devboxes/{id}/executions/{execution_id}/stream_stderr_updates',
    { kind: 'status', status: 200, headers: { 'Content-Type': 'text/event-stream' }, body: 'event: error\ndata: {"code":500,"message":"lost"}\n\n' })
  await thrown(executions.streamStderrUpdates(id, execution_id).then(read), APIError, /lost/)
})
await check('streams: megabytes, and characters that are cut', async () => {
  const done = await cmd.exec('head -c 3000000 /dev/zero | tr "\\0" ü; printf "\\xff\\n"')
  const whole = await done.stdout()
  assert.equal(Buffer.byteLength(whole), 3_000_000 + Buffer.byteLength('\ufffd\n') + (whole.match(/\ufffd/g).length - 1) * 2)
}, 60)

// ---- Shells

await check('shells: folder, variables and functions stay, each has its own', async () => {
  const [one, two] = [devbox.shell('one'), devbox.shell('two')]
  await one.exec('cd /tmp; export A="a b"; B=only; f() { echo "f $1"; }')
  const seen = await one.exec('pwd; echo "$A $B"; f x')
  assert.equal(await seen.stdout(), '/tmp\na b only\nf x\n')
  assert.equal(seen.result.shell_name, 'one')
  assert.equal(await (await two.exec('pwd; echo "<$A>"')).stdout(), '/home/user\n<>\n')
  assert.equal((await one.exec('exit 3')).exitCode, 3)
  assert.equal(await (await one.exec('echo "$A"')).stdout(), 'a b\n')
  assert.match(devbox.shell().shellName, /^[0-9a-f-]{36}$/)
})
await check('shells: one after the other', async () => {
  const shell = devbox.shell('turns')
  const first = await shell.execAsync('while [ ! -e ~/turn ]; do sleep 0.02; done; echo 1 >> ~/turns')
  const second = await shell.execAsync('echo 2 >> ~/turns')
  const third = await shell.execAsync('echo 3 >> ~/turns')
  assert.equal((await second.getState()).status, 'queued')
  await third.kill()
  await cmd.exec('touch ~/turn')
  assert.equal((await (await first.result()).exitCode), 0)
  assert.equal((await (await second.result()).exitCode), 0)
  assert.notEqual((await (await third.result()).exitCode), 0)
  assert.equal(await (await cmd.exec('cat ~/turns')).stdout(), '1\n2\n')
})

// ---- Input, ends

await check('input: lines, its end, an interrupt', async () => {
  const cat = await cmd.execAsync('cat; echo end', { attach_stdin: true })
  const send = (body) => executions.sendStdIn(id, cat.executionId, body)
  assert.deepEqual(await send({ text: 'one ü\n' }), { devbox_id: id, execution_id: cat.executionId, success: true })
  await send({ text: 'two\n' })
  // The SDK takes a body that is nothing but `signal` for its own options, and sends none.
  assert.equal((await send({ text: '', signal: 'EOF' })).success, true)
  assert.equal(await (await cat.result()).stdout(), 'one ü\ntwo\nend\n')
  assert.equal((await send({ text: 'late' })).success, false)
  const trap = await cmd.execAsync('trap "echo caught; exit 5" INT; echo ready; while :; do sleep 0.05; done', { attach_stdin: true })
  for await (const each of await executions.streamStdoutUpdates(id, trap.executionId)) {
    if (each.output.includes('ready')) await executions.sendStdIn(id, trap.executionId, { text: '', signal: 'INTERRUPT' })
  }
  const result = await trap.result()
  assert.deepEqual([result.exitCode, await result.stdout()], [5, 'ready\ncaught\n'])
  const deaf = await cmd.execAsync('sleep 30')
  await thrown(executions.sendStdIn(id, deaf.executionId, { text: 'x' }), BadRequestError, /attach_stdin/)
  await thrown(executions.sendStdIn(id, deaf.executionId), BadRequestError)
  await deaf.kill()
})
await check('kill: one, its group, one that has ended', async () => {
  const one = await cmd.execAsync('echo $$; exec sleep 300')
  await one.kill()
  const result = await one.result()
  assert.deepEqual([result.exitCode, result.result.status], [137, 'completed'])
  await one.kill()
  const group = await cmd.execAsync('sleep 301 & echo $! > ~/child; wait')
  await until('its child', async () => (await cmd.exec('test -s ~/child')).success)
  const view = await executions.kill(id, group.executionId, { kill_process_group: true })
  assert.equal(view.status, 'completed')
  await until('its child’s end', async () => !(await cmd.exec('kill -0 $(cat ~/child)')).success)
})

// ---- Files

await check('files: text, both ways', async () => {
  const written = await file.write({ file_path: 'a ü "b".txt', contents: 'one\ntwo ü 🙂\n' })
  assert.deepEqual([written.exit_status, written.devbox_id], [0, id])
  for (const file_path of ['a ü "b".txt', '~/a ü "b".txt', '/home/user/a ü "b".txt']) {
    assert.equal(await file.read({ file_path }), 'one\ntwo ü 🙂\n')
  }
  await file.write({ file_path: '/tmp/json', contents: '{"a": 1}' })
  assert.equal(await file.read({ file_path: '/tmp/json' }), '{"a": 1}') // text stays text
  const large = 'line ü\n'.repeat(50_000)
  await file.write({ file_path: '/tmp/large', contents: large })
  assert.equal(await file.read({ file_path: '/tmp/large' }), large)
  await file.write({ file_path: '/tmp/large', contents: '' })
  assert.equal(await file.read({ file_path: '/tmp/large' }), '')
  assert.equal(await devboxes.tools.fileTools(id).read_file_contents.execute({ file_path: '/tmp/json' }), '{"a": 1}')
})
await check('files: bytes, both ways', async () => {
  const data = Buffer.from(Array.from({ length: 3_000_000 }, (_, i) => i % 251))
  assert.deepEqual(await file.upload({ path: '/tmp/bytes', file: await toFile(data, 'name.bin') }), {})
  assert.ok(Buffer.from(await (await file.download({ path: '/tmp/bytes' })).arrayBuffer()).equals(data))
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'judge-'))
  fs.writeFileSync(path.join(folder, 'up'), 'from a file')
  await devboxes.uploadFile(id, { path: 'deep/er/file', file: fs.createReadStream(path.join(folder, 'up')) })
  fs.rmSync(folder, { recursive: true })
  assert.equal(await (await devboxes.downloadFile(id, { path: '~/deep/er/file' })).text(), 'from a file')
})
await check('files: six large ones at once', async () => {
  const data = Array.from({ length: 6 }, (_, i) => Buffer.alloc(1_500_000 + i, `${i}`))
  await Promise.all(data.map(async (each, i) => file.upload({ path: `/tmp/at-once-${i}`, file: await toFile(each, 'f') })))
  const back = await Promise.all(data.map((_, i) => file.download({ path: `/tmp/at-once-${i}` }).then((reply) => reply.arrayBuffer())))
  assert.ok(back.every((each, i) => Buffer.from(each).equals(data[i])))
})
await check('files: what cannot be', async () => {
  for (const work of [
    () => file.read({ file_path: 'none' }), () => file.download({ path: 'none' }), () => file.read({ file_path: '/tmp' }),
    () => file.read({ file_path: '' }),
  ]) {
    await thrown(work(), BadRequestError)
  }
  for (const file_path of ['/usr/no', 'no/such/folder/file', '/tmp']) {
    const failed = await file.write({ file_path, contents: 'x' })
    assert.notEqual(failed.exit_status, 0, file_path)
    assert.ok(failed.stderr)
  }
  await thrown(file.upload({ path: '/usr/no', file: await toFile(Buffer.from('x'), 'x') }), BadRequestError)
})

// ---- Logs

await check('logs: all, of one command, of one shell', async () => {
  const done = await devbox.shell('logged').exec('echo logged; exit 7')
  const all = (await devbox.logs()).logs
  assert.ok(all.length > 20 && all.every((each) => each.level && each.source && each.timestamp_ms > 0))
  const own = (await devbox.logs({ execution_id: done.executionId })).logs
  assert.deepEqual(own.filter((each) => each.cmd).map((each) => each.cmd), ['echo logged; exit 7'])
  assert.deepEqual([own.at(-1).exit_code, own.at(-1).cmd_id, own.at(-1).source], [7, done.executionId, 'exec'])
  assert.deepEqual((await devboxes.logs.list(id, { shell_name: 'logged' })).logs, own)
})

// ---- Ends

await check('a machine that fails under it', async () => {
  const other = await sdk.devbox.create()
  let begun = false
  const running = await other.cmd.execAsync('echo up; sleep 60', { stdout: () => { begun = true } })
  await until('its start', () => begun)
  const end = running.result().then((result) => result.exitCode, (error) => error)
  await fail(other.id)
  assert.notEqual(await end, 0) // it does not hang
  await thrown(other.cmd.exec('echo'), BadRequestError, /not running/)
})
await check('the end: nothing is left', async () => {
  await devbox.shutdown()
  await thrown(cmd.exec('echo'), BadRequestError, /not running/)
  await thrown(file.read({ file_path: 'x' }), BadRequestError)
  await until('nothing', async () => (await alive()).length === 0)
})
finish()
