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

-- `tally` is the key that counts the rule's outcomes in the counter's window.
local function new_line(rule, counter, tally)
  return {
    rule = rule,
    counter = counter,
    tally = tally,
    outcome = 'allow',
    full = fullness(counter, rule.limit),
    warning = '-',
    pct = 0,
    first = 0,
  }
end

-- Takes the fullness of every line anew, after a charge.
local function refill(lines)
  for _, line in ipairs(lines) do
    line.full = fullness(line.counter, line.rule.limit)
  end
end

-- Returns the strongest outcome and the index of the fullest line that has it (0 without lines). Ties: the first.
local function strongest(lines)
  local outcome, chosen = 'allow', 0
  for index, line in ipairs(lines) do
    local stronger = chosen == 0 or RANK[line.outcome] > RANK[outcome]
    if stronger or (line.outcome == outcome and line.full > lines[chosen].full) then
      outcome, chosen = line.outcome, index
    end
  end
  return outcome, chosen
end

local function fullest(lines)
  local chosen = 0
  for index, line in ipairs(lines) do
    if chosen == 0 or line.full > lines[chosen].full then
      chosen = index
    end
  end
  return chosen
end

-- Lets thresholds fire for the new spend; the first charge that reaches one warns, later ones only tell of it.
-- A warning about the limit is not replaced, but the marks are set. Returns whether any fired.
local function warn_of_thresholds(lines)
  local fired = false
  for _, line in ipairs(lines) do
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
  local parts = {}
  for _, line in ipairs(lines) do
    local counter = line.counter
    parts[#parts + 1] = string.format(
      ' %s %.0f %.0f %s %d %d %d',
      line.outcome, counter.spend, counter.held, line.warning, line.pct, line.first, counter.seeded and 1 or 0
    )
  end
  return table.concat(parts)
end
