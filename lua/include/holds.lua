-- What an open or ended hold does to the counters that were fixed at its reserve.
local MAX_DUE_HOLDS = 64 -- resolved in one run; the rest stay held until the next

local due_left
local due_resolved -- by the key of the user's holds

at_begin(function()
  due_left, due_resolved = MAX_DUE_HOLDS, {}
end)

-- Returns the lines of the rules that were in force at the reserve.
local function lines_of(record)
  local list, windows = {}, counters_of(record)
  for index, rule in ipairs(terms_of(record).rules) do
    list[index] = new_line(rule, windows[rule.counter])
  end
  return list
end

-- Returns what a record has used as the breakdown counts it: a call unless it was given back, the tokens of its settle,
-- and what it has charged.
local function usage_of(record)
  local fields, sum = record.fields, new_sum()
  if fields.state == 'released' then
    return sum
  end
  local charged = tonumber(fields.charged) or 0
  sum.calls = 1
  sum.input, sum.output = tonumber(fields.input) or 0, tonumber(fields.output) or 0
  add_cost(sum, charged)
  if fields.unpriced == '1' then
    add_unpriced(sum, 1, 0, charged)
  end
  return sum
end

-- Adds to the breakdown what a record has used since `before`, under the `model` of then.
local function count_change(record, before, model)
  local fields, terms, after = record.fields, terms_of(record), usage_of(record)
  local day = day_of(terms.frame.breakdown_key, terms.frame.day)
  subtract_sum(before)
  if model == fields.model then
    add_sum(after, before)
  else
    count_usage(day, fields.group, model, terms.tier, before)
  end
  count_usage(day, fields.group, fields.model, terms.tier, after)
end

-- Returns what an event tells of the call behind a record.
local function call_of(record)
  local fields = record.fields
  return {
    user = fields.user,
    request = fields.request,
    label = {
      tier = terms_of(record).tier,
      group = fields.group,
      model = fields.model,
      price_version = fields.price_version,
    },
    meta = '',
  }
end

-- Warns of the thresholds that a charge to an ended hold has reached, with one event. Returns the lines.
local function warn_after_charge(record, amount)
  local lines = lines_of(record)
  if warn_of_thresholds(lines) then
    local _, chosen = strongest(lines)
    log_event('warned', call_of(record), amount, 'threshold', lines, chosen)
    count_lines(lines, amount)
  end
  return lines
end

local function is_due(record)
  return record.fields.state == 'open' and tonumber(record.fields.deadline) <= now_ms
end

-- Ends a hold whose deadline has passed: by its policy it is charged at its estimate or given back.
local function expire_hold(record, holds_key)
  local fields, used = changing(record), usage_of(record)
  local estimate = tonumber(fields.amount)
  local is_charged = terms_of(record).on_expiry == 'charge'
  local charge = is_charged and estimate or 0
  move(record, charge, -estimate, 0)
  record.holds_key = holds_key
  fields.state, fields.charged = 'expired', digits(charge)
  count_change(record, used, fields.model)
  local lines = lines_of(record)
  local chosen = fullest(lines)
  log_event('expired', call_of(record), estimate, is_charged and 'charged' or 'released', lines, chosen)
  if lines[chosen] then
    count_outcome(lines[chosen], 'expired', estimate)
  end
  if is_charged then
    warn_after_charge(record, charge)
  end
end

-- Resolves the holds of a user that are past their deadline, once a run and user. Returns whether there were any.
local function resolve_due(holds_key)
  if due_resolved[holds_key] or due_left == 0 then
    return false
  end
  due_resolved[holds_key] = true
  local due = redis.call('ZRANGEBYSCORE', holds_key, '-inf', now_text, 'LIMIT', 0, due_left)
  for _, key in ipairs(due) do
    local record = load_record(key)
    if is_due(record) then
      due_left = due_left - 1
      expire_hold(record, holds_key)
    elseif record.fields.state ~= 'open' then
      redis.call('ZREM', holds_key, key)
    end
  end
  return #due > 0
end

-- Returns how long, in ms, until the first of the user's open holds is due; 0 if one is due already, -1 without any.
local function until_next_deadline(holds_key)
  local next_due = nil
  for _, record in ipairs(changed_records) do
    if record.holds_key == holds_key and is_open_hold(record) then
      next_due = math.min(next_due or math.huge, tonumber(record.fields.deadline))
    end
  end
  local members = redis.call('ZRANGE', holds_key, 0, MAX_DUE_HOLDS, 'WITHSCORES')
  for index = 1, #members, 2 do
    local known = records[members[index]]
    if not known or known.fields.state == 'open' then
      next_due = math.min(next_due or math.huge, tonumber(members[index + 1]))
      break
    end
  end
  return next_due and math.max(0, next_due - now_ms) or -1
end
