-- Settle: the actual replaces the estimate. A known actual is never refused because of a limit.
-- All in one table, because a program may have 200 locals.
local settles = {}


local FUTURE_TOLERANCE_MS = 5 * 60 * 1000 -- a sidecar's clock that is ahead must not lose a known actual

local unattributed_amounts

at_begin(function()
  unattributed_amounts = {}
end)

function settles.write_unattributed()
  for _, amount in ipairs(unattributed_amounts) do
    redis.pcall('HINCRBY', unattributed_key, 'count', 1)
    redis.pcall('HINCRBY', unattributed_key, 'nanos', digits(amount))
    redis.pcall('PEXPIRE', unattributed_key, digits(WINDOW_GRACE_MS))
  end
end

-- Keeps a settle that belongs to no hold, once a request id, and answers `status`.
function settles.unattributed(operation, status)
  local record = load_record(operation.record_key, operation.stored)
  if record.exists then
    return { status }
  end
  change_record(record, { 'op', 'unattributed', 'user', operation.user, 'request', operation.request })
  local amount = operation.amount or 0
  unattributed_amounts[#unattributed_amounts + 1] = amount
  local label = operation.label
  label = { tier = '', group = label.group, model = label.model, price_version = label.price_version }
  local call = { user = operation.user, request = operation.request, label = label, meta = '' }
  log_event('unattributed', call, amount, status, {}, 0)
  return { status }
end

-- Notes in the record what was used and how it was priced. A settle by amount keeps the model of the reserve.
function settles.note_usage(operation, record)
  local fields, label = changing(record), operation.label
  fields.price_version, fields.input, fields.output = label.price_version, operation.input, operation.output
  fields.unpriced = operation.amount and '' or '1'
  if label.model ~= '' then
    fields.model = label.model
  end
end

-- Charges a settle whose hold is not known any more, under its own id, in the windows of the reserve.
function settles.reconstruct(operation)
  local plan, record = operation.plan, load_record(operation.record_key, operation.stored)
  local is_unpriced = not operation.amount
  local amount = operation.amount or plan.on_unpriced or 0
  charge_call(plan.frame, load_counters(plan.frame, operation.counters_at), amount, 0)
  change_record(record, {
    'op', 'settle',
    'sent', 'settle\31\31\31',
    'amount', digits(amount),
    'charged', digits(amount),
    'at', digits(math.min(operation.reserved_at_ms, now_ms)),
    'user', operation.user,
    'request', operation.request,
    'group', operation.label.group,
    'plan', hold_text(plan),
    'settle_sent', operation.sent,
  })
  settles.note_usage(operation, record)
  local found, call = lines_of(record), call_of(record)
  log_event('reconstructed', call, amount, 'reconstructed', found, fullest(found))
  if is_unpriced then
    log_event('unpriced', call, amount, 'unpriced', found, fullest(found))
  end
  local lines = warn_after_charge(record, amount)
  local answer = settlement_text(record, lines, 'unknown', is_unpriced and 1 or 0)
  return conclude(operation, record, 'settled', answer, new_sum(), record.fields.model)
end

function settles.settle_unknown(operation)
  local reserved_at_ms = operation.reserved_at_ms
  if not reserved_at_ms then
    return settles.unattributed(operation, 'missing')
  end
  if reserved_at_ms > now_ms + FUTURE_TOLERANCE_MS then
    return { 'future' }
  end
  if now_ms - reserved_at_ms > RECORD_TTL_MS or not operation.plan then
    return settles.unattributed(operation, 'too_old')
  end
  return settles.reconstruct(operation)
end

-- The amount of a usage without a price: the rule's flat charge, else the estimate.
function settles.amount_of(operation, record)
  return operation.amount or terms_of(record).on_unpriced or tonumber(record.fields.amount)
end

-- Logs what a settlement found: it came late, it cost more than was held, it had no price.
function settles.log_settlement(operation, record, state_before, actual)
  local excess = actual - tonumber(record.fields.amount)
  if state_before == 'open' and excess <= 0 and operation.amount then
    return
  end
  local call, lines = call_of(record), lines_of(record)
  local chosen = fullest(lines)
  if state_before == 'expired' or state_before == 'released' then
    log_event('late_settle', call, actual, state_before, lines, chosen)
  end
  if excess > 0 and (state_before == 'open' or state_before == 'expired') then
    log_event('overrun', call, excess, 'overrun', lines, chosen)
    if lines[chosen] then
      count_outcome(lines[chosen], 'overrun', excess)
    end
  end
  if not operation.amount then
    log_event('unpriced', call, actual, 'unpriced', lines, chosen)
  end
end

-- Replaces what the hold holds or has charged by the actual amount.
function settles.replace(operation, record, state_before)
  local fields, used = changing(record), usage_of(record)
  local model, actual = fields.model, settles.amount_of(operation, record)
  local held = state_before == 'open' and tonumber(fields.amount) or 0
  move(record, actual - tonumber(fields.charged), -held, state_before == 'released' and 1 or 0)
  fields.charged, fields.settle_sent = digits(actual), operation.sent
  settles.note_usage(operation, record)
  settles.log_settlement(operation, record, state_before, actual)
  local lines = warn_after_charge(record, actual)
  local answer = settlement_text(record, lines, state_before, operation.amount and 0 or 1)
  return conclude(operation, record, 'settled', answer, used, model)
end

-- A second settle: a replay, the one correction of an amount that had no price, or a conflict.
function settles.settle_again(operation, record)
  if record.fields.settle_sent == operation.sent then
    return reply('replay', record, record.fields.settle_answer)
  end
  if record.fields.unpriced == '1' and operation.amount then
    return settles.replace(operation, record, 'settled')
  end
  return { 'conflict', 'already_settled' }
end

function settles.settle(operation)
  local record = load_record(operation.record_key, operation.stored)
  if not is_admitted(record) then
    return settles.settle_unknown(operation)
  end
  if record.fields.state == 'charged' then
    return { 'conflict', 'not_a_hold' }
  end
  if record.fields.state == 'settled' then
    return settles.settle_again(operation, record)
  end
  if is_due(record) then
    expire_hold(record, operation.holds_key)
  end
  return settles.replace(operation, record, record.fields.state)
end
