-- Counters of users and totals of tiers: hashes with `spend` and `held` (nano-USD), `calls`, `seeded`, the `calendar`
-- that made them, and the marks of thresholds. Each is read once a script, changed in memory, and written at the end,
-- so that a script that fails has written nothing.
local counters = {} -- by key
local touched = {} -- those to write, in the order of their first change

-- Returns the counter under `key`; `code` is its window ("day:<start>:<end>", Unix seconds).
local function load_counter(key, code, calendar)
  local counter = counters[key]
  if counter then
    return counter
  end
  local stored = redis.call('HMGET', key, 'spend', 'held', 'calls', 'seeded')
  counter = {
    key = key,
    code = code,
    calendar = calendar,
    exists = stored[1] and true or false,
    spend = number_of(stored[1]),
    held = number_of(stored[2]),
    calls = number_of(stored[3]),
    seeded = stored[4] == '1',
    delta = 0, -- the change of spend since it was last written
    marks = {},
  }
  counters[key] = counter
  return counter
end

local function load_total(key, code)
  local total = load_counter(key, code, nil)
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
-- limit in the new zone must not be passed by them. The previous window's counter proves that it was counted before: then nothing of `source` belongs here. Repeated
-- until something is written, because `source` may change meanwhile.
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

-- Adds to a counter. Below zero only after a loss of data: then it is held at zero, and the audit tells.
local function add(counter, spend, held, calls)
  if not counter.touched then
    counter.touched = true
    touched[#touched + 1] = counter
  end
  if counter.delta + spend > MAX_EXACT then
    redis.call('HINCRBY', counter.key, 'spend', digits(counter.delta))
    counter.delta, counter.written_through = 0, true
  end
  counter.delta = counter.delta + spend
  counter.spend = math.max(0, counter.spend + spend)
  counter.held = math.max(0, counter.held + held)
  counter.calls = math.max(0, counter.calls + calls)
end

local function write_counter(counter)
  local fields = { 'calls', digits(counter.calls) }
  if not counter.is_total then
    fields[3], fields[4] = 'held', digits(counter.held)
  end
  -- Beyond 2^53 a double is no longer exact, but HINCRBY is.
  local beyond = counter.written_through or counter.spend > MAX_EXACT
  if not beyond then
    fields[#fields + 1] = 'spend'
    fields[#fields + 1] = digits(counter.spend)
  end
  if counter.seeded and not counter.exists then
    fields[#fields + 1] = 'seeded'
    fields[#fields + 1] = '1'
  end
  if counter.calendar and not counter.exists then
    fields[#fields + 1] = 'calendar'
    fields[#fields + 1] = counter.calendar
  end
  for field, mark in pairs(counter.marks) do
    if mark.changed then
      fields[#fields + 1] = field
      fields[#fields + 1] = digits(mark.pct + (mark.limit_seen and 1000 or 0))
    end
  end
  redis.call('HSET', counter.key, unpack(fields))
  if beyond then
    redis.call('HINCRBY', counter.key, 'spend', digits(counter.delta))
  end
  if not counter.exists then
    redis.call('PEXPIRE', counter.key, window_ttl_ms(counter.code))
  end
end

local function write_counters()
  for _, counter in ipairs(touched) do
    write_counter(counter)
  end
end
