#!lua flags=allow-oom
-- Gives what a user has another name: counters and records, each with its TTL. Money stays where it is.
--
-- KEYS  holds due, then pairs of an old and a new key
-- ARGV  the new user, the old one in the first run of an erasure (else empty), then for each pair: the new request id of
--       a record, empty for a counter
-- Returns how many of the old keys were there; -1, and nothing is changed, if the old user has open holds in the first run
-- With their last hold users leave the index of those who have any, here and not later: who reserves anew is in it anew.
-- A pair whose old key is gone was renamed before: a repeat goes on where the last run ended. Counters of calls in between
-- are added to those that were renamed then.
-- @include arguments numbers clock sets counters records

-- Puts the new names into a record that has names inside.
local function rename_inside(key, user, request)
  local record = { fields = fields_of(redis.call('GET', key)) }
  if record.fields.request ~= '' then
    record.fields.user, record.fields.request = user, request
    redis.call('SET', key, record_text(record), 'KEEPTTL')
  end
end

-- Adds what a counter has spent; a sum beyond 2^53 in pieces, so that none of it is rounded.
local function add_spend(counter, other)
  local text = stored_spend(other)
  if not other.beyond then
    add(counter, other.spend, 0, 0)
    return
  end
  for _ = 1, tonumber(string.sub(text, 1, -LOW_DIGITS - 1)) do
    add(counter, LOW_UNIT, 0, 0)
  end
  add(counter, tonumber(string.sub(text, -LOW_DIGITS)), 0, 0)
end

-- Adds one counter to another, and the first is gone. What only few have: corrections add up, marks stay set.
local function move_counter(old_key, key)
  local other, counter = load_counter(old_key, {}, false), load_counter(key, {}, false)
  for name, number in pairs(extras_of(other)) do
    local own = extras_of(counter)[name] or 0
    set_extra(counter, name, name == 'adjusted' and own + number or math.max(own, number))
  end
  add_spend(counter, other)
  add(counter, 0, other.held, other.calls)
  sets.rewrite_counter(counter)
  redis.call('DEL', old_key)
end

local function run(run_keys, run_arguments)
  begin(run_keys, run_arguments)
  local holds_key, due_key = next_key(), next_key()
  local user, old_user, found = next_argument(), next_argument(), 0
  if old_user ~= '' then
    if redis.call('ZCARD', holds_key) > 0 then
      return -1
    end
    redis.call('ZREM', due_key, old_user)
  end
  for _ = 1, #run_keys / 2 - 1 do
    local old_key, key, request = next_key(), next_key(), next_argument()
    if redis.call('EXISTS', old_key) == 1 then
      if redis.call('RENAMENX', old_key, key) == 0 then
        move_counter(old_key, key)
      elseif request ~= '' then
        rename_inside(key, user, request)
      end
      found = found + 1
    end
  end
  return found
end
