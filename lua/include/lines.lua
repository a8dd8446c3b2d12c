-- A line is one budget under judgement: a rule, the counter it looks at, and what came of it.
local RANK = { allow = 1, warn = 2, dry_run = 3, block = 4 }

local function fullness(counter, limit)
  if not limit then
    return -1
  end
  if limit == 0 then
    return math.huge
  end
  return (counter.spend + counter.held) / limit
end

local function new_line(rule, counter)
  return {
    rule = rule,
    counter = counter,
    outcome = 'allow',
    warning = '-',
    pct = 0,
    first = 0,
  }
end

-- Returns the index of the fullest line, as it is now, of those with an outcome (nil: of all), 0 without any. Ties: the
-- first.
local function fullest(lines, outcome)
  if not lines[2] then
    return lines[1] and 1 or 0
  end
  local chosen, most = 0, nil
  for index, line in ipairs(lines) do
    if not outcome or line.outcome == outcome then
      local full = fullness(line.counter, line.rule.limit)
      if chosen == 0 or full > most then
        chosen, most = index, full
      end
    end
  end
  return chosen
end

-- Returns the strongest outcome and the index of the fullest line that has it (0 without lines).
local function strongest(lines)
  local outcome = 'allow'
  for index = 1, #lines do
    local own = lines[index].outcome
    if own ~= outcome and RANK[own] > RANK[outcome] then
      outcome = own
    end
  end
  return outcome, fullest(lines, outcome)
end

-- Lets thresholds fire for the new spend; the first charge that reaches one warns, later ones only tell of it.
-- A warning about the limit is not replaced, but the marks are set. Returns whether any fired.
local function warn_of_thresholds(lines)
  local fired = false
  for index = 1, #lines do
    local line = lines[index]
    local pct, is_first = cross_thresholds(line.counter, line.rule)
    fired = fired or is_first
    if pct and line.warning == '-' then
      line.warning, line.pct, line.first = 'threshold', pct, is_first and 1 or 0
      line.outcome = is_first and line.outcome == 'allow' and 'warn' or line.outcome
    end
  end
  return fired
end

-- Returns the numbers of all lines as the ledger reads them, a group of seven for each:
-- outcome spend held warning pct first seeded
local function lines_text(lines)
  local text = ''
  for index = 1, #lines do
    local line = lines[index]
    local counter = line.counter
    local rest = ' - 0 0 0'
    if line.warning ~= '-' or counter.seeded then
      rest = string.format(' %s %d %d %d', line.warning, line.pct, line.first, counter.seeded and 1 or 0)
    end
    text = text .. string.format(' %s %d %d%s', line.outcome, counter.spend, counter.held, rest)
  end
  return text
end
