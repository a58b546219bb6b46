// The SDK's side of the comparison on the wire: told the names of steps, says of each on one line, as JSON, what came of it.
import readline from 'node:readline'

export async function play(steps) {
  for await (const step of readline.createInterface({ input: process.stdin })) {
    let said
    try {
      said = { value: await steps[step]() }
    } catch (error) {
      said = { error: String(error?.stack ?? error) }
    }
    console.log(JSON.stringify(said))
  }
}
