import { setTimeout } from 'node:timers/promises'
import RudderAnalytics from '@rudderstack/rudder-sdk-node'
import { Calls, scenario } from './scenario.mjs'

const { host, writeKey, options, calls } = scenario()
const analytics = new RudderAnalytics(writeKey, {
  dataPlaneUrl: host,
  logLevel: 'none',
  // Its errors reach the calls' own callbacks; without this they would end the process.
  errorHandler: () => {},
  ...options,
})
const made = new Calls(analytics, calls)
while (made.open > 0) {
  await analytics.flush()
  await setTimeout(5)
}
made.answer()
// The SDK's timer for the next batch would keep the process.
process.exit(0)
