-- Rules as the ledger sends them, and the marks that let a threshold fire once a window.
-- Budgets as text, joined by 0x1E: index of the counter 0x1F id 0x1F action 0x1F limit (nano-USD, empty: unlimited) 0x1F
-- thresholds ("pct:nanos,pct:nanos", the lowest first).

-- Returns the rules of a text, each with the index of its `counter`. Its thresholds are parsed when they are first needed.
local function parse_rules(text)
  local list = {}
  local pattern = '(%d+)\31([^\31]*)\31([^\31]*)\31([^\31]*)\31(%d*:?(%d*)[^\30]*)'
  for counter, id, action, limit, thresholds, lowest in string.gmatch(text, pattern) do
    list[#list + 1] = {
      counter = tonumber(counter),
      id = id,
      action = action,
      limit = tonumber(limit),
      limit_text = limit,
      thresholds_text = thresholds,
      lowest = tonumber(lowest), -- nano-USD; nil without thresholds
      thresholds = false,
    }
  end
  return list
end

local function thresholds_of(rule)
  local list = rule.thresholds
  if not list then
    list = {}
    for pct, nanos in string.gmatch(rule.thresholds_text, '(%d+):(%d+)') do
      list[#list + 1] = { pct = tonumber(pct), nanos = tonumber(nanos) }
    end
    rule.thresholds = list
  end
  return list
end

-- Returns the name of a rule's mark in a counter. A changed limit or threshold is another mark, and so armed anew.
local function mark_name(rule)
  return 'mark:' .. rule.id .. '\31' .. rule.limit_text .. '\31' .. rule.thresholds_text
end

-- The mark of a rule in a counter: the highest threshold that fired, in percent, plus 1000 once the limit was warned of.
local function mark_of(counter, name)
  return extras_of(counter)[name] or 0
end

-- Fires every threshold that the counter's spend has reached and that did not fire yet in this window.
-- Returns the highest that is reached, in percent (nil: none), and whether it fired now.
local function cross_thresholds(counter, rule)
  if not rule.lowest or counter.spend < rule.lowest then
    return nil, false
  end
  local highest
  for _, threshold in ipairs(thresholds_of(rule)) do
    if counter.spend >= threshold.nanos then
      highest = threshold.pct
    end
  end
  local name = mark_name(rule)
  local mark = mark_of(counter, name)
  local fired = mark % 1000
  if highest <= fired then
    return highest, false
  end
  set_extra(counter, name, mark - fired + highest)
  return highest, true
end

-- Marks that the limit was passed. Returns whether this is the first time in this window.
local function see_limit(counter, rule)
  local name = mark_name(rule)
  local mark = mark_of(counter, name)
  if mark >= 1000 then
    return false
  end
  set_extra(counter, name, mark + 1000)
  return true
end
