#!lua flags=allow-oom
-- Gives what a user has another name, each key with its TTL: records in as many runs as there must be, then all counters
-- in one, which ends the erasure. Until then calls find the counters under the old name, and correct or add to them, so
-- that an erasure that is cut off anywhere has lost nothing and is gone on with. Money stays where it is.
--
-- KEYS  erasing holds due events, then pairs of an old and a new key: of records, or of all counters
-- ARGV  the new user, the old user, "records" or "counters", then for each pair: the new request id of the record, or the
--       text that the counter had before the last records were looked for; with counters then the fields of the event
--       that tells of the erasure, names and values in turn
-- Returns { "done", how many of the old keys were there }, or, and then nothing is changed:
--   { "held" }      calls of the user are held
--   { "changed" }   a counter has another text: a call came since, and its record is still to be renamed
--   { "ended" }     the erasure that gives this name has been ended by another who went on with it
-- A record whose old key is gone was renamed before, or has expired.
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

local function rename_records(user)
  local found = 0
  for _ = 1, #keys / 2 - 2 do
    local old_key, key, request = next_key(), next_key(), next_argument()
    if redis.call('EXISTS', old_key) == 1 then
      redis.call('RENAME', old_key, key)
      rename_inside(key, user, request)
      found = found + 1
    end
  end
  return { 'done', found }
end

-- All of them or none: those of a window in several zones, and days and their month, always tell the same calls.
local function rename_counters()
  local pairs_of_keys = {}
  for index = 1, #keys / 2 - 2 do
    local old_key, key = next_key(), next_key()
    if redis.call('GET', old_key) ~= next_argument() then
      return { 'changed' }
    end
    pairs_of_keys[index] = { old_key, key }
  end
  for _, pair in ipairs(pairs_of_keys) do
    local old_key, key = pair[1], pair[2]
    if redis.call('RENAMENX', old_key, key) == 0 then -- somebody has that name already
      move_counter(old_key, key)
    end
  end
  return { 'done', #pairs_of_keys }
end

-- With their last hold users leave the index of those who have any, here and not later: who reserves anew is in it anew.
local function end_erasure(erasing_key, due_key, stream, old_user)
  redis.call('ZREM', due_key, old_user)
  redis.call('XADD', stream, '*', unpack(arguments, argument_cursor + 1))
  redis.call('DEL', erasing_key)
end

local function run(run_keys, run_arguments)
  begin(run_keys, run_arguments)
  local erasing_key, holds_key, due_key, stream = next_key(), next_key(), next_key(), next_key()
  local user, old_user, what = next_argument(), next_argument(), next_argument()
  if redis.call('GET', erasing_key) ~= user then
    return { 'ended' }
  end
  if redis.call('ZCARD', holds_key) > 0 then
    return { 'held' }
  end
  if what == 'records' then
    return rename_records(user)
  end
  local answer = rename_counters()
  if answer[1] == 'done' then
    end_erasure(erasing_key, due_key, stream, old_user)
  end
  return answer
end
