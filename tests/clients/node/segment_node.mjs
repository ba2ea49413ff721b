import { Analytics } from '@segment/analytics-node'
import { Calls, scenario } from './scenario.mjs'

const { host, writeKey, options, calls } = scenario()
const analytics = new Analytics({ host, writeKey, ...options })
const made = new Calls(analytics, calls)
await analytics.closeAndFlush({ timeout: 60_000 })
made.answer()
