-- The breakdown: what was used in a day of the workspace, by group, by model and by tier. Summed in memory over the
-- run and written once. One hash for a day; the field of a name holds its numbers, joined by spaces:
--   calls input output (tokens) millions rest, and only where there are any: unpriced_calls unpriced_millions unpriced_rest
-- `millions` (of USD) and `rest` (nano-USD) are one sum, exact beyond 2^53. Fields, with a dimension g, m or t in front:
--   <d>:<name>      what the name has used; the empty name: calls without one
--   <d>/other       all names that came when there were MAX_BREAKDOWN_NAMES already
--   <d>/adjusted    operators' corrections, which belong to no group or model
--   <d>/names       how many names there are
--   about           longer than 64 bytes: the server keeps the hash as a table, where a name is found at once
local MAX_BREAKDOWN_NAMES = 1000
local MILLION_USD = 1000000000000000
local ABOUT = 'by group, model, tier: calls, tokens, millions of USD and nano-USD; lua/include/breakdown.lua'

local breakdown = {} -- what is done once a run, in one table, because a program may have 200 locals
local days -- by key
local day_order

at_begin(function()
  days, day_order = {}, {}
end)

local function new_sum()
  return { calls = 0, input = 0, output = 0, millions = 0, rest = 0 }
end

-- Adds nano-USD, at most the cap either way.
local function add_cost(sum, nanos)
  local rest = sum.rest + nanos
  if rest < MILLION_USD and rest > -MILLION_USD then
    sum.rest = rest
  else
    local millions = rest < 0 and math.ceil(rest / MILLION_USD) or math.floor(rest / MILLION_USD)
    sum.millions, sum.rest = sum.millions + millions, rest - millions * MILLION_USD
  end
end

-- Adds calls whose usage had no price, and what was charged for them.
local function add_unpriced(sum, calls, millions, rest)
  sum.unpriced = sum.unpriced or new_sum()
  local unpriced = sum.unpriced
  unpriced.calls, unpriced.millions = unpriced.calls + calls, unpriced.millions + millions
  add_cost(unpriced, rest)
end

local function add_sum(sum, other)
  sum.calls, sum.input, sum.output = sum.calls + other.calls, sum.input + other.input, sum.output + other.output
  local rest = sum.rest + other.rest
  if other.millions == 0 and rest < MILLION_USD and rest > -MILLION_USD then
    sum.rest = rest
  else
    sum.millions = sum.millions + other.millions
    add_cost(sum, other.rest)
  end
  if other.unpriced then
    add_unpriced(sum, other.unpriced.calls, other.unpriced.millions, other.unpriced.rest)
  end
end

-- Turns a sum into what takes it away.
local function subtract_sum(sum)
  sum.calls, sum.input, sum.output = -sum.calls, -sum.input, -sum.output
  sum.millions, sum.rest = -sum.millions, -sum.rest
  if sum.unpriced then
    subtract_sum(sum.unpriced)
  end
end

-- Adds what is stored; arithmetic takes the digits as they are.
local function add_text(sum, text)
  local calls, input, output, millions, rest, unpriced =
    string.match(text, '^([^ ]*) ([^ ]*) ([^ ]*) ([^ ]*) ([^ ]*)(.*)$')
  sum.calls, sum.input, sum.output = sum.calls + calls, sum.input + input, sum.output + output
  rest = sum.rest + rest
  if millions == '0' and rest < MILLION_USD and rest > -MILLION_USD then
    sum.rest = rest
  else
    sum.millions, sum.rest = sum.millions + millions, 0
    add_cost(sum, rest)
  end
  if unpriced ~= '' then
    calls, millions, rest = string.match(unpriced, '^ ([^ ]*) ([^ ]*) ([^ ]*)$')
    add_unpriced(sum, calls, millions, rest)
  end
end

local function sum_text(sum)
  local text = string.format('%d %d %d %d %d', sum.calls, sum.input, sum.output, sum.millions, sum.rest)
  local unpriced = sum.unpriced
  if unpriced and (unpriced.calls ~= 0 or unpriced.millions ~= 0 or unpriced.rest ~= 0) then
    text = text .. string.format(' %d %d %d', unpriced.calls, unpriced.millions, unpriced.rest)
  end
  return text
end

-- Returns the day of a code ("day:<start>:<end>") under its key.
local function day_of(key, code)
  local day = days[key]
  if not day then
    day = { key = key, code = code, names = { g = {}, m = {}, t = {} }, sums = {}, order = {} }
    days[key] = day
    day_order[#day_order + 1] = day
  end
  return day
end

-- Begins what the run adds under a field; `dimension` where the field is a name that takes a place among its names.
local function begin_sum(day, field, dimension, sum)
  local own = {
    field = field,
    dimension = dimension,
    calls = sum.calls,
    input = sum.input,
    output = sum.output,
    millions = sum.millions,
    rest = sum.rest,
  }
  if sum.unpriced then
    add_unpriced(own, sum.unpriced.calls, sum.unpriced.millions, sum.unpriced.rest)
  end
  day.order[#day.order + 1] = own
  return own
end

-- Adds a sum to what is no name of a group, model or tier.
local function add_to_field(day, field, sum)
  local own = day.sums[field]
  if own then
    add_sum(own, sum)
  else
    day.sums[field] = begin_sum(day, field, nil, sum)
  end
end

local function add_to_name(day, dimension, name, sum)
  local names = day.names[dimension]
  local own = names[name]
  if own then
    add_sum(own, sum)
  else
    names[name] = begin_sum(day, dimension .. ':' .. name, name ~= '' and dimension or nil, sum)
  end
end

-- Adds a sum to a day's group, model and tier.
local function count_usage(day, group, model, tier, sum)
  add_to_name(day, 'g', group, sum)
  add_to_name(day, 'm', model, sum)
  add_to_name(day, 't', tier, sum)
end

-- Adds an operator's correction: to the tier whose totals it corrects, if it names one.
local function count_correction(day, tier, amount)
  local sum = new_sum()
  add_cost(sum, amount)
  add_to_field(day, 'g/adjusted', sum)
  add_to_field(day, 'm/adjusted', sum)
  if tier ~= '' then
    add_to_name(day, 't', tier, sum)
  else
    add_to_field(day, 't/adjusted', sum)
  end
end

-- Gives new names their places, as long as there are any; what is left over goes under `other`.
function breakdown.place_names(day, names)
  local stored = redis.call('HMGET', day.key, 'g/names', 'm/names', 't/names', 'g/other', 'm/other', 't/other')
  local taken = { g = number_of(stored[1]), m = number_of(stored[2]), t = number_of(stored[3]) }
  local others = { g = stored[4], m = stored[5], t = stored[6] }
  day.taken, day.is_new = {}, not (stored[1] or stored[2] or stored[3])
  for _, sum in ipairs(names) do
    local dimension = sum.dimension
    if taken[dimension] < MAX_BREAKDOWN_NAMES then
      taken[dimension] = taken[dimension] + 1
      day.taken[dimension] = taken[dimension]
    else
      add_to_field(day, dimension .. '/other', sum)
      sum.is_left_over = true
    end
  end
  for dimension, text in pairs(others) do
    local other = day.sums[dimension .. '/other']
    if text and other then
      add_text(other, text)
    end
  end
end

-- Adds what is stored to a day's sums. Only reads.
function breakdown.load_day(day)
  local fields, missing = {}, {}
  for index, sum in ipairs(day.order) do
    fields[index] = sum.field
  end
  local stored = redis.call('HMGET', day.key, unpack(fields))
  for index, text in ipairs(stored) do
    local sum = day.order[index]
    if text then
      add_text(sum, text)
    elseif sum.dimension then
      missing[#missing + 1] = sum
    end
  end
  if missing[1] or not stored[1] then
    breakdown.place_names(day, missing)
  end
end

local function load_breakdown()
  for _, day in ipairs(day_order) do
    breakdown.load_day(day)
  end
end

function breakdown.write_day(day)
  local values = {}
  for _, sum in ipairs(day.order) do
    if not sum.is_left_over then
      values[#values + 1] = sum.field
      values[#values + 1] = sum_text(sum)
    end
  end
  for dimension, number in pairs(day.taken or {}) do
    values[#values + 1] = dimension .. '/names'
    values[#values + 1] = digits(number)
  end
  if day.is_new then
    values[#values + 1], values[#values + 2] = 'about', ABOUT
  end
  redis.pcall('HSET', day.key, unpack(values))
  if day.is_new then
    redis.pcall('PEXPIRE', day.key, window_ttl_ms(day.code))
  end
end

local function write_breakdown()
  for _, day in ipairs(day_order) do
    breakdown.write_day(day)
  end
end
