// Names below .localhost are this machine: not every system's resolver knows that.
import dns from 'node:dns'

const lookup = dns.lookup
dns.lookup = (name, options, done) => lookup(/\.localhost$/.test(name) ? '127.0.0.1' : name, options, done)
