-- Counters of users and totals of tiers: hashes with `spend` and `held` (nano-USD), `calls`, `seeded`, the `calendar`
-- that made them, and the marks of thresholds. Each is read once a run, changed in memory, and written at the end,
-- so that a run that fails has written nothing.
local counters -- by key
local touched -- those to write, in the order of their first change
local new_totals -- the keys of tier totals that this run makes
local flush_all_totals -- include/plans.lua; before a total is lessened, it must have what calls of this run added

at_begin(function()
  counters, touched, new_totals = {}, {}, {}
end)

-- Returns the counter under `key`; `window` has its `code` ("day:<start>:<end>", Unix seconds) and, where it may have
-- to be made, its `calendar`. What only few have (`seeded`, `marks`, `beyond`, `parts`) is not there for the others:
-- a small table is made much faster than a large one.
local function load_counter(key, window)
  local counter = counters[key]
  if counter then
    return counter
  end
  local stored = redis.call('HMGET', key, 'spend', 'held', 'calls', 'seeded')
  local spend = tonumber(stored[1])
  counter = {
    key = key,
    window = window,
    exists = spend ~= nil,
    spend = spend or 0,
    held = tonumber(stored[2]) or 0,
    calls = tonumber(stored[3]) or 0,
    delta = 0, -- the change of spend since it was last written
    touched = false,
  }
  if stored[4] == '1' then
    counter.seeded = true
  end
  if counter.spend > MAX_EXACT then
    counter.beyond = true -- a double is no longer exact: only HINCRBY writes it
  end
  counters[key] = counter
  return counter
end

local function load_total(key, window)
  local total = load_counter(key, window)
  total.is_total = true
  return total
end

local function was_counted(key)
  local counter = counters[key]
  if counter and counter.touched then
    return true
  end
  return redis.call('EXISTS', key) == 1
end

-- A zone that was never counted for this user starts from the workspace's counter `source` of the same window type.
-- What is held there counts as spent here: those holds will be settled on the windows of their reserve only, and a
-- limit in the new zone must not be passed by them. The previous window's counter proves that the zone was counted
-- before: then nothing of `source` belongs here. Repeated until something is written, because `source` may change.
local function seed_counter(counter, source, previous_key)
  if counter.exists or counter.touched then
    return
  end
  if counter.fresh_zone == nil then
    counter.fresh_zone = not was_counted(previous_key)
  end
  if counter.fresh_zone and (source.spend > 0 or source.calls > 0) then
    counter.spend, counter.calls, counter.seeded = source.spend + source.held, source.calls, true
    counter.delta = counter.spend
  end
end

-- Returns a sum that does not go below zero. It would only after a loss of data: the audit tells.
local function plus(number, change)
  local sum = number + change
  return sum < 0 and 0 or sum
end

-- Returns how far below zero a counter's spend may go: as far as it is, or as an operator has credited. A hold that was
-- charged, credited and then settled for less leaves a credit that is the user's.
local function lowest_spend(counter)
  return math.min(0, counter.spend, number_of(redis.call('HGET', counter.key, 'adjusted')))
end

local function add(counter, spend, held, calls)
  if not counter.touched then
    counter.touched = true
    touched[#touched + 1] = counter
  end
  if counter.delta + spend > MAX_EXACT then
    counter.parts = counter.parts or {}
    counter.parts[#counter.parts + 1] = counter.delta
    counter.delta, counter.beyond = 0, true
  end
  counter.delta = counter.delta + spend
  local sum = counter.spend + spend
  counter.spend = sum < 0 and math.max(sum, lowest_spend(counter)) or sum
  counter.calls = plus(counter.calls, calls)
  if held ~= 0 then
    counter.held = plus(counter.held, held)
    counter.held_changed = true
  end
end

-- Writes what a counter has only now and then: its origin, and the marks that changed.
local function write_rare_fields(counter)
  if not counter.exists then
    if counter.seeded then
      redis.call('HSET', counter.key, 'seeded', '1')
    end
    if counter.window.calendar then
      redis.call('HSET', counter.key, 'calendar', counter.window.calendar)
    end
    redis.call('PEXPIRE', counter.key, window_ttl_ms(counter.window.code))
    if counter.is_total then
      new_totals[#new_totals + 1] = counter.key
    end
  end
  for field, mark in pairs(counter.marks or {}) do
    if mark.changed then
      redis.call('HSET', counter.key, field, digits(mark.pct + (mark.limit_seen and 1000 or 0)))
    end
  end
end

local function write_counter(counter)
  if counter.beyond or counter.spend > MAX_EXACT then
    for _, part in ipairs(counter.parts or {}) do
      redis.pcall('HINCRBY', counter.key, 'spend', digits(part))
    end
    redis.pcall('HINCRBY', counter.key, 'spend', digits(counter.delta))
    redis.call('HSET', counter.key, 'calls', digits(counter.calls), 'held', digits(counter.held))
  elseif counter.is_total or (counter.exists and not counter.held_changed) then
    redis.call('HSET', counter.key, 'spend', counter.spend, 'calls', counter.calls)
  else
    redis.call('HSET', counter.key, 'spend', counter.spend, 'held', counter.held, 'calls', counter.calls)
  end
  if counter.marks or not counter.exists then
    write_rare_fields(counter)
  end
  if counter.adjusted then
    redis.pcall('HINCRBY', counter.key, 'adjusted', digits(counter.adjusted))
  end
end

local function write_counters()
  for _, counter in ipairs(touched) do
    write_counter(counter)
  end
end
