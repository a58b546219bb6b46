// One vendor's SDK, called as its users call it: node_sdk.cjs e2b|daytona|runloop IN_FLIGHT REQUESTS URL
// With 0 REQUESTS one call and nothing else, for timing the whole process.
// Prints the same JSON as transport_bench. NODE_PATH names the folder the SDKs are in.
const [sdk, inFlight, requests, url] = [process.argv[2], +process.argv[3], +process.argv[4], process.argv[5]];
const hex = '0123456789abcdef0123456789abcdef01234567';

const calls = {
  e2b() {
    const { Sandbox } = require('e2b');
    return () => Sandbox.list({ apiKey: 'e2b_' + hex, apiUrl: url }).nextItems();
  },
  daytona() {
    const { Daytona } = require('@daytonaio/sdk');
    const daytona = new Daytona({ apiKey: 'dtn_' + hex, apiUrl: url + '/api', useDeprecatedPolling: true });
    return () => daytona.get('i1');
  },
  runloop() {
    const Runloop = require('@runloop/api-client').default;
    const client = new Runloop({ bearerToken: 'ak_' + hex, baseURL: url, http2: false });
    return () => client.devboxes.retrieve('dbx_1');
  },
};

async function main() {
  const call = calls[sdk]();
  if (requests === 0) {
    await call();
    process.exit(0);
  }
  const latencies = [];
  const run = async (count) => {
    latencies.length = 0;
    let left = count;
    const worker = async () => {
      while (left-- > 0) {
        const sent = process.hrtime.bigint();
        await call();
        latencies.push(Number(process.hrtime.bigint() - sent) / 1000);
      }
    };
    await Promise.all(Array.from({ length: inFlight }, worker));
  };
  await run(Math.max(300, inFlight * 4));
  const cpu = process.cpuUsage();
  const began = process.hrtime.bigint();
  await run(requests);
  const wall = Number(process.hrtime.bigint() - began) / 1e9;
  const used = process.cpuUsage(cpu);
  latencies.sort((a, b) => a - b);
  const at = (share) => latencies[Math.floor(share * (latencies.length - 1))];
  console.log(JSON.stringify({
    client: sdk, in_flight: inFlight, requests, per_second: requests / wall,
    cpu_us: (used.user + used.system) / requests, p50_us: at(0.5), p99_us: at(0.99),
  }));
  process.exit(0);
}

main().catch((error) => {
  console.error(String(error && error.stack || error));
  process.exit(1);
});
