#!lua flags=no-writes
-- Reads the counters of a frame for one user. Writes nothing: a zone that is new is shown as it would start.
--
-- KEYS  for the frame: see include/frames.lua, then: its counters, and holds
-- ARGV  1, the frame (include/frames.lua)
-- Returns { now, open holds, then for each counter: spend held calls seeded }, all as text
-- @include arguments numbers clock sets counters frames

local function run(run_keys, run_arguments)
  begin(run_keys, run_arguments)
  read_ahead(1)
  read_frames()
  local frame, holds_key = frames[1], next_holds_key()
  local list = load_counters(frame, skip_counter_keys(frame))
  local reply = { now_text, digits(redis.call('ZCARD', holds_key)) }
  for _, counter in ipairs(list) do
    reply[#reply + 1] = digits(counter.spend)
    reply[#reply + 1] = digits(counter.held)
    reply[#reply + 1] = digits(counter.calls)
    reply[#reply + 1] = counter.seeded and '1' or '0'
  end
  return reply
end
