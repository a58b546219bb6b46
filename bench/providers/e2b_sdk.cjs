// E2B's SDK for Node, as its users call it: e2b_sdk.cjs OPERATION TIMES, both and the output as of e2b_bench; with 0
// TIMES once and nothing else, for timing the whole process. NODE_PATH names the folder the SDK is in.
const [operation, times] = [process.argv[2], +process.argv[3]];
const { Sandbox } = require('e2b');

const operations = {
  async create(timed) {
    let sandbox;
    await timed(async () => {
      sandbox = await Sandbox.create('sandkey');
      await sandbox.commands.run('true');
    });
    await sandbox.kill();
  },
  async list(timed) {
    await timed(async () => {
      if ((await Sandbox.list().nextItems()).length === 0) throw new Error('the list is empty');
    });
  },
};

function peakMemory() {
  const status = require('fs').readFileSync('/proc/self/status', 'utf8');
  return +/VmHWM:\s*(\d+)/.exec(status)[1] / 1024;
}

async function main() {
  const once = operations[operation];
  let wall = [];
  let cpu = 0;
  const timed = async (work) => {
    const used = process.cpuUsage();
    const began = process.hrtime.bigint();
    await work();
    wall.push(Number(process.hrtime.bigint() - began) / 1e6);
    const { user, system } = process.cpuUsage(used);
    cpu += (user + system) / 1000;
  };
  await once(timed);
  if (times === 0) process.exit(0);
  [wall, cpu] = [[], 0];
  for (let i = 0; i < times; ++i) await once(timed);
  wall.sort((a, b) => a - b);
  console.log(JSON.stringify({ wall_ms: wall[wall.length >> 1], cpu_ms: cpu / times, memory_mb: peakMemory() }));
  process.exit(0);
}

main().catch((error) => {
  console.error(String(error && error.stack || error));
  process.exit(1);
});
