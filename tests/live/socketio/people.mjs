// People with the unmodified socket.io-client, led by tests/live/socketio_people.py: one JSON line for each thing that
// they are to do comes in, one for each thing that happens to them goes out.

import http from 'node:http'
import https from 'node:https'
import { createInterface } from 'node:readline'
import { io } from 'socket.io-client'

const sockets = new Map()

const tell = (happened) => process.stdout.write(`${JSON.stringify(happened)}\n`)

const revive = (_key, value) => (value?.base64 === undefined ? value : Buffer.from(value.base64, 'base64'))

const deeds = {
  connect({ who, url, options: { namespace = '/', localAddress, ...options } }) {
    const { Agent } = url.startsWith('https:') ? https : http
    const agent = localAddress && new Agent({ localAddress, keepAlive: true })
    const socket = io(url + namespace, { forceNew: true, reconnection: false, agent, ...options })
    sockets.set(who, socket)
    socket.on('connect', () => tell({ who, what: 'connect', transport: socket.io.engine.transport.name }))
    socket.on('connect_error', (error) =>
      tell({ who, what: 'connect_error', message: error.message, data: error.data, status: error.description }),
    )
    socket.on('disconnect', (reason, details) =>
      tell({ who, what: 'disconnect', reason, code: details?.context?.code, name: details?.context?.reason }),
    )
    socket.io.on('reconnect', () => tell({ who, what: 'reconnect' }))
    socket.io.on('open', () => socket.io.engine.on('upgrade', (to) => tell({ who, what: 'upgrade', to: to.name })))
    socket.onAny((event, ...args) => tell({ who, what: 'event', event, args }))
  },
  emit({ who, event, args, call }) {
    const acked = call === undefined ? [] : [(...answers) => tell({ who, what: 'ack', call, args: answers })]
    sockets.get(who).emit(event, ...args, ...acked)
  },
  flood({ who, event, args, times }) {
    for (let n = 0; n < times; n += 1) sockets.get(who).emit(event, ...args)
  },
  drop({ who }) {
    sockets.get(who).io.engine.close()
  },
  disconnect({ who }) {
    sockets.get(who).disconnect()
  },
}

for await (const line of createInterface({ input: process.stdin })) {
  const { deed, ...rest } = JSON.parse(line, revive)
  deeds[deed](rest)
}
process.exit(0)
