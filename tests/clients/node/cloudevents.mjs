import { CloudEvent, emitterFor, httpTransport, Mode } from 'cloudevents'
import { scenario } from './scenario.mjs'

// {host, writeKey, options: {mode}, calls}: every call is what a CloudEvent is made of.
const { host, writeKey, options, calls } = scenario()
const emit = emitterFor(httpTransport(`${host}/v1/events`), { mode: Mode[options.mode] })
const headers = { authorization: `Basic ${Buffer.from(`${writeKey}:`).toString('base64')}` }
const answers = []
for (const attributes of calls) {
  const { body } = await emit(new CloudEvent(attributes), { headers })
  answers.push(JSON.parse(body))
}
console.log(JSON.stringify({ answers }))
