#!lua flags=no-writes
-- Reads the counters of a plan for one user. Writes nothing: a zone that is new is shown as it would start.
--
-- KEYS  for the plan: see include/plans.lua, then: the counters of the plan, and holds
-- ARGV  1, the plan (include/plans.lua)
-- Returns { now, open holds, then for each counter: spend held calls seeded }, all as text
-- @include arguments numbers clock counters rules lines plans

local function run(run_keys, run_arguments)
  begin(run_keys, run_arguments)
  read_ahead(1)
  read_plans()
  local plan, holds_key = plans[1], next_holds_key()
  local list = load_counters(plan, skip_counter_keys(plan))
  local reply = { now_text, digits(redis.call('ZCARD', holds_key)) }
  for _, counter in ipairs(list) do
    reply[#reply + 1] = digits(counter.spend)
    reply[#reply + 1] = digits(counter.held)
    reply[#reply + 1] = digits(counter.calls)
    reply[#reply + 1] = counter.seeded and '1' or '0'
  end
  return reply
end
