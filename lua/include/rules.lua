-- Rules as the ledger sends them, and the marks that let a threshold fire once a window.
-- A rule's text: id 0x1F action 0x1F limit (nano-USD, empty: unlimited) 0x1F thresholds ("pct:nanos,pct:nanos").
local MAX_KNOWN_RULES = 4096
local rules, rule_count = {}, 0 -- parsed ones by text, kept for the next runs of a function

at_begin(function()
  if rule_count > MAX_KNOWN_RULES then
    rules, rule_count = {}, 0
  end
end)

local function parse_rule(text)
  local rule = rules[text]
  if rule then
    return rule
  end
  local id, action, limit, pairs_text = string.match(text, '^([^\31]*)\31([^\31]*)\31([^\31]*)\31([^\31]*)$')
  rule = {
    id = id,
    action = action,
    limit = tonumber(limit),
    limit_text = limit,
    thresholds = {},
    -- A changed limit or threshold is another mark, and so armed anew.
    mark = 'mark:' .. id .. '\31' .. limit .. '\31' .. pairs_text,
  }
  for pct, nanos in string.gmatch(pairs_text, '(%d+):(%d+)') do
    rule.thresholds[#rule.thresholds + 1] = { pct = tonumber(pct), nanos = tonumber(nanos) }
  end
  rules[text], rule_count = rule, rule_count + 1
  return rule
end

-- The mark of a rule in a counter: the highest threshold that fired, in percent, plus 1000 once the limit was warned of.
local function mark_of(counter, rule)
  return extras_of(counter)[rule.mark] or 0
end

-- Fires every threshold that the counter's spend has reached and that did not fire yet in this window.
-- Returns the highest that is reached, in percent (nil: none), and whether it fired now.
local function cross_thresholds(counter, rule)
  local lowest = rule.thresholds[1]
  if not lowest or counter.spend < lowest.nanos then
    return nil, false
  end
  local highest
  for _, threshold in ipairs(rule.thresholds) do
    if counter.spend >= threshold.nanos then
      highest = threshold.pct
    end
  end
  local mark = mark_of(counter, rule)
  local fired = mark % 1000
  if highest <= fired then
    return highest, false
  end
  set_extra(counter, rule.mark, mark - fired + highest)
  return highest, true
end

-- Marks that the limit was passed. Returns whether this is the first time in this window.
local function see_limit(counter, rule)
  local mark = mark_of(counter, rule)
  if mark >= 1000 then
    return false
  end
  set_extra(counter, rule.mark, mark + 1000)
  return true
end
