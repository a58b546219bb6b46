// A vendor's SDK for Node, as its users call it: sdk.cjs PROVIDER OPERATION TIMES, all and the output as of provider_bench;
// with 0 TIMES once and nothing else, for timing the whole process. NODE_PATH names the folder the SDK is in.
const [provider, operation, times] = [process.argv[2], process.argv[3], +process.argv[4]];

const notEmpty = (list) => {
  if (list.length === 0) throw new Error('the list is empty');
};

const clouds = {
  e2b() {
    const { Sandbox } = require('e2b');
    return {
      async create() {
        const sandbox = await Sandbox.create('sandkey');
        await sandbox.commands.run('true');
        return sandbox;
      },
      end: (sandbox) => sandbox.kill(),
      list: async () => notEmpty(await Sandbox.list().nextItems()),
    };
  },
  daytona() {
    const { Daytona } = require('@daytonaio/sdk');
    const daytona = new Daytona();
    return {
      async create() {
        const sandbox = await daytona.create({ snapshot: 'sandkey' });
        await sandbox.process.executeCommand('true');
        return sandbox;
      },
      end: (sandbox) => sandbox.delete(),
      async list() {
        const found = [];
        for await (const one of daytona.list({ limit: 100 })) found.push(one);
        notEmpty(found);
      },
    };
  },
  runloop() {
    const { Runloop } = require('@runloop/api-client');
    const runloop = new Runloop();
    return {
      async create() {
        const devbox = await runloop.devboxes.createAndAwaitRunning({ blueprint_name: 'sandkey' });
        await runloop.devboxes.executeSync(devbox.id, { command: 'true' });
        return devbox;
      },
      end: (devbox) => runloop.devboxes.shutdown(devbox.id),
      list: async () => notEmpty((await runloop.devboxes.list({ status: 'running', limit: 100 })).devboxes),
    };
  },
  modal() {
    const { ModalClient } = require('modal');
    const modal = new ModalClient();
    let app;
    let image;
    return {
      async begin() {
        app = await modal.apps.fromName('sandkey', { createIfMissing: true });
        image = await modal.images.fromRegistry('sandkey').build(app);
      },
      async create() {
        const sandbox = await modal.sandboxes.create(app, image, { command: ['sleep', '3600'] });
        const command = await sandbox.exec(['true']);
        await command.wait();
        return sandbox;
      },
      end: (sandbox) => sandbox.terminate(),
      async list() {
        const found = [];
        for await (const one of modal.sandboxes.list({ appId: app.appId })) found.push(one);
        notEmpty(found);
      },
    };
  },
};

function peakMemory() {
  const status = require('fs').readFileSync('/proc/self/status', 'utf8');
  return +/VmHWM:\s*(\d+)/.exec(status)[1] / 1024;
}

async function main() {
  const cloud = clouds[provider]();
  await cloud.begin?.();
  const operations = {
    async create(timed) {
      let made;
      await timed(async () => { made = await cloud.create(); });
      await cloud.end(made);
    },
    list: (timed) => timed(cloud.list),
  };
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
