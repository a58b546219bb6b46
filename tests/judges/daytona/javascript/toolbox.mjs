// Daytona's newest JavaScript SDK inside a sandbox of the emulator: processes, sessions, code, terminals, files, Git.
import assert from 'node:assert/strict'
import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { ComputerUseApi } from '@daytona/toolbox-api-client'
import {
  Daytona, DaytonaBadRequestError, DaytonaConflictError, DaytonaConnectionError, DaytonaError, DaytonaFileNotFoundError, DaytonaGoneError,
  DaytonaInternalServerError, DaytonaLspServerNotInitializedError, DaytonaNotFoundError, DaytonaServiceUnavailableError,
  DaytonaTimeoutError,
} from '@daytonaio/sdk'
import { alive, check, emulated, fail, finish, raw, text, thrown, until } from './kit.mjs'

const { accounts } = await emulated('daytona')
const daytona = new Daytona({ useDeprecatedPolling: true })
const sandbox = await daytona.create({ envVars: { COLOUR: 'blue' } })
const { codeInterpreter, git, process: processes } = sandbox
const run = (...rest) => processes.executeCommand(...rest)
const home = await sandbox.getUserHomeDir()

// ---- Commands

await check('info: home, and where commands start', async () => {
  assert.equal(home, '/home/daytona')
  const workDir = await sandbox.getWorkDir()
  assert.equal((await run('pwd')).result.trimEnd(), workDir)
})
await check('commands: output of both kinds, merged, and how it ended', async () => {
  const done = await run('echo out; echo err >&2; exit 3')
  assert.deepEqual([done.exitCode, done.result.trimEnd(), done.artifacts.stdout], [3, 'out\nerr', done.result])
  assert.equal((await run('echo $COLOUR $A', undefined, { A: 'x y"$' })).result.trimEnd(), 'blue x y"$')
  assert.equal((await run('pwd', '/tmp')).result.trimEnd(), '/tmp')
  assert.equal((await run('false')).exitCode, 1)
  assert.equal((await run('no-such-program')).exitCode, 127)
  assert.equal((await run('printf one\nprintf two')).result, 'onetwo')
  assert.equal((await run('head -c 2000000 /dev/zero | tr "\\0" x')).result.length, 2_000_000)
  assert.equal((await run('whoami')).result.trimEnd(), 'daytona')
})
await check('commands: what cannot be run', async () => {
  assert.equal((await run('pwd', '/nowhere')).exitCode, -1)
  await thrown(run(''), DaytonaBadRequestError)
  await thrown(run('env', undefined, { 'not a name': 'x' }), DaytonaBadRequestError)
})
await check('commands: time runs out', async () => {
  const error = await thrown(run('echo out; sleep 60', undefined, undefined, 1), DaytonaTimeoutError)
  assert.equal(error.statusCode, 408)
  assert.equal((await run('pgrep -x sleep || echo none')).result.trimEnd(), 'none')
})
await check('commands: variables for all that come', async () => {
  await sandbox.updateEnv({ SHADE: 'dark' }, { unset: ['COLOUR'] })
  assert.equal((await run('echo "<$COLOUR|$SHADE>"')).result.trimEnd(), '<|dark>')
  await sandbox.updateEnv({ COLOUR: 'blue' }, { unset: ['SHADE'] })
  assert.equal((await run('echo "<$COLOUR|$SHADE>"')).result.trimEnd(), '<blue|>')
})
await check('info: how busy it is', async () => {
  const metrics = await sandbox.getMetricsLatest()
  assert.ok(metrics.cpuCount > 0 && metrics.memTotal > 0 && metrics.memUsed > 0 && metrics.diskTotal > 0, JSON.stringify(metrics))
})
await check('commands: many at once', async () => {
  const done = await Promise.all(Array.from({ length: 20 }, (_, i) => run(`sleep 0.0${i % 5}; echo ${i}`)))
  assert.deepEqual(done.map((each) => each.result.trimEnd()), done.map((_, i) => `${i}`))
})
await check('code: run, with arguments and variables', async () => {
  const done = await processes.codeRun('import sys, os\nprint(6 * 7, os.environ["A"])\nprint("e", file=sys.stderr)\nsys.exit(4)', { env: { A: 'b' } })
  assert.deepEqual([done.exitCode, done.result.trimEnd().split('\n').sort()], [4, ['42 b', 'e']])
  assert.deepEqual((await processes.codeRun('import sys; print(sys.argv[1:])', { argv: ['one', 'two'] })).result.trimEnd(), "['one', 'two']")
  const failed = await processes.codeRun('1/0')
  assert.equal(failed.exitCode, 1)
  assert.match(failed.result, /ZeroDivisionError/)
  await thrown(processes.codeRun('import time; time.sleep(60)', undefined, 1), DaytonaTimeoutError)
})
await check('code: charts are artifacts, and no output', async () => {
  const chart = { type: 'line', title: 'T', png: 'aGk=', elements: [] }
  const done = await processes.codeRun(`print("before")\nprint('dtn_artifact_k39fd2:' + ${JSON.stringify(JSON.stringify({ type: 'chart', value: chart }))})\nprint("after")`)
  assert.equal(done.result.trimEnd(), 'before\nafter')
  assert.deepEqual(done.artifacts.charts.map((each) => [each.type, each.title, each.png]), [['line', 'T', 'aGk=']])
})

// ---- Sessions

await check('sessions: one shell for all its commands, and what each said', async () => {
  await processes.createSession('s')
  await thrown(processes.createSession('s'), DaytonaConflictError)
  const execute = (command, more) => processes.executeSessionCommand('s', { command, ...more })
  const first = await execute('cd /tmp && export B=c; echo out; echo err >&2')
  assert.deepEqual([first.exitCode, first.stdout.trimEnd(), first.stderr.trimEnd()], [0, 'out', 'err'])
  assert.ok(first.cmdId)
  assert.equal((await execute('pwd; echo $B')).stdout.trimEnd(), '/tmp\nc')
  assert.equal((await execute('(exit 5)')).exitCode, 5)
  const logs = await processes.getSessionCommandLogs('s', first.cmdId)
  assert.deepEqual([logs.stdout.trimEnd(), logs.stderr.trimEnd()], ['out', 'err'])
  const command = await processes.getSessionCommand('s', first.cmdId)
  assert.deepEqual([command.id, command.exitCode], [first.cmdId, 0])
  const session = await processes.getSession('s')
  assert.equal(session.sessionId, 's')
  assert.equal(session.commands.length, 3)
  assert.deepEqual((await processes.listSessions()).map((each) => each.sessionId), ['s'])
  await processes.deleteSession('s')
  await thrown(processes.getSession('s'), DaytonaNotFoundError)
  await thrown(execute('echo'), DaytonaNotFoundError)
  await thrown(processes.deleteSession('s'), DaytonaNotFoundError)
})
await check('sessions: in the background, followed as it speaks', async () => {
  await processes.createSession('f')
  const { cmdId, exitCode } = await processes.executeSessionCommand('f', {
    command: 'for i in 1 2 3; do echo o$i; echo e$i >&2; sleep 0.05; done; (exit 6)', runAsync: true,
  })
  assert.equal(exitCode ?? null, null)
  let out = ''
  let err = ''
  await processes.getSessionCommandLogs('f', cmdId, (chunk) => void (out += chunk), (chunk) => void (err += chunk))
  assert.deepEqual([out, err], ['o1\no2\no3\n', 'e1\ne2\ne3\n'])
  assert.equal((await processes.getSessionCommand('f', cmdId)).exitCode, 6)
  const silent = await processes.executeSessionCommand('f', { command: 'true', runAsync: true })
  await processes.getSessionCommandLogs('f', silent.cmdId, () => assert.fail('it said nothing'), () => {})
  await processes.deleteSession('f')
})
await check('sessions: input', async () => {
  await processes.createSession('i')
  const { cmdId } = await processes.executeSessionCommand('i', { command: 'read a; read b; echo "<$a|$b>"', runAsync: true, suppressInputEcho: true })
  await processes.sendSessionCommandInput('i', cmdId, 'one')
  assert.equal((await processes.getSessionCommand('i', cmdId)).exitCode ?? null, null)
  await processes.sendSessionCommandInput('i', cmdId, 'two ü')
  await until('its end', async () => (await processes.getSessionCommand('i', cmdId)).exitCode === 0)
  assert.equal((await processes.getSessionCommandLogs('i', cmdId)).stdout.trimEnd(), '<one|two ü>')
  await thrown(processes.sendSessionCommandInput('i', cmdId, 'late'), DaytonaGoneError)
  await processes.deleteSession('i')
})
await check('sessions: deleted with what runs in them', async () => {
  await processes.createSession('d')
  await processes.executeSessionCommand('d', { command: 'sleep 4321', runAsync: true })
  await until('its start', async () => (await run('pgrep -f "sleep 432[1]"')).exitCode === 0)
  await processes.deleteSession('d')
  await until('its end', async () => (await run('pgrep -f "sleep 432[1]"')).exitCode !== 0)
})
await check('sessions: that of the entrypoint', async () => {
  const entrypoint = await processes.getEntrypointSession()
  assert.equal(entrypoint.sessionId, 'entrypoint')
  assert.equal(typeof (await processes.getEntrypointLogs()).output, 'string')
  await thrown(processes.createSession('entrypoint'), DaytonaBadRequestError)
})

// ---- The code interpreter

await check('interpreter: output as it comes, and what one run leaves the next one has', async () => {
  const seen = []
  const done = await codeInterpreter.runCode('import sys\nx = 5\nprint("a")\nprint("b", file=sys.stderr)', {
    onStdout: ({ output }) => void seen.push(output), onStderr: ({ output }) => void seen.push(`E${output}`),
  })
  assert.deepEqual([done.stdout, done.stderr, done.error], ['a\n', 'b\n', undefined])
  assert.deepEqual(seen.join(''), 'a\nEb\n')
  assert.equal((await codeInterpreter.runCode('print(x * 2)')).stdout, '10\n')
  assert.equal((await codeInterpreter.runCode('import os; print(os.environ["Q"])', { envs: { Q: 'r' } })).stdout, 'r\n')
  assert.equal((await codeInterpreter.runCode('print(os.environ.get("Q"))')).stdout, 'None\n')
})
await check('interpreter: errors', async () => {
  const told = []
  const { error } = await codeInterpreter.runCode('def f():\n  return 1 / 0\nf()', { onError: (each) => void told.push(each.name) })
  assert.deepEqual([error.name, error.value, told], ['ZeroDivisionError', 'division by zero', ['ZeroDivisionError']])
  assert.match(error.traceback, /line 2/)
  assert.equal((await codeInterpreter.runCode('1 +')).error.name, 'SyntaxError')
})
await check('interpreter: contexts', async () => {
  const context = await codeInterpreter.createContext('/tmp')
  assert.deepEqual([context.cwd, context.language, context.active], ['/tmp', 'python', true])
  assert.equal((await codeInterpreter.runCode('import os; print(os.getcwd())', { context })).stdout, '/tmp\n')
  assert.equal((await codeInterpreter.runCode('x', { context })).error.name, 'NameError') // each has its own
  assert.deepEqual((await codeInterpreter.listContexts()).map((each) => each.id), [context.id])
  await codeInterpreter.deleteContext(context)
  assert.deepEqual(await codeInterpreter.listContexts(), [])
  await thrown(codeInterpreter.runCode('1', { context }), DaytonaConnectionError)
  await thrown(codeInterpreter.deleteContext(context), DaytonaNotFoundError)
  await thrown(codeInterpreter.deleteContext({ id: 'default' }), DaytonaBadRequestError)
})
await check('interpreter: time runs out', async () => {
  const context = await codeInterpreter.createContext()
  // A cell that lets itself be interrupted ends for this SDK as one that is done, before the close code comes.
  assert.deepEqual(await codeInterpreter.runCode('while True: pass', { context, timeout: 1 }), { stdout: '', stderr: '' })
  assert.equal((await codeInterpreter.runCode('print("alive")', { context })).stdout, 'alive\n')
  const stubborn = 'import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass'
  await thrown(codeInterpreter.runCode(stubborn, { context, timeout: 1 }), DaytonaTimeoutError)
  await codeInterpreter.deleteContext(context)
})

// ---- Terminals

await check('terminals: size, variables, input, another size, how it ended', async () => {
  const said = []
  const terminal = await processes.createPty({
    id: 't', cols: 91, rows: 33, cwd: '/tmp', envs: { T: 'ü v' }, onData: (data) => void said.push(...data),
  })
  const heard = () => text(Uint8Array.from(said))
  await terminal.sendInput('stty size; pwd; echo "<$T>"\n')
  await until('its words', () => /33 91\r?\n\/tmp\r?\n<ü v>/.test(heard()))
  assert.equal((await terminal.resize(120, 40)).cols, 120)
  await terminal.sendInput('stty size\n')
  await until('the other size', () => heard().includes('40 120'))
  const info = await processes.getPtySessionInfo('t')
  assert.deepEqual([info.id, info.cols, info.rows, info.active, info.cwd], ['t', 120, 40, true, '/tmp'])
  assert.deepEqual((await processes.listPtySessions()).map((each) => each.id), ['t'])
  await thrown(processes.createPty({ id: 't', onData() {} }), DaytonaConnectionError)
  await terminal.sendInput('exit 3\n')
  assert.equal((await terminal.wait()).exitCode, 3)
  await until('its end', async () => (await processes.listPtySessions()).length === 0)
  await thrown(processes.resizePtySession('t', 80, 24), DaytonaGoneError)
})
await check('terminals: left, connected to by another, killed', async () => {
  const first = await processes.createPty({ id: 'u', onData() {} })
  await first.disconnect()
  const said = []
  const second = await processes.connectPty('u', { onData: (data) => void said.push(...data) })
  await second.sendInput('echo still $((40 + 2))\n')
  await until('its words', () => text(Uint8Array.from(said)).includes('still 42'))
  await second.kill()
  assert.notEqual((await second.wait()).exitCode, 0)
  await thrown(processes.getPtySessionInfo('u'), DaytonaNotFoundError)
  await thrown(processes.killPtySession('u'), DaytonaNotFoundError)
  await thrown(processes.connectPty('u', { onData() {} }), DaytonaConnectionError)
})

// ---- Files

const files = sandbox.fs
await check('files: up and down, of every kind', async () => {
  await files.uploadFile(Buffer.from('hello ü'), 'a/b ü.txt')
  assert.equal(`${await files.downloadFile('a/b ü.txt')}`, 'hello ü')
  assert.equal((await run(`cat '${home}/a/b ü.txt'`)).result, 'hello ü')
  const large = Buffer.from(Array.from({ length: 3_000_000 }, (_, i) => i % 251))
  await files.uploadFile(large, '/tmp/large')
  assert.ok((await files.downloadFile('/tmp/large')).equals(large))
  await files.uploadFile(Buffer.from('short'), '/tmp/large')
  assert.equal(`${await files.downloadFile('/tmp/large')}`, 'short')
  await files.uploadFiles([{ source: Buffer.from('1'), destination: 'm/1' }, { source: Buffer.from('two'), destination: '/tmp/m/2' }])
  const [one, two, none] = await files.downloadFiles([{ source: 'm/1' }, { source: '/tmp/m/2' }, { source: 'm/none' }])
  assert.deepEqual([`${one.result}`, `${two.result}`, none.result], ['1', 'two', undefined])
  assert.deepEqual([none.errorDetails.statusCode, none.errorDetails.code ?? none.errorDetails.errorCode], [404, 'FILE_NOT_FOUND'])
  const here = await fs.mkdtemp(path.join(os.tmpdir(), 'judge-'))
  await fs.writeFile(path.join(here, 'up'), 'from a file')
  await files.uploadFile(path.join(here, 'up'), 'from')
  await files.downloadFile('from', path.join(here, 'down'))
  assert.equal(await fs.readFile(path.join(here, 'down'), 'utf8'), 'from a file')
  await fs.rm(here, { recursive: true })
})
await check('files: as streams', async () => {
  const sent = []
  await files.uploadFileStream(Readable.from([Buffer.from('one '), Buffer.from('two')]), 'stream', { onProgress: ({ bytesSent }) => void sent.push(bytesSent) })
  assert.equal(sent.at(-1), 7)
  const got = []
  const stream = await files.downloadFileStream('stream', { onProgress: (progress) => void got.push(progress) })
  assert.equal(`${await buffer(stream)}`, 'one two')
  assert.deepEqual(got.at(-1), { bytesReceived: 7, totalBytes: 7 })
  await thrown(files.downloadFileStream('none'), DaytonaNotFoundError)
})
await check('files: what is not there, or is no file', async () => {
  await thrown(files.downloadFile('none'), DaytonaFileNotFoundError)
  await thrown(files.downloadFile('/tmp'), DaytonaError)
  await thrown(files.getFileDetails('none'), DaytonaNotFoundError)
  await thrown(files.listFiles('none'), DaytonaNotFoundError)
  await thrown(files.deleteFile('none'), DaytonaNotFoundError)
  await thrown(files.uploadFile(Buffer.from('x'), '/usr/no'), DaytonaError)
})
await check('files: folders, listed, looked at', async () => {
  await files.createFolder('l/x/y', '755')
  await files.uploadFile(Buffer.from('22'), 'l/f')
  const listed = await files.listFiles('l')
  assert.deepEqual(listed.map((each) => [each.name, each.isDir]).sort(), [['f', false], ['x', true]])
  const deep = await files.listFiles('l', { depth: 2 })
  assert.equal(deep.length, 3)
  const info = await files.getFileDetails('l/f')
  assert.deepEqual([info.name, info.size, info.isDir, info.permissions, info.mode], ['f', 2, false, '0644', '-rw-r--r--'])
  assert.ok(Math.abs(new Date(info.modifiedAt) - Date.now()) < 60_000)
  await files.setFilePermissions('l/f', { mode: '600' })
  assert.equal((await files.getFileDetails('l/f')).permissions, '0600')
  await thrown(files.setFilePermissions('l/none', { mode: '600' }), DaytonaNotFoundError)
})
await check('files: moved and deleted', async () => {
  await files.uploadFile(Buffer.from('1'), 'v/from')
  await files.uploadFile(Buffer.from('2'), 'v/taken')
  await files.moveFiles('v/from', 'v/to')
  assert.equal(`${await files.downloadFile('v/to')}`, '1')
  await thrown(files.downloadFile('v/from'), DaytonaNotFoundError)
  await thrown(files.moveFiles('v/to', 'v/taken'), DaytonaConflictError)
  await thrown(files.moveFiles('v/to', 'v/no/such/folder'), DaytonaNotFoundError)
  await files.deleteFile('v/to')
  await thrown(files.deleteFile('v'), DaytonaBadRequestError)
  await files.deleteFile('v', true)
  await thrown(files.listFiles('v'), DaytonaNotFoundError)
})
await check('files: searched, found in, replaced in', async () => {
  await files.uploadFiles(['one.txt', 'two.txt', 'three.md'].map((name) => ({ source: Buffer.from(`head\nneedle.* in ${name}\n`), destination: `q/d/${name}` })))
  const { files: found } = await files.searchFiles('q', '*.txt')
  assert.deepEqual(found.map((each) => path.basename(each)).sort(), ['one.txt', 'two.txt'])
  const matches = await files.findFiles('q', 'needle.*')
  assert.deepEqual(matches.map((each) => [path.basename(each.file), each.line]).sort(), [['one.txt', 2], ['three.md', 2], ['two.txt', 2]])
  assert.match(matches[0].content, /needle\.\* in /)
  const replaced = await files.replaceInFiles(['q/d/one.txt', 'q/d/none'], 'needle.*', 'pin')
  assert.deepEqual(replaced.map((each) => each.success), [true, false])
  assert.equal(`${await files.downloadFile('q/d/one.txt')}`, 'head\npin in one.txt\n')
})
await check('files: signed addresses', async () => {
  await files.uploadFile(Buffer.from('signed'), 's ü+.txt')
  const down = await sandbox.downloadUrl('s ü+.txt')
  assert.equal(await (await raw(down)).text(), 'signed')
  const up = await sandbox.uploadUrl('up.txt', 60)
  assert.equal((await raw(up, { method: 'POST', body: 'sent', headers: { 'Content-Type': 'application/octet-stream' } })).status, 200)
  assert.equal(`${await files.downloadFile('up.txt')}`, 'sent')
  assert.equal((await raw(down.replace('v1_', 'v1_x'))).status, 401)
  assert.equal((await raw(down, { method: 'POST', body: 'x' })).ok, false)
  await sandbox.rotateSigningKey()
  assert.equal((await raw(down)).status, 401)
  assert.equal(await (await raw(await sandbox.downloadUrl('s ü+.txt'))).text(), 'signed')
})

// ---- Git

await check('git: a repository of its own, branches, history, and a clone', async () => {
  await run(`git config --global init.defaultBranch main && git init --bare ${home}/origin.git && git clone ${home}/origin.git ${home}/made`)
  await files.uploadFile(Buffer.from('1\n'), 'made/file')
  const before = await git.status('made')
  assert.deepEqual(before.fileStatus.map((each) => [each.name, each.worktree]), [['file', 'Untracked']])
  await git.add('made', ['file'])
  const { sha } = await git.commit('made', 'First', 'A B', 'a@b.example')
  assert.match(sha, /^[0-9a-f]{40}$/)
  const { currentBranch, fileStatus } = await git.status('made')
  assert.deepEqual([currentBranch, fileStatus ?? []], ['main', []])
  await git.push('made')
  await git.createBranch('made', 'side')
  assert.deepEqual((await git.branches('made')).branches.sort(), ['main', 'side'])
  await git.checkoutBranch('made', 'side')
  assert.equal((await git.status('made')).currentBranch, 'side')
  await git.checkoutBranch('made', 'main')
  await git.deleteBranch('made', 'side')
  assert.deepEqual((await git.branches('made')).branches, ['main'])
  await git.clone(`${home}/origin.git`, 'cloned', 'main')
  assert.equal(`${await files.downloadFile('cloned/file')}`, '1\n')
  await git.pull('cloned')
  await thrown(git.clone(`${home}/no-such.git`, 'again'), DaytonaError)
  await thrown(git.status('no-such'), DaytonaError)
}, 60)

await check('git: made, configured, restored, reset', async () => {
  await git.init('own', false, 'trunk')
  assert.equal((await git.status('own')).currentBranch, 'trunk')
  await git.configureUser('N M', 'n@m.example', 'local', 'own')
  assert.equal(await git.getConfig('user.name', 'local', 'own'), 'N M')
  await git.setConfig('core.pager', 'cat', 'local', 'own')
  assert.equal(await git.getConfig('core.pager', 'local', 'own'), 'cat')
  await git.remoteAdd('own', 'origin', `${home}/origin.git`)
  assert.equal(await git.remoteGet('own', 'origin'), `${home}/origin.git`)
  await files.uploadFile(Buffer.from('1\n'), 'own/f')
  await git.add('own', ['f'])
  await git.commit('own', 'First', 'A B', 'a@b.example')
  await files.uploadFile(Buffer.from('2\n'), 'own/f')
  await git.restore('own', ['f'])
  assert.equal(`${await files.downloadFile('own/f')}`, '1\n')
  await files.uploadFile(Buffer.from('3\n'), 'own/f')
  await git.add('own', ['f'])
  await git.reset('own', 'hard')
  assert.equal(`${await files.downloadFile('own/f')}`, '1\n')
  await git.dangerouslyAuthenticate('somebody', 'secret', 'git.example')
})

// ---- What is not there

await check('a desktop, and language servers', async () => {
  for (const name of Object.getOwnPropertyNames(ComputerUseApi.prototype).filter((each) => each !== 'constructor')) {
    await thrown(sandbox.computerUse.apiClient[name](1, 1, 1, 1), DaytonaServiceUnavailableError, /not available/)
  }
  const server = await sandbox.createLspServer('python', 'own')
  await thrown(server.start(), DaytonaInternalServerError, /executable file not found/)
  for (const work of [
    () => server.didOpen('own/f'), () => server.didClose('own/f'), () => server.documentSymbols('own/f'), () => server.sandboxSymbols('x'),
    () => server.completions('own/f', { line: 0, character: 0 }), () => server.stop(),
  ]) {
    await thrown(work(), DaytonaLspServerNotInitializedError)
  }
})

// ---- Whose it is

await check('another’s key, and one that is none', async () => {
  for (const account of ['second', 'unknown']) {
    const reply = await raw(`${sandbox.toolboxProxyUrl}/${sandbox.id}/work-dir`, { headers: { Authorization: `Bearer ${accounts[account]}` } })
    assert.equal(reply.status, 401, account)
  }
  const { token } = await sandbox.getPreviewLink(2280)
  const reply = await raw(`${sandbox.toolboxProxyUrl}/${sandbox.id}/work-dir`, { headers: { 'x-daytona-preview-token': token } })
  assert.equal(reply.status, 200)
})
await check('a machine that fails under it', async () => {
  const other = await daytona.create()
  await other.process.createSession('s')
  const { cmdId } = await other.process.executeSessionCommand('s', { command: 'echo up; sleep 60', runAsync: true })
  let started = false
  const end = other.process.getSessionCommandLogs('s', cmdId, () => void (started = true), () => {}).then(() => null, (error) => error)
  await until('its start', () => started)
  await fail(other.id)
  await end // it does not hang
  await thrown(other.process.executeCommand('echo'), DaytonaError)
}, 60)
await check('the end: nothing is left', async () => {
  await sandbox.delete(60, true)
  await thrown(run('echo'), DaytonaError)
  await until('nothing', async () => (await alive()).length === 0)
})
finish()
