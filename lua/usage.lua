#!lua flags=no-writes
-- Reads the counters of a plan for one user. Writes nothing: a zone that is new is shown as it would start.
--
-- KEYS  for the plan: see include/plans.lua, then: holds, and the counters of the plan
-- ARGV  1, the plan (include/plans.lua)
-- Returns { now, open holds, then for each counter: spend held calls seeded }, all as text
-- @include numbers clock arguments counters rules lines plans

local plan = next_plans()[1]
local holds_key = next_key()
local list = load_counters(plan, next_counter_keys(plan))
local reply = { digits(now_ms), digits(redis.call('ZCARD', holds_key)) }
for _, counter in ipairs(list) do
  reply[#reply + 1] = digits(counter.spend)
  reply[#reply + 1] = digits(counter.held)
  reply[#reply + 1] = digits(counter.calls)
  reply[#reply + 1] = counter.seeded and '1' or '0'
end
return reply
