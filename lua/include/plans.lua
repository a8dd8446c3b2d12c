-- A plan: what the next decision of a user needs, made by the ledger and shared by many operations of a batch.
-- ARGV: one text, joined by 0x1C:
--       valid_from_ms valid_until_ms tier context on_expiry on_unpriced calm_reason stopped(0|1)
--       windows calendars seeds tiers budgets (see include/records.lua; calendars and seeds go with the windows; a
--       seed is the index of the workspace's counter to start from, 0 for none)
-- KEYS: the breakdown of the first window's day, a tier total for each of tiers, a tally for each of budgets.
local MAX_KNOWN_PLANS = 1024

local known_plans, known_plan_count = {}, 0 -- parsed ones by text, kept for the next runs of a function
local plans -- those of this run, in the order of ARGV

at_begin(function()
  plans = {}
  if known_plan_count > MAX_KNOWN_PLANS then
    known_plans, known_plan_count = {}, 0
  end
end)

-- Returns the windows of a plan, and how many KEYS one user's counters take, those of previous windows included.
local function parse_windows(codes, calendars, seeds)
  local windows, key_count = {}, 0
  calendars, seeds = split(calendars, ','), split(seeds, ',')
  for index, code in ipairs(split(codes, ',')) do
    local window = { code = code, rest = ' ' .. calendars[index], key = key_count + 1 }
    key_count = window.key
    if seeds[index] ~= '0' then
      window.seed, window.previous = tonumber(seeds[index]), window.key + 1
      key_count = window.previous
      windows.are_seeded = true
    end
    windows[index] = window
  end
  return windows, key_count
end

local function parse_plan(text)
  local from, until_, tier, context, on_expiry, on_unpriced, calm_reason, stopped, codes, calendars, seeds, tiers, budgets =
    take_apart(text, '\28', 13)
  local plan = {
    valid_from_ms = tonumber(from),
    valid_until_ms = tonumber(until_),
    tier = tier,
    on_unpriced = tonumber(on_unpriced),
    calm_reason = calm_reason,
    stopped = stopped == '1',
    windows_text = codes,
    tiers_text = tiers,
    -- As records have them, see include/terms.lua.
    check_text = table.concat({ context, codes, tiers, '', tier, '', '' }, '\28'),
    unlisted_text = table.concat({ context, codes, '', '', tier, '', '' }, '\28'), -- without totals
    hold_text = table.concat({ context, codes, tiers, budgets, tier, on_expiry, on_unpriced }, '\28'),
    totals = {},
    budgets = {},
  }
  plan.windows, plan.key_count = parse_windows(codes, calendars, seeds)
  for index, entry in ipairs(split(tiers, '\30')) do
    plan.totals[index] = { window = { code = string.match(entry, '^([^\31]*)'), rest = ' ' } }
  end
  for index, entry in ipairs(split(budgets, '\30')) do
    local counter, rule = string.match(entry, '^(%d+)\31(.*)$')
    plan.budgets[index] = { counter = tonumber(counter), rule = parse_rule(rule) }
  end
  return plan
end

-- Returns the next plan. Its `spend` and `calls` are what this run has charged to its totals but not added yet.
local function next_plan()
  local text = next_argument()
  local plan = known_plans[text]
  if not plan then
    plan = parse_plan(text)
    known_plans[text], known_plan_count = plan, known_plan_count + 1
  end
  plan.spend, plan.calls = 0, 0
  plan.breakdown_key = next_key()
  for _, total in ipairs(plan.totals) do
    total.key = next_key()
    total.key_index = key_cursor
  end
  for _, budget in ipairs(plan.budgets) do
    budget.tally = next_key()
  end
  return plan
end

local function read_plans()
  for index = 1, tonumber(next_argument()) do
    plans[index] = next_plan()
  end
end

-- Passes the KEYS of a plan's counters for one user: the counters in the order of its windows, each seeded one
-- followed by the key of its previous window. Returns where they start.
local function skip_counter_keys(plan)
  local start = key_cursor
  key_cursor = start + plan.key_count
  return start
end

-- Returns the counters of a plan for the user whose keys follow `start`, seeded where a zone is new.
local function load_counters(plan, start)
  local list, windows = {}, plan.windows
  for index = 1, #windows do
    local window = windows[index]
    local place = start + window.key
    list[index] = load_counter(keys[place], window, texts[place - texts_after])
  end
  if windows.are_seeded then
    for index, window in ipairs(windows) do
      if window.seed then
        seed_counter(list[index], list[window.seed], keys[start + window.previous])
      end
    end
  end
  return list
end

-- Adds what was charged to a plan's totals.
local function flush_totals(plan)
  for _, total in ipairs(plan.totals) do
    local counter = load_total(total.key, total.window, text_at(total.key_index))
    add(counter, plan.spend, 0, plan.calls)
  end
  plan.spend, plan.calls = 0, 0
end

-- Adds to the totals of all plans what their calls have charged, before the totals are written.
flush_all_totals = function()
  for _, plan in ipairs(plans) do
    if plan.calls > 0 then
      flush_totals(plan)
    end
  end
end

-- Charges or holds an amount on every counter of a user and on the plan's tier totals, as one call.
local function charge_plan(plan, list, spend, held)
  charge(list, spend, held)
  if plan.spend + spend > MAX_EXACT then
    flush_totals(plan)
  end
  plan.spend, plan.calls = plan.spend + spend, plan.calls + 1
end

-- Returns the lines of the rules in force.
local function plan_lines(plan, list)
  local lines = {}
  for index, budget in ipairs(plan.budgets) do
    lines[index] = new_line(budget.rule, list[budget.counter], budget.tally)
  end
  return lines
end
