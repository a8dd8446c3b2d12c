-- The enforcement log and the counts that match it: written by the script that caused them.
local EVENT_TTL_MS = 35 * 24 * 3600 * 1000

local events
local tallies -- by key
local tally_order

at_begin(function()
  events, tallies, tally_order = {}, {}, {}
end)

-- Returns what counts the outcomes of a line's rule in the window of its counter.
local function tally_of(line)
  local code = line.counter.window.code
  local key = prefix .. 'tally:' .. code .. ':' .. line.rule.id
  local tally = tallies[key]
  if not tally then
    tally = { key = key, code = code, fields = {}, order = {}, parts = {} }
    tallies[key] = tally
    tally_order[#tally_order + 1] = tally
  end
  return tally
end

local function count(tally, field, number)
  if not tally.fields[field] then
    tally.fields[field] = 0
    tally.order[#tally.order + 1] = field
  end
  if tally.fields[field] + number > MAX_EXACT then
    tally.parts[#tally.parts + 1] = { field, tally.fields[field] }
    tally.fields[field] = 0
  end
  tally.fields[field] = tally.fields[field] + number
end

-- Counts one outcome of a rule, and its amount in nano-USD.
local function count_outcome(line, name, amount)
  local tally = tally_of(line)
  count(tally, name, 1)
  count(tally, name .. '_nanos', amount)
end

local TALLY_NAME = { block = 'blocked', warn = 'warned', dry_run = 'dry_run' }

-- Counts every line that did more than allow.
local function count_lines(lines, amount)
  for _, line in ipairs(lines) do
    local name = TALLY_NAME[line.outcome]
    if name then
      count_outcome(line, name, amount)
    end
  end
end

local function outcomes_text(lines)
  local parts = {}
  for _, line in ipairs(lines) do
    if line.outcome ~= 'allow' then
      parts[#parts + 1] = line.rule.id .. '=' .. line.outcome
    end
  end
  return table.concat(parts, ',')
end

-- Adds an event. `call`: user, request, meta (nil: none), and a label with tier, group, model, price_version.
-- `lines[chosen]` is the rule it is about; 0: none.
local function log_event(type, call, amount, reason, lines, chosen)
  local line, label = lines[chosen], call.label
  local counter = line and line.counter
  events[#events + 1] = {
    'type', type,
    'at', now_text,
    'user', call.user,
    'request', call.request,
    'tier', label.tier,
    'rule', line and line.rule.id or '',
    'window', counter and counter.window.code or '',
    'reason', reason,
    'amount', digits(amount),
    'spend', counter and digits(counter.spend) or '',
    'held', counter and digits(counter.held) or '',
    'limit', line and line.rule.limit_text or '',
    'group', label.group,
    'model', label.model,
    'price_version', label.price_version,
    'meta', call.meta or '',
    'outcomes', outcomes_text(lines),
  }
end

local function write_events(stream, max_events)
  for _, fields in ipairs(events) do
    redis.pcall('XADD', stream, 'MAXLEN', '~', max_events, '*', unpack(fields))
  end
  if events[1] then
    redis.call('PEXPIRE', stream, digits(EVENT_TTL_MS))
  end
end

-- A sum that would pass 2^63 stays where it is: refused calls are not bounded by the cap, and their count goes on.

local function write_tallies()
  for _, tally in ipairs(tally_order) do
    for _, part in ipairs(tally.parts) do
      redis.pcall('HINCRBY', tally.key, part[1], digits(part[2]))
    end
    for _, field in ipairs(tally.order) do
      redis.pcall('HINCRBY', tally.key, field, digits(tally.fields[field]))
    end
    redis.call('PEXPIRE', tally.key, window_ttl_ms(tally.code))
  end
end
