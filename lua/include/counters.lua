-- Counters of users and totals of tiers. Each is one text, so that all of a batch are read with one MGET:
--   spend held calls calendar           joined by spaces; nano-USD, and the calendar that made it (a total has none)
--   0x1E name 0x1D number, repeated     what only few have: `seeded`, `adjusted` (the sum of corrections), and the marks
--                                       of thresholds (include/rules.lua)
-- Each is read once a run, changed in memory, and written at the end, so that a run that fails has written nothing.
-- ledger/counter_text.py reads it too.
local counters -- by key
local touched -- those to write, in the order of their first change
local touched_count
local new_totals -- the keys of tier totals that this run makes
local flush_all_totals -- include/frames.lua; before a total is lessened, it must have what calls of this run added

at_begin(function()
  counters, touched, touched_count, new_totals = {}, {}, 0, {}
end)

-- Returns what only few counters have, by name, as numbers.
local function extras_of(counter)
  local extras = counter.extras
  if not extras then
    extras = {}
    for name, number in string.gmatch(counter.rest, '\30([^\29]*)\29([^\30]*)') do
      extras[name] = tonumber(number)
    end
    counter.extras = extras
  end
  return extras
end

local function set_extra(counter, name, number)
  extras_of(counter)[name] = number
  counter.extras_changed = true
end

-- Makes a counter of its text. What only few have (`seeded`, `beyond`, `extras`) is not there for the others: a table of
-- eight is made much faster than a larger one.
local function parse_counter(key, window, text)
  local spend, held, calls, rest = string.match(text, '^([^ ]*) ([^ ]*) ([^ ]*)(.*)$')
  local counter = {
    key = key,
    window = window,
    stored = text,
    spend = spend + 0, -- arithmetic takes digits as they are, faster than tonumber does
    held = held == '0' and 0 or held + 0,
    calls = calls + 0,
    rest = rest, -- a space, the calendar, and what only few have
    touched = nil, -- keeps its place in the table
  }
  if rest ~= window.rest and string.find(rest, '\30', 1, true) and extras_of(counter).seeded then
    counter.seeded = true
  end
  if counter.spend > MAX_EXACT then
    counter.beyond = {}
  end
  return counter
end

local function new_counter(key, window)
  return { key = key, window = window, spend = 0, held = 0, calls = 0, rest = window.rest or ' ' }
end

-- Returns the counter under `key`; `window` has its `code` ("day:<start>:<end>", Unix seconds) and, where it may have
-- to be made, its `calendar`. `text`: what was read ahead, false for nothing; then GET looks once more, for a key of
-- another type is nothing to MGET and an error to GET.
local function load_counter(key, window, text)
  local counter = counters[key]
  if not counter then
    text = text or redis.call('GET', key)
    counter = text and parse_counter(key, window, text) or new_counter(key, window)
    counters[key] = counter
  end
  return counter
end

local function load_total(key, window, text)
  local total = load_counter(key, window, text)
  total.is_total = true
  return total
end

-- Returns the totals that a text names (see include/terms.lua), each with the `code` of its window and its `tier`.
-- `codes`: of the windows that it may name by index.
local function parse_totals(text, codes)
  local list = {}
  for _, entry in ipairs(split(text, '\30')) do
    local windows, tier = string.match(entry, '^([^\31]*)\31(.*)$')
    for _, window in ipairs(split(windows, ',')) do
      list[#list + 1] = { code = codes[tonumber(window)] or window, tier = tier }
    end
  end
  return list
end

local function is_stored(key)
  return redis.call('EXISTS', key) == 1
end

-- A zone that was never counted for this user starts from the workspace's counter `source` of the same window type.
-- What is held there counts as spent here: those holds will be settled on the windows of their reserve only, and a
-- limit in the new zone must not be passed by them. The previous window's counter proves that the zone was counted
-- before: then nothing of `source` belongs here. Repeated until something is written, because `source` may change.
local function seed_counter(counter, source, previous_key)
  if counter.stored or counter.touched then
    return
  end
  if counter.fresh_zone == nil then
    counter.fresh_zone = not is_stored(previous_key)
  end
  local previous = counters[previous_key]
  if previous and previous.touched then
    counter.fresh_zone = false
  end
  if counter.fresh_zone and (source.spend ~= 0 or source.calls > 0) then
    counter.spend, counter.calls, counter.seeded = source.spend + source.held, source.calls, true
    set_extra(counter, 'seeded', 1)
  elseif counter.seeded then -- a restored call has counted the zone's previous window since
    counter.spend, counter.calls, counter.seeded = 0, 0, nil
    set_extra(counter, 'seeded', nil)
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
  return math.min(0, counter.spend, extras_of(counter).adjusted or 0)
end

-- Returns the digits of what a counter had spent when it was read.
local function stored_spend(counter)
  return counter.stored and string.match(counter.stored, '^%S+') or '0'
end

-- Notes a change of a sum that a double may not have exactly any more: `beyond` has all changes since it was stored.
local function note_beyond(counter, change)
  local changes = counter.beyond
  if not changes then
    changes = { counter.spend - stored_spend(counter) }
    counter.beyond = changes
  end
  changes[#changes + 1] = change
end

local function touch(counter)
  counter.touched = true
  touched_count = touched_count + 1
  touched[touched_count] = counter
end

local function add(counter, spend, held, calls)
  if not counter.touched then
    touch(counter)
  end
  local sum = counter.spend + spend
  if sum > MAX_EXACT or counter.beyond then
    note_beyond(counter, spend)
  end
  counter.spend = sum < 0 and math.max(sum, lowest_spend(counter)) or sum
  counter.held = plus(counter.held, held)
  counter.calls = plus(counter.calls, calls)
end

-- Charges or holds one call on a list of counters: `add` for what can only grow.
local function charge(list, spend, held)
  for index = 1, #list do
    local counter = list[index]
    if not counter.touched then
      touch(counter)
    end
    local sum = counter.spend + spend
    if sum > MAX_EXACT or counter.beyond then
      note_beyond(counter, spend)
    end
    counter.spend, counter.held, counter.calls = sum, counter.held + held, counter.calls + 1
  end
end

-- Returns the digits of a sum beyond 2^53: what was stored, and every change since.
local function exact_spend(counter)
  local text = stored_spend(counter)
  for _, change in ipairs(counter.beyond) do
    text = exact_sum(text, change)
  end
  return text
end

local function extras_text(counter)
  local parts = { string.match(counter.rest, '^[^\30]*') }
  for name, number in pairs(counter.extras) do
    parts[#parts + 1] = '\30' .. name .. '\29' .. digits(number)
  end
  return table.concat(parts)
end

-- Returns what is stored of a counter.
function sets.counter_text(counter)
  local rest = counter.extras_changed and extras_text(counter) or counter.rest
  if counter.beyond then
    return string.format('%s %d %d%s', exact_spend(counter), counter.held, counter.calls, rest)
  end
  return string.format('%d %d %d%s', counter.spend, counter.held, counter.calls, rest)
end

-- Writes a counter that is stored by itself. A text that is as long is written over the old one: SETRANGE is faster than
-- SET.
function sets.rewrite_counter(counter)
  local text = sets.counter_text(counter)
  if #text == #counter.stored then
    redis.call('SETRANGE', counter.key, 0, text)
  else
    redis.call('SET', counter.key, text, 'KEEPTTL')
  end
end

function sets.write_new_counter(counter)
  redis.call('SET', counter.key, sets.counter_text(counter), 'PX', window_ttl_ms(counter.window.code))
  if counter.is_total then
    new_totals[#new_totals + 1] = counter.key
  end
end

-- Writes the counters from `first` to `last` of those that have changed.
function sets.write_some_counters(first, last)
  local many, list, size = sets.are_many(last - first + 1), {}, 0
  for index = first, last do
    local counter = touched[index]
    if not counter.stored then
      sets.write_new_counter(counter)
    elseif many then
      list[size + 1], list[size + 2] = counter.key, sets.counter_text(counter)
      size = size + 2
    else
      sets.rewrite_counter(counter)
    end
  end
  if size == 0 or sets.write(list, 'KEEPTTL') then
    return
  end
  for index = first, last do
    if touched[index].stored then
      sets.rewrite_counter(touched[index])
    end
  end
end

local function write_counters()
  for first = 1, touched_count, MAX_SET_AT_ONCE / 2 do
    sets.write_some_counters(first, math.min(first + MAX_SET_AT_ONCE / 2 - 1, touched_count))
  end
end
