// What the programs here share: a scenario comes in as JSON, and the last line that they print is JSON again.
import { readFileSync } from 'node:fs'

// {host, writeKey, options, calls}; every call is a message after Segment's specification with its `type`.
export function scenario() {
  const given = JSON.parse(readFileSync(0, 'utf8'))
  for (const call of given.calls) {
    if (call.timestamp !== undefined) call.timestamp = new Date(call.timestamp)
  }
  return given
}

// Calls the SDK as a product would: analytics.track({userId, event, properties}, callback).
export class Calls {
  delivered = 0
  errors = []

  constructor(analytics, calls) {
    this.made = calls.length
    for (const { type, ...message } of calls) {
      analytics[type](message, (error) => {
        if (error) this.errors.push(String(error.reason ?? error.message ?? error.code ?? error))
        else this.delivered += 1
      })
    }
  }

  get open() {
    return this.made - this.delivered - this.errors.length
  }

  answer() {
    console.log(JSON.stringify({ delivered: this.delivered, errors: this.errors }))
  }
}
