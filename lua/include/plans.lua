-- A plan: what the next decision of a user needs, made by the ledger and shared by many operations of a batch.
-- ARGV: valid_from_ms valid_until_ms tier context on_expiry on_unpriced calm_reason stopped(0|1)
--       windows calendars seeds tiers budgets (see include/records.lua; calendars and seeds go with the windows; a
--       seed is the index of the workspace's counter to start from, 0 for none)
-- KEYS: a tier total for each of tiers, a tally for each of budgets.
local function next_plan()
  local plan = {
    valid_from_ms = tonumber(next_argument()),
    valid_until_ms = tonumber(next_argument()),
    tier = next_argument(),
    context = next_argument(),
    on_expiry = next_argument(),
    on_unpriced = next_argument(),
    calm_reason = next_argument(),
    stopped = next_argument() == '1',
    windows = next_argument(),
    calendars_text = next_argument(),
    seeds_text = next_argument(),
    tiers = next_argument(),
    budgets_text = next_argument(),
    totals = {},
    budgets = {},
  }
  plan.codes = split(plan.windows, ',')
  plan.calendars = split(plan.calendars_text, ',')
  plan.seeds = split(plan.seeds_text, ',')
  for index, entry in ipairs(split(plan.tiers, '\30')) do
    plan.totals[index] = { key = next_key(), code = string.match(entry, '^([^\31]*)') }
  end
  for index, entry in ipairs(split(plan.budgets_text, '\30')) do
    local counter, text = string.match(entry, '^(%d+)\31(.*)$')
    plan.budgets[index] = { counter = tonumber(counter), rule = parse_rule(text), tally = next_key() }
  end
  return plan
end

local function next_plans()
  local plans = {}
  for index = 1, tonumber(next_argument()) do
    plans[index] = next_plan()
  end
  return plans
end

-- Reads the KEYS of a plan's counters for one user: the counters in the order of its windows, each seeded one
-- followed by the key of its previous window.
local function next_counter_keys(plan)
  local keys = { counters = {}, previous = {} }
  for index in ipairs(plan.codes) do
    keys.counters[index] = next_key()
    if plan.seeds[index] ~= '0' then
      keys.previous[index] = next_key()
    end
  end
  return keys
end

-- Returns the counters of a plan for one user, seeded where a zone is new.
local function load_counters(plan, keys)
  local list = {}
  for index, code in ipairs(plan.codes) do
    list[index] = load_counter(keys.counters[index], code, plan.calendars[index])
    if keys.previous[index] then
      seed_counter(list[index], list[tonumber(plan.seeds[index])], keys.previous[index])
    end
  end
  return list
end

-- Charges or holds an amount on every counter of a user and on the plan's tier totals, as one call.
local function charge_plan(plan, list, spend, held)
  for _, counter in ipairs(list) do
    add(counter, spend, held, 1)
  end
  for _, total in ipairs(plan.totals) do
    add(load_total(total.key, total.code), spend, 0, 1)
  end
end

-- Returns the lines of the rules in force.
local function plan_lines(plan, list)
  local lines = {}
  for index, budget in ipairs(plan.budgets) do
    lines[index] = new_line(budget.rule, list[budget.counter], budget.tally)
  end
  return lines
end

-- The fields that a hold's record takes over from its plan.
local function hold_fields(plan)
  return {
    'budgets', plan.budgets_text,
    'tier', plan.tier,
    'on_expiry', plan.on_expiry,
    'on_unpriced', plan.on_unpriced,
  }
end
