-- A plan: what the next decision of a user needs, made by the ledger: the rules that are judged, over a frame. Users of
-- a tier share one; who has an override has one of their own.
-- ARGV: two for each: the index of its frame, below zero if the plan is one user's own, and one text, joined by 0x1C:
--       valid_from_ms valid_until_ms context on_expiry on_unpriced calm_reason stopped(0|1) budgets
--       (see include/terms.lua)
local plans -- those of this run, in the order of ARGV

at_begin(function()
  plans = {}
end)

local function parse_plan(frame, text)
  local from, until_, context, on_expiry, on_unpriced, calm_reason, stopped, budgets = take_apart(text, '\28', 8)
  return {
    frame = frame,
    valid_from_ms = tonumber(from),
    valid_until_ms = tonumber(until_),
    context = context,
    on_expiry = on_expiry,
    on_unpriced_text = on_unpriced,
    on_unpriced = tonumber(on_unpriced),
    calm_reason = calm_reason,
    stopped = stopped == '1',
    budgets = budgets,
    rules = parse_rules(budgets),
    check_text = '\29' .. context .. frame.check_text .. '\29', -- what a check's record keeps of it
  }
end

local function next_plan()
  local index, text = tonumber(next_argument()), next_argument()
  local frame = frames[math.abs(index)]
  if index < 0 then
    return parse_plan(frame, text)
  end
  local plan = frame.plans[text]
  if not plan then
    plan = parse_plan(frame, text)
    frame.plans[text], parsed_count = plan, parsed_count + 1
  end
  return plan
end

local function read_plans()
  for index = 1, tonumber(next_argument()) do
    plans[index] = next_plan()
  end
end

-- Returns what a hold's record keeps of a plan, see include/terms.lua.
local function hold_text(plan)
  local frame = plan.frame
  return plan.context .. '\28' .. frame.windows_text .. '\28' .. frame.tiers_text .. '\28' .. plan.budgets
    .. '\28' .. frame.tier .. '\28' .. plan.on_expiry .. '\28' .. plan.on_unpriced_text
end

-- Returns the lines of the rules in force.
local function plan_lines(plan, list)
  local lines, judged = {}, plan.rules
  for index = 1, #judged do
    local rule = judged[index]
    lines[index] = new_line(rule, list[rule.counter])
  end
  return lines
end
